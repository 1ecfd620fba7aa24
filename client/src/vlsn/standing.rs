//! How far a VLSN log is, partition by partition.

use std::collections::BTreeMap;

use pyralog_protocol::{LogId, LogOffset, PartitionIndex, Routing, Vlsn};

use super::error::VlsnError;
use super::view::View;
use crate::client::PyralogClient;
use crate::log::StartAt;

/// How far a VLSN log is.
///
/// ```no_run
/// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
/// let standing = log.resume().await?;
/// println!("everything below {} is settled; the last one is {:?}", standing.undecided, standing.last);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VlsnStanding {
    /// The smallest VLSN that retention has left.
    pub first: u64,
    /// Every VLSN below it is written, or a gap for good.
    pub undecided: u64,
    /// The largest that is written.
    pub last: Option<u64>,
    /// The largest of each partition, by number.
    pub partitions: Vec<Option<u64>>,
    pub(crate) routing: Routing,
}

impl VlsnStanding {
    /// The partition that a VLSN belongs to.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// // In a log that has had 3 partitions ever since:
    /// assert_eq!(log.resume().await?.partition(1001), 1001 % 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn partition(&self, vlsn: u64) -> u32 {
        u32::try_from(self.routing.partition(Vlsn(vlsn)).0).unwrap_or(0)
    }

    /// Whether a VLSN has its outcome: it is written, or a gap for good.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// assert!(!log.resume().await?.is_decided(1 << 60));
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_decided(&self, vlsn: u64) -> bool {
        let last = usize::try_from(self.partition(vlsn)).ok().and_then(|index| self.partitions.get(index));
        last.copied().flatten().is_some_and(|last| vlsn <= last)
    }

    /// VLSNs up to the last one that are neither written nor a gap: what a writer that crashed has to send again before it
    /// goes on, because it would become a gap otherwise.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// # fn value_of(vlsn: u64) -> Vec<u8> { Vec::new() }
    /// for vlsn in log.resume().await?.missing() {
    ///     log.write_at(vlsn, value_of(vlsn)).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn missing(&self) -> impl Iterator<Item = u64> + '_ {
        let end = self.last.map_or(0, |last| last.saturating_add(1));
        (self.undecided..end.max(self.undecided)).filter(|vlsn| !self.is_decided(*vlsn))
    }

    /// Partitions that the log has now.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// println!("{} partitions", log.resume().await?.partition_count());
    /// # Ok(())
    /// # }
    /// ```
    pub fn partition_count(&self) -> u32 {
        self.routing.partitions().unsigned_abs()
    }

    /// A VLSN was pushed to a partition.
    pub(crate) fn note(&mut self, partition: u32, vlsn: u64) {
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        if let Some(last) = self.partitions.get_mut(index) {
            *last = Some(vlsn);
        }
    }

    /// The largest VLSN of a partition.
    pub(crate) fn last_of(&self, partition: u32) -> Option<u64> {
        usize::try_from(partition).ok().and_then(|index| self.partitions.get(index)).copied().flatten()
    }
}

/// What is known of a log's routing where the broker does not tell it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// What it was at the last look.
    pub routing: Option<Routing>,
    /// A VLSN that was refused by that.
    pub refused: Option<u64>,
}

impl Known {
    /// The routing of a log that has `count` partitions now and VLSNs up to `last`. A change of the count begins above every VLSN
    /// that was written before, and not above one that was refused for it. Changes before the first look are not seen.
    fn routing(self, last: Option<u64>, count: i32) -> Routing {
        let Some(known) = self.routing.filter(|known| known.partitions() <= count) else { return Routing::new(count) };
        if known.partitions() == count {
            return known;
        }
        let above = last.map_or(0, |last| last.saturating_add(1));
        let from = Vlsn(self.refused.map_or(above, |refused| refused.min(above)));
        let begun = known.epochs().last().map_or(Vlsn::ZERO, |epoch| epoch.from);
        known.extended(from.max(begun), count).unwrap_or_else(|_| Routing::new(count))
    }
}

/// How far a log is, from its partitions and its view: by what any Kafka client can ask.
pub(crate) async fn from_partitions(
    client: &PyralogClient,
    log: &LogId,
    view: &View,
    known: Known,
) -> Result<VlsnStanding, VlsnError> {
    client.cluster().await_log(log).await.map_err(|failure| VlsnError::of_look_up(log, failure))?;
    let bounds = view.bounds().await?;
    let ends = client.log_offsets(log, StartAt::Latest).await?;
    let starts = client.log_offsets(log, StartAt::Earliest).await?;
    let count = i32::try_from(ends.len()).unwrap_or(i32::MAX);
    let before = |offset: LogOffset| LogOffset(offset.0.saturating_sub(1));
    let holds_some = ends.iter().filter(|(partition, end)| starts.get(partition).is_some_and(|start| start < *end));
    let places: BTreeMap<u32, LogOffset> = holds_some.map(|(partition, end)| (*partition, before(*end))).collect();
    let found = vlsns_at(client, log, &places).await?;
    let routing = known.routing(found.values().copied().max().max(bounds.end.checked_sub(1)), count);
    let mut partitions = Vec::with_capacity(ends.len());
    for (partition, end) in &ends {
        let is_trimmed = end.0 > 0 && !found.contains_key(partition);
        // All of it is gone: it has whatever the view has passed.
        let passed = || below(&routing, *partition, bounds.end);
        partitions.push(found.get(partition).copied().or_else(|| is_trimmed.then(passed).flatten()));
    }
    let last = partitions.iter().copied().flatten().max();
    Ok(VlsnStanding { first: bounds.start, undecided: bounds.end, last, partitions, routing })
}

/// The VLSNs of the records at these offsets, but for those that retention takes meanwhile, or that go with the log.
pub(crate) async fn vlsns_at(
    client: &PyralogClient,
    log: &LogId,
    places: &BTreeMap<u32, LogOffset>,
) -> Result<BTreeMap<u32, u64>, VlsnError> {
    let mut found = BTreeMap::new();
    if places.is_empty() {
        return Ok(found);
    }
    let from = places.iter().map(|(partition, offset)| (*partition, *offset));
    let mut reader = client.reader(log).partitions(places.keys().copied()).from(from).open().await?;
    while found.len() < places.len() {
        let records = reader.poll(usize::MAX).await?;
        if records.is_empty() {
            let starts = client.log_offsets(log, StartAt::Earliest).await?;
            let ends = client.log_offsets(log, StartAt::Latest).await?;
            let is_there = |(partition, at): (&u32, &LogOffset)| {
                starts.get(partition).is_some_and(|start| start <= at)
                    && ends.get(partition).is_some_and(|end| at < end)
            };
            if !places.iter().filter(|(partition, _)| !found.contains_key(partition)).any(is_there) {
                break;
            }
        }
        for record in records {
            let vlsn = record.vlsn().ok_or_else(|| VlsnError::NotVlsn { log: log.clone() })?;
            found.entry(record.partition).or_insert(vlsn);
        }
    }
    Ok(found)
}

/// Whether a VLSN is written in its partition, for one that the view does not show yet; `None`: that is not on disk yet, or has not come so far.
pub(crate) async fn is_in_partition(
    client: &PyralogClient,
    log: &LogId,
    partition: u32,
    vlsn: u64,
) -> Result<Option<bool>, VlsnError> {
    let of = |offsets: BTreeMap<u32, LogOffset>| offsets.get(&partition).copied().unwrap_or_default().0;
    let start = of(client.log_offsets(log, StartAt::Earliest).await?);
    let end = of(client.log_offsets(log, StartAt::Latest).await?);
    let (mut low, mut high) = (start, end);
    // VLSNs rise with offsets: halve until the record is found.
    while low < high {
        let middle = low + (high - low) / 2;
        let found = vlsns_at(client, log, &BTreeMap::from([(partition, LogOffset(middle))])).await?;
        match found.get(&partition).map(|found| found.cmp(&vlsn)) {
            Some(std::cmp::Ordering::Equal) => return Ok(Some(true)),
            Some(std::cmp::Ordering::Less) => low = middle + 1,
            Some(std::cmp::Ordering::Greater) | None => high = middle,
        }
    }
    Ok((low < end).then_some(false))
}

/// The largest VLSN of a partition below another one.
fn below(routing: &Routing, partition: u32, end: u64) -> Option<u64> {
    let count = u64::from(routing.partitions().unsigned_abs());
    let index = PartitionIndex(i32::try_from(partition).unwrap_or(i32::MAX));
    (end.saturating_sub(count)..end).rev().find(|vlsn| routing.partition(Vlsn(*vlsn)) == index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(partitions: &[Option<u64>], undecided: u64) -> VlsnStanding {
        let routing = Routing::new(i32::try_from(partitions.len()).unwrap());
        let last = partitions.iter().copied().flatten().max();
        VlsnStanding { first: 0, undecided, last, partitions: partitions.to_vec(), routing }
    }

    #[test]
    fn what_is_missing_lies_above_the_last_of_its_partition() {
        // 106 and 103.. of partition 1 were on their way when the writer died.
        let after_crash = standing(&[Some(108), Some(103), Some(107)], 106);
        assert_eq!(after_crash.last, Some(108));
        assert!(after_crash.is_decided(103) && !after_crash.is_decided(106) && after_crash.is_decided(107));
        assert_eq!(after_crash.missing().collect::<Vec<_>>(), [106]);
        assert_eq!(standing(&[None, None], 0).missing().count(), 0);
        assert_eq!(standing(&[None, Some(3)], 0).missing().collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn a_change_of_the_count_begins_above_what_is_there_and_not_above_what_was_refused() {
        let epochs = |routing: Option<&Routing>, refused, last, count| {
            let routing = Known { routing: routing.cloned(), refused }.routing(last, count);
            routing.epochs().iter().map(|epoch| (epoch.from.0, epoch.partitions)).collect::<Vec<_>>()
        };
        let two = Routing::new(2);
        assert_eq!(epochs(None, None, Some(9), 3), [(0, 3)], "what was before is not known");
        assert_eq!(epochs(Some(&two), None, Some(9), 2), [(0, 2)]);
        assert_eq!(epochs(Some(&two), None, Some(9), 3), [(0, 2), (10, 3)]);
        assert_eq!(epochs(Some(&two), Some(14), Some(9), 3), [(0, 2), (10, 3)]);
        // 6 is in partition 0 by both, and was written after the change for which 5 was refused.
        assert_eq!(epochs(Some(&two), Some(5), Some(6), 3), [(0, 2), (5, 3)]);
        assert_eq!(epochs(Some(&two), None, None, 3), [(0, 3)], "nothing was written under the other one");
        let three = two.extended(Vlsn(10), 3).unwrap();
        assert_eq!(epochs(Some(&three), None, Some(9), 5), [(0, 2), (10, 5)]);
        assert_eq!(epochs(Some(&three), None, Some(9), 2), [(0, 2)], "another log");
    }

    #[test]
    fn the_last_of_a_partition_below_an_end() {
        let routing = Routing::new(3);
        assert_eq!((below(&routing, 0, 9), below(&routing, 2, 9), below(&routing, 1, 1)), (Some(6), Some(8), None));
    }
}
