//! `produce`, `fetch` and `latency`: from options to workers.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use crate::admin::{End, offsets};
use crate::args::{Common, FetchArgs, LatencyArgs, ProduceArgs, VlsnArgs, VlsnWork};
use crate::collect::Role;
use crate::engine::{Pace, Plan};
use crate::error::BenchError;
use crate::fetch::{AtEnd, Due, FetchShape};
use crate::frames::{ProduceFrame, ProduceHead};
use crate::payload::{Shape, batches};
use crate::produce::ProduceShape;
use crate::run::{Bench, Ends, Prepared};
use crate::schedule::Schedule;
use crate::vlsn::{KeyedBatch, KeyedTraffic, Next, VlsnFrame, VlsnTraffic};

/// Answers to Produce requests are small.
const PRODUCE_READ_BYTES: usize = 64 << 10;
/// Fetch answers are read in pieces that stay in the processor's cache.
const FETCH_READ_BYTES: usize = 256 << 10;

/// The share of the connections that each thread has.
fn shares(connections: usize, threads: usize) -> impl Iterator<Item = Range<usize>> {
    let threads = threads.min(connections).max(1);
    (0..threads).map(move |t| connections * t / threads..connections * (t + 1) / threads)
}

fn say(common: &Common, text: &str) {
    if !common.json {
        println!("{text}");
    }
}

/// `pyralog bench produce`
pub fn produce(args: &ProduceArgs) -> Result<(), BenchError> {
    let common = &args.common;
    let records = args.batch_bytes.map_or(args.records_per_batch, |bytes| (bytes / args.record_bytes).max(1));
    let values = records.checked_mul(args.record_bytes).filter(|bytes| *bytes <= 64 << 20);
    if values.is_none() {
        let text = format!("a batch of {records} records of {} bytes is over 64 MiB", args.record_bytes);
        return Err(BenchError::Options(text));
    }
    let prepared = Prepared::new(common)?;
    let codec = args.compression.codec();
    let pool = batches(&Shape { record_bytes: args.record_bytes, records, keys: args.keys, codec })?;
    say(
        common,
        &format!(
            "produce to {} ({} partitions): {} connections x {} in flight, {records} x {} B per request, {codec}, \
             acks {}{}",
            common.topic,
            prepared.partitions.len(),
            args.connections,
            args.in_flight,
            args.record_bytes,
            args.acks.code(),
            if args.keys == 0 { String::new() } else { format!(", {} keys", args.keys) },
        ),
    );
    let shape = ProduceShape {
        version: prepared.versions.produce,
        topic: &common.topic,
        acks: args.acks.code(),
        records: u64::try_from(records).unwrap_or(u64::MAX),
        batches: pool.into(),
    };
    let leaders = prepared.leaders();
    let frames: Vec<Arc<[ProduceFrame]>> =
        leaders.iter().map(|leader| shape.frames(&prepared.led_by(*leader))).collect::<Result<_, _>>()?;
    let whole = args.rate.map(Schedule::new);
    let pace = |thread, threads| whole.map_or(Pace::Closed, |whole| Pace::Open(whole.share(thread, threads)));
    let mut bench = Bench::new("produce", &pace(0, 1), common, Ends::AtItsTime)?;
    let threads = shares(args.connections, args.threads).count();
    for (thread, share) in shares(args.connections, args.threads).enumerate() {
        let addresses: Vec<SocketAddr> =
            share.clone().filter_map(|c| leaders.get(c % leaders.len()).copied()).collect();
        let sent = share.clone().filter_map(|c| frames.get(c % frames.len()).cloned()).collect();
        let plan = Plan {
            addresses: &addresses,
            pace: pace(thread, threads),
            in_flight_max: args.in_flight,
            read_bytes: PRODUCE_READ_BYTES,
            punctual: false,
        };
        bench.add(Role::Requests, shape.traffic(share.start, sent), &plan)?;
    }
    bench.run()
}

/// `pyralog bench fetch`
pub fn fetch(args: &FetchArgs) -> Result<(), BenchError> {
    let common = &args.common;
    let prepared = Prepared::new(common)?;
    let readers = Readers::new(args, &prepared)?;
    say(
        common,
        &format!(
            "fetch from {} ({} partitions): {} connections, {} bytes per request",
            common.topic,
            prepared.partitions.len(),
            args.connections,
            args.max_bytes,
        ),
    );
    let shape = FetchShape {
        version: prepared.versions.fetch,
        topic: &common.topic,
        max_bytes: i32::try_from(args.max_bytes).unwrap_or(i32::MAX),
        max_wait_ms: 500,
        at_end: args.at_end,
        due: None,
    };
    let ends = if args.at_end == AtEnd::Stop { Ends::ByItself } else { Ends::AtItsTime };
    let mut bench = Bench::new("fetch", &Pace::Closed, common, ends)?;
    for share in shares(readers.0.len(), args.threads) {
        let assigned = readers.0.get(share).unwrap_or_default();
        let addresses: Vec<SocketAddr> = assigned.iter().map(|reader| reader.leader).collect();
        let cursors = |reader: &Reader| reader.from.iter().map(|(index, start)| shape.cursor(*index, *start)).collect();
        let cursors = assigned.iter().map(cursors).collect::<Result<Vec<Vec<_>>, _>>()?;
        let plan = Plan {
            addresses: &addresses,
            pace: Pace::Closed,
            in_flight_max: 1,
            read_bytes: FETCH_READ_BYTES,
            punctual: false,
        };
        bench.add(Role::Requests, shape.traffic(cursors), &plan)?;
    }
    bench.run()
}

/// What a connection reads.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reader {
    leader: SocketAddr,
    /// Partitions, and the offset to begin with.
    from: Vec<(i32, i64)>,
}

/// Who reads what.
struct Readers(Vec<Reader>);

impl Readers {
    fn new(args: &FetchArgs, prepared: &Prepared) -> Result<Self, BenchError> {
        let topic = &args.common.topic;
        let begin = offsets(topic, &prepared.partitions, End::Earliest)?;
        let end = offsets(topic, &prepared.partitions, End::Latest)?;
        let mut there: Vec<(SocketAddr, i32, i64)> = Vec::new();
        for ((partition, begin), end) in prepared.partitions.iter().zip(begin).zip(end) {
            let start = if args.latest { end } else { begin };
            // A partition without records has an end at once: only who waits has something to do there.
            if args.at_end == AtEnd::Wait || start < end {
                there.push((partition.leader, partition.index, start));
            }
        }
        if there.is_empty() {
            return Err(BenchError::Empty { topic: topic.clone() });
        }
        Self::assign(&there, args)
    }

    /// Connection n reads from leader n modulo their number, and there every so many-th partition.
    fn assign(there: &[(SocketAddr, i32, i64)], args: &FetchArgs) -> Result<Self, BenchError> {
        let mut leaders: Vec<SocketAddr> = there.iter().map(|(leader, _, _)| *leader).collect();
        leaders.sort();
        leaders.dedup();
        let mut readers = Vec::new();
        for connection in 0..args.connections {
            let Some(leader) = leaders.get(connection % leaders.len()).copied() else { continue };
            let led: Vec<(i32, i64)> =
                there.iter().filter(|(l, _, _)| *l == leader).map(|(_, index, start)| (*index, *start)).collect();
            let peers = (args.connections - connection % leaders.len()).div_ceil(leaders.len());
            let own = connection / leaders.len();
            if args.at_end == AtEnd::Stop && own >= led.len() {
                continue; // once is what was asked for
            }
            let from: Vec<(i32, i64)> = match led.get(own % led.len()) {
                Some(shared) if own >= led.len() => vec![*shared],
                Some(_) | None => led.iter().skip(own).step_by(peers).copied().collect(),
            };
            if args.at_end == AtEnd::Wait && from.len() > 1 {
                return Err(BenchError::Options(format!(
                    "with --at-end wait each connection reads one partition: {} partitions need --connections {}",
                    there.len(),
                    there.len()
                )));
            }
            readers.push(Reader { leader, from });
        }
        Ok(Self(readers))
    }
}

/// `pyralog bench latency`
pub fn latency(args: &LatencyArgs) -> Result<(), BenchError> {
    let common = &args.common;
    let prepared = Prepared::new(common)?;
    let found = prepared.partitions.iter().find(|partition| partition.index == args.partition);
    let Some(partition) = found.cloned() else {
        let count = prepared.partitions.len();
        return Err(BenchError::Options(format!("{} has no partition {}, but {count}", common.topic, args.partition)));
    };
    let shape =
        Shape { record_bytes: args.record_bytes, records: 1, keys: 0, codec: pyralog_protocol::batch::Codec::None };
    say(common, &format!("latency of {}-{}: records of {} B", common.topic, args.partition, args.record_bytes));
    let schedule = Schedule::new(args.rate);
    let addresses = [partition.leader];
    let mut bench = Bench::new("latency", &Pace::Open(schedule), common, Ends::AtItsTime)?;
    if args.end_to_end {
        let first_offset = offsets(&common.topic, std::slice::from_ref(&partition), End::Latest)?;
        let first_offset = first_offset.first().copied().unwrap_or(0);
        let shape = FetchShape {
            version: prepared.versions.fetch,
            topic: &common.topic,
            max_bytes: 1 << 20,
            max_wait_ms: 1_000,
            at_end: AtEnd::Wait,
            due: Some(Due { schedule, first_offset, count: schedule.due_before(bench.end_ns()) }),
        };
        let cursor = shape.cursor(partition.index, first_offset)?;
        let plan = Plan {
            addresses: &addresses,
            pace: Pace::Closed,
            in_flight_max: 1,
            read_bytes: FETCH_READ_BYTES,
            punctual: false,
        };
        bench.add(Role::Deliveries, shape.traffic(vec![vec![cursor]]), &plan)?;
    }
    let produce = ProduceShape {
        version: prepared.versions.produce,
        topic: &common.topic,
        acks: args.acks.code(),
        records: 1,
        batches: batches(&shape)?.into(),
    };
    let plan = Plan {
        addresses: &addresses,
        pace: Pace::Open(schedule),
        in_flight_max: args.in_flight,
        read_bytes: PRODUCE_READ_BYTES,
        punctual: true,
    };
    let frames = produce.frames(&[partition.index])?;
    bench.add(Role::Requests, produce.traffic(0, vec![frames]), &plan)?;
    bench.run()
}

/// `pyralog bench vlsn`
pub fn vlsn(args: &VlsnArgs) -> Result<(), BenchError> {
    let common = &args.common;
    let prepared = Prepared::new(common)?;
    let leaders = prepared.leaders();
    let count = prepared.partitions.len();
    say(
        common,
        &format!(
            "{:?} by VLSN in {} ({count} partitions): {} connections x {} in flight",
            args.work, common.topic, args.connections, args.in_flight
        ),
    );
    let ends = if args.until_vlsn.is_some() { Ends::ByItself } else { Ends::AtItsTime };
    let mut bench = Bench::new("vlsn", &Pace::Closed, common, ends)?;
    for share in shares(args.connections, args.threads) {
        let addresses: Vec<SocketAddr> =
            share.clone().filter_map(|c| leaders.get(c % leaders.len()).copied()).collect();
        let plan = Plan {
            addresses: &addresses,
            pace: Pace::Closed,
            in_flight_max: args.in_flight,
            read_bytes: PRODUCE_READ_BYTES,
            punctual: false,
        };
        match args.work {
            VlsnWork::Read => {
                let frames = share.clone().map(|_| VlsnFrame::read(&common.topic)).collect::<Result<_, _>>()?;
                let traffic = VlsnTraffic::new(share.start, frames, Next::Below(args.vlsns));
                bench.add(Role::Requests, traffic, &plan)?;
            }
            VlsnWork::Commit => {
                let frame = |connection| VlsnFrame::commit(&common.topic, &format!("bench-{connection}"));
                let frames = share.clone().map(frame).collect::<Result<_, _>>()?;
                bench.add(Role::Requests, VlsnTraffic::new(share.start, frames, Next::Rising), &plan)?;
            }
            VlsnWork::Write => {
                let batch = KeyedBatch::new(args.records_per_batch, args.record_bytes)?;
                let version = prepared.versions.produce;
                let until = args.until_vlsn.unwrap_or(u64::MAX);
                let head =
                    |partition| ProduceHead { version, topic: &common.topic, partition, acks: -1, timeout_ms: 30_000 };
                let target = |partition: i32| Ok((partition, ProduceFrame::new(&head(partition))?));
                let own = |connection: usize| {
                    let indexes = prepared.partitions.iter().map(|partition| partition.index);
                    indexes
                        .skip(connection)
                        .step_by(args.connections)
                        .map(target)
                        .collect::<Result<Vec<_>, BenchError>>()
                };
                let connections = share.clone().map(own).collect::<Result<Vec<_>, _>>()?;
                let traffic = KeyedTraffic::new((version, &common.topic), (count, until), batch, connections);
                bench.add(Role::Requests, traffic, &plan)?;
            }
        }
    }
    bench.run()
}

#[cfg(test)]
mod tests;
