//! Puts the workers' stretches together: the same stretch of all workers is one, the warm-up is left out.

use std::collections::BTreeMap;

use crate::engine::Report;
use crate::tally::Tally;

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Its requests are what is measured.
    Requests,
    /// It reads what the others write, to time deliveries.
    Deliveries,
}

/// The same stretch of all workers.
#[derive(Debug, Clone)]
pub struct Stretch {
    /// Requests and their answers.
    pub requests: Tally,
    /// Deliveries.
    pub deliveries: Tally,
}

impl Stretch {
    fn new(from_ns: u64) -> Self {
        Self { requests: Tally::new(from_ns), deliveries: Tally::new(from_ns) }
    }

    fn of(&mut self, role: Role) -> &mut Tally {
        match role {
            Role::Requests => &mut self.requests,
            Role::Deliveries => &mut self.deliveries,
        }
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Stretch) {
        self.requests.add(&other.requests);
        self.deliveries.add(&other.deliveries);
    }

    /// Answers that were errors.
    pub fn error_count(&self) -> u64 {
        self.requests.error_count() + self.deliveries.error_count()
    }
}

/// Collects what the workers report.
#[derive(Debug)]
pub struct Collector {
    warmup_stretches: usize,
    /// Stretches that each worker has reported; all of them once it is done.
    reported: Vec<(Role, usize)>,
    open: BTreeMap<usize, Stretch>,
    next: usize,
    total: Stretch,
}

impl Collector {
    /// For workers with these roles; the first stretches are the warm-up, which ends at `measured_from_ns`.
    pub fn new(roles: impl IntoIterator<Item = Role>, warmup_stretches: usize, measured_from_ns: u64) -> Self {
        Self {
            warmup_stretches,
            reported: roles.into_iter().map(|role| (role, 0)).collect(),
            open: BTreeMap::new(),
            next: 0,
            total: Stretch::new(measured_from_ns),
        }
    }

    /// Takes a report; the answer is the number of stretches that have been begun to be reported.
    pub fn take(&mut self, worker: usize, report: &Report) -> usize {
        let Some((role, reported)) = self.reported.get_mut(worker) else { return 0 };
        match report {
            Report::Stretch(tally) => {
                let stretch = self.open.entry(*reported).or_insert_with(|| Stretch::new(tally.from_ns));
                stretch.of(*role).add(tally);
                *reported += 1;
            }
            Report::Late(tally) => {
                self.total.of(*role).add_late(tally);
                *reported = usize::MAX;
            }
        }
        self.next + self.open.len()
    }

    /// The worker will report no more.
    pub fn finish(&mut self, worker: usize) {
        if let Some((_, reported)) = self.reported.get_mut(worker) {
            *reported = usize::MAX;
        }
    }

    /// The next stretch that all workers have reported and that is not warm-up.
    pub fn complete(&mut self) -> Option<Stretch> {
        let through = self.reported.iter().map(|(_, reported)| *reported).min().unwrap_or(0);
        while self.next < through {
            let stretch = self.open.remove(&self.next)?;
            self.next += 1;
            if self.next > self.warmup_stretches {
                self.total.add(&stretch);
                return Some(stretch);
            }
        }
        None
    }

    /// All of it so far.
    pub fn total(&self) -> &Stretch {
        &self.total
    }
}

#[cfg(test)]
mod tests {
    use super::{Collector, Report, Role, Tally};

    fn stretch(index: u64, requests: u64) -> Report {
        let mut tally = Tally::new(index * 10);
        (tally.until_ns, tally.requests) = (index * 10 + 10, requests);
        Report::Stretch(tally)
    }

    fn complete(collector: &mut Collector) -> Option<(u64, u64)> {
        collector.complete().map(|stretch| (stretch.requests.requests, stretch.deliveries.requests))
    }

    #[test]
    fn a_stretch_is_complete_once_all_workers_have_told_theirs() {
        let mut all = Collector::new([Role::Requests, Role::Requests, Role::Deliveries], 1, 10);
        for worker in 0..3 {
            all.take(worker, &stretch(0, 100));
        }
        assert_eq!(complete(&mut all), None, "the warm-up");
        all.take(0, &stretch(1, 1));
        all.take(0, &stretch(2, 2));
        all.take(2, &stretch(1, 30));
        assert_eq!(complete(&mut all), None);
        all.take(1, &stretch(1, 4));
        assert_eq!(complete(&mut all), Some((5, 30)));
        all.finish(1);
        all.take(2, &stretch(2, 50));
        assert_eq!((complete(&mut all), complete(&mut all)), (Some((2, 50)), None));
        let total = all.total();
        assert_eq!((total.requests.requests, total.deliveries.requests), (7, 80));
        assert_eq!((total.requests.from_ns, total.requests.until_ns), (10, 30));
    }

    #[test]
    fn late_answers_count_but_not_as_throughput() {
        let mut all = Collector::new([Role::Requests], 0, 0);
        all.take(0, &stretch(0, 1));
        let mut late = Tally::new(10);
        (late.requests, late.until_ns) = (5, 99);
        late.latency.saturating_record(7);
        all.take(0, &Report::Late(late));
        assert_eq!(complete(&mut all), Some((1, 0)));
        let total = &all.total().requests;
        assert_eq!((total.requests, total.until_ns, total.latency.len()), (1, 10, 1));
    }
}
