//! Three voters on a network that loses, delays, repeats and reorders, with crashes: the loop is the one that the
//! single voter runs. At most one leader per term, equal entries at equal (index, term), equal states at the end.

use std::collections::BTreeMap;

use eraftpb::{Message, MessageType};

use super::super::keys::{self, LogPosition, Shard};
use super::super::snapshot;
use super::planted::{Plant, Planted};
use super::*;

struct Cluster {
    draw: Draw,
    seed: u64,
    plant: Plant,
    replicas: BTreeMap<u64, Replica<Planted, Cell>>,
    /// What each node's machines hold: loaded at open, then applied.
    tables: BTreeMap<u64, Table>,
    network: Vec<Message>,
    lossy: bool,
    /// Nothing reaches or leaves this node.
    cut_off: Option<u64>,
    leaders: BTreeMap<u64, u64>,
    /// What was applied at each index, by whoever came first.
    decided: BTreeMap<u64, (u64, Vec<Cell>)>,
    acknowledged: Vec<u64>,
    pending: Vec<(u64, Proposed)>,
    snapshots: usize,
    trace: Vec<(u64, u64, u64)>,
}

fn options(node: u64, seed: u64) -> ReplicaOptions {
    ReplicaOptions { node, voters: vec![1, 2, 3], seed, ..small() }
}

impl Cluster {
    fn new(seed: u64, plant: Plant) -> Self {
        let (mut replicas, mut tables) = (BTreeMap::new(), BTreeMap::new());
        for node in 1..=3 {
            let replica =
                Replica::open(Planted { store: MemoryStore::recording(), plant }, options(node, seed)).unwrap();
            tables.insert(node, Table::of(&state_of(&replica)));
            replicas.insert(node, replica);
        }
        Self {
            draw: draw(seed),
            seed,
            plant,
            replicas,
            tables,
            network: Vec::new(),
            lossy: true,
            cut_off: None,
            leaders: BTreeMap::new(),
            decided: BTreeMap::new(),
            acknowledged: Vec::new(),
            pending: Vec::new(),
            snapshots: 0,
            trace: Vec::new(),
        }
    }

    fn node(&mut self) -> u64 {
        1 + below(&mut self.draw, 3)
    }

    fn pump(&mut self, node: u64) {
        let replica = self.replicas.get_mut(&node).unwrap();
        let progress = replica.pump().unwrap();
        let table = self.tables.get_mut(&node).unwrap();
        if progress.replaced {
            *table = Table::of(&state_of(replica));
            self.snapshots += 1;
        } else {
            progress.applied.iter().for_each(|applied| table.apply(&applied.records));
        }
        for applied in &progress.applied {
            let known = self.decided.entry(applied.index).or_insert((applied.term, applied.records.clone()));
            assert_eq!(*known, (applied.term, applied.records.clone()), "two histories: seed {}", self.seed);
            let proposed = Proposed { index: applied.index, term: applied.term };
            let mine = self.pending.contains(&(node, proposed));
            assert_eq!(mine, applied.own, "seed {}", self.seed);
            if mine {
                self.acknowledged.push(applied.index);
            }
        }
        if replica.is_ready_leader() {
            let first = *self.leaders.entry(replica.term()).or_insert(node);
            assert_eq!(first, node, "two leaders in term {}: seed {}", replica.term(), self.seed);
        }
        self.trace.push((node, replica.term(), progress.committed));
        self.network.extend(progress.messages);
    }

    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let at = usize::try_from(below(&mut self.draw, self.network.len().min(4) as u64)).unwrap();
        let message = self.network.remove(at);
        let cut_off = self.cut_off.is_some_and(|node| node == message.from || node == message.to);
        if cut_off || (self.lossy && below(&mut self.draw, 10) == 0) {
            self.report_loss(&message);
            return;
        }
        if self.lossy && below(&mut self.draw, 20) == 0 {
            self.network.push(message.clone());
        }
        let to = message.to;
        self.replicas.get_mut(&to).unwrap().step(message);
        self.pump(to);
    }

    /// RA-13: what did not arrive is reported to its sender.
    fn report_loss(&mut self, message: &Message) {
        let delivered = message.get_msg_type() != MessageType::MsgSnapshot;
        let sender = self.replicas.get_mut(&message.from).unwrap();
        if delivered { sender.report_unreachable(message.to) } else { sender.report_snapshot(message.to, false) }
    }

    fn crash(&mut self, node: u64) {
        let store = self.replicas.remove(&node).unwrap().into_store().store.crash(&mut self.draw);
        let store = Planted { store, plant: self.plant };
        let replica = Replica::open(store, options(node, self.seed)).unwrap();
        assert!(!replica.is_ready_leader(), "RL-01: nobody leads at once");
        self.tables.insert(node, Table::of(&state_of(&replica)));
        self.replicas.insert(node, replica);
        self.pending.retain(|(owner, _)| *owner != node);
    }

    fn event(&mut self, crashes: bool) {
        match below(&mut self.draw, 200) {
            0 if crashes => {
                let node = self.node();
                self.crash(node);
            }
            1 => self.cut_off = Some(self.node()).filter(|_| self.cut_off.is_none()),
            0..120 => self.deliver(),
            120..170 => {
                let node = self.node();
                if self.replicas.get_mut(&node).unwrap().tick() {
                    self.pump(node);
                }
            }
            _ => {
                let node = self.node();
                let records = some_records(&mut self.draw);
                let replica = self.replicas.get_mut(&node).unwrap();
                if let Ok(proposed) = replica.propose(&records) {
                    assert!(replica.is_ready_leader(), "RL-01");
                    self.pending.push((node, proposed));
                    self.pump(node);
                }
            }
        }
    }

    /// No more faults: everybody must end up with the same state, and it holds all that was acknowledged.
    fn settle(&mut self) {
        (self.lossy, self.cut_off) = (false, None);
        for _ in 0..6_000 {
            if below(&mut self.draw, 4) > 0 {
                self.deliver();
            } else {
                let node = self.node();
                if self.replicas.get_mut(&node).unwrap().tick() {
                    self.pump(node);
                }
            }
        }
        let leader = self.replicas.iter().find(|(_, replica)| replica.is_ready_leader());
        assert!(leader.is_some(), "no leader after the faults: seed {}", self.seed);
        let applied: Vec<u64> = self.replicas.values().map(Replica::applied).collect();
        assert!(applied.iter().all(|index| *index == applied[0]), "{applied:?}: seed {}", self.seed);
        let mut expected = Table::default();
        self.decided.values().for_each(|(_, records)| expected.apply(records));
        for (node, table) in &self.tables {
            assert_eq!(*table, expected, "node {node}: seed {}", self.seed);
            assert_eq!(Table::of(&state_of(&self.replicas[node])), expected, "store of {node}: seed {}", self.seed);
        }
        assert!(self.acknowledged.iter().all(|index| *index <= applied[0]));
    }
}

fn run(seed: u64, plant: Plant) -> Cluster {
    let mut cluster = Cluster::new(seed, plant);
    for _ in 0..3_000 {
        cluster.event(true);
    }
    cluster.settle();
    cluster
}

#[test]
fn ra_07_one_leader_per_term_and_one_history_under_loss_and_crashes() {
    let (mut acknowledged, mut snapshots) = (0, 0);
    for seed in 0..60 {
        let cluster = run(seed, Plant::None);
        acknowledged += cluster.acknowledged.len();
        snapshots += cluster.snapshots;
    }
    assert!(acknowledged > 3_000, "the runs must do something: {acknowledged}");
    assert!(snapshots > 20, "lagging nodes must need snapshots: {snapshots}");
}

/// Votes and appends that are answered before they are durable.
#[test]
fn ra_07_planted_answer_before_sync_makes_two_leaders_or_histories() {
    let caught = (0..60).filter_map(|seed| {
        let failed = std::panic::catch_unwind(|| drop(run(seed, Plant::ForgetSync))).err()?;
        failed.downcast::<String>().ok()
    });
    let told: Vec<String> = caught.map(|said| *said).collect();
    assert!(told.iter().any(|said| said.contains("two leaders") || said.contains("two histories")), "{told:?}");
}

/// RA-02: also the batches that install a snapshot may be the last ones that survive.
#[test]
fn ra_02_every_prefix_of_each_voters_history_opens() {
    let mut snapshots = 0;
    for seed in 100..110 {
        let mut cluster = Cluster::new(seed, Plant::None);
        (0..1_500).for_each(|_| cluster.event(false));
        cluster.settle();
        snapshots += cluster.snapshots;
        for (node, replica) in cluster.replicas {
            let store = replica.into_store().store;
            for cut in 0..=store.history().len() {
                let kept = MemoryStore::replayed(store.history().iter().take(cut).map(|(batch, _)| batch));
                let opened = Replica::<_, Cell>::open(kept, options(node, seed));
                let replica = opened.unwrap_or_else(|e| panic!("seed {seed}, node {node}, cut {cut}: {e}"));
                let mut expected = Table::default();
                let until = ..=replica.applied();
                cluster.decided.range(until).for_each(|(_, (_, records))| expected.apply(records));
                assert_eq!(Table::of(&state_of(&replica)), expected, "seed {seed}, node {node}, cut {cut}");
            }
        }
    }
    assert!(snapshots > 0, "no snapshot was installed");
}

/// RL-01: between election and the first commit of the own term, the leader is not ready.
#[test]
fn rl_01_a_leader_is_ready_only_after_its_own_term_committed() {
    let open = |node| Replica::<_, Cell>::open(MemoryStore::default(), options(node, 1)).unwrap();
    let (mut leader, mut follower) = (open(1), open(2));
    assert_eq!(leader.propose(&[]).unwrap_err(), ProposeError::NotLeader { leader: None });
    let (mut ready_with, mut led_unready, mut queue) = (None, false, Vec::new());
    for _ in 0..200 {
        if queue.is_empty() {
            leader.tick();
            queue = leader.pump().unwrap().messages;
        }
        let Some(message) = queue.pop().filter(|message: &Message| message.to == 2) else { continue };
        follower.step(message);
        for answer in follower.pump().unwrap().messages {
            let kind = answer.get_msg_type();
            leader.step(answer);
            queue.extend(leader.pump().unwrap().messages);
            if leader.is_ready_leader() {
                ready_with = ready_with.or(Some(kind));
            } else if leader.leader() == Some(1) {
                led_unready = true;
                assert_eq!(leader.propose(&[]).unwrap_err(), ProposeError::NotLeader { leader: Some(1) });
            }
        }
    }
    assert!(led_unready);
    assert_eq!(ready_with, Some(MessageType::MsgAppendResponse));
    assert!(leader.propose(&[]).is_ok());
}

#[test]
fn ra_17_a_seed_is_a_trace() {
    assert_eq!(run(5, Plant::None).trace, run(5, Plant::None).trace);
    assert_ne!(run(5, Plant::None).trace, run(6, Plant::None).trace);
}

/// RA-08: an image is of the index that it claims, and builds the state of exactly that index.
#[test]
fn ra_08_a_snapshot_equals_replay_to_its_index() {
    fn check<S: LogStore>(store: S, seed: u64) {
        let (mut replica, _) = super::open(store);
        let (mut draw, mut expected) = (draw(seed), Table::default());
        for _ in 0..80 {
            let records = some_records(&mut draw);
            expected.apply(&records);
            replica.propose(&records).unwrap();
            replica.pump().unwrap();
        }
        let at = LogPosition { index: replica.applied(), term: replica.term() };
        let store = replica.into_store();
        let conf_state = eraftpb::ConfState::default();
        let image = snapshot::build(&store, Shard(0), at, &conf_state).unwrap();
        let rows = snapshot::decode(&image).unwrap();
        let records: Vec<Cell> = rows.iter().map(|(_, _, value)| keys::decode_records(value).unwrap()).collect();
        assert_eq!(Table::of(&records), expected, "seed {seed}");
        let other = LogPosition { index: at.index - 1, ..at };
        assert!(snapshot::build(&store, Shard(0), other, &conf_state).is_err(), "not the state of that index");
        let mut flipped = image.data.to_vec();
        flipped[image.data.len() / 2] ^= 1;
        assert!(snapshot::decode(&eraftpb::Snapshot { data: flipped.into(), ..image.clone() }).is_err());
        let mut renamed = image;
        renamed.mut_metadata().index += 1;
        assert!(snapshot::decode(&renamed).is_err(), "an image is of one index");
    }
    for seed in 0..20 {
        check(MemoryStore::default(), seed);
    }
    let folder = tempfile::tempdir().unwrap();
    check(RocksStore::open(folder.path(), &RocksOptions::default()).unwrap(), 20);
}

#[test]
fn ra_08_a_damaged_snapshot_is_dropped() {
    let options = ReplicaOptions { voters: vec![1, 2], ..small() };
    let mut replica = Replica::<_, Cell>::open(MemoryStore::default(), options).unwrap();
    let mut message = Message { from: 2, to: 1, term: 5, ..Message::default() };
    message.set_msg_type(MessageType::MsgSnapshot);
    let mut snapshot = eraftpb::Snapshot::default();
    snapshot.mut_metadata().index = 50;
    snapshot.mut_metadata().term = 5;
    snapshot.data = vec![1, 2, 3, 4, 5].into();
    message.set_snapshot(snapshot);
    assert!(!replica.step(message));
    assert!(!replica.pump().unwrap().replaced);
}
