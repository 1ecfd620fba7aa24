//! Large groups over real sockets (GR-06): how long after its last join a group is stable, and that half of it may leave at
//! once without anybody else noticing. Members are threads that do what clients do, at the pace that the broker asks for.
//!
//! The tests that always run have 60 members; those with 1,000 are for a machine of one's own:
//! `cargo test --release -p pyralog-compat-tests --test group_sizes -- --ignored --nocapture --test-threads 1`
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::HeartbeatRequest;
use pyralog_compat_tests::conn::{PATIENCE, SOON};
use pyralog_compat_tests::consumers::{Consumer, Partitions, first_partitions};
use pyralog_compat_tests::groups::{commit_request, heartbeat_request, join_request, leader_sync, sync_request};
use pyralog_compat_tests::{Batch, Broker, BrokerOptions, Conn};

/// How often a classic client of today sends heartbeats.
const CLASSIC_BEAT: Duration = Duration::from_secs(3);

/// What a member knows: its generation or epoch, and what is its own.
type Share = (i32, Partitions);

/// What the members of a group tell the test, and the test them.
#[derive(Default)]
struct Board {
    shares: Mutex<BTreeMap<usize, Share>>,
    /// Members with a smaller number are to leave.
    leave_below: Mutex<usize>,
    changed: Condvar,
}

impl Board {
    fn show(&self, who: usize, epoch: i32, owned: &Partitions) {
        self.shares.lock().unwrap().insert(who, (epoch, owned.clone()));
    }

    /// Waits that long, or until the member is to leave; says whether it is.
    fn leaves_within(&self, who: usize, pause: Duration) -> bool {
        let below = self.leave_below.lock().unwrap();
        *self.changed.wait_timeout_while(below, pause, |below| who >= *below).unwrap().0 > who
    }

    fn leave_below(&self, end: usize) {
        *self.leave_below.lock().unwrap() = end;
        self.changed.notify_all();
    }

    /// Waits until these members, and no others, are of one mind about an epoch after this one, and share all partitions;
    /// says for how long, and which epoch it is.
    fn wait(&self, members: std::ops::Range<usize>, after: i32, all: &Partitions) -> (Duration, i32) {
        let start = Instant::now();
        loop {
            let shares = self.shares.lock().unwrap();
            let epoch = shares.values().next().map_or(after, |(epoch, _)| *epoch);
            let agree = epoch > after && shares.values().all(|(found, _)| *found == epoch);
            if shares.keys().copied().eq(members.clone()) && agree && is_shared_out(&shares, all) {
                return (start.elapsed(), epoch);
            }
            drop(shares);
            assert!(start.elapsed() < 3 * PATIENCE, "the group does not get stable");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether every partition is somebody's, and nobody has two more than another.
fn is_shared_out(shares: &BTreeMap<usize, Share>, all: &Partitions) -> bool {
    let sizes = || shares.values().map(|(_, owned)| owned.len());
    let union: Partitions = shares.values().flat_map(|(_, owned)| owned.iter().copied()).collect();
    union == *all && sizes().sum::<usize>() == all.len() && sizes().max() <= sizes().min().map(|least| least + 1)
}

fn modern_member(conn: Conn, topic: &str, who: usize, board: &Board) {
    let mut member = Consumer::join(conn, "big", &[topic]);
    let mut pause = Duration::from_millis(500);
    loop {
        board.show(who, member.epoch, &member.owned);
        if board.leaves_within(who, pause) {
            assert_eq!(member.leave().error_code, 0);
            board.shares.lock().unwrap().remove(&who);
            return;
        }
        let before = member.owned.clone();
        let answer = member.beat();
        assert_eq!(answer.error_code, 0, "{answer:?}");
        // What was taken or given back is said at once.
        let interval_ms = u64::try_from(answer.heartbeat_interval_ms).unwrap();
        pause = Duration::from_millis(if member.owned == before { interval_ms } else { 0 });
    }
}

fn classic_member(mut conn: Conn, who: usize, board: &Board) {
    let request = join_request("big", "").with_rebalance_timeout_ms(120_000).with_session_timeout_ms(120_000);
    let mut request = request.clone().with_member_id(conn.call(9, &request).member_id);
    loop {
        let joined = conn.join(&request);
        assert_eq!(joined.error_code, 0, "{joined:?}");
        request.member_id = joined.member_id.clone();
        let (generation, id) = (joined.generation_id, joined.member_id.clone());
        let sync = match joined.leader == id {
            true => leader_sync("big", &joined, "for"),
            false => sync_request("big", generation, &id),
        };
        let synced = conn.sync(&sync);
        if synced.error_code == 27 {
            continue;
        }
        assert_eq!((synced.error_code, synced.assignment), (0, Bytes::from(format!("for {id}"))));
        board.show(who, generation, &Partitions::new());
        let beat: HeartbeatRequest = heartbeat_request("big", generation, &id);
        loop {
            if board.leaves_within(who, CLASSIC_BEAT) {
                assert_eq!(conn.leave("big", &[&id]).members[0].error_code, 0);
                board.shares.lock().unwrap().remove(&who);
                return;
            }
            match conn.call(4, &beat).error_code {
                0 => {}
                27 => break,
                error => panic!("{error}"),
            }
        }
    }
}

/// Somebody else at work: appends a record and commits an offset in turn; the longest that one of the two took.
fn bystander(mut conn: Conn, topic: &str, over: &AtomicBool) -> Duration {
    let batch = Batch::of("x", 1).encode();
    let commit = commit_request("other", &[(topic, 0, 1)]);
    let mut longest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        let start = Instant::now();
        conn.append(topic, 0, &batch);
        assert_eq!(conn.commit(&commit), 0);
        longest = longest.max(start.elapsed());
        std::thread::sleep(Duration::from_millis(10));
    }
    longest
}

/// Runs `work` beside a bystander; says how long that one had to wait at most.
fn beside<T>(broker: &Broker, work: impl FnOnce() -> T) -> (T, Duration) {
    let (over, conn) = (Arc::new(AtomicBool::new(false)), broker.connect());
    let other = {
        let over = over.clone();
        std::thread::spawn(move || bystander(conn, "other", &over))
    };
    let done = work();
    over.store(true, Ordering::Relaxed);
    (done, other.join().unwrap())
}

#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    Classic,
    Modern,
}

/// A group of so many members forms, and then half of it leaves at once.
fn check(protocol: Protocol, members: usize) {
    let broker = Broker::start(BrokerOptions::new());
    let partitions = i32::try_from(members).unwrap();
    let id = broker.connect().create_topic("big", partitions, &[]);
    broker.connect().create_topic("other", 1, &[]);
    let all = match protocol {
        Protocol::Modern => first_partitions(id, partitions),
        Protocol::Classic => Partitions::new(),
    };
    let board = Arc::new(Board::default());
    let join = |who: usize| {
        let (board, mut conn) = (board.clone(), broker.connect());
        conn.client_id = Some(format!("member-{who}"));
        std::thread::Builder::new()
            .stack_size(512 << 10)
            .spawn(move || match protocol {
                Protocol::Modern => modern_member(conn, "big", who, &board),
                Protocol::Classic => classic_member(conn, who, &board),
            })
            .unwrap()
    };
    let ((threads, (stable, epoch)), waited) = beside(&broker, || {
        let threads: Vec<_> = (0..members)
            .map(|who| {
                std::thread::sleep(Duration::from_millis(2));
                join(who)
            })
            .collect();
        (threads, board.wait(0..members, 0, &all))
    });
    eprintln!("{members} members: stable {stable:?} after the last came; others waited {waited:?} at most");
    assert!(stable < 2 * SOON, "stable {stable:?} after the last join");
    assert!(waited < SOON, "others waited {waited:?}");

    let ((stable, _), waited) = beside(&broker, || {
        board.leave_below(members / 2);
        board.wait(members / 2..members, epoch, &all)
    });
    eprintln!("{} left: stable {stable:?} later; others waited {waited:?} at most", members / 2);
    assert!(stable < 2 * SOON, "stable {stable:?} after the last left");
    assert!(waited < SOON, "others waited {waited:?}");
    board.leave_below(members);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// So many offsets, 1,000 per group, survive a clean stop and a kill; how long the broker took to be ready again each time.
fn restarts_with_offsets(offsets: usize) -> [Duration; 2] {
    const PER_GROUP: i32 = 1000;
    let mut broker = Broker::start(BrokerOptions::new());
    let mut conn = broker.connect();
    conn.create_topic("many", PER_GROUP, &[]);
    let groups = offsets / usize::try_from(PER_GROUP).unwrap();
    for group in 0..groups {
        let parts: Vec<_> = (0..PER_GROUP).map(|p| ("many", p, i64::from(p) * 7)).collect();
        let answer = conn.call(8, &commit_request(&format!("group-{group}"), &parts));
        assert!(answer.topics[0].partitions.iter().all(|p| p.error_code == 0));
    }
    let last = format!("group-{}", groups - 1);
    [false, true].map(|kill| {
        if kill {
            broker.kill9();
        }
        broker.restart();
        assert_eq!(broker.connect().committed(&last, "many", 999).committed_offset, 6993);
        eprintln!(
            "{offsets} offsets: ready {:?} after {}, {} MB",
            broker.ready_after(),
            if kill { "kill -9" } else { "a stop" },
            broker.resident_bytes() >> 20
        );
        broker.ready_after()
    })
}

#[test]
fn ra05_offsets_survive_restarts() {
    restarts_with_offsets(20_000);
}

#[test]
#[ignore = "measures time: for a machine of one's own"]
fn ra05_a_million_offsets_are_loaded_within_a_second() {
    for took in restarts_with_offsets(1_000_000) {
        assert!(took < Duration::from_secs(1), "ready after {took:?}");
    }
}

#[test]
fn gr06_60_members_of_a_kip_848_group() {
    check(Protocol::Modern, 60);
}

#[test]
fn gr06_60_members_of_a_classic_group() {
    check(Protocol::Classic, 60);
}

#[test]
#[ignore = "a thousand threads: for a machine of one's own"]
fn gr06_1000_members_of_a_kip_848_group() {
    check(Protocol::Modern, 1000);
}

#[test]
#[ignore = "a thousand threads: for a machine of one's own"]
fn gr06_1000_members_of_a_classic_group() {
    check(Protocol::Classic, 1000);
}
