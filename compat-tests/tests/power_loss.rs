//! Power loss at random moments, again and again, with the real binary on a [volume](pyralog_compat_tests::power) that loses what was not
//! synced: also while the broker starts, recovers and stops. What must hold says
//! [`crashing`](pyralog_compat_tests::crashing).
//!
//! `PYRALOG_POWER_ROUNDS` (20) says how often; `PYRALOG_POWER_SEED` replays the draws of a run, not the scheduling of the machine;
//! `PYRALOG_POWER_KEEP` names a folder for a copy of what a failed test left.
#![cfg(target_os = "linux")]

use std::path::PathBuf;
use std::time::Duration;

use pyralog_compat_tests::crashing::{Clients, Disk};
use pyralog_compat_tests::draw::{Draw, asked, asked_seed};
use pyralog_compat_tests::power::{Mounted, Planted};
use pyralog_compat_tests::{Broker, BrokerOptions, Conn, own_brokers, skip, unique};

/// Where a volume is mounted; removed afterwards.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        // Empty unless something is still mounted there, and then it must not be removed.
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A broker on a volume, and clients that live through what happens to it.
struct World {
    // In this order: a broker ends before its volume goes, and that before its place.
    broker: Broker,
    volume: Mounted,
    _place: Place,
    clients: Clients,
    draw: Draw,
    failed_starts: usize,
}

impl World {
    fn new(seed: u64) -> Option<World> {
        if !own_brokers() {
            return None;
        }
        let place = Place(std::env::temp_dir().join(unique("pyralog-power")));
        std::fs::create_dir(&place.0).expect("a folder to mount at");
        let volume = match Mounted::new(&place.0) {
            Ok(volume) => volume,
            Err(error) => {
                skip(&format!("no file system in user space: {error}"), "run as root, with /dev/fuse there");
                return None;
            }
        };
        let options = BrokerOptions::new()
            .set("group.initial.rebalance.delay.ms", "0")
            .set("log.cleaner.backoff.ms", "100")
            .data(&place.0.join("data"));
        let broker = Broker::start(options);
        let clients = Clients::new(&mut broker.connect(), seed, Disk::Fails);
        Some(World { broker, volume, _place: place, clients, draw: Draw::stream(seed, "power"), failed_starts: 0 })
    }

    /// The power goes while clients are at work, or when the broker was just stopped in order, and in every third round again while the
    /// broker starts. In every third a start is called off behind that, and perhaps the power goes once more.
    fn round(&mut self) {
        let address = self.broker.kafka().to_owned();
        let (changes, in_order) = (1 + self.draw.below(3000), self.draw.below(4) == 0);
        let (volume, broker) = (&self.volume, &mut self.broker);
        self.clients.work_until(
            || Conn::connect(&address),
            || {
                if in_order {
                    std::thread::sleep(Duration::from_millis(changes / 10));
                    broker.terminate();
                } else {
                    volume.cut_after(changes);
                    volume.wait_until_off(Duration::from_secs(2));
                    broker.kill9();
                }
            },
        );
        self.volume.power_loss(&mut self.draw);
        while self.draw.below(3) == 0 {
            self.volume.cut_after(self.draw.below(150));
            let started = self.broker.try_restart();
            self.volume.wait_until_off(Duration::ZERO);
            match started {
                Ok(()) => self.broker.kill9(),
                Err(_) => self.failed_starts += 1,
            }
            self.volume.power_loss(&mut self.draw);
        }
        if self.draw.below(3) == 0 {
            self.broker.start_and_stop(Duration::from_millis(self.draw.below(120)));
            if self.draw.coin() {
                self.volume.power_loss(&mut self.draw);
            }
        }
        self.broker.restart();
    }

    fn broken_promises(&self) -> Vec<String> {
        self.clients.broken_promises(&mut self.broker.connect())
    }
}

impl Drop for World {
    /// A copy of what a failed test left, where somebody asks for it.
    fn drop(&mut self) {
        let kept = std::env::var_os("PYRALOG_POWER_KEEP").filter(|_| std::thread::panicking());
        if let Some(kept) = kept {
            let copied = std::process::Command::new("cp").arg("-r").arg(self.broker.folder()).arg(&kept).status();
            eprintln!("what was left is in {}: {copied:?}", kept.display());
        }
    }
}

#[test]
fn io_04_acknowledged_is_there_after_power_loss() {
    let rounds = asked("PYRALOG_POWER_ROUNDS").unwrap_or(20);
    let seed = asked_seed("PYRALOG_POWER_SEED");
    let Some(mut world) = World::new(seed) else { return };
    for round in 0..rounds {
        world.round();
        let broken = world.broken_promises();
        assert!(broken.is_empty(), "seed {seed}, round {round}:\n{}", broken.join("\n"));
    }
    eprintln!(
        "{rounds} rounds and {} starts that the power did not last for, {} answers kept, {} changes",
        world.failed_starts,
        world.clients.acknowledged(),
        world.volume.changes()
    );
}

/// The test must see a volume that takes syncs and does nothing.
#[test]
fn planted_volumes_that_do_not_sync_are_seen() {
    for planted in [Planted::FilesUnsynced, Planted::WritesUnsynced, Planted::DirectoriesUnsynced] {
        let Some(mut world) = World::new(7) else { return };
        world.volume.plant(Some(planted));
        let seen = (0..20).find_map(|_| {
            // A broker that finds its metadata gone says so, and does not start.
            let round = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                world.round();
                world.broken_promises()
            }));
            match round {
                Ok(broken) => broken.into_iter().next(),
                Err(panic) => Some(panic.downcast_ref::<String>().cloned().unwrap_or_default()),
            }
        });
        let seen = seen.unwrap_or_else(|| panic!("not seen: {planted:?}"));
        eprintln!("{planted:?}: {seen}");
    }
}
