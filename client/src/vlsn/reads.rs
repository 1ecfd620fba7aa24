//! Reading by VLSN: one, or a range in order.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use pyralog_protocol::{ApiKey, LogId, LogOffset, Routing, Vlsn};
use tokio::time::Instant;

use super::client::VlsnClient;
use super::error::VlsnError;
use super::private::offered;
use super::standing::{Known, VlsnStanding, from_partitions, vlsns_at};
use super::view::{Bounds, Seen, View};
use crate::client::PyralogClient;
use crate::error::CallError;
use crate::log::StartAt;
use crate::pure::view::LogView;
use crate::record::Record;

/// What there is at a VLSN.
///
/// ```no_run
/// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
/// use pyralog_client::VlsnRead;
///
/// match log.read(1001).await? {
///     VlsnRead::Found(record) => println!("{:?}", record.value),
///     VlsnRead::NotYet => println!("it may still come"),
///     VlsnRead::Gap => println!("it was left out, and never comes"),
///     VlsnRead::Trimmed => println!("retention took it"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VlsnRead {
    /// Its record. `offset` is the VLSN, as in the log's view; `partition` is that of the log.
    Found(Record),
    /// Nobody wrote it so far.
    NotYet,
    /// A later one of its partition is written, so it never comes.
    Gap,
    /// Retention or a deletion took what was there. (Where the broker has its private APIs off, a gap right behind
    /// what was taken counts as taken too.)
    Trimmed,
}

impl VlsnRead {
    /// The record, or why there is none, as an error.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// let record = log.read(1001).await?.record(1001)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn record(self, vlsn: u64) -> Result<Record, VlsnError> {
        let why = match self {
            Self::Found(record) => return Ok(record),
            Self::NotYet => "nobody wrote it so far",
            Self::Gap => "it was left out",
            Self::Trimmed => "retention took it",
        };
        Err(VlsnError::RecordNotFound { vlsn, why })
    }

    /// Whether there is a record.
    ///
    /// ```
    /// assert!(!pyralog_client::VlsnRead::Gap.is_found());
    /// ```
    pub fn is_found(&self) -> bool {
        matches!(self, Self::Found(_))
    }
}

/// A piece of a log, in the order of VLSNs. Every VLSN from where it was asked for up to `next` has a record here, or is
/// named in one of the other two.
///
/// ```no_run
/// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
/// let page = log.read_range(1000, 2000).await?;
/// println!("{} records, {} gaps; complete: {}", page.records.len(), page.gaps.len(), page.next == 2000);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VlsnPage {
    /// Records, rising.
    pub records: Vec<Record>,
    /// VLSNs that never come.
    pub gaps: Vec<Range<u64>>,
    /// VLSNs that retention took.
    pub trimmed: Vec<Range<u64>>,
    /// Where to go on.
    pub next: u64,
}

/// A range of a log, page by page, so that no more than a page is held at a time.
///
/// ```no_run
/// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
/// let mut pages = log.pages(0, 1_000_000);
/// while let Some(page) = pages.next().await? {
///     for record in page.records {
///         println!("{:?}: {:?}", record.vlsn(), record.value);
///     }
/// }
/// println!("nothing is decided from {} on", pages.position());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct VlsnPages<'a> {
    log: &'a VlsnClient,
    next: u64,
    end: u64,
}

impl VlsnPages<'_> {
    /// The next page; none when the range is through, or nothing of what is left is decided yet. Then it can be asked again.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// let first = log.pages(0, 100).next().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Result<Option<VlsnPage>, VlsnError> {
        if self.next >= self.end {
            return Ok(None);
        }
        let page = self.log.reads().page(self.next, self.end, Duration::ZERO).await?;
        let has_moved = page.next > self.next;
        self.next = page.next;
        Ok(has_moved.then_some(page))
    }

    /// Where the next page begins.
    ///
    /// ```no_run
    /// # fn example(log: pyralog_client::VlsnClient) {
    /// assert_eq!(log.pages(7, 9).position(), 7);
    /// # }
    /// ```
    pub fn position(&self) -> u64 {
        self.next
    }
}

/// VLSNs of one hole that are judged one by one; what is left out of more is a gap.
const HOLE_JUDGED_MAX: u64 = 1 << 16;

/// Adds a range to rising ones.
fn extend(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        Some(_) | None => ranges.push(range),
    }
}

impl VlsnClient {
    /// What there is at a VLSN now.
    ///
    /// The search of the first documents, a scan of the partition for the key, is one look into an index here; and "not
    /// found" is told apart into what it means.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// if let pyralog_client::VlsnRead::Found(record) = log.read(1001).await? {
    ///     println!("{:?}", record.value);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read(&self, vlsn: u64) -> Result<VlsnRead, VlsnError> {
        self.wait(vlsn, Duration::ZERO).await
    }

    /// What there is at a VLSN, as soon as that is decided; [`VlsnRead::NotYet`] if it is not within that time.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// use std::time::Duration;
    ///
    /// let outcome = log.wait(1001, Duration::from_secs(10)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait(&self, vlsn: u64, timeout: Duration) -> Result<VlsnRead, VlsnError> {
        self.reads().wait(vlsn, timeout).await
    }

    /// Everything in `start..end` that is decided, in the order of VLSNs, held in memory at once. `next` says how far that
    /// is. For long ranges there is [`Self::pages`].
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// for record in log.read_range(1000, 1010).await?.records {
    ///     println!("{:?}: {:?}", record.vlsn(), record.value);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_range(&self, start: u64, end: u64) -> Result<VlsnPage, VlsnError> {
        let mut whole = VlsnPage { next: start, ..VlsnPage::default() };
        let mut pages = self.pages(start, end);
        while let Some(page) = pages.next().await? {
            whole.records.extend(page.records);
            page.gaps.into_iter().for_each(|gap| extend(&mut whole.gaps, gap));
            page.trimmed.into_iter().for_each(|range| extend(&mut whole.trimmed, range));
            whole.next = page.next;
        }
        Ok(whole)
    }

    /// `start..end` page by page.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// let mut pages = log.pages(0, u64::MAX);
    /// while let Some(page) = pages.next().await? {
    ///     println!("{} records", page.records.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn pages(&self, start: u64, end: u64) -> VlsnPages<'_> {
        VlsnPages { log: self, next: start, end }
    }
}

/// The reading half of a handle.
#[derive(Debug)]
pub(crate) struct Reads {
    pub client: PyralogClient,
    pub log: LogId,
    pub view: View,
    /// As it was at the last look.
    routing: RwLock<Option<Routing>>,
}

impl Reads {
    /// Of a log whose routing is not known yet.
    pub fn new(client: PyralogClient, log: LogId) -> Result<Self, VlsnError> {
        let view = View::new(client.cluster().clone(), log.clone())?;
        Ok(Self { client, log, view, routing: RwLock::default() })
    }

    /// How far the log is.
    pub async fn standing(&self) -> Result<VlsnStanding, VlsnError> {
        self.standing_from(Known { routing: self.routing(), refused: None }).await
    }

    async fn standing_from(&self, known: Known) -> Result<VlsnStanding, VlsnError> {
        let standing = match offered(self.describe().await) {
            Ok(Some(standing)) => standing,
            Ok(None) => from_partitions(&self.client, &self.log, &self.view, known).await?,
            // There is no view, which has three reasons.
            Err(VlsnError::NotVlsn { .. }) => return Err(self.why_without_vlsns().await),
            Err(error) => return Err(error),
        };
        *self.routing.write().unwrap_or_else(PoisonError::into_inner) = Some(standing.routing.clone());
        Ok(standing)
    }

    fn routing(&self) -> Option<Routing> {
        self.routing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far the log is, with the partitions that a writer has to know for that.
    ///
    /// These are two questions, and partitions may be added between them: VLSNs would be routed to some that the writer does not
    /// have. Since none are taken away, answers that agree held together for a moment; others are asked for again.
    pub async fn look(&self, known: Known) -> Result<(LogView, VlsnStanding), VlsnError> {
        let cluster = self.client.cluster();
        let attempt = || async {
            let view = cluster.await_look_up(&self.log).await;
            let view = view.map_err(|failure| (false, VlsnError::of_look_up(&self.log, failure)))?;
            let standing = self.standing_from(known.clone()).await.map_err(|error| (false, error))?;
            let (found, routed) = (view.partitions.len(), standing.partition_count());
            if u32::try_from(found) == Ok(routed) {
                return Ok((view, standing));
            }
            let reason = format!("log {} has {found} partitions there, and routes its VLSNs to {routed}", self.log);
            let (address, api) = ("a broker".to_owned(), ApiKey::Metadata);
            Err((true, CallError::Unexpected { address, api, reason }.into()))
        };
        let is_mixed = |(is_mixed, _): &(bool, VlsnError)| *is_mixed;
        cluster.repeat(is_mixed, attempt).await.map_err(|(_, error)| error)
    }

    fn partition(&self, vlsn: u64) -> u32 {
        let routing = self.routing.read().unwrap_or_else(PoisonError::into_inner);
        routing.as_ref().and_then(|routing| u32::try_from(routing.partition(Vlsn(vlsn)).0).ok()).unwrap_or(0)
    }

    /// What there is at a VLSN, as soon as it is decided.
    pub async fn wait(&self, vlsn: u64, timeout: Duration) -> Result<VlsnRead, VlsnError> {
        if vlsn > Vlsn::MAX.0 {
            return Ok(VlsnRead::NotYet);
        }
        match offered(self.point(vlsn, timeout).await)? {
            Some(read) => Ok(read),
            None => self.view_read(vlsn, timeout).await,
        }
    }

    /// One page, from what is decided; if nothing is, it is waited for that long.
    pub async fn page(&self, from: u64, to: u64, wait: Duration) -> Result<VlsnPage, VlsnError> {
        match offered(self.range(from, to, wait).await)? {
            Some(page) => Ok(page),
            None => self.view_page(from, to, wait).await,
        }
    }

    async fn view_read(&self, vlsn: u64, timeout: Duration) -> Result<VlsnRead, VlsnError> {
        let deadline = Instant::now() + timeout;
        // One batch is enough.
        const ONE_BATCH: usize = 1;
        loop {
            let end = match self.view.look(vlsn, ONE_BATCH, Duration::ZERO).await? {
                Seen::Records { read, .. } if read.next > super::view::offset(vlsn) => {
                    let found = read.records.into_iter().find(|record| record.vlsn() == Some(vlsn));
                    return match found {
                        Some(record) => Ok(VlsnRead::Found(self.placed(record))),
                        None if self.is_trimmed(vlsn).await? => Ok(VlsnRead::Trimmed),
                        None => Ok(VlsnRead::Gap),
                    };
                }
                Seen::Outside(Bounds { start, .. }) if vlsn < start => return Ok(VlsnRead::Trimmed),
                Seen::Outside(bounds) => bounds.end,
                Seen::Records { end, .. } => end,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(VlsnRead::NotYet);
            }
            if end <= vlsn {
                // Until the end of the view moves.
                self.view.look(end, ONE_BATCH, left).await?;
            }
        }
    }

    async fn view_page(&self, from: u64, to: u64, wait: Duration) -> Result<VlsnPage, VlsnError> {
        let mut page = VlsnPage { next: from, ..VlsnPage::default() };
        let max_bytes = self.client.cluster().config.reader.max_bytes;
        let read = match self.view.look(from.min(Vlsn::MAX.0 + 1), max_bytes, wait).await? {
            Seen::Outside(Bounds { start, .. }) if from < start => {
                page.next = start.min(to);
                extend(&mut page.trimmed, from..page.next);
                return Ok(page);
            }
            Seen::Outside(_) => return Ok(page),
            Seen::Records { read, .. } => read,
        };
        page.next = u64::try_from(read.next.0).unwrap_or(from).clamp(from, to);
        let mut holes = Vec::new();
        let mut at = from;
        for record in read.records {
            let Some(vlsn) = record.vlsn().filter(|vlsn| *vlsn < to) else { break };
            extend(&mut holes, at..vlsn);
            at = vlsn.saturating_add(1);
            page.records.push(self.placed(record));
        }
        extend(&mut holes, at..page.next.max(at));
        if !holes.is_empty() {
            self.judge(holes, &mut page).await?;
        }
        Ok(page)
    }

    /// Tells gaps from what retention took in a partition while others have kept theirs.
    async fn judge(&self, holes: Vec<Range<u64>>, page: &mut VlsnPage) -> Result<(), VlsnError> {
        let kept = self.first_kept().await?;
        let Some(highest) = kept.values().copied().max() else {
            page.gaps = holes;
            return Ok(());
        };
        for hole in holes {
            let border = highest.clamp(hole.start, hole.end.min(hole.start.saturating_add(HOLE_JUDGED_MAX)));
            for vlsn in hole.start..border {
                let is_trimmed = kept.get(&self.partition(vlsn)).is_some_and(|first| vlsn < *first);
                extend(if is_trimmed { &mut page.trimmed } else { &mut page.gaps }, vlsn..vlsn + 1);
            }
            extend(&mut page.gaps, border..hole.end);
        }
        Ok(())
    }

    async fn is_trimmed(&self, vlsn: u64) -> Result<bool, VlsnError> {
        let kept = self.first_kept().await?;
        Ok(kept.get(&self.partition(vlsn)).is_some_and(|first| vlsn < *first))
    }

    /// The first VLSN of each partition that has lost some to retention.
    async fn first_kept(&self) -> Result<BTreeMap<u32, u64>, VlsnError> {
        let starts = self.client.log_offsets(&self.log, StartAt::Earliest).await?;
        let lost: BTreeMap<u32, LogOffset> = starts.into_iter().filter(|(_, start)| *start > LogOffset::ZERO).collect();
        if lost.is_empty() {
            return Ok(BTreeMap::new());
        }
        let ends = self.client.log_offsets(&self.log, StartAt::Latest).await?;
        let (some, none): (BTreeMap<_, _>, BTreeMap<_, _>) =
            lost.into_iter().partition(|(partition, start)| ends.get(partition).is_some_and(|end| start < end));
        let mut kept = vlsns_at(&self.client, &self.log, &some).await?;
        // A partition that has lost all: whatever is decided was in it.
        kept.extend(none.keys().map(|partition| (*partition, u64::MAX)));
        Ok(kept)
    }

    /// The name of the view.
    pub fn view_name(&self) -> &LogId {
        self.view.name()
    }

    /// A record of the view, with the partition that it has in the log.
    pub fn placed(&self, record: Record) -> Record {
        let partition = record.vlsn().map_or(0, |vlsn| self.partition(vlsn));
        Record { partition, ..record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ranges_become_one() {
        let mut ranges = Vec::new();
        for range in [0..2, 2..2, 2..5, 7..8, 8..9] {
            extend(&mut ranges, range);
        }
        assert_eq!(ranges, [0..5, 7..9]);
    }
}
