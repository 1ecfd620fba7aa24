//! A paused log (`pyralog.paused`): writes are refused as whoever paused it chose, retriable or fatal, reads go on, and
//! the switch outlives a restart (ID-15). Kafka has no such switch, so none of this runs against it.
#![allow(clippy::unwrap_used, reason = "a test")]

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use pyralog_compat_tests::batch::Batch;
use pyralog_compat_tests::{BrokerOptions, Conn, private, text};

const NOT_ENOUGH_REPLICAS: i16 = 19;
const POLICY_VIOLATION: i16 = 44;
const INVALID_CONFIG: i16 = 40;

fn set(conn: &mut Conn, log: &str, configs: &[(&str, &str)]) -> i16 {
    let configs = configs.iter().map(|(name, value)| {
        AlterableConfig::default().with_name(text(name)).with_config_operation(0).with_value(Some(text(value)))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(log))
        .with_configs(configs.collect());
    conn.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource])).responses[0].error_code
}

#[test]
fn id_15_a_paused_log_refuses_writes_and_serves_reads_also_after_a_restart() {
    let Some(mut broker) = private(BrokerOptions::new()) else { return };
    let mut conn = broker.connect();
    let (log, _) = conn.new_topic("paused", 1, &[]);
    let batch = Batch::of("before", 3).encode();
    assert_eq!(conn.append(&log, 0, &batch), 0);

    assert_eq!(set(&mut conn, &log, &[("pyralog.paused", "maybe")]), INVALID_CONFIG);
    assert_eq!(set(&mut conn, &log, &[("pyralog.paused", "true")]), 0);
    let refused = conn.produce(&log, 0, &batch);
    assert_eq!(refused.error_code, NOT_ENOUGH_REPLICAS);
    let why = refused.error_message.unwrap();
    assert!(why.contains(&log) && why.contains("pyralog.paused"), "{why}");
    assert_eq!(conn.read(&log, 0, 0).len(), 1, "reads go on");

    assert_eq!(set(&mut conn, &log, &[("pyralog.paused.error", "fatal")]), 0);
    assert_eq!(conn.produce(&log, 0, &batch).error_code, POLICY_VIOLATION);

    broker.restart();
    let mut conn = broker.connect();
    assert_eq!(conn.produce(&log, 0, &batch).error_code, POLICY_VIOLATION, "the switch is durable");
    assert_eq!(set(&mut conn, &log, &[("pyralog.paused", "false")]), 0);
    assert_eq!(conn.append(&log, 0, &batch), 3, "resumed, and nothing was written in between");
}

#[cfg(feature = "librdkafka")]
mod librdkafka {
    use std::time::{Duration, Instant};

    use pyralog_compat_tests::conn::PATIENCE;
    use pyralog_compat_tests::{BrokerOptions, private};
    use rdkafka::config::ClientConfig;
    use rdkafka::error::{KafkaError, RDKafkaErrorCode};
    use rdkafka::message::DeliveryResult;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

    use super::set;

    #[derive(Default)]
    struct Outcome(std::sync::Mutex<Option<Result<(), KafkaError>>>);

    impl rdkafka::client::ClientContext for Outcome {}

    impl ProducerContext for Outcome {
        type DeliveryOpaque = ();

        fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
            *self.0.lock().unwrap() = Some(result.as_ref().map(drop).map_err(|(error, _)| error.clone()));
        }
    }

    fn outcome_within(producer: &BaseProducer<Outcome>, patience: Duration) -> Option<Result<(), KafkaError>> {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            producer.poll(Duration::from_millis(20));
            if let Some(outcome) = producer.context().0.lock().unwrap().take() {
                return Some(outcome);
            }
        }
        None
    }

    #[test]
    fn id_15_a_producer_waits_for_the_end_of_a_retriable_pause_and_gives_up_at_once_on_a_fatal_one() {
        let Some(broker) = private(BrokerOptions::new()) else { return };
        let mut conn = broker.connect();
        let (log, _) = conn.new_topic("paused", 1, &[("pyralog.paused", "true")]);
        let producer: BaseProducer<Outcome> = ClientConfig::new()
            .set("bootstrap.servers", broker.kafka())
            .set("broker.address.family", "v4")
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .create_with_context(Outcome::default())
            .unwrap();

        producer.send(BaseRecord::<(), str>::to(&log).payload("waits")).map_err(|(e, _)| e).unwrap();
        assert!(outcome_within(&producer, Duration::from_millis(700)).is_none(), "it is retried, not reported");
        assert_eq!(set(&mut conn, &log, &[("pyralog.paused", "false")]), 0);
        assert_eq!(outcome_within(&producer, PATIENCE), Some(Ok(())));

        assert_eq!(set(&mut conn, &log, &[("pyralog.paused", "true"), ("pyralog.paused.error", "fatal")]), 0);
        producer.send(BaseRecord::<(), str>::to(&log).payload("fails")).map_err(|(e, _)| e).unwrap();
        let failed = outcome_within(&producer, PATIENCE).unwrap().unwrap_err();
        assert_eq!(failed.rdkafka_error_code(), Some(RDKafkaErrorCode::PolicyViolation), "{failed}");
        assert_eq!(conn.end_offset(&log, 0), 1);
    }
}
