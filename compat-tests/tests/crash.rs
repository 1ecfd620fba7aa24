//! kill -9 at random moments, again and again, while idempotent and plain producers write and a consumer commits
//! (`pyralog_compat_tests::crashing` says what must hold). `PYRALOG_CRASH_ROUNDS` (12) says how
//! often; `PYRALOG_CRASH_SEED` replays the draws of a run (not the scheduling of the machine).
//!
//! kill -9 does not lose what the kernel holds: that is what `power_loss.rs` is for.

use std::time::Duration;

use pyralog_compat_tests::crashing::{Clients, Disk};
use pyralog_compat_tests::draw::{Draw, asked, asked_seed};
use pyralog_compat_tests::{BrokerOptions, Conn, private};

#[test]
fn acknowledged_is_there_after_kill_9() {
    let rounds = asked("PYRALOG_CRASH_ROUNDS").unwrap_or(12);
    let seed = asked_seed("PYRALOG_CRASH_SEED");
    let Some(mut broker) =
        private(BrokerOptions::new().set("group.initial.rebalance.delay.ms", "0").set("log.cleaner.backoff.ms", "100"))
    else {
        return;
    };
    let mut clients = Clients::new(&mut broker.connect(), seed, Disk::Stays);
    let mut moment = Draw::stream(seed, "moment");
    for round in 0..rounds {
        let pause = Duration::from_millis(5 + moment.below(200));
        let address = broker.kafka().to_owned();
        clients.work_until(
            || Conn::connect(&address),
            || {
                std::thread::sleep(pause);
                broker.kill9();
            },
        );
        broker.restart();
        let broken = clients.broken_promises(&mut broker.connect());
        assert!(broken.is_empty(), "seed {seed}, round {round}, killed after {pause:?}:\n{}", broken.join("\n"));
    }
    eprintln!("{rounds} rounds, {} answers kept", clients.acknowledged());
}
