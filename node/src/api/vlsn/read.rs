//! VlsnRead and VlsnReadRange: find the records, or wait until their VLSNs are decided.
//! Holds: what is not in the page cache is brought there by the shell before it is read, so that no network thread waits
//! for the disk; whatever a request names, it costs a bounded number of bytes to read.

use std::sync::Arc;

use pyralog_protocol::kafka_protocol::protocol::StrBytes;
use pyralog_protocol::vlsn::messages::{
    READ_VLSNS_MAX, VlsnHeader, VlsnRange as WireRange, VlsnReadRangeRequest, VlsnReadRangeResponse, VlsnReadRequest,
    VlsnReadResponse, VlsnReadResult, outcome,
};
use pyralog_protocol::{ErrorCode, MonoMs, Now, Response, Vlsn};
use pyralog_storage::{Disk, DiskFile, Patience};

use crate::Node;
use crate::api::{Responder, Step};
use crate::connection::{ConnId, Connection, FileRange};
use crate::outputs::{Outputs, Warm};
use crate::partition::Partition;
use crate::topology::Topology;
use crate::unreadable::Telling;
use crate::vlsn::{
    HELD_BYTES, PageLimits, PageParts, Point, PointBatch, PointRecord, Sought, VlsnError, VlsnLog, VlsnRange,
};
use crate::waiting::{Wait, Warming};

/// Longest wait, whatever the client asks: 1 hour.
const MAX_WAIT_MS: i32 = 3_600_000;
/// Most bytes of batches that one VlsnRead has read and inflated, whatever it asks for and finds, and one batch more.
const WORK_BYTES: usize = 32 << 20;

/// Longest name of a header in an answer.
const NAME_BYTES_MAX: usize = 32_767;

/// What a header takes besides its bytes: there may be many that have none.
const HEADER_BYTES: usize = size_of::<VlsnHeader>();

type Refused = (ErrorCode, StrBytes);

/// A read that waits.
#[derive(Debug)]
pub(crate) struct ReadWait {
    responder: Responder,
    asked: Asked,
    /// For the VLSNs.
    deadline: MonoMs,
    /// For what comes from the disk.
    warming: Warming,
    watching: bool,
}

#[derive(Debug)]
enum Asked {
    Points(VlsnReadRequest),
    Range(VlsnReadRangeRequest),
}

/// What a look came to.
enum Seen<D: Disk> {
    Done(Response),
    /// Not everything is decided.
    Undecided,
    /// These are to be brought into memory first.
    Cold(Warm<D>),
}

impl ReadWait {
    /// When it is to be looked at again.
    pub fn deadline(&self) -> MonoMs {
        self.warming.until().unwrap_or(self.deadline)
    }

    /// The wait is over now.
    pub fn stop(&mut self) {
        self.deadline = MonoMs(0);
        self.warming.stop();
    }
}

/// Serves VlsnRead; may leave it waiting in the connection.
pub(crate) fn read<D: Disk>(node: &Node<D>, step: Step<'_, D>, request: VlsnReadRequest) {
    begin(node, step, request.max_wait_ms, Asked::Points(request));
}

/// Serves VlsnReadRange; may leave it waiting in the connection.
pub(crate) fn read_range<D: Disk>(node: &Node<D>, step: Step<'_, D>, request: VlsnReadRangeRequest) {
    begin(node, step, request.max_wait_ms, Asked::Range(request));
}

fn begin<D: Disk>(node: &Node<D>, step: Step<'_, D>, max_wait_ms: i32, asked: Asked) {
    let Step { conn, asked: head, now, out, .. } = step;
    let responder = head.responder(conn.reserve(true));
    let deadline = now.mono.after_ms(i64::from(max_wait_ms.clamp(0, MAX_WAIT_MS)));
    let wait = ReadWait { responder, asked, deadline, warming: Warming::default(), watching: false };
    resume(node, conn, Box::new(wait), now, out);
}

/// Looks at a read: for the first time, or again because something changed or its time is over.
pub(crate) fn resume<D: Disk>(
    node: &Node<D>,
    conn: &mut Connection,
    mut wait: Box<ReadWait>,
    now: Now,
    out: &mut Outputs<D>,
) {
    wait.warming.end();
    let over = now.mono >= wait.deadline;
    let mut failures = node.telling(now, out);
    let mut topology = node.topology.load();
    let mut seen = wait.look(node, &topology, over, &mut failures);
    while matches!(seen, Seen::Undecided) {
        // Watch first, look again afterwards: what arrives in between is seen by one of the two.
        wait.each_partition(&topology, |partition| partition.watch(conn.id));
        wait.watching = true;
        // So is a new topology, by which the VLSNs may belong to other partitions.
        let watched = std::mem::replace(&mut topology, node.topology.load());
        seen = wait.look(node, &topology, over, &mut failures);
        if Arc::ptr_eq(&watched, &topology) {
            break;
        }
    }
    match seen {
        Seen::Done(response) => {
            abandon(node, conn.id, &wait);
            out.answers.push(wait.responder.answer(response));
        }
        Seen::Undecided => {
            wait.asked.let_go_of_frame();
            conn.waiting = Some(Wait::Read(wait));
        }
        Seen::Cold(cold) => {
            wait.asked.let_go_of_frame();
            wait.warming.begin(now);
            out.warms.push((conn.id, cold));
            conn.waiting = Some(Wait::Read(wait));
        }
    }
}

/// Forgets a waiting read whose connection is gone.
pub(crate) fn abandon<D: Disk>(node: &Node<D>, conn: ConnId, wait: &ReadWait) {
    if wait.watching {
        wait.each_partition(&node.topology.load(), |partition| partition.unwatch(conn));
    }
}

/// The VLSN log of a name, or why there is none.
pub(super) fn log_of<'t, D: Disk>(topology: &'t Topology<D>, name: &str) -> Result<VlsnLog<'t, D>, Refused> {
    let (log, _) = topology.image.vlsn_log(name).map_err(|error| (error.code(), text(&error)))?;
    let entry = topology.by_id(log.metadata.topic_id).and_then(|entry| topology.vlsn_log(entry));
    entry.ok_or_else(|| (ErrorCode::UnknownTopicOrPartition, StrBytes::from_static_str("the log is not open yet")))
}

fn text(error: &impl std::fmt::Display) -> StrBytes {
    StrBytes::from_string(error.to_string())
}

fn refuse(why: String) -> Refused {
    (ErrorCode::InvalidRequest, StrBytes::from_string(why))
}

fn unread<D: Disk>(failures: &mut Telling<'_>, log: &VlsnLog<'_, D>, error: &VlsnError) -> Refused {
    if let Some(failed) = log.failure(error) {
        failures.tell(failed);
    }
    (error.code(), text(error))
}

/// Most bytes that a request asks for.
fn bytes_of(max_bytes: i32) -> Result<usize, Refused> {
    usize::try_from(max_bytes).map_err(|_| refuse(format!("max_bytes is {max_bytes}; it must not be negative")))
}

impl ReadWait {
    fn log<'t, D: Disk>(&self, topology: &'t Topology<D>) -> Result<VlsnLog<'t, D>, Refused> {
        match &self.asked {
            Asked::Points(request) => log_of(topology, &request.log),
            Asked::Range(request) => log_of(topology, &request.log),
        }
    }

    fn each_partition<D: Disk>(&self, topology: &Topology<D>, mut visit: impl FnMut(&Arc<Partition<D>>)) {
        let Ok(log) = self.log(topology) else { return };
        match &self.asked {
            Asked::Points(request) if request.vlsns.len() == 1 => {
                request.vlsns.iter().filter_map(|vlsn| log.partition_of(*vlsn)).for_each(visit);
            }
            Asked::Points(_) | Asked::Range(_) => log.partitions().iter().for_each(&mut visit),
        }
    }

    fn look<D: Disk>(&self, node: &Node<D>, topology: &Topology<D>, over: bool, failures: &mut Telling<'_>) -> Seen<D> {
        let patience = self.warming.patience();
        let looked = match &self.asked {
            Asked::Points(request) => points(node, topology, request, (over, patience), failures),
            Asked::Range(request) => range(node, topology, request, (over, patience), failures),
        };
        looked.unwrap_or_else(|refused| Seen::Done(self.asked.refused(refused)))
    }
}

impl Asked {
    /// It may wait for long, and the frame that its name is a slice of may be large.
    fn let_go_of_frame(&mut self) {
        let (Self::Points(VlsnReadRequest { log, .. }) | Self::Range(VlsnReadRangeRequest { log, .. })) = self;
        *log = StrBytes::from_string(log.as_str().to_owned());
    }

    fn refused(&self, (code, why): Refused) -> Response {
        let (error_code, error_message) = (code.code(), Some(why));
        match self {
            Self::Points(_) => VlsnReadResponse { error_code, error_message, ..VlsnReadResponse::default() }.into(),
            Self::Range(request) => {
                let next = request.from;
                VlsnReadRangeResponse { error_code, error_message, next, ..VlsnReadRangeResponse::default() }.into()
            }
        }
    }
}

/// A VLSN that has a batch, with its place in the request.
type Placed<F> = (usize, PointBatch<F>);

fn points<D: Disk>(
    node: &Node<D>,
    topology: &Topology<D>,
    request: &VlsnReadRequest,
    (over, patience): (bool, Patience),
    failures: &mut Telling<'_>,
) -> Result<Seen<D>, Refused> {
    let log = log_of(topology, &request.log)?;
    let asked = request.vlsns.len();
    if asked > READ_VLSNS_MAX {
        return Err(refuse(format!("{asked} VLSNs; {READ_VLSNS_MAX} are allowed at once")));
    }
    if let Some(large) = request.vlsns.iter().find(|vlsn| **vlsn > Vlsn::MAX) {
        return Err(refuse(format!("VLSN {large} is above the largest, {}", Vlsn::MAX)));
    }
    let max_bytes = bytes_of(request.max_bytes)?;
    let mut results = Vec::with_capacity(asked);
    let mut placed: Vec<Placed<D::File>> = Vec::with_capacity(asked);
    let mut cold = Warm::default();
    for (at, vlsn) in request.vlsns.iter().enumerate() {
        let outcome = match log.seek(*vlsn, patience).map_err(|error| unread(failures, &log, &error))? {
            Sought::Known(Point::NotYet) if !over => return Ok(Seen::Undecided),
            Sought::Known(point) => outcome_of(&point),
            Sought::In(batch) => {
                placed.push((at, batch));
                outcome::GAP
            }
            Sought::Cold => {
                cold.lookups.extend(log.lookup(*vlsn));
                outcome::NOT_YET
            }
        };
        results.push(missing(*vlsn, log.routing.partition(*vlsn).0, outcome));
    }
    let max_bytes = max_bytes.min(node.fetch_budget());
    if cold.is_empty() {
        cold.ranges =
            fill(&mut results, placed, max_bytes, patience).map_err(|error| unread(failures, &log, &error))?;
    }
    if !cold.is_empty() {
        return Ok(Seen::Cold(cold));
    }
    Ok(Seen::Done(VlsnReadResponse { results, ..VlsnReadResponse::default() }.into()))
}

/// Reads each batch once, whatever the order and number of what is asked of it. Those that are not in the page cache are
/// left for later if `patience` does not reach for them, and given back.
fn fill<F: DiskFile>(
    results: &mut [VlsnReadResult],
    mut placed: Vec<Placed<F>>,
    max_bytes: usize,
    patience: Patience,
) -> Result<Vec<FileRange>, VlsnError> {
    placed.sort_by_key(|(_, batch)| batch.order());
    let mut answer = Filling { results, bytes: 0, max_bytes, first: true };
    let (mut work, mut cold) = (0_usize, Vec::new());
    for group in placed.chunk_by(|(_, one), (_, other)| one.is_beside(other)) {
        let (Some((_, batch)), Some((_, last))) = (group.first(), group.last()) else { continue };
        if answer.bytes > max_bytes || work > WORK_BYTES {
            group.iter().for_each(|(at, _)| answer.leave_out(*at));
            continue;
        }
        // Of a batch that is known, one record is read alone.
        if batch.vlsn() == last.vlsn()
            && let Some((point, bytes)) = batch.read_part()?
        {
            work = work.saturating_add(bytes);
            if let Point::Found(record) = point {
                answer.take_for(group, record);
            }
            continue;
        }
        let more = work.saturating_add(batch.slice().len);
        if more > WORK_BYTES && work > 0 {
            group.iter().for_each(|(at, _)| answer.leave_out(*at));
            continue;
        }
        work = more;
        let read = match patience {
            Patience::Hurries => batch.cached_bytes()?,
            Patience::Waits | Patience::Reads => Some(batch.bytes()?),
        };
        let Some(read) = read else {
            cold.push(batch.range());
            continue;
        };
        // However often one is asked for, it is copied once.
        let asked: Vec<_> = group.chunk_by(|(_, one), (_, other)| one.vlsn() == other.vlsn()).collect();
        let wanted = asked.iter().filter_map(|places| places.first()).map(|(_, batch)| batch.vlsn());
        let opened = batch.find_all(&read, wanted, |which, record| {
            if let Some(places) = asked.get(which) {
                answer.take_for(places, record);
            }
        })?;
        work = work.saturating_add(opened.saturating_sub(read.len()));
    }
    Ok(cold)
}

/// An answer as far as it goes.
struct Filling<'r> {
    results: &'r mut [VlsnReadResult],
    /// Bytes of what was found.
    bytes: usize,
    max_bytes: usize,
    /// Nothing was found yet: the first record is never left out.
    first: bool,
}

impl Filling<'_> {
    /// What was found, for each place in the request that asks for it.
    fn take_for<F>(&mut self, places: &[Placed<F>], record: PointRecord) {
        let Some(((last, _), others)) = places.split_last() else { return };
        others.iter().for_each(|(at, _)| self.take(*at, record.clone()));
        self.take(*last, record);
    }

    fn take(&mut self, at: usize, record: PointRecord) {
        let size = size_of_record(&record);
        if self.first || self.bytes.saturating_add(size) <= self.max_bytes {
            if let Some(result) = self.results.get_mut(at) {
                found(result, record);
            }
        } else {
            self.leave_out(at);
        }
        self.bytes = self.bytes.saturating_add(size);
        self.first = false;
    }

    fn leave_out(&mut self, at: usize) {
        if let Some(result) = self.results.get_mut(at) {
            result.outcome = outcome::LEFT_OUT;
        }
    }
}

fn outcome_of(point: &Point) -> i8 {
    match point {
        Point::Found(_) => outcome::FOUND,
        Point::NotYet => outcome::NOT_YET,
        Point::Gap => outcome::GAP,
        Point::Trimmed => outcome::TRIMMED,
    }
}

fn missing(vlsn: Vlsn, partition: i32, outcome: i8) -> VlsnReadResult {
    let (value, headers) = (None, Vec::new());
    VlsnReadResult { vlsn, outcome, partition, offset: -1, epoch: -1, timestamp: -1, value, headers }
}

fn found(result: &mut VlsnReadResult, record: PointRecord) {
    result.outcome = outcome::FOUND;
    result.offset = record.offset.0;
    result.epoch = record.epoch.0;
    result.timestamp = record.timestamp;
    result.value = record.value;
    let headers = record.headers.into_iter();
    result.headers = headers.map(|(name, value)| VlsnHeader { key: utf8(name), value }).collect();
}

/// Kafka's headers have names of UTF-8; what is none is shown as well as it can be, as far as the message has room for it: each bad
/// byte becomes three.
fn utf8(bytes: bytes::Bytes) -> StrBytes {
    StrBytes::from_utf8(bytes.clone()).unwrap_or_else(|_| {
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        let end = (0..=NAME_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        StrBytes::from_string(text)
    })
}

/// What a record takes in memory, about.
fn size_of_record(record: &PointRecord) -> usize {
    let value_bytes = |value: &Option<bytes::Bytes>| value.as_ref().map_or(0, bytes::Bytes::len);
    let headers = record.headers.iter().map(|(name, value)| HEADER_BYTES + name.len() + value_bytes(value));
    value_bytes(&record.value) + headers.sum::<usize>()
}

fn range<D: Disk>(
    node: &Node<D>,
    topology: &Topology<D>,
    request: &VlsnReadRangeRequest,
    (over, patience): (bool, Patience),
    failures: &mut Telling<'_>,
) -> Result<Seen<D>, Refused> {
    let log = log_of(topology, &request.log)?;
    let (from, to) = (request.from, request.to.min(Vlsn::MAX.next()));
    if from > Vlsn::MAX {
        return Err(refuse(format!("from is {from}, above the largest VLSN, {}", Vlsn::MAX)));
    }
    if to < from {
        return Err(refuse(format!("to is {to}, below from, which is {from}; the range is [from, to)")));
    }
    let max_bytes = bytes_of(request.max_bytes)?;
    let records = usize::try_from(request.max_records).ok().filter(|records| *records > 0);
    let records = records.ok_or_else(|| refuse(format!("max_records is {}; at least 1", request.max_records)))?;
    let bounds = log.bounds().map_err(|error| unread(failures, &log, &error))?;
    if from < to && from >= bounds.undecided && !over {
        return Ok(Seen::Undecided);
    }
    let bytes = max_bytes.min(node.fetch_budget());
    let limits = PageLimits { bytes, records, name_gaps: true, held: HELD_BYTES };
    let span = from..to;
    let found = log.seek_page(&span, limits, &bounds, patience).map_err(|error| unread(failures, &log, &error))?;
    let parts = match found {
        PageParts::There(parts) => parts,
        PageParts::Cold(cold) => return Ok(Seen::Cold(cold)),
    };
    let page = log.page_of(parts, span, limits, &bounds).map_err(|error| unread(failures, &log, &error))?;
    Ok(Seen::Done(
        VlsnReadRangeResponse {
            next: page.next,
            undecided: bounds.undecided,
            gaps: page.gaps.into_iter().map(wire).collect(),
            trimmed: page.trimmed.into_iter().map(wire).collect(),
            records: Some(page.records),
            ..VlsnReadRangeResponse::default()
        }
        .into(),
    ))
}

fn wire(range: VlsnRange) -> WireRange {
    WireRange { from: range.start, to: range.end }
}
