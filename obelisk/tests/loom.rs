//! The lock-free part under loom: `src/window.rs` itself, compiled here against loom's atomics and locks, in every order
//! that two or three threads can run in. (The crate uses the same file with the standard library's.)
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../src/error.rs"]
#[allow(dead_code, missing_docs)]
mod error;
#[path = "../src/window.rs"]
#[allow(dead_code)]
mod window;

mod primitives {
    pub(crate) use loom::sync::atomic::AtomicU64;
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

use std::sync::Mutex as StdMutex;
use std::sync::atomic::AtomicU64 as StdAtomic;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, PoisonError};

use error::CounterError;
use window::{Ledger, Refusal, Window};

/// What `error.rs` says of the rest of the crate.
use stand_ins::{Identity, StrategyKind};

mod stand_ins {
    use std::fmt;

    #[derive(Debug)]
    pub struct Identity;
    #[derive(Debug)]
    pub struct StrategyKind;

    impl fmt::Display for Identity {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Ok(())
        }
    }

    impl fmt::Display for StrategyKind {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Ok(())
        }
    }
}

/// A disk that is seen outside of the model: what is durable is durable for all threads.
#[derive(Default)]
struct Disk {
    durable: StdAtomic,
    raises: StdAtomic,
}

/// What becomes of a raise.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Raise {
    Works,
    IsRefused,
    Fails,
    /// A planted bug: the answer comes before the disk has it.
    IsPromisedOnly,
}

struct TestLedger {
    disk: Arc<Disk>,
    limit: u64,
    /// By the number of the raise; beyond the end all work.
    script: &'static [Raise],
}

impl Ledger for TestLedger {
    fn raise(&mut self, _next: u64, least: u64, wanted: u64) -> Result<u64, Refusal> {
        let number = usize::try_from(self.disk.raises.fetch_add(1, SeqCst)).unwrap();
        let ceiling = wanted.max(least);
        let reason = Arc::from("as the test says");
        match self.script.get(number).copied().unwrap_or(Raise::Works) {
            Raise::Works => {
                self.disk.durable.store(ceiling, SeqCst);
                Ok(ceiling)
            }
            Raise::IsPromisedOnly => Ok(ceiling),
            Raise::IsRefused => Err(Refusal::ForNow(CounterError::DiskFull { path: "full".into(), reason })),
            Raise::Fails => {
                Err(Refusal::ForGood(CounterError::Failed { path: "broken".into(), doing: "sync", reason }))
            }
        }
    }

    fn flush(&mut self) -> Result<(), Refusal> {
        Ok(())
    }

    fn close(&mut self, _next: u64) -> Result<(), Refusal> {
        Ok(())
    }

    fn limit(&self) -> u64 {
        self.limit
    }
}

struct Case {
    step: u64,
    limit: u64,
    script: &'static [Raise],
    /// What each thread takes, in order.
    threads: &'static [&'static [u64]],
}

/// Runs the case in every order; each value is handed out once, below what is durable, and rising within a thread.
fn explore(case: &'static Case, check: fn(taken: &[u64], failures: usize)) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let disk = Arc::new(Disk::default());
        let ledger = TestLedger { disk: Arc::clone(&disk), limit: case.limit, script: case.script };
        let window = Arc::new(Window::new(0, case.step, ledger));
        let results = Arc::new(StdMutex::new((Vec::new(), 0)));
        let run = |asks: &'static [u64]| {
            let (window, disk, results) = (Arc::clone(&window), Arc::clone(&disk), Arc::clone(&results));
            move || {
                let mut last = None;
                for n in asks {
                    let taken = window.take(*n);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    match taken {
                        Ok(first) => {
                            assert!(first + n <= disk.durable.load(SeqCst), "{first} + {n} is not durable");
                            assert!(last.is_none_or(|last| last < first), "{first} after {last:?}");
                            last = Some(first);
                            results.0.extend(first..first + n);
                        }
                        Err(_) => results.1 += 1,
                    }
                }
            }
        };
        let (mine, others) = case.threads.split_first().unwrap();
        let others: Vec<_> = others.iter().map(|asks| loom::thread::spawn(run(asks))).collect();
        run(mine)();
        others.into_iter().for_each(|thread| thread.join().unwrap());
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = results.1;
        results.0.sort_unstable();
        assert!(results.0.windows(2).all(|pair| pair[0] < pair[1]), "a value twice: {:?}", results.0);
        check(&results.0, failures);
    });
}

const NO_LIMIT: u64 = 1 << 60;

#[test]
fn two_threads_take_every_value_once_across_raises() {
    static CASE: Case = Case { step: 2, limit: NO_LIMIT, script: &[], threads: &[&[1, 1, 1], &[1, 1]] };
    explore(&CASE, |taken, failures| assert_eq!((taken, failures), (&[0, 1, 2, 3, 4][..], 0)));
}

#[test]
fn three_threads_take_every_value_once_when_each_is_a_raise() {
    static CASE: Case = Case { step: 1, limit: NO_LIMIT, script: &[], threads: &[&[1], &[1], &[1]] };
    explore(&CASE, |taken, failures| assert_eq!((taken, failures), (&[0, 1, 2][..], 0)));
}

#[test]
fn large_and_small_claims_do_not_overlap() {
    static CASE: Case = Case { step: 4, limit: NO_LIMIT, script: &[], threads: &[&[1, 300], &[2, 1]] };
    explore(&CASE, |taken, failures| assert_eq!((taken.len(), failures), (304, 0)));
}

#[test]
fn ob_01_the_limit_is_an_error_in_every_thread() {
    static CASE: Case = Case { step: 2, limit: 3, script: &[], threads: &[&[1, 1, 1], &[1, 1]] };
    explore(&CASE, |taken, failures| assert_eq!((taken, failures), (&[0, 1, 2][..], 2)));
}

#[test]
fn a_refused_raise_passes() {
    static CASE: Case =
        Case { step: 2, limit: NO_LIMIT, script: &[Raise::Works, Raise::IsRefused], threads: &[&[1, 1, 1], &[1, 1]] };
    explore(&CASE, |taken, failures| assert!(taken.len() + failures == 5 && failures <= 2, "{taken:?}, {failures}"));
}

#[test]
fn ob_09_after_a_failed_raise_there_is_nothing_more() {
    static CASE: Case =
        Case { step: 1, limit: NO_LIMIT, script: &[Raise::Works, Raise::Fails], threads: &[&[1, 1], &[1, 1]] };
    explore(&CASE, |taken, failures| assert!(taken.len() <= 2 && failures >= 2, "{taken:?}, {failures}"));
}

#[test]
#[should_panic(expected = "is not durable")]
fn planted_raise_that_answers_too_early_is_caught() {
    static CASE: Case =
        Case { step: 1, limit: NO_LIMIT, script: &[Raise::Works, Raise::IsPromisedOnly], threads: &[&[1, 1], &[1]] };
    explore(&CASE, |_, _| {});
}
