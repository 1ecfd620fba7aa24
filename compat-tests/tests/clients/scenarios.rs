//! What every client must be able to do. Written once; `main.rs` runs each of them with each client.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::client::{CODECS, Client, From, Handle, Record};
use crate::target::{Target, now_ms, unique};

const PATIENCE: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(300);

pub type Scenario = fn(&mut dyn Client, &mut Target);

fn record(partition: i32, key: &str, value: &str) -> Record {
    Record { partition, key: Some(key.to_owned()), value: Some(value.to_owned()), ..Record::default() }
}

fn numbered(partition: i32, range: std::ops::Range<usize>) -> Vec<Record> {
    range.map(|n| record(partition, &format!("k{n}"), &format!("p{partition} v{n}"))).collect()
}

fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| r.value.clone().unwrap_or_default()).collect()
}

fn offsets(records: &[Record]) -> Vec<i64> {
    records.iter().filter_map(|r| r.offset).collect()
}

/// Creates a topic with the client where it can, else with ours.
fn create(client: &mut dyn Client, target: &Target, partitions: i32, configs: &[(&'static str, &str)]) -> String {
    let topic = unique("topic");
    let configs: BTreeMap<&str, String> = configs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    if client.is_only_a_pipe() {
        target.create(&topic, partitions, &configs);
    } else {
        client.create(&topic, partitions, &configs).unwrap();
    }
    topic
}

/// Polls until `count` records are there, then a moment longer: nothing more may come.
fn exactly(client: &mut dyn Client, handle: Handle, count: usize) -> Vec<Record> {
    let until = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    while records.len() < count && Instant::now() < until {
        records.extend(client.poll(handle, count - records.len(), Duration::from_secs(5)).unwrap().records);
    }
    records.extend(client.poll(handle, 1, MOMENT).unwrap().records);
    assert_eq!(records.len(), count, "{:?}", offsets(&records));
    records
}

fn read(client: &mut dyn Client, topic: &str, partition: i32, count: usize) -> Vec<Record> {
    let handle = client.open(topic, partition, From::Beginning).unwrap();
    let records = exactly(client, handle, count);
    client.close(handle).unwrap();
    records
}

/// A topic is created with the asked partitions; a kcat makes the broker do it by asking for metadata.
pub fn create_topic(client: &mut dyn Client, target: &mut Target) {
    if client.is_only_a_pipe() {
        let topic = unique("auto");
        client.produce(&topic, "none", &numbered(0, 0..1)).unwrap();
        assert!(client.partitions(&topic).unwrap() >= 1);
    } else {
        let topic = create(client, target, 3, &[("cleanup.policy", "compact")]);
        assert_eq!(client.partitions(&topic).unwrap(), 3);
        let again = client.create(&topic, 3, &BTreeMap::new());
        assert!(again.is_err(), "a second topic of the same name was created");
    }
}

/// Each codec's records come back unchanged, in order and at the offsets that the producer was told.
pub fn produce_with_each_codec(client: &mut dyn Client, target: &mut Target) {
    let topic = create(client, target, 1, &[]);
    let mut sent = Vec::new();
    for codec in CODECS {
        let filler = "compressible ".repeat(20);
        let records: Vec<Record> =
            (0..100).map(|n| record(0, &format!("{codec}-{n}"), &format!("{filler}{codec} {n}"))).collect();
        let told = client.produce(&topic, codec, &records).unwrap_or_else(|e| panic!("{codec}: {e}"));
        let first = i64::try_from(sent.len()).unwrap();
        if let Some(told) = told {
            assert_eq!(told, (first..first + 100).collect::<Vec<_>>(), "{codec}");
        }
        sent.extend(records);
    }
    let back = read(client, &topic, 0, 500);
    assert_eq!(offsets(&back), (0..500).collect::<Vec<i64>>());
    for (sent, back) in sent.iter().zip(&back) {
        assert_eq!((&sent.key, &sent.value), (&back.key, &back.value));
    }
}

pub fn consume_from_each_position(client: &mut dyn Client, target: &mut Target) {
    let topic = create(client, target, 1, &[]);
    client.produce(&topic, "none", &numbered(0, 0..5)).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let middle = now_ms();
    std::thread::sleep(Duration::from_millis(50));
    client.produce(&topic, "lz4", &numbered(0, 5..10)).unwrap();

    for (from, first) in [(From::Beginning, 0), (From::Offset(7), 7), (From::Timestamp(middle), 5)] {
        let handle = client.open(&topic, 0, from).unwrap();
        let records = exactly(client, handle, 10 - first);
        assert_eq!(values(&records), values(&numbered(0, first..10)), "{from:?}");
        client.close(handle).unwrap();
    }
    let handle = client.open(&topic, 0, From::End).unwrap();
    assert!(client.poll(handle, 1, MOMENT).unwrap().records.is_empty());
    client.produce(&topic, "none", &numbered(0, 10..11)).unwrap();
    assert_eq!(offsets(&exactly(client, handle, 1)), [10]);
    client.close(handle).unwrap();
}

/// Polls all members in turn until `done` says so, and returns what each of them read.
fn poll_until(
    client: &mut dyn Client,
    members: &[Handle],
    done: impl Fn(&[BTreeSet<i32>], &[Vec<Record>]) -> bool,
) -> Vec<Vec<Record>> {
    let until = Instant::now() + PATIENCE;
    let mut assigned = vec![BTreeSet::new(); members.len()];
    let mut read = vec![Vec::new(); members.len()];
    while Instant::now() < until {
        for (n, member) in members.iter().enumerate() {
            let polled = client.poll(*member, 1000, MOMENT).unwrap();
            assigned[n] = polled.assigned.into_iter().collect();
            read[n].extend(polled.records);
        }
        if done(&assigned, &read) {
            return read;
        }
    }
    panic!(
        "the group did not get there: assigned {assigned:?}, read {:?}",
        read.iter().map(Vec::len).collect::<Vec<_>>()
    );
}

fn on_each_partition(range: std::ops::Range<usize>) -> Vec<Record> {
    (0..4).flat_map(|partition| numbered(partition, range.clone())).collect()
}

fn has_all(read: &[Vec<Record>], expected: &[Record]) -> bool {
    let mut found: Vec<String> = read.iter().flat_map(|records| values(records)).collect();
    let mut expected = values(expected);
    found.sort();
    expected.sort();
    assert!(found.len() <= expected.len(), "read twice: {found:?}");
    found == expected
}

/// Two members share the partitions, one leaves, the other takes over; commits tell a third where to go on.
pub fn group_of_two_members(client: &mut dyn Client, target: &mut Target) {
    let topic = create(client, target, 4, &[]);
    let group = unique("group");
    let all: BTreeSet<i32> = (0..4).collect();

    let first = client.join(&group, &topic).unwrap();
    poll_until(client, &[first], |assigned, _| assigned[0] == all);
    client.produce(&topic, "none", &on_each_partition(0..10)).unwrap();
    poll_until(client, &[first], |_, read| has_all(read, &on_each_partition(0..10)));
    client.commit(first).unwrap();

    let second = client.join(&group, &topic).unwrap();
    let shared = |assigned: &[BTreeSet<i32>]| {
        assigned.iter().all(|held| held.len() == 2)
            && assigned[0].union(&assigned[1]).copied().collect::<BTreeSet<i32>>() == all
    };
    poll_until(client, &[first, second], |assigned, _| shared(assigned));
    client.produce(&topic, "gzip", &on_each_partition(10..20)).unwrap();
    let read = poll_until(client, &[first, second], |_, read| has_all(read, &on_each_partition(10..20)));
    assert_eq!(read.iter().map(Vec::len).collect::<Vec<_>>(), [20, 20], "each member reads its own two partitions");
    client.commit(first).unwrap();
    client.commit(second).unwrap();

    client.close(second).unwrap();
    poll_until(client, &[first], |assigned, _| assigned[0] == all);
    client.produce(&topic, "none", &on_each_partition(20..21)).unwrap();
    poll_until(client, &[first], |_, read| has_all(read, &on_each_partition(20..21)));
    client.commit(first).unwrap();
    client.close(first).unwrap();

    client.produce(&topic, "none", &on_each_partition(21..22)).unwrap();
    let third = client.join(&group, &topic).unwrap();
    poll_until(client, &[third], |_, read| has_all(read, &on_each_partition(21..22)));
    client.close(third).unwrap();
}

/// Order, repeated names, empty and non-ASCII values survive.
pub fn headers(client: &mut dyn Client, target: &mut Target) {
    let topic = create(client, target, 1, &[]);
    let mut with = record(0, "k", "with");
    with.headers = [("trace", "1"), ("trace", "2"), ("empty", ""), ("größe", "ä")]
        .map(|(name, value)| (name.to_owned(), Some(value.to_owned())))
        .to_vec();
    let sent = [with, record(0, "k", "without")];
    client.produce(&topic, "none", &sent).unwrap();
    let back = read(client, &topic, 0, 2);
    assert_eq!(back[0].headers, sent[0].headers);
    assert_eq!(back[1].headers, []);
}

/// Null stays null, for keys and for values.
pub fn tombstones(client: &mut dyn Client, target: &mut Target) {
    let topic = create(client, target, 1, &[]);
    let mut sent = vec![record(0, "k", "v"), record(0, "k", ""), record(0, "", "no key")];
    sent[1].value = None;
    sent[2].key = None;
    client.produce(&topic, "none", &sent).unwrap();
    for (sent, back) in sent.iter().zip(read(client, &topic, 0, 3)) {
        assert_eq!((&sent.key, &sent.value), (&back.key, &back.value));
    }
}

/// CreateTime keeps the producer's timestamps, LogAppendTime gives the broker's.
pub fn timestamps(client: &mut dyn Client, target: &mut Target) {
    let given: Vec<i64> = (0..5).map(|n| 1_700_000_000_000 + n * 1000).collect();
    let mut sent = numbered(0, 0..5);
    sent.iter_mut().zip(&given).for_each(|(record, ms)| record.timestamp = Some(*ms));

    let before = now_ms();
    let create_time = create(client, target, 1, &[]);
    client.produce(&create_time, "none", &sent).unwrap();
    let back: Vec<i64> = read(client, &create_time, 0, 5).iter().filter_map(|r| r.timestamp).collect();
    if client.is_only_a_pipe() {
        assert!(back.iter().all(|ms| (before..=now_ms()).contains(ms)), "{back:?}");
    } else {
        assert_eq!(back, given);
        let handle = client.open(&create_time, 0, From::Timestamp(given[2] + 1)).unwrap();
        assert_eq!(offsets(&exactly(client, handle, 2)), [3, 4]);
    }

    let append_time = create(client, target, 1, &[("message.timestamp.type", "LogAppendTime")]);
    let before = now_ms();
    client.produce(&append_time, "gzip", &sent).unwrap();
    let after = now_ms();
    for record in read(client, &append_time, 0, 5) {
        assert!(
            record.timestamp.is_some_and(|ms| (before..=after).contains(&ms)),
            "{record:?}, not in {before}..={after}"
        );
    }
}

/// Up to max.message.bytes passes, more is refused and nothing of it is stored.
pub fn large_records(client: &mut dyn Client, target: &mut Target) {
    let noise = |length: usize| -> String {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + u8::try_from(state >> 28).unwrap())
        };
        (0..length).map(|_| next()).collect()
    };
    let topic = create(client, target, 1, &[]);
    client.produce(&topic, "none", &[record(0, "fits", &noise(1_000_000))]).unwrap();
    let refused = client.produce(&topic, "none", &[record(0, "too large", &noise(1_100_000))]);
    assert!(refused.is_err(), "1.1 MB passed max.message.bytes=1048588");
    assert_eq!(read(client, &topic, 0, 1)[0].value, Some(noise(1_000_000)));

    let topic = create(client, target, 1, &[("max.message.bytes", "6000000")]);
    for codec in ["none", "zstd"] {
        client.produce(&topic, codec, &[record(0, codec, &noise(5_000_000))]).unwrap();
    }
    for back in read(client, &topic, 0, 2) {
        assert!(back.value == Some(noise(5_000_000)), "{:?} came back changed", back.key);
    }
}

/// One producer, one reader and one group member live through a kill -9 of the broker; nothing is lost or doubled.
pub fn restart_in_the_middle(client: &mut dyn Client, target: &mut Target) {
    if !target.can_restart() {
        eprintln!("skipped: the broker at PYRALOG_TEST_BOOTSTRAP cannot be restarted from here");
        return;
    }
    let topic = create(client, target, 2, &[]);
    let both = |range: std::ops::Range<usize>| [numbered(0, range.clone()), numbered(1, range)].concat();
    client.produce(&topic, "none", &both(0..50)).unwrap();
    let mut reader = client.open(&topic, 0, From::Beginning).unwrap();
    let mut seen = exactly(client, reader, 50);
    let group = unique("group");
    let mut member = client.join(&group, &topic).unwrap();
    poll_until(client, &[member], |_, read| has_all(read, &both(0..50)));
    client.commit(member).unwrap();
    if client.is_only_a_pipe() {
        client.close(member).unwrap();
    }

    target.restart();
    if client.is_only_a_pipe() {
        // kcat ends when its last broker is down, and commits only when it ends in order; a shell starts it again.
        reader = client.open(&topic, 0, From::Offset(50)).unwrap();
        member = client.join(&group, &topic).unwrap();
    }

    client.produce(&topic, "none", &both(50..100)).unwrap();
    seen.extend(exactly(client, reader, 50));
    assert_eq!(values(&seen), values(&numbered(0, 0..100)));
    poll_until(client, &[member], |_, read| has_all(read, &both(50..100)));
    assert_eq!(values(&read(client, &topic, 1, 100)), values(&numbered(1, 0..100)));
}

/// Records whose keys are VLSNs; all of these are text, because they are small.
fn by_vlsn(vlsns: impl Iterator<Item = u8>) -> Vec<Record> {
    let key = |vlsn: u8| String::from_utf8([0u64.to_be_bytes()[..7].to_vec(), vec![vlsn]].concat()).unwrap();
    vlsns.map(|vlsn| record(i32::from(vlsn % 3), &key(vlsn), &format!("value {vlsn}"))).collect()
}

/// A VLSN log is written with keys of eight bytes, and its view, a topic of one partition, read by seeking to VLSNs, followed,
/// and consumed by a group that commits and goes on. No client needs anything new for it.
pub fn vlsn_view(client: &mut dyn Client, target: &mut Target) {
    if !target.has_vlsn_logs() {
        eprintln!("skipped: the broker at PYRALOG_TEST_BOOTSTRAP need not have VLSN logs");
        return;
    }
    const GAP: u8 = 8;
    let log = create(client, target, 3, &[("vlsn.enable", "true")]);
    let view = format!("{log}.vlsn");
    let write = |client: &mut dyn Client, target: &Target, codec: &str, vlsns: std::ops::Range<u8>| {
        let records = by_vlsn(vlsns.filter(|vlsn| *vlsn != GAP));
        if client.is_only_a_pipe() {
            target.append(&log, &records); // a key with zero bytes does not pass through kcat's standard input
        } else {
            client.produce(&log, codec, &records).unwrap();
        }
    };
    let expect = |records: &[Record], vlsns: std::ops::Range<u8>| {
        let vlsns: Vec<u8> = vlsns.filter(|vlsn| *vlsn != GAP).collect();
        assert_eq!(offsets(records), vlsns.iter().map(|vlsn| i64::from(*vlsn)).collect::<Vec<_>>());
        assert_eq!(values(records), vlsns.iter().map(|vlsn| format!("value {vlsn}")).collect::<Vec<_>>());
    };
    write(client, target, "lz4", 0..30);
    assert_eq!(client.partitions(&view).unwrap(), 1);
    for from in [0, 7, GAP, 29] {
        let handle = client.open(&view, 0, From::Offset(from.into())).unwrap();
        let left = (from..30).filter(|vlsn| *vlsn != GAP).count();
        expect(&exactly(client, handle, left), from..30);
        client.close(handle).unwrap();
    }

    let group = unique("group");
    let member = client.join(&group, &view).unwrap();
    let read = poll_until(client, &[member], |_, read| read[0].len() >= 29);
    expect(&read[0], 0..30);
    client.commit(member).unwrap();
    client.close(member).unwrap();

    let follower = client.open(&view, 0, From::End).unwrap();
    write(client, target, "none", 30..36);
    expect(&exactly(client, follower, 6), 30..36);
    client.close(follower).unwrap();
    let member = client.join(&group, &view).unwrap();
    expect(&poll_until(client, &[member], |_, read| read[0].len() >= 6)[0], 30..36);
    client.close(member).unwrap();

    let refused = client.produce(&view, "none", &numbered(0, 0..1));
    assert!(refused.is_err(), "the view took a record");
}
