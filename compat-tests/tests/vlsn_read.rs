//! The private APIs that read and write by VLSN, by their bytes: outcomes, pages, waits, conditions, and hostile requests.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, Instant};

use pyralog_compat_tests::batch::parse;
use pyralog_compat_tests::conn::SOON;
use pyralog_compat_tests::private::{Answer, Body, VLSN_APPEND, VLSN_DESCRIBE, VLSN_READ, VLSN_READ_RANGE};
use pyralog_compat_tests::{Batch, Broker, BrokerOptions, Codec, Conn, Record, private};

const VLSN: &[(&str, &str)] = &[("vlsn.enable", "true")];
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_REQUEST: i16 = 42;
const POLICY_VIOLATION: i16 = 44;
const OUT_OF_ORDER: i16 = 45;
const INVALID_RECORD: i16 = 87;
const FOUND: i8 = 0;
const NOT_YET: i8 = 1;
const GAP: i8 = 2;
const TRIMMED: i8 = 3;
const LEFT_OUT: i8 = 4;

fn world(partitions: i32) -> Option<(Broker, Conn, String)> {
    let broker = private(BrokerOptions::new())?;
    let mut conn = broker.connect();
    let (log, _) = conn.new_topic("vlsn", partitions, VLSN);
    Some((broker, conn, log))
}

fn batch(vlsns: &[u64]) -> Batch {
    let record = |vlsn: &u64| Record {
        key: Some(vlsn.to_be_bytes().to_vec()),
        headers: vec![(b"h".to_vec(), Some(vlsn.to_be_bytes()[7..].to_vec())), (b"none".to_vec(), None)],
        ..Record::of(&format!("value {vlsn}"))
    };
    Batch::new(vlsns.iter().map(record).collect())
}

fn write(conn: &mut Conn, log: &str, partition: i32, vlsns: &[u64]) {
    conn.append(log, partition, &batch(vlsns).encode());
}

/// Error, and of each VLSN: itself, outcome, partition, offset, value.
type Points = (i16, Vec<(u64, i8, i32, i64, Option<String>)>);

fn read_body(log: &str, wait_ms: i32, max_bytes: i32, vlsns: &[u64]) -> Body {
    Body::new().text(log).i32(wait_ms).i32(max_bytes).array(vlsns, |body, vlsn| body.u64(*vlsn)).end()
}

fn points(mut answer: Answer) -> Points {
    let code = answer.i16();
    assert_eq!(answer.maybe().is_some(), code != 0, "a refusal is explained");
    let results = answer.array(|one| {
        let (vlsn, outcome, partition, offset) = (one.u64(), one.i8(), one.i32(), one.i64());
        let (epoch, timestamp) = (one.i32(), one.i64());
        assert_eq!((epoch >= 0, timestamp >= 0), (outcome == FOUND, outcome == FOUND));
        let value = one.blob().map(|bytes| String::from_utf8(bytes).unwrap());
        let headers = one.array(|header| (header.text(), header.blob()));
        if outcome == FOUND {
            assert_eq!(headers, [("h".into(), Some(vlsn.to_be_bytes()[7..].to_vec())), ("none".into(), None)]);
        }
        (vlsn, outcome, partition, offset, value)
    });
    answer.done();
    (code, results)
}

fn read(conn: &mut Conn, log: &str, wait_ms: i32, max_bytes: i32, vlsns: &[u64]) -> Points {
    points(conn.ask_private(VLSN_READ, &read_body(log, wait_ms, max_bytes, vlsns)))
}

fn outcomes(points: &Points) -> Vec<i8> {
    assert_eq!(points.0, 0);
    points.1.iter().map(|point| point.1).collect()
}

fn delete_below(conn: &mut Conn, log: &str, partition: i32, offset: i64) {
    use kafka_protocol::messages::DeleteRecordsRequest;
    use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
    let part = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
    let of_log = DeleteRecordsTopic::default().with_name(pyralog_compat_tests::topic(log)).with_partitions(vec![part]);
    let answer = conn.call(2, &DeleteRecordsRequest::default().with_topics(vec![of_log]));
    assert_eq!(answer.topics[0].partitions[0].error_code, 0, "{answer:?}");
}

#[test]
fn id_14_points_have_their_outcomes_in_the_order_they_are_asked_for() {
    let Some((_broker, mut conn, log)) = world(2) else { return };
    write(&mut conn, &log, 0, &[0, 2, 6]);
    conn.append(&log, 0, &batch(&[8, 12]).codec(Codec::Lz4).encode());
    delete_below(&mut conn, &log, 0, 1);
    let (code, found) = read(&mut conn, &log, 0, 1 << 20, &[12, 2, 4, 1, 0, 8, 2]);
    assert_eq!(code, 0);
    let said = found.iter().map(|(vlsn, outcome, partition, offset, _)| (*vlsn, *outcome, *partition, *offset));
    let said: Vec<_> = said.collect();
    assert_eq!(
        said,
        [
            (12, FOUND, 0, 4),
            (2, FOUND, 0, 1),
            (4, GAP, 0, -1),
            (1, NOT_YET, 1, -1),
            (0, TRIMMED, 0, -1),
            (8, FOUND, 0, 3),
            (2, FOUND, 0, 1),
        ]
    );
    assert_eq!(found[0].4.as_deref(), Some("value 12"));
    assert_eq!(outcomes(&read(&mut conn, &log, 0, 1, &[2, 6, 12])), [FOUND, LEFT_OUT, LEFT_OUT], "one has room");
    assert_eq!(outcomes(&read(&mut conn, &log, 0, 0, &[])), [] as [i8; 0]);
}

#[test]
fn a_point_read_waits_until_all_is_decided() {
    let Some((broker, mut conn, log)) = world(2) else { return };
    let mut other = broker.connect();
    let begun = Instant::now();
    assert_eq!(outcomes(&read(&mut conn, &log, 300, 100, &[0])), [NOT_YET]);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let waiting = {
        let log = log.clone();
        std::thread::spawn(move || (read(&mut other, &log, 30_000, 1000, &[0, 3]), Instant::now()))
    };
    std::thread::sleep(Duration::from_millis(200));
    write(&mut conn, &log, 0, &[4]);
    std::thread::sleep(Duration::from_millis(200));
    assert!(!waiting.is_finished(), "3 may still come");
    let written = Instant::now();
    write(&mut conn, &log, 1, &[3]);
    let (found, at) = waiting.join().unwrap();
    assert_eq!(outcomes(&found), [GAP, FOUND]);
    assert!(at < written + SOON);
}

fn range_body(log: &str, (from, to): (u64, u64), wait_ms: i32, (max_bytes, max_records): (i32, i32)) -> Body {
    Body::new().text(log).u64(from).u64(to).i32(wait_ms).i32(max_bytes).i32(max_records).end()
}

#[derive(Debug, PartialEq)]
struct Page {
    code: i16,
    next: u64,
    undecided: u64,
    gaps: Vec<(u64, u64)>,
    trimmed: Vec<(u64, u64)>,
    vlsns: Vec<u64>,
}

fn range(conn: &mut Conn, log: &str, span: (u64, u64), wait_ms: i32, limits: (i32, i32)) -> Page {
    let mut answer = conn.ask_private(VLSN_READ_RANGE, &range_body(log, span, wait_ms, limits));
    let code = answer.i16();
    assert_eq!(answer.maybe().is_some(), code != 0);
    let (next, undecided) = (answer.u64(), answer.u64());
    let gaps = answer.array(|one| (one.u64(), one.u64()));
    let trimmed = answer.array(|one| (one.u64(), one.u64()));
    let records = answer.blob().unwrap_or_default();
    answer.done();
    let mut vlsns = Vec::new();
    for batch in parse(&records) {
        for record in &batch.records {
            let offset = batch.base_offset + i64::from(record.offset_delta.unwrap());
            assert_eq!(record.value, Some(format!("value {offset}").into_bytes()));
            vlsns.push(u64::try_from(offset).unwrap());
        }
    }
    Page { code, next, undecided, gaps, trimmed, vlsns }
}

#[test]
fn a_range_is_complete_as_far_as_it_goes() {
    let Some((broker, mut conn, log)) = world(3) else { return };
    write(&mut conn, &log, 0, &[0, 3, 9, 12]);
    write(&mut conn, &log, 1, &[1, 7, 10, 13]);
    write(&mut conn, &log, 2, &[2, 5, 8, 11]);
    delete_below(&mut conn, &log, 0, 1);
    let all = range(&mut conn, &log, (0, u64::MAX), 0, (1 << 20, 1000));
    let (gaps, trimmed) = (vec![(4, 5), (6, 7)], vec![(0, 1)]);
    let vlsns = vec![1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 13];
    assert_eq!(all, Page { code: 0, next: 14, undecided: 14, gaps, trimmed, vlsns });
    let (mut next, mut seen) = (0, Vec::new());
    while next < 12 {
        let page = range(&mut conn, &log, (next, 12), 0, (1 << 20, 2));
        assert!(page.code == 0 && page.next > next && page.vlsns.len() <= 2, "{page:?}");
        next = page.next;
        seen.extend(page.vlsns);
    }
    assert_eq!(seen, [1, 2, 3, 5, 7, 8, 9, 10, 11]);
    assert_eq!(range(&mut conn, &log, (1, 100), 0, (0, 10)).vlsns, [1], "one has room");
    assert_eq!(range(&mut conn, &log, (5, 5), 0, (10, 10)).next, 5);
    let mut other = broker.connect();
    let of = log.clone();
    let waiting = std::thread::spawn(move || range(&mut other, &of, (14, 20), 20_000, (1000, 10)));
    std::thread::sleep(Duration::from_millis(200));
    write(&mut conn, &log, 2, &[14]);
    assert_eq!(waiting.join().unwrap().vlsns, [14]);
}

#[test]
fn what_cannot_be_read_is_refused_with_its_reason() {
    let Some((_broker, mut conn, log)) = world(2) else { return };
    let (plain, _) = conn.new_topic("plain", 1, &[]);
    let view = format!("{log}.vlsn");
    let refusals =
        [(plain.as_str(), INVALID_REQUEST), (view.as_str(), POLICY_VIOLATION), ("none", UNKNOWN_TOPIC_OR_PARTITION)];
    for (name, code) in refusals {
        assert_eq!(read(&mut conn, name, 0, 1, &[0]), (code, vec![]), "{name}");
        assert_eq!(range(&mut conn, name, (0, 1), 0, (1, 1)).code, code, "{name}");
        let mut answer = conn.ask_private(VLSN_APPEND, &Body::new().text(name).i32(0).length(0).end());
        assert_eq!((answer.i16(), answer.maybe().is_some()), (code, true), "{name}");
    }
    for (vlsns, max_bytes) in [(vec![1 << 63], 1), (vec![u64::MAX], 1), (vec![0; 1001], 1), (vec![0], -1)] {
        assert_eq!(read(&mut conn, &log, 0, max_bytes, &vlsns).0, INVALID_REQUEST);
    }
    for (span, limits) in [((1, 0), (1, 1)), ((u64::MAX, u64::MAX), (1, 1)), ((0, 1), (-1, 1)), ((0, 1), (1, 0))] {
        assert_eq!(range(&mut conn, &log, span, 0, limits).code, INVALID_REQUEST, "{span:?} {limits:?}");
    }
    let many: Vec<u64> = (0..1000).map(|n| (1 << 62) + n).collect();
    assert!(outcomes(&read(&mut conn, &log, -5, i32::MAX, &many)).iter().all(|outcome| *outcome == NOT_YET));
    conn.delete_topic(&log);
    assert_eq!(read(&mut conn, &log, 0, 1, &[0]).0, UNKNOWN_TOPIC_OR_PARTITION);
}

/// Of each part: partition, error, offset, last VLSN.
fn append(conn: &mut Conn, log: &str, parts: &[(i32, i64, &[u64])]) -> (i16, Vec<(i32, i16, i64, i64)>) {
    let body = Body::new().text(log).i32(1000).array(parts, |body, (partition, expected, vlsns)| {
        body.i32(*partition).i64(*expected).blob(&batch(vlsns).encode()).end()
    });
    let mut answer = conn.ask_private(VLSN_APPEND, &body.end());
    let code = answer.i16();
    assert_eq!(answer.maybe().is_some(), code != 0);
    let parts = answer.array(|one| {
        let (partition, code) = (one.i32(), one.i16());
        assert_eq!(one.maybe().is_some(), code != 0);
        (partition, code, one.i64(), one.i64())
    });
    answer.done();
    (code, parts)
}

#[test]
fn an_append_that_expects_another_end_changes_nothing() {
    let Some((_broker, mut conn, log)) = world(2) else { return };
    assert_eq!(append(&mut conn, &log, &[(0, -1, &[0, 2]), (1, -2, &[1])]), (0, vec![(0, 0, 0, 2), (1, 0, 0, 1)]));
    assert_eq!(append(&mut conn, &log, &[(0, -1, &[4])]).1, [(0, OUT_OF_ORDER, -1, 2)]);
    assert_eq!(append(&mut conn, &log, &[(0, 0, &[4])]).1, [(0, OUT_OF_ORDER, -1, 2)]);
    assert_eq!(append(&mut conn, &log, &[(0, 2, &[4]), (1, 7, &[3])]).1, [(0, 0, 2, 4), (1, OUT_OF_ORDER, -1, 1)]);
    assert_eq!(append(&mut conn, &log, &[(0, 2, &[4])]).1, [(0, 0, 2, 4)], "sent again, it is there");
    assert_eq!(append(&mut conn, &log, &[(0, -2, &[3])]).1, [(0, INVALID_RECORD, -1, 4)], "routed elsewhere");
    assert_eq!(append(&mut conn, &log, &[(0, -2, &[6]), (0, -2, &[8])]).0, INVALID_REQUEST, "twice the same");
    assert_eq!(append(&mut conn, &log, &[(0, -3, &[6])]).0, INVALID_REQUEST);
    assert_eq!(append(&mut conn, &log, &[(9, -2, &[6])]).1, [(9, UNKNOWN_TOPIC_OR_PARTITION, -1, -1)]);
    assert_eq!(conn.end_offset(&log, 0), 3);
}

#[test]
fn id_17_one_of_many_writers_gets_through_on_each_condition() {
    let Some((broker, mut conn, log)) = world(1) else { return };
    write(&mut conn, &log, 0, &[0]);
    for round in 0..20 {
        let last = i64::try_from(round * 10).unwrap();
        let writers = [1, 2, 3, 4].map(|n| {
            let (mut conn, log) = (broker.connect(), log.clone());
            std::thread::spawn(move || append(&mut conn, &log, &[(0, last, &[round * 10 + n])]).1[0].1)
        });
        let codes = writers.map(|writer| writer.join().unwrap());
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
        write(&mut conn, &log, 0, &[(round + 1) * 10]);
    }
}

/// Writers that race for the same VLSN write different things under it.
#[test]
fn one_of_many_writers_of_the_same_vlsn_gets_through() {
    let Some((broker, mut conn, log)) = world(1) else { return };
    for round in 0..20_u64 {
        let expected = i64::try_from(round).unwrap() - 1;
        let attempts: Vec<Vec<u8>> = (0..4)
            .map(|n| {
                let codec = [Codec::None, Codec::Gzip, Codec::Lz4, Codec::Zstd][n];
                let mut attempt = batch(&[round]);
                attempt.records[0].value = Some(format!("writer {n}").into_bytes());
                attempt.codec(codec).encode()
            })
            .collect();
        let writers = attempts.clone().into_iter().map(|batch| {
            let (mut conn, log) = (broker.connect(), log.clone());
            std::thread::spawn(move || append_batch(&mut conn, &log, (0, expected), &batch))
        });
        let answers: Vec<_> = writers.collect::<Vec<_>>().into_iter().map(|writer| writer.join().unwrap()).collect();
        let won: Vec<usize> = (0..4).filter(|n| answers[*n].0 == 0).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        assert!(answers.iter().all(|(code, last)| [0, OUT_OF_ORDER].contains(code) && *last == expected + 1));
        let found = read(&mut conn, &log, 0, i32::MAX, &[round]).1[0].4.clone();
        assert_eq!(found, Some(format!("writer {}", won[0])));
        for (n, batch) in attempts.iter().enumerate() {
            let again = append_batch(&mut conn, &log, (0, expected), batch).0;
            assert_eq!(again == 0, n == won[0], "whoever got through may send again, writer {n} got {again}");
        }
    }
    // Sent again in other batches than before, and over records that lie between.
    write(&mut conn, &log, 0, &[100, 101, 102, 103]);
    assert_eq!(append(&mut conn, &log, &[(0, 19, &[100, 102])]).1, [(0, 0, 20, 103)]);
    assert_eq!(append(&mut conn, &log, &[(0, 19, &[100, 101, 102, 103])]).1, [(0, 0, 20, 103)]);
    write(&mut conn, &log, 0, &[104]);
    assert_eq!(append(&mut conn, &log, &[(0, 102, &[103, 104])]).1, [(0, 0, 23, 104)]);
}

/// Error and last VLSN.
fn append_batch(conn: &mut Conn, log: &str, (partition, expected): (i32, i64), batch: &[u8]) -> (i16, i64) {
    let body =
        Body::new().text(log).i32(1000).array(&[()], |body, ()| body.i32(partition).i64(expected).blob(batch).end());
    let mut answer = conn.ask_private(VLSN_APPEND, &body.end());
    assert_eq!((answer.i16(), answer.maybe()), (0, None));
    let parts = answer.array(|one| {
        let (_, code, _) = (one.i32(), one.i16(), one.maybe());
        (code, (one.i64(), one.i64()).1)
    });
    parts[0]
}

#[test]
fn describe_tells_how_far_each_log_is() {
    let Some((_broker, mut conn, log)) = world(2) else { return };
    write(&mut conn, &log, 0, &[0, 2, 6]);
    let describe = |conn: &mut Conn, names: Option<&[&str]>| {
        let mut answer = conn.ask_private(VLSN_DESCRIBE, &Body::new().maybe_texts(names).end());
        let logs = answer.array(|one| {
            let (code, why, name) = (one.i16(), one.maybe(), one.text());
            assert_eq!(why.is_some(), code != 0);
            let id = one.uuid();
            let numbers = (one.u64(), one.u64(), one.i64(), one.i32());
            let routing = one.array(|epoch| (epoch.u64(), epoch.i32()));
            let partitions = one.array(|part| {
                let head = (part.i32(), part.i16(), part.u64(), part.i64(), part.u64());
                (head, (part.i64(), part.i64()))
            });
            (code, name, id != [0; 16], numbers, routing, partitions)
        });
        answer.done();
        logs
    };
    let expected = (
        0,
        log.clone(),
        true,
        (0, 1, 6, -1),
        vec![(0, 2)],
        vec![((0, 0, 0, 6, 8), (0, 3)), ((1, 0, 1, -1, 1), (0, 0))],
    );
    assert_eq!(describe(&mut conn, None), std::slice::from_ref(&expected));
    let named = describe(&mut conn, Some(&[&log, "none", &log]));
    assert_eq!(named[0], expected);
    assert_eq!((named.len(), named[1].0, named[1].1.as_str()), (2, UNKNOWN_TOPIC_OR_PARTITION, "none"));
}
