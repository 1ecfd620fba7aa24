//! Settings of the broker that change while logs are open.

use crate::world::*;

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
    world.alter(BROKER, "", &[("producer.id.expiration.ms", "30000")]);
    assert_eq!(world.node.expire_producers(world.now), 2);
}
