//! Which partition a VLSN belongs to. A change of the partition count begins a routing epoch at a VLSN above every one
//! that was written before: older ones stay where they are, and are found there for ever.

use std::sync::Arc;

use super::Vlsn;
use crate::PartitionIndex;

/// Most changes of the partition count that a log remembers.
pub const ROUTING_EPOCHS_MAX: usize = 1_000;

/// From a VLSN on, so many partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingEpoch {
    /// First VLSN that it routes.
    pub from: Vlsn,
    /// Partition count; at least 1.
    pub partitions: i32,
}

impl RoutingEpoch {
    fn modulus(self) -> u64 {
        u64::from(self.partitions.unsigned_abs()).max(1)
    }

    fn route(self, vlsn: Vlsn) -> PartitionIndex {
        PartitionIndex(i32::try_from(vlsn.0 % self.modulus()).unwrap_or(0))
    }
}

/// Why a list of routing epochs is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoutingError {
    /// The first one does not begin at 0, or one does not begin after the one before it.
    #[error("routing epoch {number} begins at VLSN {from}, which does not rise from the one before it")]
    Order {
        /// Its place, from 0.
        number: usize,
        /// Where it begins.
        from: Vlsn,
    },
    /// A count below 1, or not above the one before it: partitions are never taken away.
    #[error("routing epoch {number} has {partitions} partitions, which does not rise from the one before it")]
    Partitions {
        /// Its place, from 0.
        number: usize,
        /// The count.
        partitions: i32,
    },
    /// None at all, or more than [`ROUTING_EPOCHS_MAX`].
    #[error("{count} routing epochs; a log has 1 to {ROUTING_EPOCHS_MAX}")]
    Count {
        /// How many.
        count: usize,
    },
}

/// All routing epochs of a log, oldest first. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing(Arc<[RoutingEpoch]>);

impl Routing {
    /// A log that has had one partition count ever since.
    pub fn new(partitions: i32) -> Self {
        Self([RoutingEpoch { from: Vlsn::ZERO, partitions: partitions.max(1) }].into())
    }

    /// Checks a list.
    pub fn from_epochs(epochs: &[RoutingEpoch]) -> Result<Self, RoutingError> {
        if epochs.is_empty() || epochs.len() > ROUTING_EPOCHS_MAX {
            return Err(RoutingError::Count { count: epochs.len() });
        }
        let mut before: Option<RoutingEpoch> = None;
        for (number, epoch) in epochs.iter().enumerate() {
            let RoutingEpoch { from, partitions } = *epoch;
            if before.map_or(from != Vlsn::ZERO, |before| from <= before.from) || from > Vlsn::MAX {
                return Err(RoutingError::Order { number, from });
            }
            if partitions <= before.map_or(0, |before| before.partitions) {
                return Err(RoutingError::Partitions { number, partitions });
            }
            before = Some(*epoch);
        }
        Ok(Self(epochs.into()))
    }

    /// The same with another partition count from a VLSN on.
    pub fn extended(&self, from: Vlsn, partitions: i32) -> Result<Self, RoutingError> {
        let mut epochs = self.0.to_vec();
        match epochs.last_mut() {
            // Nothing was written since the last change: it is replaced, and costs no epoch.
            Some(last) if last.from == from => last.partitions = partitions,
            Some(_) | None => epochs.push(RoutingEpoch { from, partitions }),
        }
        Self::from_epochs(&epochs)
    }

    /// All of them, oldest first.
    pub fn epochs(&self) -> &[RoutingEpoch] {
        &self.0
    }

    /// Today's partition count.
    pub fn partitions(&self) -> i32 {
        self.0.last().map_or(1, |epoch| epoch.partitions)
    }

    /// The epoch of a VLSN, with its number from 0.
    pub fn epoch_of(&self, vlsn: Vlsn) -> (usize, RoutingEpoch) {
        let at = self.0.partition_point(|epoch| epoch.from <= vlsn).saturating_sub(1);
        (at, self.0.get(at).copied().unwrap_or(RoutingEpoch { from: Vlsn::ZERO, partitions: 1 }))
    }

    /// From which VLSN on the other one is not the same; `None`: it is.
    pub fn parts_from(&self, other: &Self) -> Option<Vlsn> {
        if Arc::ptr_eq(&self.0, &other.0) {
            return None;
        }
        let same = self.0.iter().zip(other.0.iter()).take_while(|(one, other)| one == other).count();
        let behind = [&self.0, &other.0].map(|epochs| epochs.get(same));
        behind.into_iter().flatten().map(|epoch| epoch.from).min()
    }

    /// The partition of a VLSN.
    pub fn partition(&self, vlsn: Vlsn) -> PartitionIndex {
        self.epoch_of(vlsn).1.route(vlsn)
    }

    /// The smallest VLSN of a partition that is not below `from`; one above [`Vlsn::MAX`] if there is none.
    pub fn next_in(&self, partition: PartitionIndex, from: Vlsn) -> Vlsn {
        let past_all = Vlsn::MAX.next();
        let Ok(wanted) = u64::try_from(partition.0) else { return past_all };
        let first = self.epoch_of(from).0;
        for (number, epoch) in self.0.iter().enumerate().skip(first) {
            let modulus = epoch.modulus();
            if wanted >= modulus {
                continue;
            }
            let start = from.0.max(epoch.from.0);
            let ahead = (wanted + modulus - start % modulus) % modulus;
            let found = Vlsn(start.saturating_add(ahead));
            if self.0.get(number + 1).is_none_or(|next| found < next.from) {
                return found.min(past_all);
            }
        }
        past_all
    }
}
