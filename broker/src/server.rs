//! `pyralog server`: start, serve until told to stop, stop in order.

use std::io::Write;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pyralog_coordinator::config::{BrokerSettings, Scope};
use pyralog_node::lifecycle::Closing;
use pyralog_node::{Limits, Node};
use pyralog_protocol::Draw;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{debug, error, info, warn};

use crate::cli::ServerArgs;
use crate::clock::Clock;
use crate::disk::RealDisk;
use crate::folder::DataFolder;
use crate::http::Http;
use crate::progress::{Progress, Stage};
use crate::removal::Remover;
use crate::room::RoomWatch;
use crate::settings::Settings;
use crate::shell::{Parts, Shell};
use crate::sockets::{self, SocketBuffers};
use crate::upkeep::{self, Intervals};
use crate::{
    cleaning, control, deadlines, http, journaling, listener, logging, reading, room, scrubbing, start, syncer,
};

/// Workers that sync partitions, for each processor. Fewer leave the device waiting; more make each sync smaller, and the
/// processors busy with them. Two processors with 64 KiB batches: four, six and eight of them reach the same within the noise, and four
/// take a tenth less work than eight.
const SYNC_WORKERS_EACH: usize = 3;
/// At least and at most that many.
const SYNC_WORKERS: std::ops::RangeInclusive<usize> = 4..=16;
/// Least number of threads that open partitions.
const OPENERS: usize = 8;
/// Open files below which a broker cannot work.
const FILES_MIN: u64 = 120;
/// Open files of the process itself: standard streams, listeners, the runtime, locks, the journal, and those that the
/// metadata store keeps open whatever its limit says.
const FILES_OF_PROCESS: u64 = 40;
/// Open files that threads hold for a moment, above the budget of the logs: a new segment, a small file in the making, a
/// folder that is synced.
const FILES_IN_PASSING: u64 = 40;
/// Time that connections have to take their last answers when the server stops.
const GOODBYE: Duration = Duration::from_secs(5);

/// Runs a server until it is told to stop. The error is a text for the terminal.
pub fn run(args: ServerArgs) -> Result<(), String> {
    let clock = Clock::start();
    // Threads with little to keep would hold whole pages of 2 MiB: 40 MB at rest instead of 28, and no request is faster for it.
    let small_pages = rustix::thread::disable_transparent_huge_pages(true);
    let settings = Settings::gather(args, std::env::vars_os()).map_err(|e| e.to_string())?;
    logging::start(settings.log_format, &settings.log)?;
    for warning in &settings.warnings {
        warn!("{warning}");
    }
    if let Err(error) = small_pages {
        debug!(%error, "memory may come in huge pages, and be more than is used");
    }
    let files = raise_file_limit()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(network_threads())
        .thread_name("net")
        .build()
        .map_err(|e| format!("cannot start the network threads: {e}"))?;
    runtime.block_on(serve(settings, clock, files))
}

/// `pyralog configs`.
pub fn print_configs() {
    let mut out = std::io::stdout().lock();
    for config in Scope::Broker.configs() {
        let _ = writeln!(out, "{}={}", config.name, config.default.unwrap_or(""));
    }
}

/// Takes all descriptors that the system allows us.
fn raise_file_limit() -> Result<u64, String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(1 << 20);
    if allowed < FILES_MIN {
        return Err(format!(
            "only {allowed} open files are allowed, at least {FILES_MIN} are needed; raise it with ulimit -n"
        ));
    }
    if limit.current.is_none_or(|current| current >= allowed) {
        return Ok(allowed);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum: limit.maximum }) {
        Ok(()) => Ok(allowed),
        Err(e) => {
            warn!(error = %e, "the limit of open files could not be raised");
            Ok(limit.current.unwrap_or(FILES_MIN))
        }
    }
}

/// Network threads: twice as many as processors, up to eight more. A thread waits for the kernel, and where its batch is small for
/// the lock of a partition; with one thread per processor, other connections waited with it
/// (two processors, 64 KiB appends: 1.6 GB/s with two threads, p99 of 8.5 ms; 1.8 and 6.6 with four; small requests and fetches are the same; measured
/// before large batches were left to whoever is appending).
fn network_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors + processors.min(8)
}

/// Time that an address may still be held by a process that was just killed.
const HANDOVER: Duration = Duration::from_secs(1);

async fn bind(address: &str, flag: &str) -> Result<TcpListener, String> {
    let with_host = sockets::with_host(address);
    let until = Instant::now() + HANDOVER;
    let bound = loop {
        match TcpListener::bind(&*with_host).await {
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            outcome => break outcome,
        }
    };
    bound.map_err(|e| {
        let hint = if e.kind() == std::io::ErrorKind::AddrInUse {
            "another process listens there; stop it or choose another port"
        } else if e.kind() == std::io::ErrorKind::PermissionDenied {
            "ports below 1024 need rights; choose a higher one"
        } else {
            "write HOST:PORT with an address of this machine"
        };
        format!("cannot listen on {address} ({flag}): {e}; {hint}")
    })
}

async fn serve(mut settings: Settings, clock: Clock, files: u64) -> Result<(), String> {
    // First of all: an address that is still held is waited for.
    let mut stop = Stop::listen()?;
    let kafka = bind(&settings.kafka_listen, "--kafka-listen").await?;
    let web = bind(&settings.http_listen, "--http-listen").await?;
    let kafka_at = kafka.local_addr().map_err(|e| e.to_string())?;
    sockets::spare_congestion_control(&kafka, kafka_at);
    let web_at = web.local_addr().map_err(|e| e.to_string())?;
    sockets::spare_congestion_control(&web, web_at);
    settings.show_addresses(kafka_at);
    let progress = Arc::new(Progress::default());
    let cell = Arc::new(OnceLock::new());
    // Before the logs are open: liveness probes must not kill a node that recovers.
    let http =
        tokio::spawn(http::serve(web, Http::new(Arc::clone(&cell), Arc::clone(&progress), FileShares::of(files).web)));
    let running = start_unless_stopped(settings, (clock, files), &progress, &mut stop).await?;
    if !progress.is_called_off() {
        let _ = cell.set(Arc::clone(&running.shell));
        let accepting = accept(&running.shell, kafka);
        progress.set_ready(true);
        announce(format!("pyralog ready kafka={kafka_at} http={web_at} in {} ms", clock.elapsed().as_millis()));
        info!(kafka = %kafka_at, http = %web_at, "serving");
        stop.first().await;
        info!("stopping; a second signal stops at once");
        progress.set_ready(false);
        accepting.abort();
    }
    let outcome = stop.second_ends(tokio::task::spawn_blocking(move || running.stop())).await;
    http.abort();
    outcome
}

/// Starts. If it is told to stop meanwhile, it leaves out what it has not begun, and the caller is to stop what there is: so
/// whatever it has recovered by then is closed in order, and the next start has no work with it.
async fn start_unless_stopped(
    settings: Settings,
    (clock, files): (Clock, u64),
    progress: &Arc<Progress>,
    stop: &mut Stop,
) -> Result<Running, String> {
    let for_start = Arc::clone(progress);
    let mut starting = tokio::task::spawn_blocking(move || Running::start(settings, clock, files, &for_start));
    tokio::select! {
        started = &mut starting => return started.unwrap_or_else(|e| Err(e.to_string())),
        () = stop.first() => {}
    }
    progress.call_off();
    info!("stopping, before the start is done; a second signal stops at once");
    stop.second_ends(starting).await
}

/// Lets clients in.
fn accept(shell: &Arc<Shell>, kafka: TcpListener) -> tokio::task::JoinHandle<()> {
    let topology = shell.node.topology();
    let network = &topology.image.broker().network;
    let (buffers, backlog) = (SocketBuffers::of(network), network.backlog);
    // Until now nobody was accepted, and whoever came waited in a queue of the system's own length.
    if let Err(error) = rustix::net::listen(&kafka, backlog) {
        warn!(%error, backlog, "socket.listen.backlog.size could not be set");
    }
    tokio::spawn(listener::accept(Arc::clone(shell), buffers, kafka))
}

/// Says on stdout that the broker serves. In a thread of its own, for nobody may be there who takes it.
fn announce(ready: String) {
    let say = move || {
        let mut out = std::io::stdout().lock();
        if let Err(error) = writeln!(out, "{ready}").and_then(|()| out.flush()) {
            warn!(%error, "the ready line could not be written to stdout");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("ready".into()).stack_size(128 << 10).spawn(say) {
        warn!(%error, "the ready line could not be written to stdout");
    }
}

/// SIGTERM, SIGINT and SIGHUP.
struct Stop {
    term: Signal,
    int: Signal,
    /// The terminal or the session is gone. Not if we were told to survive that (nohup).
    hup: Option<Signal>,
}

impl Stop {
    fn listen() -> Result<Self, String> {
        let open = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
        let hup = if ignores_hangups() { None } else { Some(open(SignalKind::hangup())?) };
        Ok(Self { term: open(SignalKind::terminate())?, int: open(SignalKind::interrupt())?, hup })
    }

    async fn first(&mut self) {
        let Self { term, int, hup } = self;
        let hangup = async {
            match hup {
                Some(hup) => hup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {}, _ = hangup => {} }
    }

    /// Waits for work of the start or the stop; a signal ends the process meanwhile. Hangups do not: a terminal that goes away sends one,
    /// and its shell another.
    async fn second_ends<T>(&mut self, work: tokio::task::JoinHandle<Result<T, String>>) -> Result<T, String> {
        tokio::select! {
            outcome = work => return outcome.unwrap_or_else(|e| Err(e.to_string())),
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
        logging::end("stopped at once; the next start checks the ends of all logs")
    }
}

/// Whether SIGHUP was switched off for us.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is the first signal.
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1))
}

/// A broker whose threads run.
struct Running {
    shell: Arc<Shell>,
    folder: Arc<DataFolder>,
    control: std::thread::JoinHandle<()>,
    upkeep: std::thread::JoinHandle<()>,
    deadlines: std::thread::JoinHandle<()>,
    room: RoomWatch,
}

impl Running {
    fn start(settings: Settings, clock: Clock, files: u64, progress: &Arc<Progress>) -> Result<Self, String> {
        let _telling = progress.tell().map_err(|e| format!("cannot start a thread: {e}"))?;
        let folder = Arc::new(DataFolder::open(&settings.data).map_err(|e| e.to_string())?);
        let seed = seed()?;
        let shares = FileShares::of(files);
        let disk = Arc::new(RealDisk::new(folder.root()));
        room::make_way(&disk, folder.root());
        start::tell_unclean_starts(&folder);
        // Both read what may be a few hundred MB, and know nothing of each other.
        let (control, journal) = std::thread::scope(|scope| {
            let journal = scope.spawn(|| journaling::open(&disk, folder.is_clean_throughout()));
            let store = start::store_options(&disk, shares.metadata);
            let control = start::open_control(&settings, &folder, &store, (clock, Draw::new(u128::from(seed))));
            (control, journal.join().unwrap_or_else(|_| Err("reading the journal failed an assertion".to_owned())))
        });
        let (mut control, image) = control.map_err(|error| room::explain(&disk, error))?;
        let (journal, replay) = journal?;
        let broker = Arc::clone(image.broker());
        let remover = Remover::start(Arc::clone(&disk)).map_err(|e| format!("cannot start a thread: {e}"))?;
        let (control_handle, control_queue) = control::queue();
        let (syncers, sync_queue) = syncer::queue();
        let (upkeep_handle, upkeep_queue) = upkeep::queue();
        let node = Node::new(
            limits_of(&broker, shares),
            Arc::clone(&image),
            settings.advertise.clone(),
            Arc::clone(&disk),
            Draw::new(u128::from(seed.rotate_left(32))),
        );
        let shell = Arc::new(Shell::new(Parts {
            node,
            disk,
            clock,
            control: control_handle,
            journal,
            syncers,
            remover,
            upkeep: upkeep_handle,
            seed,
        }));
        folder.mark_dirty().map_err(|e| format!("cannot write to the data folder: {e}"))?;
        let image = if folder.was_clean || folder.is_new {
            image
        } else {
            start::raise_epochs(&mut control, clock, shell.draw())?
        };
        let how = start::Opening { threads: openers(&broker), files, progress };
        start::open_partitions(&shell, &folder, (image, &replay), &how);
        drop(replay);
        progress.enter(Stage::Last);
        let declared = if progress.is_called_off() { Vec::new() } else { settings.logs };
        if let Err(wrong) = start::declare_logs(&shell, &mut control, declared) {
            // Nothing was served yet: a typing mistake in the file must not cost the next start a recovery.
            close_folder(&shell, &folder)?;
            return Err(wrong);
        }
        shell.node.observe_quorum(control.quorum());
        let failed = |e: std::io::Error| format!("cannot start a thread: {e}");
        syncer::start(&shell, &sync_queue, sync_workers()).map_err(failed)?;
        journaling::start(&shell).map_err(failed)?;
        reading::start(&shell).map_err(failed)?;
        cleaning::start(&shell).map_err(failed)?;
        scrubbing::start(&shell).map_err(failed)?;
        let control = control::start(Arc::clone(&shell), control_queue, control).map_err(failed)?;
        let ms = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX));
        let intervals = Intervals {
            retention: ms(broker.upkeep.retention_check_interval_ms),
            expiry: ms(broker.producers.expiration_check_interval_ms.into()),
        };
        let upkeep = upkeep::start(Arc::clone(&shell), Arc::clone(&folder), upkeep_queue, intervals).map_err(failed)?;
        let deadlines = deadlines::start(Arc::clone(&shell)).map_err(failed)?;
        let room = RoomWatch::start(Arc::clone(&shell), folder.root()).map_err(failed)?;
        Ok(Self { shell, folder, control, upkeep, deadlines, room })
    }

    /// Stops in order: connections take their last answers, the coordinator its last requests, every partition goes to
    /// disk, and only then the folder is marked as cleanly closed (IO-10).
    fn stop(self) -> Result<(), String> {
        self.shell.mailboxes.stop_all();
        let until = Instant::now() + GOODBYE;
        while self.shell.mailboxes.len() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.shell.cleaning.stop();
        self.shell.scrubbing.stop();
        self.room.stop();
        self.shell.upkeep.stop();
        let _ = self.upkeep.join();
        self.shell.deadlines.stop();
        let _ = self.deadlines.join();
        self.shell.control.stop();
        let _ = self.control.join();
        while self.shell.node.is_syncing() && Instant::now() < until + GOODBYE {
            std::thread::sleep(Duration::from_millis(1));
        }
        close_folder(&self.shell, &self.folder)?;
        info!("stopped cleanly");
        Ok(())
    }
}

/// Brings every partition to disk, and only then marks the folder as cleanly closed (IO-10). What was offline all the time
/// was not changed, so it keeps nobody from that; the marker names it.
fn close_folder(shell: &Shell, folder: &DataFolder) -> Result<(), String> {
    let mut out = shell.outputs();
    let Closing { points, untouched, problems } = shell.node.close_all(&mut out);
    shell.dispatch(out);
    for problem in &problems {
        error!(%problem, "a partition could not be closed cleanly");
    }
    if !untouched.is_empty() {
        warn!(
            partitions = untouched.len(),
            "partitions were offline since the start; the next one looks at them again"
        );
    }
    // Also where the stop is not clean for all: it tells the next start of those that were closed.
    folder.write_recovery_points(&points).map_err(|e| format!("cannot write the recovery checkpoint: {e}"))?;
    if !problems.is_empty() {
        return Err(format!("{} partitions could not be closed; the next start recovers them", problems.len()));
    }
    folder.mark_clean(&untouched).map_err(|e| format!("cannot write the clean-shutdown marker: {e}"))
}

fn sync_workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors * SYNC_WORKERS_EACH).clamp(*SYNC_WORKERS.start(), *SYNC_WORKERS.end())
}

/// Threads that open partitions: one per core for checking, and more while they wait for a disk that was not read yet.
fn openers(broker: &BrokerSettings) -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    cores.max(OPENERS).max(usize::try_from(broker.upkeep.recovery_threads).unwrap_or(1))
}

fn seed() -> Result<u64, String> {
    let mut bytes = [0; 8];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").map_err(|e| e.to_string())?, &mut bytes)
        .map_err(|e| format!("cannot read /dev/urandom: {e}"))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// How the open files that the system allows are shared out, so that no append fails for want of one (OP-12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileShares {
    sockets: usize,
    web: usize,
    logs: usize,
    metadata: i32,
}

impl FileShares {
    fn of(files: u64) -> Self {
        let metadata = i32::try_from(files / 16).unwrap_or(i32::MAX).clamp(10, 256);
        let taken = FILES_OF_PROCESS + FILES_IN_PASSING + u64::from(metadata.unsigned_abs());
        let rest = usize::try_from(files.saturating_sub(taken)).unwrap_or(usize::MAX);
        let logs = rest / 3;
        let web = (rest / 8).min(http::CONNECTIONS_MAX);
        Self { sockets: rest - logs - web, web, logs, metadata }
    }
}

/// The limits of the node from the configs; what Kafka leaves open is closed here.
fn limits_of(broker: &BrokerSettings, shares: FileShares) -> Limits {
    let defaults = Limits::default();
    let network = &broker.network;
    Limits {
        frame_bytes: usize::try_from(network.request_max_bytes).unwrap_or(defaults.frame_bytes),
        sockets: shares.sockets,
        open_files: shares.logs,
        request_bytes: usize::try_from(network.queued_max_bytes).unwrap_or(defaults.request_bytes),
        idle_ms: u64::try_from(network.idle_max_ms).unwrap_or(defaults.idle_ms),
        journal_bytes: journaling::BUSY_BYTES,
        journal_calm_bytes: journaling::CALM_BYTES,
        journal_flush_bytes: journaling::FLUSH_BYTES,
        fetch_bytes: usize::try_from(network.fetch_max_bytes).unwrap_or(defaults.fetch_bytes),
        fetch_sessions: usize::try_from(network.fetch_sessions_max).unwrap_or(defaults.fetch_sessions),
        ..defaults
    }
}
