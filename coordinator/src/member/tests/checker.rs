//! What must hold, whatever happens inside: told from what the stores of the nodes hold and from what clients were
//! answered. Every complaint names the rule.

use std::collections::{BTreeMap, BTreeSet};

use protobuf::Message as _;

use crate::raft::eraftpb::{ConfChangeType, ConfChangeV2, Entry, EntryType};
use crate::raft::{Column, LogStore, Members, Span};
use crate::record::{Family, Placement, Record};

/// The number of a column family in keys of the reference.
fn column(family: Family) -> Column {
    match family {
        Family::Meta => Column::Meta,
        Family::Groups => Column::Groups,
        Family::Vlsn => Column::Vlsn,
    }
}

type Key = (Column, Vec<u8>);

/// The one history, as the first node that applied each entry had it, and the state that it builds.
pub struct History {
    entries: BTreeMap<u64, Vec<u8>>,
    state: BTreeMap<Key, Vec<u8>>,
    /// Checksum of the state at each index.
    sums: BTreeMap<u64, u32>,
    members: BTreeMap<u64, Members>,
    leaders: BTreeMap<u64, u64>,
    /// Until where each node was compared.
    seen: BTreeMap<u64, u64>,
}

/// The index that every node begins with.
const GENESIS: u64 = 1;

/// Takes a row into a checksum of the state.
fn sum(sum: u32, column: Column, key: &[u8], value: &[u8]) -> u32 {
    [column.name().as_bytes(), key, value].into_iter().fold(sum, crc32c::crc32c_append)
}

impl History {
    pub fn new() -> Self {
        let sums = BTreeMap::from([(GENESIS, 0)]);
        let (entries, state, members) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { entries, state, sums, members, leaders: BTreeMap::new(), seen: BTreeMap::new() }
    }

    pub fn end(&self) -> u64 {
        self.entries.keys().next_back().copied().unwrap_or(GENESIS)
    }

    pub fn leads(&mut self, term: u64, node: u64) -> Result<(), String> {
        let first = *self.leaders.entry(term).or_insert(node);
        if first != node {
            return Err(format!("two leaders in term {term}: {first} and {node}"));
        }
        Ok(())
    }

    /// A node begins again: its applied index may be lower now.
    pub fn restarted(&mut self, node: u64) {
        self.seen.remove(&node);
    }

    /// Compares what a node has applied.
    pub fn compare(&mut self, node: u64, store: &impl LogStore, applied: u64, members: &Members) -> Result<(), String> {
        let from = self.seen.get(&node).copied().unwrap_or(GENESIS);
        if applied < from {
            return Err(format!("node {node} applied {from} and then {applied}"));
        }
        for index in from + 1..=applied {
            let key = [&0_u32.to_be_bytes()[..], &index.to_be_bytes()].concat();
            let Some(bytes) = store.get(Column::RaftLog, &key).map_err(|e| e.to_string())? else { continue };
            match self.entries.get(&index) {
                Some(known) if *known == bytes => {}
                Some(_) => return Err(format!("two histories: node {node} has another entry {index}")),
                None => self.extend(index, bytes)?,
            }
        }
        self.seen.insert(node, applied);
        let known = self.members.get(&applied).ok_or("a node is ahead of the history")?;
        if known != members && applied > GENESIS {
            return Err(format!("members at {applied} are {known:?}, node {node} has {members:?}"));
        }
        let mut found = 0;
        let spans = Column::STATE.map(|column| Span { column, from: vec![0; 4], to: vec![0, 0, 0, 1] });
        let mut visit = |column, key: &[u8], value: &[u8]| {
            found = sum(found, column, &key[4..], value);
            true
        };
        store.scan(&spans, &mut visit).map_err(|e| e.to_string())?;
        if self.sums.get(&applied) != Some(&found) {
            return Err(format!("states differ: node {node} at {applied} has not what the entries build"));
        }
        Ok(())
    }

    pub fn begin(&mut self, members: Members) {
        self.members.insert(GENESIS, members);
    }

    /// An entry that nobody had applied before.
    fn extend(&mut self, index: u64, bytes: Vec<u8>) -> Result<(), String> {
        if index != self.end() + 1 {
            return Err(format!("history ends at {}, the next entry is {index}", self.end()));
        }
        let entry = Entry::parse_from_bytes(&bytes).map_err(|e| e.to_string())?;
        let mut members = self.members[&(index - 1)].clone();
        match entry.get_entry_type() {
            EntryType::EntryNormal if entry.data.is_empty() => {}
            EntryType::EntryNormal => {
                let records: Vec<Record> = postcard::from_bytes(&entry.data[1..]).map_err(|e| e.to_string())?;
                records.iter().for_each(|record| self.apply(record));
            }
            EntryType::EntryConfChange => return Err("a change of members without joint consensus".into()),
            EntryType::EntryConfChangeV2 => members = changed(&members, &entry)?,
        }
        let rows = |column| self.state.iter().filter(move |((other, _), _)| *other == column);
        let rows = Column::STATE.into_iter().flat_map(rows);
        let sum = rows.fold(0, |so_far, ((column, key), value)| sum(so_far, *column, key, value));
        self.sums.insert(index, sum);
        self.members.insert(index, members);
        self.entries.insert(index, bytes);
        Ok(())
    }

    fn apply(&mut self, record: &Record) {
        match record.placement() {
            Placement::Put(family, key) => {
                let value = postcard::to_extend(record, vec![1]).unwrap();
                self.state.insert((column(family), key), value);
            }
            Placement::Delete(family, key) => drop(self.state.remove(&(column(family), key))),
            Placement::DeletePrefix(family, prefix) => {
                self.state.retain(|(c, key), _| *c != column(family) || !key.starts_with(&prefix));
            }
        }
    }
}

/// The members after an entry, worked out apart from raft-rs.
fn changed(before: &Members, entry: &Entry) -> Result<Members, String> {
    let change = ConfChangeV2::parse_from_bytes(&entry.data).map_err(|e| e.to_string())?;
    let mut after = before.clone();
    if change.get_changes().is_empty() {
        after.outgoing.clear();
        return Ok(after);
    }
    if !before.outgoing.is_empty() {
        return Err("a change of members within another one".into());
    }
    after.outgoing.clone_from(&before.voters);
    for single in change.get_changes() {
        let node = single.node_id;
        match single.get_change_type() {
            ConfChangeType::AddNode => {
                after.learners.retain(|n| *n != node);
                after.voters.push(node);
            }
            ConfChangeType::AddLearnerNode => after.learners.push(node),
            ConfChangeType::RemoveNode => {
                after.voters.retain(|n| *n != node);
                after.learners.retain(|n| *n != node);
            }
        }
    }
    after.voters.sort_unstable();
    after.learners.sort_unstable();
    Ok(after)
}

/// What answers have promised to clients, by what they asked.
#[derive(Default)]
pub struct Promises {
    /// Ranges that were handed out: first to end.
    ranges: BTreeMap<u64, u64>,
    producers: BTreeSet<i64>,
    /// The last acknowledged, and the largest one that was tried.
    commits: BTreeMap<String, (i64, i64)>,
    pub topics: BTreeMap<String, [u8; 16]>,
    generation: i32,
    owners: BTreeMap<(i32, i32), String>,
    pub acknowledged: usize,
}

impl Promises {
    /// Where sequencers are at least.
    pub fn reserved(&self) -> u64 {
        self.ranges.values().max().copied().unwrap_or(0)
    }

    pub fn range(&mut self, first: u64, count: u64) -> Result<(), String> {
        let end = first + count;
        let below = self.ranges.range(..end).next_back();
        if let Some((other, other_end)) = below.filter(|(_, other_end)| **other_end > first) {
            return Err(format!("handed out twice: {first}..{end} and {other}..{other_end}"));
        }
        self.ranges.insert(first, end);
        self.acknowledged += 1;
        Ok(())
    }

    pub fn producer(&mut self, id: i64) -> Result<(), String> {
        self.acknowledged += 1;
        if self.producers.insert(id) { Ok(()) } else { Err(format!("producer id {id} was handed out twice")) }
    }

    pub fn tries(&mut self, what: &str, value: i64) {
        let known = self.commits.entry(what.to_owned()).or_insert((-1, -1));
        known.1 = known.1.max(value);
    }

    pub fn committed(&mut self, what: &str, value: i64) {
        let known = self.commits.entry(what.to_owned()).or_insert((-1, -1));
        known.0 = known.0.max(value);
        self.acknowledged += 1;
    }

    /// What a read that begins now must show at least.
    pub fn floor(&self, what: &str) -> i64 {
        self.commits.get(what).map_or(-1, |known| known.0)
    }

    /// What a read showed that had begun when `floor` was acknowledged.
    pub fn read(&self, what: &str, floor: i64, value: i64) -> Result<(), String> {
        let tried = self.commits.get(what).map_or(-1, |known| known.1);
        if value < floor {
            return Err(format!("stale read of {what}: {value}, and {floor} was acknowledged before it began"));
        }
        if value > tried {
            return Err(format!("{what} is {value}, and nobody committed more than {tried}"));
        }
        Ok(())
    }

    pub fn topic(&mut self, name: &str, id: [u8; 16]) {
        self.topics.insert(name.to_owned(), id);
        self.acknowledged += 1;
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// A member was told its generation; `floor` is what was told to anybody before it asked.
    pub fn joined(&mut self, floor: i32, told: i32) -> Result<(), String> {
        if told < floor {
            return Err(format!("generation fell from {floor} to {told}"));
        }
        self.generation = self.generation.max(told);
        Ok(())
    }

    /// A member was told that its generation is the present one.
    pub fn valid(&self, floor: i32, generation: i32) -> Result<(), String> {
        if generation < floor {
            return Err(format!("stale generation {generation} had success, {floor} was told before"));
        }
        Ok(())
    }

    pub fn owns(&mut self, generation: i32, partition: i32, who: &str) -> Result<(), String> {
        let owner = self.owners.entry((generation, partition)).or_insert_with(|| who.to_owned());
        if owner != who {
            return Err(format!("two owners of {partition} in generation {generation}: {owner} and {who}"));
        }
        Ok(())
    }
}
