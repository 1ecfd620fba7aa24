//! What stands in the answers of refused parts of Produce, Fetch and look-ups of offsets, beside the code.

use kafka_protocol::messages::fetch_request::ForgottenTopic;
use kafka_protocol::messages::{ProduceRequest, TopicName};
use pyralog_compat_tests::batch::Record;

use super::*;

const STAMP: i64 = 1_700_000_000_000;

fn stamped(prefix: &str, count: usize) -> Batch {
    Batch::of(prefix, count).stamped(STAMP)
}

/// The request in one version: from v13 on topics are named by id.
fn produce_in(version: i16, name: &str, id: Uuid, partition: i32, records: &[u8]) -> ProduceRequest {
    let mut request = produce_parts(-1, &[(name, partition, Some(records))]);
    if version >= 13 {
        request.topic_data[0].name = TopicName::default();
        request.topic_data[0].topic_id = id;
    }
    request
}

/// Topics `plain`, `compacted`, `stamped` and `small`, each with records 0 to 9 of which 3 to 9 are left where the policy allows it.
struct Topics {
    names: Vec<String>,
    ids: [Vec<Uuid>; 2],
}

/// The place of `compacted`.
const COMPACTED: usize = 1;

fn topics(both: &mut Both) -> Topics {
    let configs: [&[(&str, &str)]; 4] = [
        &[("max.message.bytes", "2000"), ("message.timestamp.after.max.ms", "1000")],
        &[("cleanup.policy", "compact")],
        &[("message.timestamp.type", "LogAppendTime")],
        &[("segment.bytes", "1048576"), ("max.message.bytes", "10000000")],
    ];
    let mut topics = Topics { names: Vec::new(), ids: [Vec::new(), Vec::new()] };
    for set in configs {
        let name = unique("diff");
        let ids = both.each(|conn| {
            let id = conn.create_topic(&name, 2, set);
            let keyed = (0..10).map(|i| Record::keyed(&i.to_string(), "v").at(i)).collect();
            conn.append(&name, 0, &Batch::new(keyed).stamped(STAMP).encode());
            let partitions = vec![DeleteRecordsPartition::default().with_partition_index(0).with_offset(3)];
            let topics = vec![DeleteRecordsTopic::default().with_name(topic(&name)).with_partitions(partitions)];
            conn.call(2, &DeleteRecordsRequest::default().with_topics(topics).with_timeout_ms(15_000));
            id
        });
        for (all, id) in topics.ids.iter_mut().zip(ids) {
            all.push(id);
        }
        topics.names.push(name);
    }
    topics
}

fn bad_batches() -> Vec<(&'static str, Vec<u8>)> {
    let good = || stamped("v", 3);
    let mut corrupt = good().encode();
    corrupt[17] ^= 1;
    let two = [good().encode(), good().encode()].concat();
    let cut = good().encode()[..50].to_vec();
    vec![
        ("good", good().encode()),
        ("corrupt", corrupt),
        ("cut", cut),
        ("two batches", two),
        ("magic 1", good().with(|b| b.magic = 1).encode()),
        ("magic 3", good().with(|b| b.magic = 3).encode()),
        ("length 20", good().with(|b| b.length = Some(20)).encode()),
        ("base offset", good().with(|b| b.base_offset = 5).encode()),
        ("large", Batch::new(vec![Record::of(&"x".repeat(3000))]).stamped(STAMP).encode()),
        ("larger than a segment", Batch::new(vec![Record::of(&"x".repeat(1_100_000))]).stamped(STAMP).encode()),
        ("count 2", good().with(|b| b.count = Some(2)).encode()),
        ("no records", Batch::new(vec![]).stamped(STAMP).encode()),
        ("last delta", good().with(|b| b.last_offset_delta = Some(7)).encode()),
        ("future", good().stamped(STAMP * 2).encode()),
        ("control", good().with(|b| b.attributes = 32).encode()),
        ("transactional", good().producer(4000, 0, 0).with(|b| b.attributes = 16).encode()),
        ("id without sequence", good().producer(4000, 0, -1).encode()),
        ("id without epoch", good().producer(4000, -1, 0).encode()),
        ("bad record", good().with(|b| b.records[1].raw = Some(vec![2, 0])).encode()),
        ("bad attributes", good().with(|b| b.records[1].attributes = 7).encode()),
        ("unknown producer", good().producer(4001, 0, 5).encode()),
        ("first of a producer", good().producer(4002, 3, 0).encode()),
        ("duplicate", good().producer(4002, 3, 0).encode()),
        ("gap", good().producer(4002, 3, 9).encode()),
        ("half duplicate", good().producer(4002, 3, 1).encode()),
        ("old epoch", good().producer(4002, 2, 3).encode()),
        ("new epoch, not from 0", good().producer(4002, 4, 3).encode()),
        ("zstd", good().codec(Codec::Zstd).encode()),
    ]
}

#[test]
fn refused_batches_are_answered_alike() {
    with_both(|both| {
        let topics = topics(both);
        for version in [3, 5, 6, 7, 8, 12, 13] {
            for (at, name) in topics.names.iter().enumerate() {
                for (label, bytes) in bad_batches() {
                    if (&**name, label) == (&*topics.names[COMPACTED], "transactional") {
                        continue; // null keys are what is wrong first: transactions are not offered
                    }
                    let request = |id| produce_in(version, name, id, 0, &bytes);
                    let requests = [request(topics.ids[0][at]), request(topics.ids[1][at])];
                    both.ask_each(version, &format!("topic {at} {label}"), &requests);
                }
            }
            let good = stamped("v", 3).encode();
            let id = |of: usize| topics.ids[of][0];
            for partition in [2, -1, i32::MIN, i32::MAX] {
                let requests = [0, 1].map(|of| produce_in(version, &topics.names[0], id(of), partition, &good));
                both.ask_each(version, &format!("partition {partition}"), &requests);
            }
            for name in ["unknown-topic", "a b", "", "__consumer_offsets"] {
                let request = produce_in(version, name, Uuid::from_u128(77), 0, &good);
                both.ask(version, &format!("topic {name:?}"), &request);
            }
            both.ask(version, "zero id", &produce_in(version, "", Uuid::nil(), 0, &good));
            for acks in [-2, 2, i16::MAX] {
                let requests = [0, 1].map(|of| produce_in(version, &topics.names[0], id(of), 0, &good).with_acks(acks));
                both.ask_each(version, &format!("acks {acks}"), &requests);
            }
        }
    });
}

/// The request in one version.
fn fetch_in(version: i16, mut fetch: Fetch, id: Uuid) -> kafka_protocol::messages::FetchRequest {
    fetch.topic_id = id;
    if version >= 13 {
        fetch.name = String::new();
    }
    fetch.build()
}

#[test]
fn refused_parts_of_a_fetch_are_answered_alike() {
    with_both(|both| {
        let topics = topics(both);
        let name = &topics.names[0];
        let ids = topics.ids.each_ref().map(|ids| ids[0]);
        for version in 4..=18 {
            let ask = |both: &mut Both, label: &str, fetch: Fetch, ids: [Uuid; 2]| {
                both.ask_each(version, label, &ids.map(|id| fetch_in(version, fetch.clone(), id)));
            };
            for offset in [0, 2, 3, 10, 11, -1, -2, i64::MIN, i64::MAX] {
                for level in [0, 1] {
                    let fetch = Fetch::at(name, 0, offset).with(|f| f.request.isolation_level = level);
                    ask(both, &format!("offset {offset} level {level}"), fetch, ids);
                }
            }
            for partition in [2, -1, i32::MIN, i32::MAX] {
                ask(both, &format!("partition {partition}"), Fetch::at(name, partition, 0), ids);
            }
            for unknown in ["unknown-topic", "a b", ""] {
                ask(both, "unknown", Fetch::at(unknown, 0, 0), [Uuid::from_u128(77); 2]);
            }
            ask(both, "zero id", Fetch::at("", 0, 0), [Uuid::nil(); 2]);
            if version >= 9 {
                for epoch in [-2, -3, i32::MIN, 0, 1, i32::MAX] {
                    for offset in [3, 11] {
                        let fetch = Fetch::at(name, 0, offset).with(|f| f.partition.current_leader_epoch = epoch);
                        ask(both, &format!("leader epoch {epoch} offset {offset}"), fetch, ids);
                    }
                }
            }
            if version >= 12 {
                for epoch in [-2, i32::MIN, 0, 1, i32::MAX] {
                    for offset in [3, 5, 10, 11] {
                        let fetch = Fetch::at(name, 0, offset).with(|f| f.partition.last_fetched_epoch = epoch);
                        ask(both, &format!("last epoch {epoch} offset {offset}"), fetch, ids);
                    }
                }
            }
            for (session, epoch) in [(0, 1), (77, 0), (77, 1), (77, -1), (0, -2), (-1, 3), (0, i32::MAX)] {
                if version >= 7 {
                    let fetch = Fetch::at(name, 0, 3).with(|f| {
                        f.request.session_id = session;
                        f.request.session_epoch = epoch;
                    });
                    ask(both, &format!("session {session} epoch {epoch}"), fetch, ids);
                }
            }
        }
    });
}

#[test]
fn odd_leader_epochs_and_times_are_answered_alike() {
    with_both(|both| {
        let topics = topics(both);
        let name = &topics.names[0];
        for version in 1..=10 {
            for epoch in [-1, -2, -3, i32::MIN, 0, 1, i32::MAX] {
                for timestamp in [-1, -2, -3, -6, STAMP, i64::MIN] {
                    let mut request = list_offsets(name, 0, timestamp);
                    if version >= 4 {
                        request.topics[0].partitions[0].current_leader_epoch = epoch;
                    } else if epoch != -1 {
                        continue;
                    }
                    both.ask(version, &format!("epoch {epoch} at {timestamp}"), &request);
                }
            }
            for (name, partition) in [(&**name, -1), (name, i32::MAX), ("unknown-topic", 0), ("a b", 0), ("", 0)] {
                both.ask(version, &format!("{name:?}-{partition}"), &list_offsets(name, partition, -1));
            }
        }
        for version in 2..=4 {
            for current in [-1, -2, -3, i32::MIN, 0, 1, i32::MAX] {
                for asked in [-1, -2, i32::MIN, 0, 1, i32::MAX] {
                    let partition = OffsetForLeaderPartition::default()
                        .with_partition(0)
                        .with_current_leader_epoch(current)
                        .with_leader_epoch(asked);
                    let topics =
                        vec![OffsetForLeaderTopic::default().with_topic(topic(name)).with_partitions(vec![partition])];
                    let request = OffsetForLeaderEpochRequest::default().with_topics(topics);
                    let request = if version >= 3 { request.with_replica_id((-1).into()) } else { request };
                    both.ask(version, &format!("current {current} asked {asked}"), &request);
                }
            }
        }
    });
}

/// What a session says of a topic that was deleted, and of another one under its name.
#[test]
fn sessions_outlive_their_topics_alike() {
    with_both(|both| {
        for version in [7, 11, 12, 13, 15, 18] {
            let (gone, other) = (unique("diff"), unique("diff"));
            let new = |both: &mut Both, name: &str| {
                both.each(|conn| {
                    let id = conn.create_topic(name, 1, &[]);
                    conn.append(name, 0, &stamped("v", 3).encode());
                    id
                })
            };
            let ids = [new(both, &gone), new(both, &other)];
            let mut sessions = [0, 0];
            let mut epoch = 0;
            let mut step =
                |both: &mut Both, label: &str, topics: &[(&str, [Uuid; 2])], forgotten: &[(&str, [Uuid; 2])]| {
                    let request = |of: usize| {
                        let named = |name: &str| TopicName(text(if version >= 13 { "" } else { name }));
                        let asked = topics.iter().map(|(name, ids)| {
                            let topic = Fetch::at(name, 0, 3).topic();
                            topic.with_topic(named(name)).with_topic_id(ids[of])
                        });
                        let forgotten = forgotten.iter().map(|(name, ids)| {
                            ForgottenTopic::default()
                                .with_topic(named(name))
                                .with_topic_id(ids[of])
                                .with_partitions(vec![0])
                        });
                        Fetch::at("", 0, 0)
                            .request
                            .with_topics(asked.collect())
                            .with_forgotten_topics_data(forgotten.collect())
                            .with_session_id(sessions[of])
                            .with_session_epoch(epoch)
                    };
                    let requests = [request(0), request(1)];
                    both.ask_each(version, label, &requests);
                    epoch += 1;
                    if epoch == 1 {
                        // The ids are in answers that were compared; ask for another session whose ids are known.
                        let kafka = both.kafka.call(version, &requests[0].clone().with_session_epoch(0));
                        let ours = both.ours.call(version, &requests[1].clone().with_session_epoch(0));
                        sessions = [kafka.session_id, ours.session_id];
                    }
                };
            step(both, "opened", &[(&gone, ids[0]), (&other, ids[1])], &[]);
            step(both, "nothing new", &[], &[]);
            both.each(|conn| conn.delete_topic(&gone));
            std::thread::sleep(Duration::from_millis(500));
            step(both, "deleted", &[], &[]);
            step(both, "still deleted", &[], &[]);
            if version < 13 {
                let again = new(both, &gone);
                std::thread::sleep(Duration::from_millis(500));
                step(both, "created again", &[], &[]);
                step(both, "created again, once more", &[], &[]);
                step(both, "named again", &[(&gone, again)], &[]);
            }
            step(both, "forgotten", &[], &[(&gone, ids[0])]);
            step(both, "the other one", &[], &[]);
        }
    });
}
