//! Settings of the broker that change while logs are open.

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use pyralog_protocol::{Response, kafka_protocol};

use crate::world::*;

const BROKER: i8 = 4;

fn set(world: &mut World, key: &str, value: &str) {
    let config = AlterableConfig::default().with_name(key.to_owned().into()).with_value(Some(value.to_owned().into()));
    let resource = AlterConfigsResource::default().with_resource_type(BROKER).with_configs(vec![config]);
    let conn = world.connect();
    let response = world.ask(conn, 1, IncrementalAlterConfigsRequest::default().with_resources(vec![resource]));
    world.disconnect(conn);
    let Response::IncrementalAlterConfigs(response) = response else { panic!("{response:?}") };
    assert_eq!(response.responses[0].error_code, 0);
}

/// Kafka takes a new `producer.id.expiration.ms` at once, for the logs that are there as well.
#[test]
fn a_new_expiration_of_producers_counts_for_open_logs() {
    let mut world = World::new();
    world.create("a", 2, &[]);
    let conn = world.connect();
    for partition in 0..2 {
        let response = world.ask(conn, PRODUCE, produce_request("a", partition, -1, sequenced(7, 0, b"one")));
        assert_eq!(produced(response).error_code, 0);
    }
    world.advance(60_000);
    assert_eq!(world.node.expire_producers(world.now), 0);
    set(&mut world, "producer.id.expiration.ms", "30000");
    assert_eq!(world.node.expire_producers(world.now), 2);
}
