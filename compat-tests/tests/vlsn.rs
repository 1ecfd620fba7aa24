//! Logs addressed by VLSN, through nothing but Kafka's own protocol: what they take, what they answer, and their view,
//! whose offsets are VLSNs. Kafka has no such logs, so none of this runs against it.
#![allow(clippy::unwrap_used, reason = "a test")]

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::{CreatePartitionsRequest, TopicName};
use pyralog_compat_tests::batch::{Batch, Codec, Record, StoredBatch};
use pyralog_compat_tests::calls::Fetch;
use pyralog_compat_tests::{Broker, BrokerOptions, Conn, private, text};

const INVALID_RECORD: i16 = 87;
const POLICY_VIOLATION: i16 = 44;
const OUT_OF_RANGE: i16 = 1;
const VLSN: &[(&str, &str)] = &[("vlsn.enable", "true")];

fn record(vlsn: u64) -> Record {
    Record { key: Some(vlsn.to_be_bytes().to_vec()), ..Record::of(&format!("value {vlsn}")) }
}

fn batch(vlsns: &[u64]) -> Batch {
    Batch::new(vlsns.iter().map(|vlsn| record(*vlsn)).collect())
}

fn write(conn: &mut Conn, log: &str, partition: i32, vlsns: &[u64]) -> i64 {
    conn.append(log, partition, &batch(vlsns).encode())
}

/// Offset (a VLSN, of the view) and value of every record from an offset on.
fn seen(conn: &mut Conn, topic: &str, partition: i32, from: i64) -> Vec<(i64, String)> {
    let end = conn.end_offset(topic, partition);
    let (mut next, mut all) = (from, Vec::new());
    while next < end {
        let batches: Vec<StoredBatch> = conn.read(topic, partition, next);
        assert!(!batches.is_empty(), "nothing at {next} of {end}");
        for batch in batches {
            for record in &batch.records {
                let offset = batch.base_offset + i64::from(record.offset_delta.unwrap());
                if offset >= next {
                    all.push((offset, String::from_utf8(record.value.clone().unwrap()).unwrap()));
                }
            }
            next = batch.base_offset + i64::from(batch.last_offset_delta) + 1;
        }
    }
    all
}

fn vlsns(seen: &[(i64, String)]) -> Vec<i64> {
    seen.iter().for_each(|(offset, value)| assert_eq!(*value, format!("value {offset}")));
    seen.iter().map(|(offset, _)| *offset).collect()
}

fn one_log(partitions: i32, configs: &[(&str, &str)]) -> Option<(Broker, Conn, String, String)> {
    let broker = private(BrokerOptions::new())?;
    let mut conn = broker.connect();
    let (log, _) = conn.new_topic("vlsn", partitions, &[VLSN, configs].concat());
    let view = format!("{log}.vlsn");
    Some((broker, conn, log, view))
}

#[test]
fn the_view_shows_all_partitions_in_the_order_of_vlsns() {
    let Some((mut broker, mut conn, log, view)) = one_log(3, &[]) else { return };
    conn.wait_for_topic(&view, 1);
    assert_eq!((conn.list_offset(&view, 0, -2).offset, conn.end_offset(&view, 0)), (0, 0));
    write(&mut conn, &log, 1, &[1, 4, 7]);
    write(&mut conn, &log, 2, &[2, 5]);
    assert_eq!(conn.end_offset(&view, 0), 0, "0 may still come");
    write(&mut conn, &log, 0, &[0, 3]);
    assert_eq!(conn.end_offset(&view, 0), 6, "6 may still come");
    assert_eq!(vlsns(&seen(&mut conn, &view, 0, 0)), [0, 1, 2, 3, 4, 5]);
    assert_eq!(vlsns(&seen(&mut conn, &view, 0, 4)), [4, 5]);
    write(&mut conn, &log, 0, &[6, 9]);
    write(&mut conn, &log, 2, &[11]);
    assert_eq!(conn.end_offset(&view, 0), 10);
    assert_eq!(vlsns(&seen(&mut conn, &view, 0, 5)), [5, 6, 7, 9], "8 is a gap");
    assert_eq!(conn.fetch(&Fetch::at(&view, 0, 11)).error_code, OUT_OF_RANGE);
    for stop in [Broker::restart, |broker: &mut Broker| {
        broker.kill9();
        broker.restart();
    }] {
        stop(&mut broker);
        let mut conn = broker.connect();
        conn.wait_for_topic(&view, 1);
        assert_eq!(vlsns(&seen(&mut conn, &view, 0, 0)), [0, 1, 2, 3, 4, 5, 6, 7, 9]);
    }
}

#[test]
fn gaps_at_the_end_are_passed_by_a_batch_without_records() {
    let Some((_broker, mut conn, log, view)) = one_log(2, &[]) else { return };
    write(&mut conn, &log, 0, &[0, 100]);
    write(&mut conn, &log, 1, &[1, 99]);
    assert_eq!(conn.end_offset(&view, 0), 101);
    assert_eq!(vlsns(&seen(&mut conn, &view, 0, 0)), [0, 1, 99, 100]);
    write(&mut conn, &log, 1, &[201]);
    write(&mut conn, &log, 0, &[300]);
    let batches = conn.read(&view, 0, 102);
    assert_eq!((batches[0].base_offset, batches[0].records.len()), (201, 1));
    write(&mut conn, &log, 1, &[501]);
    let batches = conn.read(&view, 0, 301);
    assert_eq!((batches[0].base_offset, batches[0].last_offset_delta, batches[0].records.len()), (301, 0, 0));
    assert_eq!(conn.end_offset(&view, 0), 302);
}

#[test]
fn id_12_a_batch_that_was_written_is_answered_with_its_offsets_however_often_it_comes() {
    let Some((mut broker, mut conn, log, _)) = one_log(1, &[]) else { return };
    for n in 0..50 {
        assert_eq!(write(&mut conn, &log, 0, &[2 * n, 2 * n + 1]), i64::try_from(2 * n).unwrap());
    }
    broker.kill9();
    broker.restart();
    let mut conn = broker.connect();
    conn.wait_for_topic(&log, 1);
    assert_eq!(write(&mut conn, &log, 0, &[0, 1]), 0);
    assert_eq!(write(&mut conn, &log, 0, &[11, 12, 13]), 11, "batched another way");
    assert_eq!(conn.append(&log, 0, &batch(&[20, 21]).producer(7, 0, 0).encode()), 20, "by an idempotent producer");
    assert_eq!(conn.append(&log, 0, &batch(&[100]).producer(7, 0, 2).encode()), 100, "which goes on behind it");
    assert_eq!(conn.end_offset(&log, 0), 101);
}

#[test]
fn refusals_name_each_record() {
    let Some((_broker, mut conn, log, _)) = one_log(3, &[]) else { return };
    write(&mut conn, &log, 1, &[1, 7]);
    let mut refused = |vlsns: &[u64]| {
        let answer = conn.produce(&log, 1, &batch(vlsns).encode());
        assert_eq!(answer.error_code, INVALID_RECORD, "{answer:?}");
        let message = |m: &Option<kafka_protocol::protocol::StrBytes>| m.as_ref().unwrap().to_string();
        let records = answer.record_errors.iter();
        records.map(|r| (r.batch_index, message(&r.batch_index_error_message))).collect::<Vec<_>>()
    };
    let wrong = refused(&[10, 11]);
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].0 == 1 && wrong[0].1.contains("VLSN 11 belongs to partition 2"), "{wrong:?}");
    let back = refused(&[4]);
    assert!(back[0].1.contains("VLSN 4 steps back: the partition has gone on to 7"), "{back:?}");
    let overlap = refused(&[7, 10]);
    assert_eq!(overlap.iter().map(|r| r.0).collect::<Vec<_>>(), [0, 1]);
    assert!(overlap[0].1.contains("offset 1"), "{overlap:?}");
    let short = conn.produce(&log, 1, &Batch::new(vec![Record::keyed("short", "v")]).encode());
    assert_eq!(short.error_code, INVALID_RECORD);
    assert!(short.error_message.unwrap().contains("the key has 5 bytes"));
    let huge = conn.produce(&log, 1, &batch(&[u64::MAX]).encode());
    assert!(huge.error_message.unwrap().contains("above the largest"));
    assert_eq!(conn.end_offset(&log, 1), 2, "nothing of it was written");
}

#[test]
fn the_view_takes_no_writes_and_says_where_to_write() {
    let Some((_broker, mut conn, log, view)) = one_log(1, &[]) else { return };
    let refused = conn.produce(&view, 0, &batch(&[0]).encode());
    assert_eq!(refused.error_code, POLICY_VIOLATION);
    assert!(refused.error_message.unwrap().contains(&format!("write to {log}")));
}

#[test]
fn headers_timestamps_and_codecs_survive_in_the_view() {
    let Some((_broker, mut conn, log, view)) = one_log(1, &[]) else { return };
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for (n, codec) in (0..).zip(codecs) {
        let mut one = record(n).at(5);
        one.headers = vec![(b"h".to_vec(), Some(b"1".to_vec())), (b"n".to_vec(), None)];
        conn.append(
            &log,
            0,
            &Batch::new(vec![one]).stamped(1_700_000_000_000 + 1_000 * n as i64).codec(codec).encode(),
        );
    }
    let batches = conn.read(&view, 0, 0);
    assert_eq!(batches.iter().map(|b| b.attributes & 7).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    for (n, batch) in (0..).zip(&batches) {
        assert_eq!(batch.base_offset, n);
        assert_eq!(batch.first_timestamp + batch.records[0].timestamp_delta, 1_700_000_000_005 + 1_000 * n);
        assert_eq!(batch.records[0].headers.len(), 2);
    }
    let found = conn.list_offset(&view, 0, 1_700_000_002_000);
    assert_eq!((found.offset, found.timestamp), (2, 1_700_000_002_005));
    assert_eq!(conn.list_offset(&view, 0, -3).offset, 4, "the newest");
}

#[test]
fn a_waiting_fetch_of_the_view_is_woken_by_the_record_that_decides() {
    let Some((broker, mut conn, log, view)) = one_log(2, &[]) else { return };
    write(&mut conn, &log, 1, &[1]);
    let mut reader = broker.connect();
    let fetch = Fetch::at(&view, 0, 0).wait(20_000, 1).build();
    let waiting = reader.send(12, &fetch);
    std::thread::sleep(std::time::Duration::from_millis(200));
    write(&mut conn, &log, 0, &[0]);
    let answer = reader.receive::<kafka_protocol::messages::FetchRequest>(12, waiting);
    let part = pyralog_compat_tests::calls::only(&answer);
    assert_eq!(part.high_watermark, 2);
    let batches = pyralog_compat_tests::batch::parse(pyralog_compat_tests::calls::records(part));
    assert_eq!(batches[0].records.len(), 2);
}

#[test]
fn id_13_partitions_are_added_and_older_vlsns_stay_where_they_are() {
    let Some((mut broker, mut conn, log, view)) = one_log(2, &[]) else { return };
    for n in 0..20 {
        write(&mut conn, &log, n % 2, &[u64::try_from(n).unwrap()]);
    }
    let topic = CreatePartitionsTopic::default().with_name(TopicName(text(&log))).with_count(3).with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer = conn.call(3, &request);
    assert_eq!(answer.results[0].error_code, 0, "{answer:?}");
    conn.wait_for_topic(&log, 3);
    assert_eq!(write(&mut conn, &log, 1, &[19]), 9, "sent again to where it was");
    let stale = conn.produce(&log, 0, &batch(&[20]).encode());
    let why = stale.error_message.unwrap().to_string();
    assert!(why.contains("VLSN 20 belongs to partition 2") && why.contains("routing epoch 1 from VLSN 20"), "{why}");
    for n in 20..40 {
        write(&mut conn, &log, i32::try_from(n % 3).unwrap(), &[n]);
    }
    let all: Vec<i64> = (0..40).collect();
    assert_eq!(vlsns(&seen(&mut conn, &view, 0, 0)), all);
    broker.kill9();
    broker.restart();
    let mut conn = broker.connect();
    conn.wait_for_topic(&view, 1);
    assert_eq!(vlsns(&seen(&mut conn, &view, 0, 0)), all);
}

#[test]
fn what_is_deleted_leaves_the_view_at_its_beginning() {
    let Some((_broker, mut conn, log, view)) = one_log(2, &[]) else { return };
    for n in 0..10 {
        write(&mut conn, &log, n % 2, &[u64::try_from(n).unwrap()]);
    }
    for partition in 0..2 {
        assert_eq!(delete(&mut conn, &log, partition, 3), 0);
    }
    assert_eq!(conn.list_offset(&view, 0, -2).offset, 6);
    assert_eq!(conn.fetch(&Fetch::at(&view, 0, 5)).error_code, OUT_OF_RANGE);
    assert_eq!(vlsns(&seen(&mut conn, &view, 0, 6)), [6, 7, 8, 9]);
    assert_eq!(delete(&mut conn, &view, 0, 3), POLICY_VIOLATION);
    let again = conn.produce(&log, 0, &batch(&[4]).encode());
    assert!(again.error_message.unwrap().contains("up to which records were removed"));
}

fn delete(conn: &mut Conn, topic: &str, partition: i32, offset: i64) -> i16 {
    use kafka_protocol::messages::DeleteRecordsRequest;
    use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
    let part = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(TopicName(text(topic))).with_partitions(vec![part]);
    let answer = conn.call(2, &DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(5_000));
    answer.topics[0].partitions[0].error_code
}

#[test]
fn a_large_view_is_read_in_pages() {
    let Some((_broker, mut conn, log, view)) = one_log(8, &[]) else { return };
    let filler = "x".repeat(300);
    for round in 0..40u64 {
        for partition in 0..8u64 {
            let records = (0..50).map(|n| {
                let vlsn = (round * 50 + n) * 8 + partition;
                Record { key: Some(vlsn.to_be_bytes().to_vec()), ..Record::of(&format!("{vlsn} {filler}")) }
            });
            conn.append(&log, i32::try_from(partition).unwrap(), &Batch::new(records.collect()).encode());
        }
    }
    let all = seen(&mut conn, &view, 0, 0);
    assert_eq!(all.len(), 16_000);
    for (n, (offset, value)) in (0..).zip(&all) {
        assert_eq!(*offset, n);
        assert!(value.starts_with(&format!("{n} ")));
    }
}

#[test]
fn kcat_seeks_the_view_by_vlsn_and_a_group_goes_on_in_it() {
    if std::process::Command::new("kcat").arg("-V").output().is_err() {
        eprintln!("skipped: kcat is not installed");
        return;
    }
    let Some((broker, mut conn, log, view)) = one_log(3, &[]) else { return };
    for n in 0..30u64 {
        write(&mut conn, &log, i32::try_from(n % 3).unwrap(), &[n]);
    }
    let kcat = |words: &[&str]| {
        let mut command = std::process::Command::new("kcat");
        command.args(["-b", broker.kafka(), "-q", "-f", "%o %s\\n"]).args(words);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(kcat(&["-C", "-t", &view, "-o", "7", "-c", "2"]), "7 value 7\n8 value 8\n");
    assert_eq!(kcat(&["-C", "-t", &view, "-o", "beginning", "-e"]).lines().count(), 30);
    assert_eq!(kcat(&["-C", "-t", &view, "-o", "-1", "-e"]), "29 value 29\n");
    let group = format!("{log}-group");
    let earliest = ["-X", "auto.offset.reset=earliest"];
    let first = kcat(&[&earliest[..], &["-c", "10", "-G", &group, &view]].concat());
    assert!(first.starts_with("0 value 0\n") && first.lines().count() == 10, "{first}");
    let next = kcat(&[&earliest[..], &["-c", "1", "-G", &group, &view]].concat());
    assert_eq!(next, "10 value 10\n", "it committed the VLSN that it had come to");
}
