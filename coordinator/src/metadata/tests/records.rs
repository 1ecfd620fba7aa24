use super::*;
use crate::metadata::{
    ConfigsRecord, LogRecord, MetadataRecord, PartitionMetadata, PartitioningMode, RoutingRecord, Writer, WriterRecord,
};
use crate::{NewPartitions, RoutingFrom};
use proptest::prelude::*;
use pyralog_protocol::vlsn::{Routing, Vlsn};
use pyralog_protocol::{LeaderEpoch, LogId};

/// The stored form of each kind. A change here needs a new version of the store, and a commit that says why.
#[test]
fn golden_bytes_of_every_record() {
    let id = TopicId([0xab; 16]);
    let configs = BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]);
    let partition = PartitionMetadata {
        leader: Some(NodeId(1)),
        leader_epoch: LeaderEpoch(2),
        replicas: vec![NodeId(1), NodeId(2)],
        isr: vec![NodeId(1)],
    };
    let log = LogRecord {
        id,
        log: LogId::new("ab").unwrap(),
        replication_factor: 2,
        partitioning_mode: PartitioningMode::Dynamic,
        created_at: WallMs(1000),
        partitions: vec![partition],
    };
    let routing = Routing::new(2).extended(Vlsn(300), 3).unwrap();
    let ab = "ab".repeat(16);
    let set = "010c726574656e74696f6e2e6d730135";
    let cases = [
        (MetadataRecord::Cluster { id: "xyz".to_owned() }, "000378797a".to_owned()),
        (MetadataRecord::Version(300), "01ac02".to_owned()),
        (MetadataRecord::Log(log.clone()), format!("02{ab}0261620401d00f01010204020204010 2").replace(' ', "")),
        (MetadataRecord::LogDeleted { id, log: log.log }, format!("03{ab}026162")),
        (MetadataRecord::Configs(ConfigsRecord::Log { id, configs: configs.clone() }), format!("0400{ab}{set}")),
        (MetadataRecord::Configs(ConfigsRecord::Cluster { configs: configs.clone() }), format!("0401{set}")),
        (
            MetadataRecord::Configs(ConfigsRecord::Broker { node: NodeId(1), configs: configs.clone() }),
            format!("040202{set}"),
        ),
        (
            MetadataRecord::Configs(ConfigsRecord::Group { group: "g".to_owned(), configs: configs.clone() }),
            format!("04030167{set}"),
        ),
        (
            MetadataRecord::Configs(ConfigsRecord::ClientMetrics { name: "m".to_owned(), configs }),
            format!("0404016d{set}"),
        ),
        (MetadataRecord::ProducerIds { next: 1000 }, "05d00f".to_owned()),
        (
            MetadataRecord::Writer(WriterRecord { id, writer: Writer { epoch: 3, producer_id: Some(1000) } }),
            format!("07{ab}0601d00f"),
        ),
        (MetadataRecord::Routing(RoutingRecord { id, routing }), format!("06{ab}02000 4ac0206").replace(' ', "")),
    ];
    for (record, expected) in cases {
        let bytes = postcard::to_allocvec(&record).unwrap();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, expected, "{record:?}");
        assert_eq!(postcard::from_bytes::<MetadataRecord>(&bytes).unwrap(), record);
    }
}

#[test]
fn a_stored_name_that_is_illegal_does_not_decode() {
    let mut bytes = vec![3];
    bytes.extend([0; 16]);
    bytes.extend(b"\x02a/");
    assert!(postcard::from_bytes::<MetadataRecord>(&bytes).is_err());
}

fn producer_id(b: &mut Bench, request: m::InitProducerIdRequest) -> (i16, i64, i16) {
    let Reply::InitProducerId(r) = b.send(5, Command::InitProducerId(request)) else { panic!() };
    (r.error_code, r.producer_id.0, r.producer_epoch)
}

fn init(id: i64, epoch: i16) -> m::InitProducerIdRequest {
    m::InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id(m::ProducerId(id))
        .with_producer_epoch(epoch)
}

#[test]
fn i01_producer_ids_never_repeat_not_even_across_a_restart() {
    let mut b = bench();
    for timeout in [0, -1, i32::MAX] {
        assert_eq!(producer_id(&mut b, init(-1, -1).with_transaction_timeout_ms(timeout)).0, 0);
    }
    assert_eq!(producer_id(&mut b, init(1, 7)), (0, 3, 0), "a new id, epoch 0");
    let sets = b.sets.len();
    let ids: Vec<i64> = (0..1500).map(|_| producer_id(&mut b, init(-1, -1)).1).collect();
    assert_eq!(ids, (4..1504).collect::<Vec<_>>());
    assert_eq!(b.sets.len(), sets + 1, "one record per block");
    b.coordinator = b.reloaded();
    assert_eq!(producer_id(&mut b, init(-1, -1)), (0, 2000, 0));
}

#[test]
fn i02_both_or_none_and_no_transactions_yet() {
    let mut b = bench();
    assert_eq!(producer_id(&mut b, init(5, -1)), (42, -1, -1));
    assert_eq!(producer_id(&mut b, init(-1, 0)), (42, -1, -1));
    let transactional = |id: &str| init(-1, -1).with_transactional_id(Some(m::TransactionalId(s(id))));
    assert_eq!(producer_id(&mut b, transactional("")), (42, -1, -1));
    assert_eq!(producer_id(&mut b, transactional("tx")), (35, -1, -1));
}

#[test]
fn the_cluster_is_founded_once() {
    let mut b = bench();
    let id = b.image().cluster_id().to_owned();
    assert_eq!(id.len(), 22);
    b.coordinator = b.reloaded();
    let mut out = Effects::default();
    b.coordinator.start(Draw::new(99), Now::default(), &mut out);
    assert!(out.records.is_empty());
    assert_eq!(b.image().cluster_id(), id);
}

#[test]
fn an_image_is_handed_out_once_per_change_and_shares_what_did_not_change() {
    let mut b = bench();
    b.create("x", 1, &[]);
    let before = b.coordinator.changed_image().unwrap();
    assert!(b.coordinator.changed_image().is_none());
    b.create("y", 1, &[]);
    let after = b.coordinator.changed_image().unwrap();
    assert!(before.log("y").is_none() && after.version() > before.version());
    assert!(Arc::ptr_eq(before.log("x").unwrap(), after.log("x").unwrap()));
    let (x, y) = (after.log("x").unwrap(), after.log("y").unwrap());
    assert!(Arc::ptr_eq(&x.settings, &y.settings), "logs without configs share the defaults");
}

#[derive(Clone, Debug)]
enum Step {
    Create(u8, i32, bool),
    Delete(u8),
    Partitions(u8, i32),
    Topic(u8, i8, u8),
    Broker(bool, i8, u8),
    Group(u8, i8),
    ProducerId,
    RaiseEpochs,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6u8, 1..4i32, any::<bool>()).prop_map(|(n, p, c)| Step::Create(n, p, c)),
        2 => (0..6u8).prop_map(Step::Delete),
        1 => (0..6u8, 1..8i32).prop_map(|(n, p)| Step::Partitions(n, p)),
        3 => (0..6u8, 0..4i8, 0..4u8).prop_map(|(n, o, v)| Step::Topic(n, o, v)),
        2 => (any::<bool>(), 0..4i8, 0..4u8).prop_map(|(n, o, v)| Step::Broker(n, o, v)),
        1 => (0..3u8, 0..2i8).prop_map(|(n, o)| Step::Group(n, o)),
        1 => Just(Step::ProducerId),
        1 => Just(Step::RaiseEpochs),
        1 => Just(Step::Restart),
    ]
}

fn run(b: &mut Bench, step: &Step) {
    let log = |n: u8| format!("log-{n}");
    let lists = ["compact", "delete", "compact,delete", ""];
    match step {
        Step::Create(n, partitions, configured) => {
            // The logs of odd numbers are VLSN logs.
            let vlsn = (n % 2 == 1).then_some(("vlsn.enable", Some("true")));
            let configs = configured.then_some(("retention.ms", Some("7"))).into_iter().chain(vlsn).collect::<Vec<_>>();
            b.create_all(7, vec![topic(&log(*n), *partitions, 1, &configs)]);
        }
        Step::Delete(n) => {
            let request = m::DeleteTopicsRequest::default().with_timeout_ms(1).with_topic_names(vec![name(&log(*n))]);
            b.send(5, Command::DeleteTopics(request));
        }
        Step::Partitions(n, count) => {
            let topic = m::create_partitions_request::CreatePartitionsTopic::default();
            let topic = topic.with_name(name(&log(*n))).with_count(*count).with_assignments(None);
            let request = m::CreatePartitionsRequest::default().with_timeout_ms(1).with_topics(vec![topic]);
            let image = b.image();
            let there = image.log(&log(*n)).map(|log| &log.metadata);
            let routed = there.and_then(|log| {
                let last = log.routing.as_ref()?.epochs().last()?;
                let from = Ok(Vlsn(last.from.0 + 3));
                Some(RoutingFrom { topic: log.topic_id, partitions: log.partitions.len(), from })
            });
            let routing_from = routed.into_iter().collect();
            b.send(3, Command::CreatePartitions(NewPartitions { request, routing_from }));
        }
        Step::Topic(n, operation, v) => {
            super::alter::one(b, 2, &log(*n), "cleanup.policy", *operation, lists[usize::from(*v)]);
        }
        Step::Broker(cluster, operation, v) => {
            let to = if *cluster { "" } else { "1" };
            super::alter::one(b, 4, to, "log.cleanup.policy", *operation, lists[usize::from(*v)]);
        }
        Step::Group(n, operation) => {
            super::alter::one(b, 32, &log(*n), "consumer.session.timeout.ms", *operation, "50000");
        }
        Step::ProducerId => drop(b.send(5, Command::InitProducerId(init(-1, -1)))),
        Step::RaiseEpochs => drop(b.send(0, Command::RaiseEpochs(()))),
        Step::Restart => b.coordinator = b.reloaded(),
    }
}

proptest! {
    #[test]
    fn what_is_stored_rebuilds_what_lives(steps in proptest::collection::vec(step(), 1..40)) {
        let mut b = bench();
        for step in &steps {
            run(&mut b, step);
            let (live, loaded) = (b.image(), b.reloaded().image());
            prop_assert_eq!(&*live, &*loaded);
            for bytes in b.store.values() {
                if let Record::Metadata(MetadataRecord::Configs(ConfigsRecord::Log { id, .. })) =
                    postcard::from_bytes(bytes).unwrap()
                {
                    prop_assert!(live.log_by_id(id).is_some(), "configs of a deleted log stay in the store");
                }
            }
            // A follower that applies records in order gets there as well.
            let mut follower = Coordinator::new(b.settings.clone()).unwrap();
            b.sets.iter().flatten().for_each(|record| follower.apply(record));
            prop_assert_eq!(&*live, &*follower.image());
            let real = || live.logs().filter(|log| !log.is_view());
            let partitions: usize = real().map(|log| log.metadata.partitions.len()).sum();
            prop_assert_eq!(real().count(), live.log_count());
            for log in real() {
                let routed = log.metadata.routing.as_ref().map(|routing| routing.partitions());
                prop_assert_eq!(routed.is_some(), log.settings.vlsn);
                prop_assert!(routed.is_none_or(|count| count == log.metadata.partition_count));
                prop_assert_eq!(live.view_of_log(log.metadata.topic_id).is_some(), log.settings.vlsn);
            }
            prop_assert_eq!(partitions, live.partition_count());
            for log in live.logs() {
                prop_assert!(!log.is_view() || live.log_of_view(log).is_some(), "a view without its log");
                let by_id = live.log_by_id(log.metadata.topic_id);
                prop_assert!(by_id.is_some_and(|other| Arc::ptr_eq(other, log)));
            }
        }
    }
}
