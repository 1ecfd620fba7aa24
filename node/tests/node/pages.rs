//! Pages of a VLSN log, and its view, beside a plain walk over its partitions that knows none of their short cuts: the same
//! records in the order of their VLSNs, as they were written. Codecs, gaps, null values, headers, times in any order, records
//! larger than what is read at once. The check is trusted because it catches planted differences.

use bytes::Bytes;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, OffsetForLeaderEpochRequest};
use kafka_protocol::protocol::StrBytes;
use pyralog_node::vlsn::{HELD_BYTES, PageLimits, Point};
use pyralog_node::{ConnId, Limits};
use pyralog_protocol::batch::{BatchBuilder, BatchHeader, Codec, Compression, NewRecord, StoredBatch};
use pyralog_protocol::vlsn::messages::{VlsnReadRequest, VlsnReadResult, outcome};
use pyralog_protocol::{Draw, ErrorCode, Response, Vlsn, kafka_protocol};
use pyralog_storage::Disk;

use crate::world::*;

const LOG: &str = "v";
const CODECS: [Codec; 8] =
    [Codec::None, Codec::None, Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd, Codec::None];

/// All that a reader can tell of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    vlsn: u64,
    timestamp: i64,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    codec: Codec,
}

/// Records of whole batches, with the offset that each has.
fn rows(mut bytes: &[u8]) -> Vec<(i64, Row)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let batch = StoredBatch::open(bytes).unwrap();
        for stored in batch.records() {
            let stored = stored.unwrap();
            let headers = stored.record.headers.iter().map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect();
            let value = stored.record.value.map(<[u8]>::to_vec);
            let (timestamp, codec) = (stored.timestamp, batch.header.codec().unwrap());
            all.push((stored.offset.0, Row { vlsn: stored.vlsn.0, timestamp, value, headers, codec }));
        }
        bytes = &bytes[batch.header.total_size()..];
    }
    all
}

fn below(draw: &mut Draw, end: u64) -> u64 {
    draw.next_u64() % end
}

fn batch_of(draw: &mut Draw, vlsns: &[u64]) -> Bytes {
    let codec = CODECS[below(draw, 8) as usize];
    let mut batch = BatchBuilder::new().compression(Compression::of(codec));
    for vlsn in vlsns {
        let size = if below(draw, 12) == 0 { below(draw, 90_000) } else { below(draw, 300) };
        let value: Vec<u8> = (0..size).map(|at| (at * vlsn % 251) as u8).collect();
        let value = (below(draw, 9) != 0).then_some(value.as_slice());
        let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"1")), (b"", None)];
        let headers = &headers[..below(draw, 3) as usize];
        let timestamp = 1_799_999_000_000 + (below(draw, 500_000) as i64);
        batch = batch.record(NewRecord { timestamp, key: Some(&Vlsn(*vlsn).key()), value, headers });
    }
    batch.build().unwrap().freeze()
}

/// A log of that many partitions, written as the seed says.
fn written(seed: u64) -> (World, Draw, usize) {
    let mut draw = Draw::new(u128::from(seed) | 1 << 90);
    let mut world = World::with(&[], Limits::default(), Planted::Nothing);
    let partitions = [1, 2, 3, 7][below(&mut draw, 4) as usize];
    let stamped = if below(&mut draw, 4) == 0 { "LogAppendTime" } else { "CreateTime" };
    let configs = [("vlsn.enable", "true"), ("segment.bytes", "1048576"), ("message.timestamp.type", stamped)];
    assert_eq!(world.create(LOG, i32::try_from(partitions).unwrap(), &configs).code(), 0);
    let conn = world.connect();
    let mut next = 0;
    let skipped = [1, 4, 1000][below(&mut draw, 3) as usize];
    for _ in 0..60 {
        let mut parts = vec![Vec::new(); partitions];
        for _ in 0..=below(&mut draw, 80) {
            parts[(next % partitions as u64) as usize].push(next);
            next += if below(&mut draw, 10) == 0 { 1 + below(&mut draw, skipped) } else { 1 };
        }
        for (partition, vlsns) in parts.into_iter().enumerate().filter(|(_, vlsns)| !vlsns.is_empty()) {
            let records = batch_of(&mut draw, &vlsns);
            let request = produce_request(LOG, i32::try_from(partition).unwrap(), -1, records);
            assert_eq!(produced(world.ask(conn, PRODUCE, request)).error_code, 0);
        }
    }
    (world, draw, partitions)
}

/// The partitions one after the other, sorted, as far as VLSNs are decided.
fn plain(world: &mut World, partitions: usize) -> Vec<Row> {
    let conn = world.connect();
    let mut all = Vec::new();
    for partition in 0..i32::try_from(partitions).unwrap() {
        let mut offset = 0;
        loop {
            let data = fetched(world.ask(conn, FETCH, fetch_request(&[(LOG, partition, offset)], 0, 0)));
            let found = rows(&data.records.unwrap_or_default());
            let Some((last, _)) = found.last() else { break };
            offset = last + 1;
            all.extend(found.into_iter().map(|(_, row)| row));
        }
    }
    let topology = world.node.topology();
    let log = topology.vlsn_log(topology.by_name(LOG).unwrap()).unwrap();
    let undecided = log.bounds().unwrap().undecided.0;
    all.retain(|row: &Row| row.vlsn < undecided);
    all.sort_by_key(|row| row.vlsn);
    all
}

/// Pages from the first VLSN to the last that is decided, within limits that are drawn.
fn paged(world: &World, draw: &mut Draw) -> Result<Vec<Row>, String> {
    let topology = world.node.topology();
    let log = topology.vlsn_log(topology.by_name(LOG).unwrap()).unwrap();
    let bounds = log.bounds().unwrap();
    let (mut at, mut all) = (Vlsn(0), Vec::new());
    while at < bounds.undecided {
        let end = [100, 5_000, 400_000][below(draw, 3) as usize];
        let bytes = below(draw, end) as usize;
        let (records, name_gaps) = (1 + below(draw, 2_000) as usize, below(draw, 2) == 0);
        let held = [0, 10_000, 200_000, HELD_BYTES][below(draw, 4) as usize];
        let limits = PageLimits { bytes, records, name_gaps, held };
        let page = log.page(at..Vlsn::MAX, limits, &bounds).map_err(|error| error.to_string())?;
        let found = rows(&page.records);
        if page.next <= at || page.count != found.len() || page.count > limits.records {
            return Err(format!("from {at} to {}: {} records of {}", page.next, page.count, limits.records));
        }
        if let Some((offset, row)) = found.iter().find(|(offset, row)| u64::try_from(*offset) != Ok(row.vlsn)) {
            return Err(format!("VLSN {} is at offset {offset} of the view", row.vlsn));
        }
        let missing = (at.0..page.next.0).filter(|vlsn| found.iter().all(|(_, row)| row.vlsn != *vlsn));
        let named = page.gaps.iter().flat_map(|gap| gap.start.0..gap.end.0);
        if limits.name_gaps && !missing.eq(named) {
            return Err(format!("the gaps from {at} to {} are not {:?}", page.next, page.gaps));
        }
        all.extend(found.into_iter().map(|(_, row)| row));
        at = page.next;
    }
    Ok(all)
}

/// The view, as a Kafka client reads it.
fn viewed(world: &mut World) -> Vec<Row> {
    let conn = world.connect();
    let (mut offset, mut all) = (0, Vec::new());
    loop {
        let data = fetched(world.ask(conn, FETCH, fetch_request(&[("v.vlsn", 0, offset)], 0, 0)));
        let records = data.records.unwrap_or_default();
        let mut bytes = &records[..];
        if bytes.is_empty() {
            assert_eq!(offset, data.high_watermark);
            return all;
        }
        all.extend(rows(bytes).into_iter().map(|(_, row)| row));
        while !bytes.is_empty() {
            let header = BatchHeader::parse(bytes).unwrap();
            assert!(header.base_offset >= offset, "{} behind {offset}", header.base_offset);
            offset = header.last_offset() + 1;
            bytes = &bytes[header.total_size()..];
        }
    }
}

fn compare(plain: &[Row], seen: &[Row]) -> Result<(), String> {
    match plain.iter().zip(seen).find(|(one, other)| one != other) {
        Some((one, other)) => {
            Err(format!("{} is not {}: {:?}", other.vlsn, one.vlsn, (one.timestamp, other.timestamp)))
        }
        None if plain.len() != seen.len() => Err(format!("{} records of {}", seen.len(), plain.len())),
        None => Ok(()),
    }
}

#[test]
fn pages_and_the_view_are_the_partitions_in_the_order_of_their_vlsns() {
    for seed in 0..24 {
        let (mut world, mut draw, partitions) = written(seed);
        let plain = plain(&mut world, partitions);
        assert!(plain.len() > 500, "seed {seed}: {} records prove little", plain.len());
        let pages = paged(&world, &mut draw).and_then(|seen| compare(&plain, &seen));
        pages.unwrap_or_else(|what| panic!("seed {seed}, pages: {what}"));
        compare(&plain, &viewed(&mut world)).unwrap_or_else(|what| panic!("seed {seed}, view: {what}"));
        // In any order, so that some batches are known by their outlines and others are not.
        let undecided = plain.last().map_or(0, |row| row.vlsn + 1);
        for _ in 0..1000 {
            let vlsn = below(&mut draw, undecided);
            let row = plain.iter().find(|row| row.vlsn == vlsn);
            assert_eq!(point(&world, vlsn).unwrap().as_ref(), row.map(told).as_ref(), "seed {seed}: {vlsn}");
        }
    }
}

/// (timestamp, offset) in the view.
fn looked_up(world: &mut World, timestamp: i64) -> (i64, i64) {
    let conn = world.connect();
    let part = ListOffsetsPartition::default().with_current_leader_epoch(-1).with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(name("v.vlsn")).with_partitions(vec![part]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let Response::ListOffsets(answer) = world.ask(conn, 7, request) else { panic!("another answer") };
    let found = &answer.topics[0].partitions[0];
    (found.timestamp, found.offset)
}

/// While a partition lags behind, the others hold records that the view does not show yet: these count for nobody.
#[test]
fn records_are_found_by_time_among_those_that_the_view_shows() {
    let mut behind = 0;
    for seed in 0..24 {
        let (mut world, mut draw, partitions) = written(seed);
        let conn = world.connect();
        let topology = world.node.topology();
        let log = topology.vlsn_log(topology.by_name(LOG).unwrap()).unwrap();
        let next = log.bounds().unwrap().appended.unwrap().0 + 1;
        let lagging = below(&mut draw, partitions as u64);
        // The view ends within one of the batches, mostly.
        for index in (0..partitions as u64).filter(|index| *index != lagging) {
            let ahead: Vec<u64> = (next..next + 300).filter(|vlsn| vlsn % partitions as u64 == index).collect();
            for vlsns in ahead.chunks(7) {
                let time = |draw: &mut Draw| 1_799_999_000_000 + (below(draw, 1_000_000) as i64);
                let add = |b: BatchBuilder, v: &u64| b.kv(time(&mut draw), &Vlsn(*v).key(), b"ahead");
                let records = vlsns.iter().fold(BatchBuilder::new(), add).build().unwrap().freeze();
                let request = produce_request(LOG, i32::try_from(index).unwrap(), -1, records);
                assert_eq!(produced(world.ask(conn, PRODUCE, request)).error_code, 0);
            }
        }
        let shown = plain(&mut world, partitions);
        let told = |row: &Row| (row.timestamp, row.vlsn as i64);
        let newest = shown.iter().max_by_key(|row| (row.timestamp, std::cmp::Reverse(row.vlsn))).unwrap();
        assert_eq!(looked_up(&mut world, -3), told(newest), "seed {seed}: the newest");
        for _ in 0..20 {
            let timestamp = shown[below(&mut draw, shown.len() as u64) as usize].timestamp;
            let first = shown.iter().find(|row| row.timestamp >= timestamp).unwrap();
            assert_eq!(looked_up(&mut world, timestamp), told(first), "seed {seed}: from {timestamp} on");
        }
        assert_eq!(looked_up(&mut world, newest.timestamp + 1), (-1, -1), "seed {seed}: behind the newest");
        behind += usize::from(shown.last().unwrap().vlsn + 250 < next + 300);
    }
    assert!(behind > 10, "{behind} lagged: this shows little");
}

type Told = (i64, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn told(row: &Row) -> Told {
    (row.timestamp, row.value.clone(), row.headers.clone())
}

/// What there is at a VLSN, which is decided; `None`: a gap.
fn point(world: &World, vlsn: u64) -> Result<Option<Told>, String> {
    let topology = world.node.topology();
    let log = topology.vlsn_log(topology.by_name(LOG).unwrap()).unwrap();
    match log.point(Vlsn(vlsn)).map_err(|error| error.to_string())? {
        Point::Found(found) => {
            let headers = found.headers.iter();
            let headers = headers.map(|(key, value)| (key.to_vec(), value.as_ref().map(|v| v.to_vec()))).collect();
            Ok(Some((found.timestamp, found.value.map(|value| value.to_vec()), headers)))
        }
        Point::Gap => Ok(None),
        Point::NotYet | Point::Trimmed => Err(format!("{vlsn} was decided")),
    }
}

#[test]
fn planted_differences_of_a_page_are_caught() {
    let (mut world, mut draw, partitions) = written(3);
    let plain = plain(&mut world, partitions);
    let seen = paged(&world, &mut draw).unwrap();
    let plants: [fn(&mut Vec<Row>); 5] = [
        |rows| drop(rows.remove(200)),
        |rows| rows.swap(100, 101),
        |rows| rows[300].timestamp += 1,
        |rows| rows[300].headers.push((b"more".to_vec(), None)),
        |rows| rows.truncate(400),
    ];
    for plant in plants {
        let mut wrong = seen.clone();
        plant(&mut wrong);
        assert!(compare(&plain, &wrong).is_err());
    }
    compare(&plain, &seen).unwrap();
}

/// Base offset and leader epoch stand outside the CRC. A base offset that is too large would make the rest of its partition a gap.
#[test]
fn io_07_a_batch_that_is_not_the_one_that_belongs_there_is_served_to_nobody() {
    for (byte, what) in [(6, "with base offset"), (15, "of leader epoch")] {
        let (world, _, _) = written(3);
        let topology = world.node.topology();
        let log = topology.vlsn_log(topology.by_name(LOG).unwrap()).unwrap();
        let bounds = log.bounds().unwrap();
        let limits = PageLimits { bytes: 1 << 20, records: usize::MAX, name_gaps: false, held: HELD_BYTES };
        assert!(log.page(Vlsn(0)..Vlsn::MAX, limits, &bounds).is_ok());
        let path = format!("logs/{LOG}-0/{:020}.log", 0);
        assert!(world.disk.paths().contains(&path), "{:?}", world.disk.paths());
        world.disk.flip(&path, 8 * byte);
        let error = point(&world, 0).unwrap_err();
        assert!(error.contains(what), "{error}");
        let error = log.page(Vlsn(0)..Vlsn::MAX, limits, &bounds).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

/// However many partitions there are: a page of ten records does not open a thousand batches.
#[test]
fn a_page_opens_no_batch_before_its_turn_comes() {
    let mut world = World::with(&[], Limits::default(), Planted::Nothing);
    assert_eq!(world.create(LOG, 3, &[("vlsn.enable", "true")]).code(), 0);
    let conn = world.connect();
    for partition in 0..3 {
        let add = |batch: BatchBuilder, n: u64| batch.kv(1, &Vlsn(3 * n + partition).key(), b"value");
        let records = (0..10).fold(BatchBuilder::new(), add).build().unwrap().freeze();
        let request = produce_request(LOG, i32::try_from(partition).unwrap(), -1, records);
        assert_eq!(produced(world.ask(conn, PRODUCE, request)).error_code, 0);
    }
    world.disk.flip(&format!("logs/{LOG}-2/{:020}.log", 0), 8 * 70);
    let topology = world.node.topology();
    let log = topology.vlsn_log(topology.by_name(LOG).unwrap()).unwrap();
    let bounds = log.bounds().unwrap();
    let page = |from, to, records| {
        let limits = PageLimits { bytes: 1 << 20, records, name_gaps: true, held: HELD_BYTES };
        log.page(Vlsn(from)..Vlsn(to), limits, &bounds).map(|page| (page.count, page.next.0))
    };
    assert_eq!(page(0, 30, 2).unwrap(), (2, 2));
    assert_eq!(page(3, 5, 100).unwrap(), (2, 5));
    page(1, 2, 100).unwrap();
    assert!(page(2, 30, 1).is_err());
    assert_eq!(page(0, 30, 3).unwrap(), (2, 2));
}

/// What lies before it is read as if nothing were wrong, and then it is told where it is.
#[test]
fn io_07_a_damaged_batch_ends_a_page_before_it() {
    let mut damaged = 0;
    for seed in 0..24 {
        let (mut world, mut draw, partitions) = written(seed);
        let plain = plain(&mut world, partitions);
        let partition = below(&mut draw, partitions as u64);
        let path = format!("logs/{LOG}-{partition}/{:020}.log", 0);
        let bytes = world.disk.bytes(&path);
        let (mut places, mut rest) = (Vec::new(), &bytes[..]);
        while !rest.is_empty() {
            places.push(bytes.len() - rest.len());
            rest = &rest[BatchHeader::parse(rest).unwrap().total_size()..];
        }
        // Neither the first nor the last of its segment.
        let Some(batch) = (places.len() > 2).then(|| 1 + below(&mut draw, places.len() as u64 - 2) as usize) else {
            continue;
        };
        let (_, last) = rows(&bytes[places[batch - 1]..places[batch]]).pop().unwrap();
        // The first VLSN that it may have.
        let first = (last.vlsn + 1..).find(|vlsn| vlsn % partitions as u64 == partition).unwrap();
        if first > plain.last().unwrap().vlsn {
            continue;
        }
        damaged += 1;
        world.disk.flip(&path, 8 * (places[batch] + [3, 10, 40, 70][below(&mut draw, 4) as usize]));
        let topology = world.node.topology();
        let log = topology.vlsn_log(topology.by_name(LOG).unwrap()).unwrap();
        let bounds = log.bounds().unwrap();
        let (mut next, mut seen) = (Vlsn(0), Vec::new());
        let error = loop {
            let bytes = [100, 5_000, 400_000][below(&mut draw, 3) as usize];
            let limits = PageLimits { bytes, records: usize::MAX, name_gaps: true, held: HELD_BYTES };
            match log.page(next..Vlsn::MAX, limits, &bounds) {
                Ok(page) => {
                    assert!(page.next > next, "seed {seed}");
                    seen.extend(rows(&page.records).into_iter().map(|(_, row)| row));
                    next = page.next;
                }
                Err(error) => break error,
            }
        };
        assert_eq!(next.0, first, "seed {seed}: {error}");
        assert!(error.is_failure() && error.to_string().contains(&format!("partition {partition}")), "{error}");
        let expected: Vec<Row> = plain.into_iter().filter(|row| row.vlsn < first).collect();
        compare(&expected, &seen).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        // A reader of the view gets as far.
        assert_eq!(world.node.read_failures(), 0);
        let conn = world.connect();
        let (mut offset, mut viewed) = (0, Vec::new());
        let code = loop {
            let data = fetched(world.ask(conn, FETCH, fetch_request(&[("v.vlsn", 0, offset)], 0, 0)));
            if data.error_code != 0 {
                break data.error_code;
            }
            let records = data.records.unwrap();
            let mut rest = &records[..];
            while !rest.is_empty() {
                let header = BatchHeader::parse(rest).unwrap();
                offset = header.last_offset() + 1;
                rest = &rest[header.total_size()..];
            }
            viewed.extend(rows(&records).into_iter().map(|(_, row)| row));
        };
        assert_eq!((code, world.node.read_failures()), (ErrorCode::KafkaStorageError.code(), 1));
        compare(&expected, &viewed).unwrap_or_else(|what| panic!("seed {seed}, view: {what}"));
    }
    assert!(damaged > 15, "{damaged}");
}

/// With the header of the last batch of a full segment, or the index of such a segment besides, one partition cannot say where its
/// VLSNs are. The others can, and so can it but for those that are lost.
#[test]
fn io_06_what_cannot_be_looked_up_in_a_partition_ends_pages_where_it_comes_up() {
    for indexed in [true, false] {
        let mut world = World::with(&[], Limits::default(), Planted::Nothing);
        let configs = [("vlsn.enable", "true"), ("internal.segment.bytes", "3000")];
        assert_eq!(world.create(LOG, 3, &configs).code(), 0);
        let conn = world.connect();
        for vlsn in 0..90 {
            let batch = BatchBuilder::new().kv(1_799_999_000_000, &Vlsn(vlsn).key(), &[7; 300]);
            let request = produce_request(LOG, (vlsn % 3) as i32, -1, batch.build().unwrap().freeze());
            assert_eq!(produced(world.ask(conn, PRODUCE, request)).error_code, 0);
        }
        // Nothing is in memory any more.
        world.checkpoint();
        world.checkpoint();
        let path = format!("logs/{LOG}-1/{:020}.log", 0);
        let bytes = world.disk.bytes(&path);
        let batch = BatchHeader::parse(&bytes).unwrap().total_size();
        world.disk.flip(&path, 8 * (bytes.len() - batch + 16));
        if !indexed {
            world.disk.remove_file(&path.replace(".log", ".vlsn")).unwrap();
        }
        let lost = 3 * (bytes.len() / batch - 1) as u64 + 1;
        let topology = world.node.topology();
        let log = topology.vlsn_log(topology.by_name(LOG).unwrap()).unwrap();
        let bounds = log.bounds().unwrap();
        let limits = PageLimits { bytes: 1 << 20, records: usize::MAX, name_gaps: true, held: HELD_BYTES };
        // The VLSNs from one on, as far as pages go, and why they end.
        let read_on = |from: u64| {
            let (mut next, mut seen) = (Vlsn(from), Vec::new());
            while next < bounds.undecided {
                match log.page(next..Vlsn::MAX, limits, &bounds) {
                    Ok(page) => {
                        assert!(page.next > next && page.gaps.is_empty() && page.trimmed.is_empty());
                        seen.extend(rows(&page.records).into_iter().map(|(_, row)| row.vlsn));
                        next = page.next;
                    }
                    Err(error) => return (seen, Some(error.to_string())),
                }
            }
            (seen, None)
        };
        for from in (0..lost).rev() {
            let (seen, error) = read_on(from);
            assert_eq!(seen, (from..lost).collect::<Vec<_>>(), "from {from}, indexed {indexed}: {error:?}");
            let error = error.unwrap();
            assert!(error.contains("partition 1: segment 0 is damaged at byte"), "{error}");
        }
        assert_eq!(read_on(lost + 1), ((lost + 1..90).collect(), None), "indexed {indexed}");
        // So does who reads the view, without waiting for the disk.
        for (from, failed) in [(lost - 3, false), (lost, true), (lost + 1, false)] {
            let data = fetched(world.ask(conn, FETCH, fetch_request(&[("v.vlsn", 0, from as i64)], 0, 0)));
            assert_eq!(data.error_code, if failed { ErrorCode::KafkaStorageError.code() } else { 0 }, "{from}");
        }
    }
}

/// A batch whose CRC was right once is read in parts: what is not what it was is served to nobody all the same.
#[test]
fn io_07_damage_after_a_batch_was_known_is_seen_by_whoever_reads_that_part() {
    let mut world = World::with(&[], Limits::default(), Planted::Nothing);
    assert_eq!(world.create(LOG, 1, &[("vlsn.enable", "true")]).code(), 0);
    let conn = world.connect();
    let record = |batch: BatchBuilder, vlsn: u64| batch.kv(1_799_999_000_000, &Vlsn(vlsn).key(), &[vlsn as u8; 500]);
    let records = (0..40).fold(BatchBuilder::new(), record).build().unwrap().freeze();
    let middle = records.len() / 2;
    assert_eq!(produced(world.ask(conn, PRODUCE, produce_request(LOG, 0, -1, records))).error_code, 0);
    let told = |vlsn: u64| Some((1_799_999_000_000, Some(vec![vlsn as u8; 500]), Vec::new()));
    for vlsn in 0..40 {
        assert_eq!(point(&world, vlsn).unwrap(), told(vlsn));
    }
    world.disk.flip(&format!("logs/{LOG}-0/{:020}.log", 0), 8 * middle);
    assert_eq!(point(&world, 1).unwrap(), told(1), "its part is what it was");
    let wrong: Vec<u64> = (0..40).rev().filter(|vlsn| point(&world, *vlsn).is_err()).collect();
    assert!(wrong.contains(&20) || wrong.contains(&19), "{wrong:?}");
    // The batch is not known any more: nothing of it is served.
    let error = point(&world, 1).unwrap_err();
    assert!(error.contains("CRC"), "{error}");
}

fn read_vlsns(world: &mut World, conn: ConnId, max_bytes: i32, vlsns: Vec<Vlsn>) -> Vec<VlsnReadResult> {
    let request = VlsnReadRequest { log: StrBytes::from_static_str(LOG), max_wait_ms: 0, max_bytes, vlsns };
    let Response::VlsnRead(response) = world.ask(conn, 0, request) else { panic!("another answer") };
    response.results
}

/// They cost memory, however few bytes they are.
#[test]
fn empty_headers_count_in_what_a_read_by_vlsn_may_answer() {
    let mut world = World::new();
    assert_eq!(world.create(LOG, 1, &[("vlsn.enable", "true")]).code(), 0);
    let conn = world.connect();
    let headers: Vec<(&[u8], Option<&[u8]>)> = vec![(b"", None); 1_000];
    let record = |batch: BatchBuilder, vlsn: u64| {
        let key = Vlsn(vlsn).key();
        batch.record(NewRecord { timestamp: 1_799_999_000_000, key: Some(&key), value: None, headers: &headers })
    };
    let records = (0..3).fold(BatchBuilder::new(), record).build().unwrap().freeze();
    assert_eq!(produced(world.ask(conn, PRODUCE, produce_request(LOG, 0, -1, records))).error_code, 0);
    let results = read_vlsns(&mut world, conn, 100_000, (0..3).map(Vlsn).collect());
    let outcomes: Vec<i8> = results.iter().map(|result| result.outcome).collect();
    assert_eq!(outcomes, [outcome::FOUND, outcome::LEFT_OUT, outcome::LEFT_OUT]);
}

/// Whether a gap is one is known once the batch that it lies in was opened, and that counts as much as it inflates to.
#[test]
fn one_read_by_vlsn_opens_a_bounded_number_of_bytes_whatever_it_finds() {
    for (codec, batches, bytes) in [(Codec::None, 40, 450_000), (Codec::Zstd, 6, 5 << 20)] {
        let mut world = World::new();
        assert_eq!(world.create(LOG, 1, &[("vlsn.enable", "true")]).code(), 0);
        let conn = world.connect();
        for first in (0..batches).map(|n| 10 * n) {
            let add = |batch: BatchBuilder, vlsn: u64| batch.kv(1_799_999_000_000, &Vlsn(vlsn).key(), &vec![7; bytes]);
            let batch = BatchBuilder::new().compression(Compression::of(codec));
            let records = [first, first + 2].into_iter().fold(batch, add).build().unwrap().freeze();
            assert_eq!(produced(world.ask(conn, PRODUCE, produce_request(LOG, 0, -1, records))).error_code, 0);
        }
        let mut asked: Vec<Vlsn> = (0..batches).map(|n| Vlsn(10 * n + 1)).collect();
        let mut rounds = 0;
        while !asked.is_empty() {
            let before = asked.len();
            let results = read_vlsns(&mut world, conn, 1 << 20, asked);
            assert!(results.iter().all(|result| [outcome::GAP, outcome::LEFT_OUT].contains(&result.outcome)));
            asked = results.iter().filter(|r| r.outcome == outcome::LEFT_OUT).map(|r| r.vlsn).collect();
            assert!(asked.len() < before, "each read gets on");
            rounds += 1;
        }
        assert_eq!(rounds, 2, "{codec:?}");
    }
}

/// The same where the batches are known from earlier reads, of which only the part that has the record is read.
#[test]
fn one_read_by_vlsn_reads_a_bounded_number_of_bytes_of_batches_that_are_known() {
    let mut world = World::new();
    assert_eq!(world.create(LOG, 1, &[("vlsn.enable", "true")]).code(), 0);
    let conn = world.connect();
    for first in (0..80).map(|n| 10 * n) {
        let add = |batch: BatchBuilder, vlsn: u64| batch.kv(1_799_999_000_000, &Vlsn(vlsn).key(), &vec![7; 450_000]);
        let records = [first, first + 2].into_iter().fold(BatchBuilder::new(), add).build().unwrap().freeze();
        assert_eq!(produced(world.ask(conn, PRODUCE, produce_request(LOG, 0, -1, records))).error_code, 0);
    }
    let gaps: Vec<Vlsn> = (0..80).map(|n| Vlsn(10 * n + 1)).collect();
    for vlsn in &gaps {
        assert_eq!(read_vlsns(&mut world, conn, 1 << 20, vec![*vlsn])[0].outcome, outcome::GAP);
    }
    let results = read_vlsns(&mut world, conn, 1 << 20, gaps);
    let told = results.iter().filter(|result| result.outcome == outcome::GAP).count();
    assert_eq!(told, (32 << 20) / 450_000 + 1);
    assert!(results[told..].iter().all(|result| result.outcome == outcome::LEFT_OUT));
}

/// However often it is asked for: a small request is not to cause gigabytes of copies.
#[test]
fn a_record_that_is_asked_for_many_times_is_copied_once() {
    let mut world = World::new();
    assert_eq!(world.create(LOG, 1, &[("vlsn.enable", "true")]).code(), 0);
    let conn = world.connect();
    let add = |batch: BatchBuilder, vlsn: u64| batch.kv(1, &Vlsn(vlsn).key(), &vec![vlsn as u8; 10_000]);
    let records = (0..2).fold(BatchBuilder::new(), add).build().unwrap().freeze();
    assert_eq!(produced(world.ask(conn, PRODUCE, produce_request(LOG, 0, -1, records))).error_code, 0);
    for asked in [vec![0, 1, 0, 1, 0], vec![1, 1, 1, 1, 1]] {
        let results = read_vlsns(&mut world, conn, 35_000, asked.iter().map(|vlsn| Vlsn(*vlsn)).collect());
        for (vlsn, result) in asked.iter().zip(&results) {
            let value = result.value.as_deref().unwrap_or_default();
            let left_out = result.outcome == outcome::LEFT_OUT && value.is_empty();
            assert!(left_out || value == vec![*vlsn as u8; 10_000], "{vlsn}: {}", result.outcome);
        }
        assert_eq!(results.iter().filter(|result| result.outcome == outcome::FOUND).count(), 3, "{asked:?}");
    }
}

/// A name that is no UTF-8 is shown with three bytes for each bad one, of which the answer has room for 32,767.
#[test]
fn a_header_whose_name_is_no_text_is_answered_as_far_as_there_is_room() {
    let mut world = World::new();
    assert_eq!(world.create(LOG, 1, &[("vlsn.enable", "true")]).code(), 0);
    let conn = world.connect();
    let bad = vec![0xff; 20_000];
    let headers: &[(&[u8], Option<&[u8]>)] = &[(&bad, Some(b"value")), (b"next", None)];
    let record = NewRecord { timestamp: 1, key: Some(&Vlsn(0).key()), value: None, headers };
    let records = BatchBuilder::new().record(record).build().unwrap().freeze();
    assert_eq!(produced(world.ask(conn, PRODUCE, produce_request(LOG, 0, -1, records))).error_code, 0);
    let results = read_vlsns(&mut world, conn, 1 << 20, vec![Vlsn(0)]);
    let names: Vec<&str> = results[0].headers.iter().map(|header| header.key.as_str()).collect();
    assert_eq!(names, ["\u{fffd}".repeat(32_767 / 3).as_str(), "next"]);
}

/// A page takes its share of each partition, but a reader that wants more at once is not to wait for what is there already.
#[test]
fn a_fetch_of_the_view_does_not_wait_for_bytes_that_a_page_has_no_room_for() {
    let mut world = World::new();
    assert_eq!(world.create(LOG, 10, &[("vlsn.enable", "true")]).code(), 0);
    let conn = world.connect();
    let write = |world: &mut World, vlsn: u64, bytes: usize| {
        let batch = BatchBuilder::new().kv(1_799_999_000_000, &Vlsn(vlsn).key(), &vec![7; bytes]);
        let partition = i32::try_from(vlsn % 10).unwrap();
        let request = produce_request(LOG, partition, -1, batch.build().unwrap().freeze());
        assert_eq!(produced(world.ask(conn, PRODUCE, request)).error_code, 0);
    };
    (0..100).for_each(|n| write(&mut world, 10 * n, 20_000));
    (1_000..1_010).for_each(|vlsn| write(&mut world, vlsn, 10));
    let reader = world.connect();
    world.send(reader, FETCH, fetch_request(&[("v.vlsn", 0, 0)], 60_000, 900_000));
    world.settle();
    let data = fetched(world.answer(reader).expect("an answer at once").1);
    assert!(data.records.unwrap_or_default().len() > 100_000);
    // What is the end of the log is waited for.
    world.send(reader, FETCH, fetch_request(&[("v.vlsn", 0, 990)], 60_000, 900_000));
    world.settle();
    assert!(world.answer(reader).is_none());
}

#[test]
fn l11_an_epoch_below_all_ends_where_the_first_one_begins_in_a_view_too() {
    let mut world = World::with(&[], Limits::default(), Planted::Nothing);
    assert_eq!(world.create(LOG, 1, &[("vlsn.enable", "true")]).code(), 0);
    let conn = world.connect();
    let records = BatchBuilder::new().kv(1, &Vlsn(5).key(), b"v").build().unwrap().freeze();
    assert_eq!(produced(world.ask(conn, PRODUCE, produce_request(LOG, 0, -1, records))).error_code, 0);
    let mut end_of = |log: &str, epoch: i32| {
        let partition = OffsetForLeaderPartition::default().with_current_leader_epoch(-1).with_leader_epoch(epoch);
        let topic = OffsetForLeaderTopic::default().with_topic(name(log)).with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let Response::OffsetForLeaderEpoch(found) = world.ask(conn, 4, request) else { panic!("another answer") };
        let found = &found.topics[0].partitions[0];
        (found.error_code, found.leader_epoch, found.end_offset)
    };
    let of_view = format!("{LOG}.vlsn");
    assert_eq!((end_of(LOG, -2), end_of(&of_view, -2)), ((0, -2, 0), (0, -2, 5)));
    assert_eq!((end_of(LOG, -1), end_of(&of_view, -1)), ((0, -1, -1), (0, -1, -1)));
    assert_eq!((end_of(LOG, 0), end_of(&of_view, 0)), ((0, 0, 1), (0, 0, 6)));
}
