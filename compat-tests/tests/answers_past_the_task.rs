//! Synced produce requests that are answered by the thread that synced them, while their connection's task only waits for more.
//! What a client can see of that is nothing but the time it takes.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use kafka_protocol::messages::ProduceRequest;
use pyralog_compat_tests::batch::Batch;
use pyralog_compat_tests::calls::{eventually, metadata_request, produce_request, produced};
use pyralog_compat_tests::conn::{Outcome, PATIENCE, frame};
use pyralog_compat_tests::{BrokerOptions, Conn, private};

const REQUESTS: i32 = 1_500;

fn receive(conn: &mut Conn, log: &str, (id, number): (i32, i32)) {
    // The answer's correlation id is compared as well.
    let response = conn.receive::<ProduceRequest>(9, id);
    let part = produced(&response, log, 0);
    assert_eq!(part.error_code, 0, "{part:?}");
    assert_eq!(part.base_offset, i64::from(number), "batches of one writer, in order");
}

/// One request at a time, now and then up to three, at all distances from the answer before: so requests come in while the
/// answer to the one before leaves past the task, and requests of another API behind it.
fn alternate(mut conn: Conn, log: &str, writer: i64) {
    let mut waiting = VecDeque::new();
    for number in 0..REQUESTS {
        let batch = Batch::of(&format!("{number}"), 1).producer(7_000 + writer, 0, number).encode();
        waiting.push_back((conn.send(9, &produce_request(log, 0, &batch)), number));
        let most = usize::try_from(number / 7 % 4).unwrap();
        std::thread::sleep(Duration::from_micros(u64::try_from(number % 23).unwrap() * 20));
        while waiting.len() > most {
            receive(&mut conn, log, waiting.pop_front().unwrap());
        }
        if number % 50 == 49 {
            let metadata = conn.send(12, &metadata_request(&[log]));
            waiting.drain(..).for_each(|request| receive(&mut conn, log, request));
            conn.receive::<kafka_protocol::messages::MetadataRequest>(12, metadata);
        }
    }
    waiting.into_iter().for_each(|request| receive(&mut conn, log, request));
}

#[test]
fn one_request_at_a_time_and_several_are_answered_in_order() {
    let Some(broker) = private(BrokerOptions::new()) else { return };
    let mut conn = broker.connect();
    // Several logs, so that rounds have more than one: the connections do not write them.
    let writers: Vec<_> = (0..12)
        .map(|writer| {
            let (log, _) = conn.new_topic("alternating", 1, &[("pyralog.durability", "fsync")]);
            let conn = broker.connect();
            std::thread::spawn(move || alternate(conn, &log, writer))
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let direct = broker.metric("pyralog_network_direct_answers_total");
    assert!(direct > 100.0, "{direct} answers left past their task: this test shows little");
}

#[test]
fn a_client_that_sends_its_last_request_and_closes_its_half_is_answered() {
    let Some(broker) = private(BrokerOptions::new()) else { return };
    let (log, _) = broker.connect().new_topic("halves", 8, &[("pyralog.durability", "fsync")]);
    let batch = Batch::of("a value", 1).encode();
    for _ in 0..40 {
        let mut conns: Vec<_> = (0..8).map(|part| (part, broker.connect())).collect();
        for (part, conn) in &mut conns {
            let first = conn.send(9, &produce_request(&log, *part, &batch));
            conn.receive::<ProduceRequest>(9, first);
            conn.send(9, &produce_request(&log, *part, &batch));
            conn.finish_sending();
        }
        for (_, conn) in &mut conns {
            conn.receive_frame();
            conn.expect_closed();
        }
    }
}

#[test]
fn a_stop_in_order_answers_what_is_being_synced() {
    let Some(mut broker) = private(BrokerOptions::new()) else { return };
    let (log, _) = broker.connect().new_topic("stopping", 8, &[("pyralog.durability", "fsync")]);
    let batch = Batch::of("a value", 1).encode();
    let answered: Arc<[AtomicI64; 8]> = Arc::default();
    let clients: Vec<_> = (0..8)
        .map(|part| {
            let (mut conn, log, batch) = (broker.connect(), log.clone(), batch.clone());
            let answered = answered.clone();
            std::thread::spawn(move || {
                let acknowledged = &answered[usize::try_from(part).unwrap()];
                loop {
                    let (_, request) = conn.encode(9, &produce_request(&log, part, &batch));
                    if conn.try_send_bytes(&frame(&request)).is_err() {
                        return;
                    }
                    match conn.outcome(PATIENCE) {
                        Outcome::Answer(_) => drop(acknowledged.fetch_add(1, Ordering::Relaxed)),
                        Outcome::Closed => return,
                        Outcome::Silence => panic!("neither an answer nor an end"),
                    }
                }
            })
        })
        .collect();
    let counts = || answered.iter().map(|count| count.load(Ordering::Relaxed));
    eventually("all of them are at work", || counts().all(|count| count > 0).then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    broker.restart();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let mut conn = broker.connect();
    for (part, count) in (0..).zip(counts()) {
        let there = conn.end_offset(&log, part);
        assert!(there >= count, "{count} were acknowledged, {there} are there");
    }
}

#[test]
fn a_connection_whose_last_answer_left_past_its_task_is_idle_from_then_on() {
    // Longer than a round takes, whatever the disk does.
    const IDLE: Duration = Duration::from_millis(6_000);
    let Some(broker) = private(BrokerOptions::new().set("connections.max.idle.ms", "6000")) else { return };
    let mut conn = broker.connect();
    let (log, _) = conn.new_topic("idle", 4, &[("pyralog.durability", "fsync")]);
    // Others, so that rounds are shared.
    let mut others: Vec<_> = (0..4).map(|_| broker.connect()).collect();
    let batch = Batch::of("a value", 1).encode();
    let mut asked = Instant::now();
    for round in 0..100 {
        asked = Instant::now();
        let ids: Vec<_> =
            (0..).zip(&mut others).map(|(part, other)| other.send(9, &produce_request(&log, part, &batch))).collect();
        for (id, other) in ids.into_iter().zip(&mut others) {
            other.receive::<ProduceRequest>(9, id);
        }
        if round % 10 == 0 {
            conn.call(12, &metadata_request(&[&log]));
        }
    }
    for mut other in others {
        other.expect_closed();
        let lived = asked.elapsed();
        assert!(lived > IDLE / 2, "closed {lived:?} after its last request");
    }
}
