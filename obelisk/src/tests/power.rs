//! What the README's table promises, at every disk operation: a process that dies and a machine that loses power there,
//! also while it recovers, never hand out a value twice, and skip no more than promised. And the proof that the opposite
//! would be noticed: planted bugs.

use super::disk::{Draw, Faults, SimDisk};
use super::{ALL, BLOCK, open};
use crate::{Options, PersistentAtomic, StrategyKind};

const STEP: u64 = 8;

#[derive(Clone, Copy, Debug)]
enum Op {
    Take(u64),
    Sync,
    Close,
    Kill,
    LosePower(u64),
    WriteBack,
}

impl Op {
    fn draw(draw: &mut Draw) -> Self {
        match draw.below(20) {
            0 => Self::Sync,
            1 => Self::Close,
            2 => Self::Kill,
            3 => Self::LosePower(draw.next()),
            4..=6 => Self::WriteBack,
            7 => Self::Take(draw.below(40)),
            8 => Self::Take(257 + draw.below(100)),
            _ => Self::Take(1 + draw.below(3)),
        }
    }
}

/// How the last session ended, as far as the next one can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Died,
    LostPower,
}

struct World {
    kind: StrategyKind,
    disk: SimDisk,
    draw: Draw,
    counter: Option<Box<dyn PersistentAtomic>>,
    /// Every value that was handed out is below this.
    out: u64,
    /// Where the counter stood at last: `out`, or further up if a crash skipped something and nothing was taken since.
    stood: u64,
    /// What calls that failed had reserved or might have, since the power failed last: it may be skipped.
    in_flight: u64,
    /// A sync failed since the counter was opened: a mapping is not believed then.
    sync_failed: bool,
}

impl World {
    fn new(kind: StrategyKind, seed: u64) -> Self {
        Self {
            kind,
            disk: SimDisk::new(seed),
            draw: Draw::new(!seed),
            counter: None,
            out: 0,
            stood: 0,
            in_flight: 0,
            sync_failed: false,
        }
    }

    /// The most that may be skipped: the README's table.
    fn skipped_max(&self, end: End) -> u64 {
        let mapped = matches!(self.kind, StrategyKind::FixedMmap | StrategyKind::BitmapMmap);
        let exact = mapped && !self.sync_failed;
        match end {
            End::Closed => self.in_flight,
            End::Died if exact => self.in_flight,
            End::Died | End::LostPower if self.kind == StrategyKind::FileSize => self.in_flight + 2 * STEP + BLOCK,
            End::Died | End::LostPower => self.in_flight + 2 * STEP,
        }
    }

    /// Opens the counter, again and again where that is stopped too.
    fn open(&mut self, mut end: End) -> Result<(), String> {
        loop {
            match open(self.kind, &self.disk, &Options::new().step(STEP)) {
                Ok(counter) => {
                    self.sync_failed |= self.disk.take_sync_failed();
                    let (start, out, stood) = (counter.load(), self.out, self.stood);
                    if start < out {
                        return Err(format!("after {end:?} it starts at {start}, and {out} values are out"));
                    }
                    if start > stood + self.skipped_max(end) {
                        return Err(format!("after {end:?} it skips {stood}..{start}"));
                    }
                    self.stood = start;
                    self.sync_failed = false;
                    if end == End::LostPower {
                        self.in_flight = 0;
                    }
                    self.counter = Some(counter);
                    return Ok(());
                }
                Err(_) if self.disk.stopped() => end = self.start_again(end),
                // The fault that was ordered, in the repair of a header; it comes once.
                Err(_) if self.disk.faults().fail_at.is_some_and(|(at, _)| at.start < self.disk.operations()) => {
                    self.disk.set_faults(Faults::default());
                }
                Err(error) => return Err(format!("after {end:?}: {error}")),
            }
        }
    }

    /// After a stop: the process died, or the machine did.
    fn start_again(&mut self, before: End) -> End {
        self.counter = None;
        self.disk.set_faults(Faults { stop_at: None, fail_at: None, fail_sync_at: None, ..self.disk.faults() });
        let power = self.draw.coin();
        self.disk = if power { self.disk.lose_power(self.draw.next()) } else { self.disk.kill() };
        if self.draw.coin() {
            let stop_at = Some(self.disk.operations() + self.draw.below(12));
            self.disk.set_faults(Faults { stop_at, ..self.disk.faults() });
        }
        if power || before == End::LostPower { End::LostPower } else { End::Died }
    }

    fn counter(&self) -> &dyn PersistentAtomic {
        self.counter.as_deref().unwrap()
    }

    fn take(&mut self, n: u64) -> Result<(), String> {
        match self.counter().reserve(n) {
            Ok(range) if range.start < self.out => Err(format!("{range:?} is handed out, {} values are out", self.out)),
            Ok(range) => {
                (self.out, self.stood) = (range.end, range.end);
                Ok(())
            }
            Err(error) if self.disk.stopped() || self.disk.faults().fail_at.is_some() => {
                let _ = error;
                self.in_flight += n + STEP + BLOCK;
                Ok(())
            }
            Err(error) => Err(format!("{n} values: {error}")),
        }
    }

    fn run(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::Take(n) => self.take(n)?,
            Op::Sync => {
                if self.counter().sync().is_err() {
                    self.in_flight += STEP + BLOCK;
                }
            }
            Op::WriteBack => self.disk.write_back(),
            Op::Close => {
                let before = self.disk.operations();
                self.counter = None;
                // A close that failed is no worse than a death.
                let failed = self.disk.faults().fail_at.is_some_and(|(at, _)| at.end > before);
                if !self.disk.stopped() {
                    self.open(if failed { End::Died } else { End::Closed })?;
                }
            }
            Op::Kill if !self.disk.stopped() => {
                self.disk = self.disk.kill();
                self.counter = None;
                self.open(End::Died)?;
            }
            Op::LosePower(seed) if !self.disk.stopped() => {
                self.disk = self.disk.lose_power(seed);
                self.counter = None;
                self.open(End::LostPower)?;
            }
            Op::Kill | Op::LosePower(_) => {}
        }
        if self.disk.stopped() {
            let end = self.start_again(End::Died);
            self.open(end)?;
        }
        Ok(())
    }
}

fn script(seed: u64, length: usize) -> Vec<Op> {
    let mut draw = Draw::new(seed);
    (0..length).map(|_| Op::draw(&mut draw)).collect()
}

/// Whether the run came as far as the fault.
fn run(kind: StrategyKind, seed: u64, faults: &Faults) -> Result<bool, String> {
    let mut world = World::new(kind, seed);
    let told = |what: String| format!("{kind}, seed {seed}, {faults:?}: {what}");
    // Creation is stopped, too; that it may be refused is shown elsewhere.
    world.disk.set_faults(Faults { fail_at: None, ..faults.clone() });
    world.open(End::Closed).map_err(told)?;
    world.disk.set_faults(Faults { fail_at: faults.fail_at.clone(), ..world.disk.faults() });
    for op in script(seed, 40) {
        world.run(op).map_err(|what| told(format!("{op:?}: {what}")))?;
    }
    let at = faults.stop_at.or(faults.fail_at.as_ref().map(|(at, _)| at.start)).unwrap_or(u64::MAX);
    Ok(world.disk.operations() > at)
}

fn at_every_operation(kind: StrategyKind, seed: u64, plant: &Faults) -> Result<u64, String> {
    for stop_at in (0..).step_by(MIRI_STEP) {
        for survivors in 0..3 {
            // Scripts stay the same, what survives does not.
            let seed = seed + 1_000 * survivors;
            if !run(kind, seed, &Faults { stop_at: Some(stop_at), ..plant.clone() })? && survivors == 2 {
                return Ok(stop_at);
            }
        }
    }
    Ok(0)
}

/// Miri is some hundred times slower, and looks for something else: it gets a sample.
const SEEDS: u64 = if cfg!(miri) { 1 } else { 8 };
const MIRI_STEP: usize = if cfg!(miri) { 37 } else { 1 };

#[test]
fn ob_02_ob_04_ob_08_no_value_twice_and_gaps_as_promised_when_everything_stops_at_any_operation() {
    for kind in ALL {
        let stops: u64 = (0..SEEDS).map(|seed| at_every_operation(kind, seed, &Faults::default()).unwrap()).sum();
        assert!(stops > 30 * SEEDS || cfg!(miri), "{kind}: {stops} operations are too few to show anything");
    }
}

fn caught(kind: StrategyKind, plant: &Faults) -> bool {
    (0..SEEDS.max(8)).any(|seed| at_every_operation(kind, seed, plant).is_err())
}

#[test]
fn planted_values_handed_out_before_the_sync_are_caught() {
    for kind in ALL {
        assert!(caught(kind, &Faults { sync_is_noop: true, ..Faults::default() }), "{kind}");
    }
}

#[test]
fn ob_08_planted_directory_that_is_never_synced_is_caught() {
    for kind in ALL {
        assert!(caught(kind, &Faults { dir_sync_is_noop: true, ..Faults::default() }), "{kind}");
    }
}

#[test]
fn planted_trust_in_mapped_memory_of_another_era_is_caught() {
    for kind in [StrategyKind::FixedMmap, StrategyKind::BitmapMmap] {
        assert!(caught(kind, &Faults { era_is_constant: true, ..Faults::default() }), "{kind}");
    }
}

/// Runs a script in which one sync fails; whatever was handed out stays unique, and the counter is silent afterwards. What
/// the sync could not write may be `evicted` from the page cache before the counter is opened again.
fn sync_fails_at(kind: StrategyKind, (seed, at, evicted): (u64, u64, bool)) -> Result<bool, String> {
    let mut world = World::new(kind, seed);
    world.open(End::Closed)?;
    let base = world.disk.operations();
    world.disk.set_faults(Faults { fail_sync_at: Some(base + at), ..Faults::default() });
    for op in script(seed, 30).into_iter().filter(|op| matches!(op, Op::Take(1..) | Op::WriteBack)) {
        match op {
            Op::Take(n) => match world.counter().reserve(n) {
                Ok(range) if range.start < world.out => return Err(format!("{range:?} below {}", world.out)),
                Ok(range) => (world.out, world.stood) = (range.end, range.end),
                Err(first) => {
                    world.in_flight = n;
                    for _ in 0..3 {
                        let again = world.counter().fetch_add(1).map(|value| format!("value {value} after {first}"));
                        if let Ok(what) = again {
                            return Err(what);
                        }
                    }
                    world.counter().sync().err().ok_or("sync after a failed one")?;
                    break;
                }
            },
            Op::WriteBack => world.disk.write_back(),
            Op::Sync | Op::Close | Op::Kill | Op::LosePower(_) => {}
        }
    }
    let failed = world.disk.operations() > base + at;
    world.disk.set_faults(Faults::default());
    // The process goes first, then, after some more values, the power.
    world.counter = None;
    world.disk = world.disk.kill();
    if evicted {
        world.disk.evict();
    }
    world.open(End::Died)?;
    world.take(3)?;
    world.disk = world.disk.lose_power(seed);
    world.counter = None;
    world.open(End::LostPower)?;
    world.take(1)?;
    Ok(failed)
}

#[test]
fn ob_09_a_failed_sync_ends_the_counter_and_no_value_comes_twice_after_it() {
    for kind in ALL {
        for seed in 0..SEEDS {
            for evicted in [false, true] {
                for at in (0..).step_by(MIRI_STEP) {
                    match sync_fails_at(kind, (seed, at, evicted)) {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(what) => panic!("{kind}, seed {seed}, sync at {at}, evicted: {evicted}: {what}"),
                    }
                }
            }
        }
    }
}

/// The process dies, and what it had not synced is lost on its way to the disk. The next opening is told; the one after that
/// is not, and finds the page as it was long before.
#[test]
fn ob_09_a_loss_that_one_opening_was_told_of_is_not_forgotten_by_the_next() {
    for kind in [StrategyKind::FixedMmap, StrategyKind::BitmapMmap] {
        for seed in 0..SEEDS {
            let mut world = World::new(kind, seed);
            world.open(End::Closed).unwrap();
            world.take(2).unwrap();
            world.counter().sync().unwrap();
            world.take(3).unwrap();
            world.disk = world.disk.kill();
            world.counter = None;
            let begun = world.disk.operations();
            let fails = |at| {
                world.disk.set_faults(Faults { fail_sync_at: Some(begun + at), ..Faults::default() });
                open(kind, &world.disk, &Options::new().step(STEP)).is_err()
            };
            assert!(fails(0) || fails(1), "{kind}: an opening after a death syncs");
            world.disk.set_faults(Faults::default());
            world.disk = world.disk.kill();
            world.disk.evict();
            world.open(End::Died).unwrap();
            world.take(1).unwrap();
        }
    }
}

#[test]
fn failed_writes_and_full_disks_at_any_operation_hand_out_nothing_twice() {
    use std::io::ErrorKind::{FileTooLarge, Other, StorageFull};
    for kind in ALL {
        for error in [StorageFull, FileTooLarge, Other] {
            for seed in 0..SEEDS {
                for at in (6..200).step_by(MIRI_STEP) {
                    let faults = Faults { fail_at: Some((at..at + 1 + seed % 2, error)), ..Faults::default() };
                    match run(kind, seed, &faults) {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(what) => panic!("{error}: {what}"),
                    }
                }
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for kind in ALL {
        let trace = |seed| {
            let mut world = World::new(kind, seed);
            world.open(End::Closed).unwrap();
            let states = script(seed, 40).into_iter().map(|op| {
                world.run(op).unwrap();
                (world.out, world.disk.operations())
            });
            states.collect::<Vec<_>>()
        };
        assert_eq!(trace(1), trace(1));
        assert_ne!(trace(1), trace(2));
    }
}
