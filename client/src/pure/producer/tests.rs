//! The machine against a model of a broker that keeps Kafka's rules of idempotence (I3 to I8), over a network that loses
//! requests and answers.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use super::*;
use pyralog_protocol::batch::{BatchHeader, Codec, Records, decompress};
use std::collections::VecDeque;

const PARTITIONS: u32 = 3;

fn settings(idempotent: bool) -> Settings {
    Settings {
        idempotent,
        linger_ms: 5,
        batch_bytes: 200,
        request_bytes: 1000,
        requests_in_flight: 5,
        delivery_timeout_ms: 1_000_000,
        backoff: Backoff { first_ms: 10, limit_ms: 100 },
        compression: Compression::of(Codec::None),
        strict: false,
    }
}

const ID: TopicId = TopicId([1; 16]);

fn log() -> LogId {
    LogId::new("log").unwrap()
}

/// One partition of the model.
#[derive(Default)]
struct Shelf {
    log: Vec<u64>,
    /// The largest batch, if there is a limit.
    bytes_max: Option<usize>,
    /// Epoch, and the last five batches: first sequence, records, base offset.
    state: Option<(i16, Window)>,
}

type Window = VecDeque<(i32, i32, i64)>;

impl Shelf {
    fn append(&mut self, batch: &Bytes) -> Answer {
        let header = BatchHeader::parse(batch).unwrap();
        header.verify_crc(batch).unwrap();
        let (codec, body) = (header.codec().unwrap(), &batch[BATCH_HEADER_BYTES..]);
        let plain = if codec == Codec::None { body.to_vec() } else { decompress(codec, body, 1 << 20).unwrap() };
        let ids: Vec<u64> = Records::new(&plain)
            .map(|record| u64::from_be_bytes(record.unwrap().value.unwrap()[..8].try_into().unwrap()))
            .collect();
        assert_eq!(ids.len(), header.record_count as usize);
        let refused = |code| Answer::Refused { code, message: None, records: Vec::new() };
        if self.bytes_max.is_some_and(|limit| batch.len() > limit) {
            return refused(10);
        }
        if ids.contains(&POISON) {
            return Answer::Refused { code: 87, message: None, records: vec![(0, None)] };
        }
        if header.has_producer_id() {
            let (epoch, window) = self.state.get_or_insert_with(|| (header.producer_epoch, VecDeque::new()));
            let key = (header.base_sequence, header.record_count);
            if header.producer_epoch < *epoch {
                return refused(47);
            }
            if header.producer_epoch > *epoch {
                if header.base_sequence != 0 {
                    return refused(45);
                }
                (*epoch, *window) = (header.producer_epoch, VecDeque::new());
            } else if let Some((.., base)) = window.iter().find(|(first, count, _)| (*first, *count) == key) {
                return Answer::Written { base_offset: LogOffset(*base), append_time: None };
            } else if window.back().is_some_and(|(first, count, _)| first + count != header.base_sequence) {
                return refused(45);
            }
            window.push_back((key.0, key.1, self.log.len() as i64));
            if window.len() > 5 {
                window.pop_front();
            }
        }
        let base_offset = LogOffset(self.log.len() as i64);
        self.log.extend(ids);
        Answer::Written { base_offset, append_time: None }
    }
}

const POISON: u64 = u64::MAX;

/// What goes wrong, in percent per request.
#[derive(Clone, Copy, Default)]
struct Weather {
    requests_lost: u64,
    answers_lost: u64,
    refused: u64,
    poison: u64,
}

/// Bugs that the checker has to see.
#[derive(Clone, Copy, PartialEq)]
enum Plant {
    None,
    /// Repetitions get sequence numbers of their own.
    Renumbers,
    /// A request overtakes the one before it, and is not refused for it.
    Overtakes,
    /// An outcome is kept back.
    Forgets,
}

struct World {
    machine: Producer<u64>,
    shelves: Vec<Shelf>,
    draw: Draw,
    now: MonoMs,
    air: VecDeque<(Flight, Vec<Parcel>)>,
    outcomes: BTreeMap<u64, Result<(u32, i64), Failure>>,
    plant: Plant,
    bumps: i32,
}

impl World {
    fn new(settings: Settings, seed: u64, plant: Plant) -> Self {
        let mut machine = Producer::new(settings, Draw::new(u128::from(seed)));
        machine.learn(&log(), ID, &[Some(NodeId(1)); PARTITIONS as usize]);
        Self {
            machine,
            shelves: (0..PARTITIONS).map(|_| Shelf::default()).collect(),
            draw: Draw::new(u128::from(seed) << 64),
            now: MonoMs(1),
            air: VecDeque::new(),
            outcomes: BTreeMap::new(),
            plant,
            bumps: 0,
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.draw.next_u64() % 100 < percent
    }

    fn step(&mut self) {
        let mut out = Vec::new();
        self.machine.step(self.now, &mut out);
        self.take(out);
    }

    fn take(&mut self, out: Vec<Output<u64>>) {
        for output in out {
            match output {
                Output::Identify => self.machine.identified(7, 0),
                Output::Refresh(log) => self.machine.learn(&log, ID, &[Some(NodeId(1)); PARTITIONS as usize]),
                Output::Send { flight, parcels, .. } => self.air.push_back((flight, parcels)),
                Output::Done(outcome) => {
                    for (index, token) in (0i64..).zip(outcome.tokens) {
                        let result = outcome.result.clone().map(|(base, _)| (outcome.partition, base.0 + index));
                        if self.plant == Plant::Forgets && token % 50 == 3 {
                            continue;
                        }
                        assert!(self.outcomes.insert(token, result).is_none(), "two outcomes for {token}");
                    }
                }
            }
        }
    }

    /// The broker gets the oldest request, or does not.
    fn deliver(&mut self, weather: Weather) {
        if self.plant == Plant::Overtakes && self.air.len() > 1 && self.chance(20) {
            self.air.swap(0, 1);
            self.shelves.iter_mut().for_each(|shelf| shelf.state = None);
        }
        if self.chance(weather.requests_lost) {
            // A broken connection takes everything behind it along.
            for (flight, _) in std::mem::take(&mut self.air) {
                self.machine.lost(flight, "broken", self.now);
            }
            return;
        }
        let Some((flight, parcels)) = self.air.pop_front() else { return };
        let refused = self.chance(weather.refused);
        let mut answers = BTreeMap::new();
        for parcel in parcels {
            let header = BatchHeader::parse(&parcel.batch).unwrap();
            self.bumps = self.bumps.max(i32::from(header.producer_epoch));
            let mut batch = parcel.batch;
            if self.plant == Plant::Renumbers && self.chance(50) {
                let shelf = &mut self.shelves[parcel.partition as usize];
                shelf.state = None;
            }
            let answer = if refused {
                Answer::Refused { code: 6, message: None, records: Vec::new() }
            } else {
                self.shelves[parcel.partition as usize].append(&batch.split_off(0))
            };
            answers.insert((parcel.log, parcel.partition), answer);
        }
        if self.chance(weather.answers_lost) {
            self.machine.lost(flight, "broken", self.now);
            let mut arrives = true;
            for (flight, parcels) in std::mem::take(&mut self.air) {
                // The first of what was sent behind it may arrive nevertheless.
                arrives &= self.chance(50);
                if arrives {
                    parcels.iter().for_each(|p| drop(self.shelves[p.partition as usize].append(&p.batch)));
                }
                self.machine.lost(flight, "broken", self.now);
            }
            return;
        }
        let mut out = Vec::new();
        self.machine.answered(flight, answers, self.now, &mut out);
        self.take(out);
    }
}

/// Runs a history; what is wrong at its end.
fn run(settings: &Settings, seed: u64, weather: Weather, plant: Plant) -> (Vec<String>, World) {
    run_in(World::new(settings.clone(), seed, plant), weather)
}

fn run_in(mut world: World, weather: Weather) -> (Vec<String>, World) {
    let mut sent: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for token in 0..400u64 {
        let partition = (world.draw.next_u64() % u64::from(PARTITIONS)) as u32;
        let poison = world.chance(weather.poison);
        let value = [&(if poison { POISON } else { token }).to_be_bytes()[..], &[0; 30]].concat();
        let record = NewRecord { timestamp: 5, key: None, value: Some(&value), headers: &[] };
        world.machine.push(&log(), Target::Partition(partition), record, token, world.now).unwrap();
        if !poison {
            sent.entry(partition).or_default().push(token);
        }
        for _ in 0..world.draw.next_u64() % 3 {
            world.step();
            world.deliver(weather);
        }
        world.now = world.now.after_ms((world.draw.next_u64() % 4) as i64);
    }
    for _ in 0..20_000 {
        if world.machine.is_idle() {
            break;
        }
        world.machine.hurry();
        world.step();
        world.deliver(weather);
        world.now = world.now.after_ms(3);
    }
    let mut wrong = Vec::new();
    if world.outcomes.len() != 400 {
        wrong.push(format!("{} of 400 records have an outcome", world.outcomes.len()));
    }
    for (index, shelf) in (0u32..).zip(&world.shelves) {
        let written: Vec<u64> = sent.get(&index).into_iter().flatten().copied().collect();
        let expected: Vec<u64> =
            written.into_iter().filter(|token| world.outcomes.get(token).is_none_or(Result::is_ok)).collect();
        if shelf.log != expected {
            wrong.push(format!("partition {index}: {:?} instead of {expected:?}", shelf.log));
        }
    }
    for (token, outcome) in &world.outcomes {
        if let Ok((partition, offset)) = outcome
            && world.shelves[*partition as usize].log.get(*offset as usize) != Some(token)
        {
            wrong.push(format!("{token} is not at {partition}@{offset}"));
        }
    }
    (wrong, world)
}

const STORM: Weather = Weather { requests_lost: 8, answers_lost: 15, refused: 10, poison: 0 };

#[test]
fn id_01_each_record_once_and_in_order_whatever_is_lost() {
    for seed in 0..200 {
        for weather in [Weather::default(), STORM] {
            let (wrong, world) = run(&settings(true), seed, weather, Plant::None);
            assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
            assert!(world.outcomes.values().all(Result::is_ok) && world.bumps == 0, "seed {seed}");
        }
    }
}

/// A refused batch leaves a hole in the sequence; a new epoch closes it.
#[test]
fn id_08_refused_batches_cost_an_epoch_and_no_other_record() {
    let mut bumped = 0;
    for seed in 0..100 {
        let weather = Weather { poison: 3, ..Weather::default() };
        let (wrong, world) = run(&settings(true), seed, weather, Plant::None);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        bumped += world.bumps;
    }
    assert!(bumped > 0, "never a new epoch: the test shows nothing");
}

/// Of batches that are larger than the log allows, the records are written nevertheless, each once and in order.
#[test]
fn batches_that_are_too_large_are_split() {
    for seed in 0..100 {
        for (codec, idempotent) in [(Codec::None, true), (Codec::None, false), (Codec::Zstd, true)] {
            let compression = Compression::of(codec);
            let settings = Settings { batch_bytes: 900, linger_ms: 50, compression, ..settings(idempotent) };
            let weather = if idempotent { STORM } else { Weather::default() };
            let mut world = World::new(settings, seed, Plant::None);
            world.shelves.iter_mut().for_each(|shelf| shelf.bytes_max = Some(130));
            let (wrong, world) = run_in(world, weather);
            assert!(wrong.is_empty(), "seed {seed}, {codec}: {wrong:#?}");
            assert!(world.outcomes.values().all(Result::is_ok) && world.bumps == 0, "seed {seed}, {codec}");
        }
    }
}

/// A record that is too large by itself fails, and no other one.
#[test]
fn only_the_record_that_is_too_large_fails() {
    let mut world = World::new(Settings { batch_bytes: 900, ..settings(true) }, 1, Plant::None);
    world.shelves[0].bytes_max = Some(150);
    for token in 0..5u64 {
        let value = [&token.to_be_bytes()[..], &vec![0; if token == 2 { 100 } else { 10 }]].concat();
        let record = NewRecord { timestamp: 5, key: None, value: Some(&value), headers: &[] };
        world.machine.push(&log(), Target::Partition(0), record, token, world.now).unwrap();
    }
    for _ in 0..100 {
        world.machine.hurry();
        world.step();
        world.deliver(Weather::default());
        world.now = world.now.after_ms(50);
    }
    assert_eq!(world.shelves[0].log, [0, 1, 3, 4]);
    let failed: Vec<u64> = world.outcomes.iter().filter(|(_, outcome)| outcome.is_err()).map(|(n, _)| *n).collect();
    assert_eq!((failed, world.outcomes.len(), world.machine.is_idle()), (vec![2], 5, true));
}

/// Writes rising tokens until all are there, or refused for good, looking at the log after each halt: what is behind a
/// record that was not written.
fn run_to_the_end(strict: bool, seed: u64) -> (Vec<String>, usize) {
    let weather = Weather { poison: 2, ..STORM };
    let mut world = World::new(Settings { strict, ..settings(true) }, seed, Plant::None);
    let mut left: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    (0..300).for_each(|token| left.entry((token % u64::from(PARTITIONS)) as u32).or_default().push(token));
    let (mut wrong, mut rounds) = (Vec::new(), 0);
    while left.values().any(|tokens| !tokens.is_empty()) && rounds < 400 {
        rounds += 1;
        world.outcomes.clear();
        world.machine.mend();
        let mut pushed: BTreeMap<u32, Vec<(u64, bool)>> = BTreeMap::new();
        let mut tokens: Vec<u64> = left.values().flatten().copied().collect();
        tokens.sort_unstable();
        for token in tokens {
            let (partition, poison) = ((token % u64::from(PARTITIONS)) as u32, world.chance(weather.poison));
            let value = [&(if poison { POISON } else { token }).to_be_bytes()[..], &[0; 30]].concat();
            let record = NewRecord { timestamp: 5, key: None, value: Some(&value), headers: &[] };
            if world.machine.push(&log(), Target::Partition(partition), record, token, world.now).is_err() {
                break;
            }
            pushed.entry(partition).or_default().push((token, poison));
            world.step();
            world.deliver(weather);
        }
        while !world.machine.is_idle() {
            world.machine.hurry();
            world.step();
            world.deliver(weather);
            world.now = world.now.after_ms(3);
        }
        for (partition, tokens) in pushed {
            let written = &world.shelves[partition as usize].log;
            let mut ends = false;
            for (token, poison) in tokens {
                if written.contains(&token) && ends {
                    wrong.push(format!("round {rounds}: {token} is written behind one that is not"));
                }
                ends |= !written.contains(&token);
                // Refused for good: whoever wrote it does without.
                let is_done = written.contains(&token) || poison;
                left.get_mut(&partition).unwrap().retain(|other| *other != token || !is_done);
            }
            if !written.is_sorted_by(|a, b| a < b) {
                wrong.push(format!("round {rounds}: partition {partition} does not rise: {written:?}"));
            }
        }
    }
    (wrong, rounds)
}

#[test]
fn where_order_is_strict_nothing_is_written_behind_a_record_that_was_not() {
    let mut rounds = 0;
    for seed in 0..100 {
        let (wrong, halts) = run_to_the_end(true, seed);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        rounds += halts;
    }
    assert!(rounds > 200, "hardly a halt: the test shows nothing");
    let seen = (0..20).filter(|seed| !run_to_the_end(false, *seed).0.is_empty()).count();
    assert!(seen > 10, "a machine that is not strict was not caught");
}

#[test]
fn without_idempotence_the_order_is_kept_as_well() {
    for seed in 0..50 {
        let weather = Weather { refused: 20, requests_lost: 10, ..Weather::default() };
        let (wrong, _) = run(&settings(false), seed, weather, Plant::None);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    }
}

#[test]
fn planted_bugs_are_found() {
    for plant in [Plant::Renumbers, Plant::Overtakes, Plant::Forgets] {
        let seen = (0..20).filter(|seed| !run(&settings(true), *seed, STORM, plant).0.is_empty()).count();
        assert!(seen > 0, "a planted bug was not seen");
    }
}

#[test]
fn records_whose_time_is_up_fail_and_the_others_go_on() {
    let settings = Settings { delivery_timeout_ms: 100, ..settings(true) };
    let mut world = World::new(settings, 1, Plant::None);
    let record = |value: &'static [u8]| NewRecord { timestamp: 5, key: None, value: Some(value), headers: &[] };
    world.machine.push(&log(), Target::Partition(0), record(&[0; 8]), 0, world.now).unwrap();
    world.step();
    world.step();
    let (flight, _) = world.air.pop_front().unwrap();
    world.machine.lost(flight, "broken", MonoMs(50));
    world.now = MonoMs(150);
    world.step();
    let sent = Failure::Expired { sent: true, last: Some(Box::new(Failure::Lost { reason: "broken".into() })) };
    assert_eq!(world.outcomes[&0], Err(sent));
    assert!(world.machine.is_idle());
    world.machine.push(&log(), Target::Partition(0), record(&[0, 0, 0, 0, 0, 0, 0, 1]), 1, world.now).unwrap();
    world.step();
    world.deliver(Weather::default());
    assert_eq!(world.outcomes[&1], Ok((0, 0)), "nothing is known of the producer yet: any sequence is taken");
}

/// Whether a record is in doubt that is given up after something happened to its request.
fn is_in_doubt(happens: impl Fn(&mut Producer<u64>, Flight, &mut Vec<Output<u64>>)) -> bool {
    let mut machine: Producer<u64> = Producer::new(Settings { strict: true, ..settings(true) }, Draw::new(1));
    machine.learn(&log(), ID, &[Some(NodeId(1))]);
    machine.identified(1, 0);
    let record = NewRecord { timestamp: 0, key: None, value: Some(&[1]), headers: &[] };
    machine.push(&log(), Target::Key, record, 9, MonoMs(0)).unwrap();
    let mut out = Vec::new();
    machine.step(MonoMs(0), &mut out);
    let Some(Output::Send { flight, .. }) = out.pop() else { panic!("{out:?}") };
    happens(&mut machine, flight, &mut out);
    machine.give_up(None, "enough", &mut out);
    let Some(Output::Done(Outcome { result: Err(_), in_doubt, .. })) = out.last() else { panic!("{out:?}") };
    *in_doubt
}

#[test]
fn in_doubt_is_what_was_sent_and_whose_fate_is_not_known() {
    let refused = |code| BTreeMap::from([((log(), 0), Answer::Refused { code, message: None, records: Vec::new() })]);
    let too_large = refused(10);
    assert!(is_in_doubt(|machine, flight, _| machine.lost(flight, "broken", MonoMs(1))), "it may have arrived");
    assert!(!is_in_doubt(|machine, flight, _| machine.unsent(flight, "no connection", MonoMs(1))));
    assert!(!is_in_doubt(|machine, flight, out| machine.answered(flight, too_large.clone(), MonoMs(1), out)));
    let after = |code| is_in_doubt(|machine, flight, out| machine.answered(flight, refused(code), MonoMs(1), out));
    for code in [2, 3, 5, 19, 45, 47, 59] {
        assert!(!after(code), "{code} is said before anything is appended");
    }
    for code in [6, 7, 13, 20, 56] {
        assert!(after(code), "{code} may be said of what was appended");
    }
    let twice = is_in_doubt(|machine, flight, out| {
        machine.lost(flight, "broken", MonoMs(1));
        machine.step(MonoMs(1000), out);
        let Some(Output::Send { flight, .. }) = out.pop() else { panic!("{out:?}") };
        machine.answered(flight, too_large.clone(), MonoMs(1001), out);
    });
    assert!(twice, "the first copy may still arrive");
}

/// Pushes a record, and does what is possible now; the request that comes of it, if one does.
fn push_now(machine: &mut Producer<u64>, hurries: bool) -> Option<Flight> {
    let record = NewRecord { timestamp: 0, key: None, value: Some(&[1]), headers: &[] };
    machine.push(&log(), Target::Partition(0), record, 0, MonoMs(0)).unwrap();
    if hurries {
        machine.hurry();
    }
    let mut out = Vec::new();
    machine.step(MonoMs(0), &mut out);
    match out.pop() {
        Some(Output::Send { flight, .. }) => Some(flight),
        None => None,
        Some(other) => panic!("{other:?}"),
    }
}

#[test]
fn what_hurries_is_what_was_there() {
    let mut machine: Producer<u64> = Producer::new(settings(true), Draw::new(1));
    machine.learn(&log(), ID, &[Some(NodeId(1))]);
    machine.identified(1, 0);
    let first = push_now(&mut machine, false).unwrap();
    let written = Answer::Written { base_offset: LogOffset(0), append_time: None };
    machine.answered(first, BTreeMap::from([((log(), 0), written)]), MonoMs(0), &mut Vec::new());
    assert!(push_now(&mut machine, false).is_some(), "nothing is unanswered");
    assert_eq!(push_now(&mut machine, false), None, "it waits for company");
    assert!(push_now(&mut machine, true).is_some());
    assert_eq!(push_now(&mut machine, false), None, "it came later");
}

#[test]
fn metadata_is_asked_for_while_something_waits_to_be_written() {
    let mut machine: Producer<u64> = Producer::new(settings(true), Draw::new(1));
    machine.learn(&log(), ID, &[Some(NodeId(1))]);
    machine.identified(1, 0);
    let asks = |machine: &mut Producer<u64>, now| {
        let mut out = Vec::new();
        machine.step(MonoMs(now), &mut out);
        out.iter().any(|output| matches!(output, Output::Refresh(_)))
    };
    let unknown = Answer::Refused { code: 3, message: None, records: Vec::new() };
    let first = push_now(&mut machine, true).unwrap();
    machine.learn(&log(), ID, &[Some(NodeId(1))]);
    // What was asked for in vain before it was created, and heard after it is known to be there.
    machine.answered(first, BTreeMap::from([((log(), 0), unknown)]), MonoMs(0), &mut Vec::new());
    assert!(machine.has_unsettled(&log()));
    assert!(asks(&mut machine, 0));
    let mut out = Vec::new();
    machine.step(MonoMs(10_000), &mut out);
    let sent = |output: Output<u64>| match output {
        Output::Send { flight, .. } => Some(flight),
        Output::Identify | Output::Refresh(_) | Output::Done(_) => None,
    };
    let second = out.into_iter().find_map(sent).unwrap();
    let written = Answer::Written { base_offset: LogOffset(0), append_time: None };
    machine.answered(second, BTreeMap::from([((log(), 0), written)]), MonoMs(10_000), &mut Vec::new());
    assert!(!machine.has_unsettled(&log()));
    assert!(!asks(&mut machine, 60_000), "nothing is written");
    machine
        .push(&log(), Target::Key, NewRecord { timestamp: 0, key: None, value: None, headers: &[] }, 1, MonoMs(60_000))
        .unwrap();
    assert!(asks(&mut machine, 60_000));
}

/// A log of the same name that comes between two batches takes the second one: it has no sequence to compare with.
#[test]
fn batches_go_one_by_one_to_a_log_that_was_not_there_or_is_another_one() {
    let written = |offset| Answer::Written { base_offset: LogOffset(offset), append_time: None };
    let answer = |machine: &mut Producer<u64>, flight, answer| {
        machine.answered(flight, BTreeMap::from([((log(), 0), answer)]), MonoMs(0), &mut Vec::new());
    };
    let sent = |machine: &mut Producer<u64>| {
        let mut out = Vec::new();
        machine.step(MonoMs(10_000), &mut out);
        let flights = out.into_iter().filter_map(|output| match output {
            Output::Send { flight, .. } => Some(flight),
            Output::Identify | Output::Refresh(_) | Output::Done(_) => None,
        });
        flights.collect::<Vec<_>>()
    };
    for is_there in [false, true] {
        let mut machine: Producer<u64> = Producer::new(settings(true), Draw::new(1));
        machine.learn(&log(), ID, &[Some(NodeId(1))]);
        machine.identified(1, 0);
        let first = push_now(&mut machine, true).unwrap();
        answer(&mut machine, first, written(0));
        if is_there {
            machine.learn(&log(), TopicId([2; 16]), &[Some(NodeId(1))]);
            assert!(push_now(&mut machine, true).is_some());
        } else {
            let flights = [(); 2].map(|()| push_now(&mut machine, true).unwrap());
            for flight in flights {
                answer(&mut machine, flight, Answer::Refused { code: 3, message: None, records: Vec::new() });
            }
            let [again] = sent(&mut machine)[..] else { panic!("not one by one") };
            assert_eq!(sent(&mut machine), [], "nothing behind it");
            answer(&mut machine, again, written(0));
            assert_eq!(sent(&mut machine).len(), 1, "the second one");
        }
        let alone = push_now(&mut machine, true);
        assert_eq!(alone.is_none(), is_there, "until the first of them was answered");
    }
}

/// Were it there after all, with what the broker remembers of this producer, a sequence that begins anew in the same epoch would look
/// like a repetition.
#[test]
fn a_log_that_is_forgotten_is_written_in_a_higher_epoch_once_it_is_there() {
    let answer = |machine: &mut Producer<u64>, flight, answer| {
        machine.answered(flight, BTreeMap::from([((log(), 0), answer)]), MonoMs(0), &mut Vec::new());
    };
    let written = || Answer::Written { base_offset: LogOffset(0), append_time: None };
    for (epoch, expected) in [(0, Some(2)), (i16::MAX - 2, Some(i16::MAX)), (i16::MAX - 1, None)] {
        let mut machine: Producer<u64> = Producer::new(settings(true), Draw::new(1));
        machine.learn(&log(), ID, &[Some(NodeId(1))]);
        machine.identified(1, epoch);
        let first = push_now(&mut machine, true).unwrap();
        assert!(!machine.forget(&log()), "it is in the air");
        answer(&mut machine, first, Answer::Refused { code: 45, message: None, records: Vec::new() });
        assert!(!machine.forget(&log()), "it waits");
        let mut out = Vec::new();
        machine.step(MonoMs(1000), &mut out);
        let [Output::Send { flight, .. }] = out[..] else { panic!("{out:?}") };
        answer(&mut machine, flight, written());
        assert_eq!((machine.forget(&log()), machine.logs().count()), (true, 0));
        machine.learn(&log(), ID, &[Some(NodeId(1))]);
        let record = NewRecord { timestamp: 0, key: None, value: Some(&[1]), headers: &[] };
        machine.push(&log(), Target::Key, record, 0, MonoMs(2000)).unwrap();
        out.clear();
        machine.step(MonoMs(2000), &mut out);
        match (&out[..], expected) {
            ([Output::Send { parcels, .. }], Some(expected)) => {
                let header = BatchHeader::parse(&parcels[0].batch).unwrap();
                let sequence = (header.producer_id, header.producer_epoch, header.base_sequence);
                assert_eq!(sequence, (1, expected, 0));
            }
            ([Output::Identify], None) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_log_that_is_created_again_may_have_fewer_partitions() {
    let mut machine: Producer<u64> = Producer::new(settings(true), Draw::new(1));
    let (leader, other) = (Some(NodeId(1)), TopicId([2; 16]));
    machine.learn(&log(), ID, &[leader; 6]);
    machine.learn(&log(), ID, &[leader; 2]);
    assert_eq!(machine.partition_count(&log()), Some(6), "a broker that lags behind");
    machine.learn(&log(), other, &[leader; 2]);
    assert_eq!(machine.partition_count(&log()), Some(2));
    let record = NewRecord { timestamp: 0, key: None, value: Some(&[1]), headers: &[] };
    let gone = machine.push(&log(), Target::Partition(2), record, 9, MonoMs(0));
    assert_eq!(gone, Err((Untaken::NoPartition { count: 2 }, 9)));
    for n in 0..100u64 {
        let key = n.to_be_bytes();
        let keyed = NewRecord { key: Some(&key), ..record };
        machine.push(&log(), Target::Key, keyed, n, MonoMs(0)).unwrap();
        machine.push(&log(), Target::Key, record, n, MonoMs(0)).unwrap();
    }
    assert!(machine.active.iter().all(|(_, index)| *index < 2), "{:?}", machine.active);
}

#[test]
fn i08_sequences_wrap_after_2147483647() {
    let last = Sequence { id: 1, epoch: 0, first: i32::MAX - 1 };
    assert_eq!(last.after(1).first, i32::MAX);
    assert_eq!(last.after(2).first, 0);
    assert_eq!(last.after(5).first, 3);
}

#[test]
fn what_is_not_taken_comes_back() {
    let mut machine: Producer<u64> = Producer::new(settings(true), Draw::new(1));
    let large = vec![0; 2000];
    let record = NewRecord { timestamp: 0, key: None, value: Some(&large), headers: &[] };
    let small = NewRecord { value: Some(&[1]), ..record };
    let now = MonoMs(0);
    assert_eq!(machine.push(&log(), Target::Key, small, 9, now), Err((Untaken::UnknownLog, 9)));
    machine.learn(&log(), ID, &[Some(NodeId(1))]);
    assert!(matches!(
        machine.push(&log(), Target::Key, record, 9, now),
        Err((Untaken::TooLarge { limit: 1000, .. }, 9))
    ));
    let nowhere = machine.push(&log(), Target::Partition(1), small, 9, now);
    assert_eq!(nowhere, Err((Untaken::NoPartition { count: 1 }, 9)));
    assert!(machine.is_idle());
    assert_eq!(machine.push(&log(), Target::Key, small, 9, now), Ok(true));
    let mut out = Vec::new();
    machine.give_up(None, "closed", &mut out);
    assert!(
        matches!(&out[..], [Output::Done(Outcome { tokens, result: Err(Failure::GivenUp { .. }), .. })] if tokens[..] == [9])
    );
    assert!(machine.is_idle());
}
