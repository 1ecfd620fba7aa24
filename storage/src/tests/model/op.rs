//! What can happen to the logs of a node, drawn from a seed. Numbers are taken relative to what is there, so that any part
//! of a script is a script again and a failing one can be made shorter.

use pyralog_protocol::Draw;
use pyralog_protocol::batch::Codec;

/// Partitions that share a journal.
pub const PARTS: usize = 3;
/// Idempotent producers of each partition; the one after them is none.
pub const PRODUCERS: u64 = 3;

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Op {
    Append(usize, Sent),
    /// A batch of a producer again, counted from its last one.
    Resend(usize, u64, usize),
    /// Something that has to be refused.
    Wrong(usize, u64, Wrong),
    /// Acknowledges what these partitions (bits) have, by a round of the journal where it can.
    Commit(u8),
    Sync(usize),
    /// A sync elsewhere begins, reaches the disk, and is told to the log.
    BeginSync(usize),
    RunSync(usize),
    EndSync(usize),
    Checkpoint,
    Release(usize),
    Read(usize, Look),
    /// Keeps a range that was read, to read it once more after its segment is gone.
    Hold(usize, Look),
    Time(usize, Look),
    ReadAll(usize),
    /// Percent of what may be deleted.
    DeleteRecords(usize, u64),
    Retention(usize),
    /// Retention decides and writes; the log lets go later.
    BeginRetention(usize),
    EndRetention,
    /// Cuts the log there, in thousandths of what it has.
    Truncate(usize, u64),
    NextEpoch(usize),
    Configure(usize, u64),
    Wait(u64),
    /// Longer than producers are remembered.
    Silence,
    /// Derived files are lost or scrambled.
    Harm(usize, u64, Harm),
    /// A bit below the recovery point flips.
    Damage(usize, u64, u64),
    /// Something of the disk fails, so many of its kind from now.
    Fault(Fault, u64),
    Heal,
    /// A stop in order, and a start.
    Restart,
    /// A stop in order and the loss of power behind it.
    StopAndPowerLoss(u64),
    Kill,
    PowerLoss(u64),
    /// So many changes of the disk from now.
    KillAt(u64),
    PowerLossAt(u64, u64),
    /// Power loss, and again at some change that recovery makes.
    PowerLossInRecovery(u64),
}

/// A batch to be written.
#[derive(Clone, Debug)]
pub struct Sent {
    pub producer: u64,
    pub records: u64,
    pub bytes: u64,
    pub codec: Codec,
    /// Where its timestamps come from: see `Part::stamps`.
    pub stamps: u64,
    /// The producer begins a new epoch.
    pub bump: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Wrong {
    Gap,
    Overlap,
    OldProducerEpoch,
    OldLeaderEpoch,
    TooLarge,
}

/// Where a look-up goes, in shares of 1000.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub at: u64,
    pub bound: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug)]
pub enum Harm {
    Remove,
    Cut,
    Reverse,
    Zero,
    Flip(u64),
    /// All checksums are right and all entries wrong.
    Lie,
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Sync,
    Write,
    Read,
    Full,
    NoOpen,
}

/// What may happen at all in a run: a bug may need the absence of something.
#[derive(Clone, Copy, Debug)]
pub struct Swarm {
    pub faults: bool,
    pub damage: bool,
    pub harm: bool,
    pub crashes: bool,
    /// Leader epochs rise after a stop without order, as a node has it.
    pub raises: bool,
    /// Most starts sync all that they find, not only what nothing else proves.
    pub settles: bool,
    /// Logs are cut.
    pub cuts: bool,
}

impl Swarm {
    pub fn draw(seed: u64) -> Self {
        let mut draw = Draw::new(u128::from(seed) << 64 | 0x5a);
        let mut one_of = |n: u64| draw.next_u64().is_multiple_of(n);
        let (faults, damage, harm) = (one_of(4), one_of(8), one_of(3));
        Self { faults, damage, harm, crashes: !one_of(16), raises: one_of(2), settles: one_of(4), cuts: one_of(2) }
    }
}

/// A script of so many operations.
pub fn script(seed: u64, length: usize) -> Vec<Op> {
    let swarm = Swarm::draw(seed);
    let mut draw = Draw::new(u128::from(seed) << 64 | 0x09);
    (0..length).map(|_| Op::draw(&mut draw, swarm)).collect()
}

const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

impl Op {
    fn draw(draw: &mut Draw, swarm: Swarm) -> Self {
        let kind = draw.next_u64() % 1000;
        let (a, b, c) = (draw.next_u64(), draw.next_u64(), draw.next_u64());
        let part = a as usize % PARTS;
        let a = a / PARTS as u64;
        let look = Look { at: a % 1001, bound: b % 1200, bytes: c % 2500 };
        match kind {
            0..360 => Self::Append(part, Sent::draw(a, b, c)),
            360..400 => Self::Resend(part, a % PRODUCERS, b as usize % 5),
            400..420 => Self::Wrong(part, a % PRODUCERS, Wrong::draw(b)),
            420..500 => Self::Commit((b % 8) as u8),
            500..520 => Self::Sync(part),
            520..540 => Self::BeginSync(part),
            540..545 => Self::RunSync(part),
            545..570 => Self::EndSync(part),
            570..600 => Self::Checkpoint,
            600..610 => Self::EndRetention,
            610..620 => Self::Release(part),
            620..680 => Self::Read(part, look),
            680..690 => Self::Hold(part, look),
            690..730 => Self::Time(part, look),
            730..740 => Self::ReadAll(part),
            740..770 => Self::DeleteRecords(part, b % 101),
            770..785 => Self::Retention(part),
            785..800 => Self::BeginRetention(part),
            800..815 => Self::NextEpoch(part),
            815..825 => Self::Configure(part, b),
            825..840 => Self::Wait(b % 60_000),
            840..842 => Self::Silence,
            842..850 if swarm.cuts => Self::Truncate(part, b % 1001),
            850..866 if swarm.harm => Self::Harm(part, b, Harm::draw(c)),
            866..874 if swarm.damage => Self::Damage(part, b, c),
            874..884 if swarm.faults => Self::Fault(Fault::draw(b), 1 + c % 6),
            884..890 => Self::Heal,
            890..905 => Self::Restart,
            905..910 if swarm.crashes => Self::StopAndPowerLoss(b),
            910..925 if swarm.crashes => Self::Kill,
            925..940 if swarm.crashes => Self::KillAt(1 + c % 12),
            940..965 if swarm.crashes => Self::PowerLoss(b),
            965..985 if swarm.crashes => Self::PowerLossAt(1 + c % 12, b),
            985..995 if swarm.crashes => Self::PowerLossInRecovery(b),
            _ => Self::Append(part, Sent::draw(a, b, c)),
        }
    }

    /// Whether it ends the process. Scripts that have a crash at every operation do without.
    pub fn ends_process(&self) -> bool {
        matches!(
            self,
            Self::Restart
                | Self::StopAndPowerLoss(_)
                | Self::Kill
                | Self::PowerLoss(_)
                | Self::KillAt(_)
                | Self::PowerLossAt(..)
                | Self::PowerLossInRecovery(_)
                | Self::Fault(..)
        )
    }
}

impl Sent {
    fn draw(a: u64, b: u64, c: u64) -> Self {
        let codec = if c.is_multiple_of(8) { CODECS[(c / 8 % 4) as usize] } else { Codec::None };
        Self {
            producer: a % (PRODUCERS + 1),
            records: 1 + b % 5,
            bytes: 5 + b / 5 % 900,
            codec,
            stamps: c / 32,
            bump: (c / 32).is_multiple_of(40),
        }
    }
}

impl Wrong {
    fn draw(a: u64) -> Self {
        [Self::Gap, Self::Overlap, Self::OldProducerEpoch, Self::OldLeaderEpoch, Self::TooLarge][(a % 5) as usize]
    }
}

impl Harm {
    fn draw(a: u64) -> Self {
        let all = [Self::Remove, Self::Cut, Self::Reverse, Self::Zero, Self::Flip(a / 7), Self::Lie, Self::Lie];
        all[(a % 7) as usize]
    }
}

impl Fault {
    fn draw(a: u64) -> Self {
        [Self::Sync, Self::Sync, Self::Write, Self::Read, Self::Full, Self::NoOpen][(a % 6) as usize]
    }
}
