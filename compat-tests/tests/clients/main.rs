//! Real clients against the real binary: every scenario of `scenarios.rs` with every client.
//!
//! A client that is not installed is skipped with the command that installs it; with `CI=true` that is a failure.
#![allow(clippy::unwrap_used)]

mod agent;
mod auto_commit;
mod client;
mod connect;
mod java_tools;
mod kcat_pipe;
#[cfg(feature = "librdkafka")]
mod librdkafka;
mod scenarios;
mod streams;
mod target;

use client::Client;
use scenarios::Scenario;
use target::Target;

fn run<C: Client>(connect: fn(&str) -> Option<C>, scenario: Scenario) {
    let mut target = Target::start();
    if let Some(mut client) = connect(target.bootstrap()) {
        scenario(&mut client, &mut target);
    }
}

macro_rules! matrix {
    ($($client:ident: $connect:expr;)*) => { $(
        mod $client {
            use crate::scenarios;
            matrix! { @scenarios $connect;
                create_topic produce_with_each_codec consume_from_each_position group_of_two_members
                headers tombstones timestamps large_records restart_in_the_middle vlsn_view }
        }
    )* };
    (@scenarios $connect:expr; $($scenario:ident)*) => { $(
        #[test]
        fn $scenario() {
            crate::run($connect, scenarios::$scenario);
        }
    )* };
}

matrix! {
    kcat: crate::kcat_pipe::Kcat::new;
    confluent_kafka: crate::agent::Agent::confluent;
    kafka_python: crate::agent::Agent::kafka_python;
    java_client: crate::agent::Agent::java;
    franz_go: crate::agent::Agent::franz_go;
}

#[cfg(feature = "librdkafka")]
matrix! {
    rust_rdkafka: crate::librdkafka::LibRdKafka::new;
}

/// GR-05: what differs with `group.protocol=consumer`.
#[cfg(feature = "librdkafka")]
mod rust_rdkafka_in_kip_848_groups {
    use crate::scenarios;
    matrix! { @scenarios crate::librdkafka::LibRdKafka::modern; group_of_two_members restart_in_the_middle }
}
