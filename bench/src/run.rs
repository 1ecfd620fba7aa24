//! One run: prepares the topic, starts the workers, shows progress, prints results, cleans up.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::admin::{Client, End, NewTopic, Partition, Versions, offsets};
use crate::args::Common;
use crate::collect::{Collector, Role, Stretch};
use crate::engine::{Engine, Pace, Plan, Report, Run, Traffic, nanoseconds};
use crate::error::{BenchError, code_name};
use crate::process::{Usage, usage};
use crate::report::{Parts, Summary};

/// The topic of a run, ready.
#[derive(Debug)]
pub struct Prepared {
    /// What the broker speaks.
    pub versions: Versions,
    /// Partitions in their order.
    pub partitions: Vec<Partition>,
}

impl Prepared {
    /// Finds the topic, or creates it where that was asked for.
    pub fn new(common: &Common) -> Result<Self, BenchError> {
        let mut client = Client::connect(&common.bootstrap)?;
        let versions = client.versions()?;
        let topic = common.topic.as_str();
        let no_topic = || BenchError::NoTopic { topic: topic.to_owned(), address: common.bootstrap.clone() };
        let partitions = match (client.partitions(topic)?, common.create_partitions) {
            (None, None) => return Err(no_topic()),
            (None, Some(partitions)) => {
                client.create(&NewTopic {
                    name: topic,
                    partitions,
                    replication_factor: common.replication_factor,
                    configs: &common.topic_config,
                })?;
                common.is_ours.store(true, Ordering::Relaxed);
                created(&mut client, topic)?.ok_or_else(no_topic)?
            }
            (Some(found), Some(asked)) if usize::try_from(asked) != Ok(found.len()) => {
                return Err(BenchError::Partitions { topic: topic.to_owned(), found: found.len(), asked });
            }
            (Some(found), _) => found,
        };
        Ok(Self { versions, partitions })
    }

    /// The leaders, and the connections' share of them: connection n talks to leader n modulo their number.
    pub fn leaders(&self) -> Vec<SocketAddr> {
        let leaders: BTreeSet<SocketAddr> = self.partitions.iter().map(|partition| partition.leader).collect();
        leaders.into_iter().collect()
    }

    /// Indexes of the partitions that a node leads.
    pub fn led_by(&self, leader: SocketAddr) -> Vec<i32> {
        self.partitions.iter().filter(|p| p.leader == leader).map(|p| p.index).collect()
    }
}

/// How long a new topic may take until all its leaders serve it.
const CREATED_WAIT: Duration = Duration::from_secs(60);

/// A broker may take a moment to know what it has just created, and another one until the leaders know that they are.
fn created(client: &mut Client, topic: &str) -> Result<Option<Vec<Partition>>, BenchError> {
    let begun = Instant::now();
    loop {
        let partitions = client.partitions(topic)?;
        let serve = partitions.as_deref().map(|partitions| offsets(topic, partitions, End::Earliest));
        match serve {
            Some(Ok(_)) => return Ok(partitions),
            Some(Err(BenchError::Refused { .. })) | None if begun.elapsed() < CREATED_WAIT => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Some(Err(error)) => return Err(error),
            None => return Ok(None),
        }
    }
}

/// Deletes the topic where that was asked for, also after a failure; not one that was there before a run that never began.
pub fn clean_up(common: &Common, outcome: Result<(), BenchError>) -> Result<(), BenchError> {
    if !common.delete_topic || !common.is_ours.load(Ordering::Relaxed) {
        return outcome;
    }
    let deleted = Client::connect(&common.bootstrap).and_then(|mut client| client.delete(&common.topic));
    outcome.and(deleted)
}

type Job<'a> = Box<dyn FnOnce(Instant, &mut dyn FnMut(Report)) -> Result<(), BenchError> + Send + 'a>;

/// Stretches of a run: the warm-up and what is measured, in whole ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    tick: Duration,
    warmup: u32,
    measured: u32,
}

impl Times {
    fn new(warmup: Duration, measured: Duration) -> Self {
        let tick = Duration::from_secs(1).min(measured);
        let whole =
            |span: Duration| u32::try_from(span.as_nanos().div_ceil(tick.as_nanos().max(1))).unwrap_or(u32::MAX);
        Self { tick, warmup: whole(warmup), measured: whole(measured) }
    }

    fn measured_from(&self) -> Duration {
        self.tick.saturating_mul(self.warmup)
    }

    fn end(&self) -> Duration {
        self.tick.saturating_mul(self.warmup.saturating_add(self.measured))
    }
}

/// What ends a run, if nothing else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Its duration.
    AtItsTime,
    /// There may be nothing left to do before; a warm-up would take a part of that away.
    ByItself,
}

/// A run that is being put together.
pub struct Bench<'a> {
    what: &'static str,
    latency_from: &'static str,
    common: &'a Common,
    times: Times,
    stop: Arc<AtomicBool>,
    jobs: Vec<(Role, Job<'a>)>,
}

impl<'a> Bench<'a> {
    /// A run without workers.
    pub fn new(what: &'static str, pace: &Pace, common: &'a Common, ends: Ends) -> Result<Self, BenchError> {
        let latency_from = if matches!(pace, Pace::Closed) { "sent" } else { "due" };
        let usual = match ends {
            Ends::AtItsTime => Duration::from_secs(1),
            Ends::ByItself => Duration::ZERO,
        };
        let warmup = common.warmup.unwrap_or(usual);
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // The first signal ends the run and prints what there is, the second one ends the process.
            signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())
                .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
                .map_err(|error| BenchError::System { what: "handling Ctrl-C".to_owned(), error })?;
        }
        Ok(Self { what, latency_from, common, times: Times::new(warmup, common.duration), stop, jobs: Vec::new() })
    }

    /// When the last request is due, from the start.
    pub fn end_ns(&self) -> u64 {
        nanoseconds(self.times.end())
    }

    /// Adds a worker, and connects it.
    pub fn add<T: Traffic + Send + 'a>(&mut self, role: Role, traffic: T, plan: &Plan<'_>) -> Result<(), BenchError> {
        let run = Run { tick: self.times.tick, end: self.times.end(), stop: self.stop.clone() };
        let engine = Engine::new(run, traffic, plan)?;
        self.jobs.push((role, Box::new(move |start, report| engine.work(start, report))));
        Ok(())
    }

    /// Runs to the end and prints the results, also those of a run that failed on its way.
    pub fn run(self) -> Result<(), BenchError> {
        let Self { what, latency_from, common, times, stop, jobs } = self;
        let measured_from_ns = nanoseconds(times.measured_from());
        let warmup = usize::try_from(times.warmup).unwrap_or(usize::MAX);
        let collector = Collector::new(jobs.iter().map(|(role, _)| *role), warmup, measured_from_ns);
        let before = Samples::take(common.pid)?;
        common.is_ours.store(true, Ordering::Relaxed);
        let mut watch = Watch {
            what,
            latency_from,
            common,
            stop: &stop,
            measured_from_ns,
            warmup,
            collector,
            interval: None,
            begin: before,
            interval_begin: before,
            latest: before,
            sampled: 0,
            progress: std::io::stderr().is_terminal(),
            out_of_patience: false,
        };
        let (send, receive) = mpsc::channel();
        let start = Instant::now() + Duration::from_millis(20);
        let outcome = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (worker, (_, job)) in jobs.into_iter().enumerate() {
                let send = send.clone();
                threads.push(scope.spawn(move || {
                    // The receiver stays until all senders are gone.
                    let outcome = job(start, &mut |report| drop(send.send((worker, Some(report)))));
                    drop(send.send((worker, None)));
                    outcome
                }));
            }
            drop(send);
            // A worker that fails says so at its end; the others need not go on.
            for (worker, report) in receive {
                watch.take(worker, report);
            }
            let joined = threads.into_iter().map(|thread| thread.join().unwrap_or(Err(BenchError::Panicked)));
            joined.fold(Ok(()), Result::and)
        });
        watch.finish();
        outcome.and(watch.verdict())
    }
}

/// Processor time of the broker and of this tool at one moment.
#[derive(Debug, Clone, Copy)]
struct Samples {
    process: Option<(u32, Usage)>,
    own: Option<Usage>,
}

impl Samples {
    fn take(pid: Option<u32>) -> Result<Self, BenchError> {
        let process = pid.map(|pid| usage(Some(pid)).map(|usage| (pid, usage))).transpose()?;
        Ok(Self { process, own: usage(None).ok() })
    }
}

/// What looks at the workers while they run.
struct Watch<'a> {
    what: &'static str,
    latency_from: &'static str,
    common: &'a Common,
    stop: &'a AtomicBool,
    measured_from_ns: u64,
    warmup: usize,
    collector: Collector,
    /// What came since the last line of `--every`.
    interval: Option<Stretch>,
    begin: Samples,
    interval_begin: Samples,
    latest: Samples,
    sampled: usize,
    progress: bool,
    out_of_patience: bool,
}

impl Watch<'_> {
    fn take(&mut self, worker: usize, report: Option<Report>) {
        let Some(report) = report else {
            self.collector.finish(worker);
            return self.show_complete();
        };
        let begun = self.collector.take(worker, &report);
        if begun > self.sampled {
            // The first worker that ends a stretch marks its end. A process that is gone keeps its last sample.
            self.sampled = begun;
            self.latest = Samples::take(self.common.pid).unwrap_or(self.latest);
            if begun == self.warmup {
                (self.begin, self.interval_begin) = (self.latest, self.latest);
            }
        }
        self.show_complete();
    }

    fn show_complete(&mut self) {
        while let Some(stretch) = self.collector.complete() {
            if self.progress {
                let summary = self.summary(&stretch, false, (self.begin, self.begin));
                eprint!("\r\x1b[K{}", summary.line());
                let _ = std::io::stderr().flush();
            }
            let interval = match self.interval.take() {
                None => stretch,
                Some(mut interval) => {
                    interval.add(&stretch);
                    interval
                }
            };
            let length = interval.requests.until_ns.saturating_sub(interval.requests.from_ns);
            match self.common.every {
                Some(every) if length >= nanoseconds(every) => {
                    let summary = self.summary(&interval, false, (self.interval_begin, self.latest));
                    self.interval_begin = self.latest;
                    self.print(&summary, &summary.line());
                }
                Some(_) => self.interval = Some(interval),
                None => {}
            }
        }
        if self.collector.total().error_count() > self.common.max_errors && !self.out_of_patience {
            self.out_of_patience = true;
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn summary(&self, stretch: &Stretch, whole: bool, (begin, end): (Samples, Samples)) -> Summary {
        let process = begin.process.zip(end.process).map(|((pid, begin), (_, end))| (pid, begin, end));
        Summary::new(&Parts {
            what: self.what,
            whole,
            interrupted: whole && self.stop.load(Ordering::Relaxed),
            measured_from_ns: self.measured_from_ns,
            latency_from: self.latency_from,
            main: &stretch.requests,
            deliveries: Some(&stretch.deliveries),
            process,
            own: begin.own.zip(end.own),
            histogram: self.common.histogram,
        })
    }

    fn print(&self, summary: &Summary, text: &str) {
        self.clear_progress();
        if self.common.json {
            println!("{}", summary.json());
        } else {
            println!("{}", text.trim_end());
        }
    }

    fn clear_progress(&self) {
        if self.progress {
            eprint!("\r\x1b[K");
        }
    }

    fn finish(&self) {
        let summary = self.summary(self.collector.total(), true, (self.begin, self.latest));
        self.print(&summary, &summary.text());
    }

    /// Whether there were too many errors.
    fn verdict(&self) -> Result<(), BenchError> {
        let total = self.collector.total();
        let errors = total.error_count();
        if errors <= self.common.max_errors {
            return Ok(());
        }
        let all = total.requests.errors.iter().chain(&total.deliveries.errors);
        let code = all.max_by_key(|(_, count)| **count).map_or(0, |(code, _)| *code);
        Err(BenchError::Errors { errors, most: code_name(code), code, allowed: self.common.max_errors })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Times;

    #[test]
    fn a_run_is_made_of_whole_stretches() {
        let ms = Duration::from_millis;
        assert_eq!(Times::new(ms(1500), ms(10_000)).end(), ms(12_000));
        assert_eq!(Times::new(ms(0), ms(300)).end(), ms(300));
        assert_eq!(Times::new(ms(1000), ms(300)).measured_from(), ms(1200));
    }
}
