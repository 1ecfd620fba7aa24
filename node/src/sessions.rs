//! Incremental fetch sessions (KIP-227): what a client has told before, so that it need not tell it again.
//! Bounded in number and in bytes: at the limit the session that was idle longest gives way if it was idle for
//! [`EVICTABLE_AFTER_MS`]; otherwise the newcomer gets no session, which is legal (F19). A session that would grow over
//! the limit ends: its client is told that it is unknown and begins anew.
//!
//! All sessions are behind one lock: what is done here takes time in proportion to what the request or its session names, and
//! what can be worked out of a request alone ([`Asked`]) is worked out before.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::FetchRequest;
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::{Draw, ErrorCode, MonoMs, TopicId, kafka_protocol};

use crate::api::NO_EPOCH;

/// Idle time after which a session may be evicted, in ms (Kafka's `min.incremental.fetch.session.eviction.ms`).
pub const EVICTABLE_AFTER_MS: u64 = 120_000;
/// What one partition of a session takes, without its name, in bytes, about.
const PARTITION_BYTES: usize = 128;
/// `session_epoch` that asks for no session.
const FINAL: i32 = -1;
/// `session_epoch` that asks for a new session.
const INITIAL: i32 = 0;

/// How the client named a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicKey {
    /// By name, up to v12.
    Name(StrBytes),
    /// By id, from v13 on.
    Id(TopicId),
}

impl TopicKey {
    /// Memory that a partition under this key takes in a session, or in a fetch, in bytes, about.
    fn cost(&self) -> usize {
        match self {
            Self::Name(name) => PARTITION_BYTES + name.len(),
            Self::Id(_) => PARTITION_BYTES,
        }
    }
}

/// One partition that a client fetches from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Partition number.
    pub index: i32,
    /// First offset wanted.
    pub offset: i64,
    /// Most bytes wanted.
    pub max_bytes: i32,
    /// Leader epoch that the client knows; -1: not checked.
    pub current_epoch: i32,
    /// Epoch of the last record fetched; negative: not checked.
    pub last_epoch: i32,
}

#[derive(Clone, Debug)]
struct Cached {
    key: TopicKey,
    position: Position,
    /// High watermark and log start in the last answer; `None` before the first and after an error.
    told: Option<(i64, i64)>,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    by_id: bool,
    used: MonoMs,
    bytes: usize,
    /// In the order in which partitions are served. A partition that had data goes to the end, so that no other
    /// starves behind it.
    partitions: Vec<Cached>,
}

/// What a request says for its session.
#[derive(Debug)]
pub struct Asked {
    id: i32,
    epoch: i32,
    by_id: bool,
    /// The partitions that it names, in order, each once.
    positions: Vec<(TopicKey, Position)>,
    /// Those that are not fetched from any more.
    forgotten: BTreeSet<(TopicKey, i32)>,
}

impl Asked {
    /// Reads a request, whose topics have names or ids.
    pub fn of(request: &FetchRequest, by_id: bool) -> Self {
        let mut forgotten = BTreeSet::new();
        for topic in &request.forgotten_topics_data {
            let key = key_of(&topic.topic.0, *topic.topic_id.as_bytes(), by_id);
            forgotten.extend(topic.partitions.iter().map(|index| (key.clone(), *index)));
        }
        let (id, epoch) = (request.session_id, request.session_epoch);
        Self { id, epoch, by_id, positions: positions_of(request, by_id), forgotten }
    }
}

/// What a fetch reads, after its session was looked at.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// The partitions, in order.
    pub positions: Vec<(TopicKey, Position)>,
    /// The session of the answer; 0 without one.
    pub session_id: i32,
    /// Whether partitions without news are left out.
    pub incremental: bool,
}

impl Plan {
    /// Memory that it takes, in bytes, about.
    pub fn bytes(&self) -> usize {
        self.positions.iter().map(|(key, _)| key.cost()).sum()
    }
}

/// All sessions of a node.
#[derive(Debug)]
pub struct Sessions {
    sessions: BTreeMap<i32, Session>,
    limit: usize,
    bytes: usize,
    bytes_limit: usize,
    draw: Draw,
}

impl Sessions {
    /// No sessions, and room for `limit` of them that take `bytes_limit` together.
    pub fn new(limit: usize, bytes_limit: usize, draw: Draw) -> Self {
        Self { sessions: BTreeMap::new(), limit, bytes: 0, bytes_limit, draw }
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.bytes -= session.bytes;
        }
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Works out what a fetch reads, and updates its session.
    pub fn plan(&mut self, asked: Asked, now: MonoMs) -> Result<Plan, ErrorCode> {
        if asked.epoch == FINAL || asked.epoch == INITIAL {
            self.remove(asked.id);
            let positions = asked.positions;
            let session_id = if asked.epoch == INITIAL { self.open(&positions, asked.by_id, now) } else { 0 };
            return Ok(Plan { positions, session_id, incremental: false });
        }
        self.resume(asked, now)
    }

    fn resume(&mut self, asked: Asked, now: MonoMs) -> Result<Plan, ErrorCode> {
        let id = asked.id;
        let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != asked.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id != asked.by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        session.used = now;
        session.epoch = next_epoch(session.epoch);
        let before = session.bytes;
        session.update(&asked);
        let positions: Vec<_> = session.partitions.iter().map(|c| (c.key.clone(), c.position.clone())).collect();
        self.bytes = self.bytes + session.bytes - before;
        if self.bytes > self.bytes_limit && session.bytes > before {
            self.remove(id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        if positions.is_empty() {
            // As Kafka does it: the session is over, and what this very request asked for is served without one.
            self.remove(id);
            return Ok(Plan { positions: asked.positions, session_id: 0, incremental: false });
        }
        Ok(Plan { positions, session_id: id, incremental: true })
    }

    fn open(&mut self, positions: &[(TopicKey, Position)], by_id: bool, now: MonoMs) -> i32 {
        let bytes = positions.iter().map(|(key, _)| key.cost()).sum();
        if !self.make_room(bytes, now) {
            return 0;
        }
        let partitions =
            positions.iter().map(|(key, p)| Cached { key: key.clone(), position: p.clone(), told: None }).collect();
        let session = Session { epoch: 1, by_id, used: now, bytes, partitions };
        self.bytes += bytes;
        loop {
            let id = i32::try_from(self.draw.next_u64() >> 33).unwrap_or(1);
            if id == 0 {
                continue;
            }
            if let Entry::Vacant(entry) = self.sessions.entry(id) {
                entry.insert(session);
                return id;
            }
        }
    }

    fn make_room(&mut self, bytes: usize, now: MonoMs) -> bool {
        while self.sessions.len() >= self.limit || self.bytes.saturating_add(bytes) > self.bytes_limit {
            let oldest = self.sessions.iter().min_by_key(|(_, s)| s.used).map(|(id, s)| (*id, s.used));
            match oldest {
                Some((id, used)) if now.0.saturating_sub(used.0) >= EVICTABLE_AFTER_MS => self.remove(id),
                Some(_) | None => return false,
            }
        }
        true
    }

    /// Notes what an answer of the session says, and tells which of its partitions are news. `outcomes` stand in the
    /// order of the plan.
    pub fn note(&mut self, plan: &Plan, outcomes: &[Outcome]) -> Vec<bool> {
        let Some(session) = self.sessions.get_mut(&plan.session_id) else { return vec![true; outcomes.len()] };
        let mut news = Vec::with_capacity(outcomes.len());
        let mut moved = vec![false; session.partitions.len()];
        let mut places = None;
        for (i, ((key, position), outcome)) in plan.positions.iter().zip(outcomes).enumerate() {
            let same = |c: &Cached| c.key == *key && c.position.index == position.index;
            // The plan has the session's order, unless another connection used the session in between.
            let in_place = session.partitions.get(i).is_some_and(same).then_some(i);
            let elsewhere =
                || places.get_or_insert_with(|| session.places()).get(&(key.clone(), position.index)).copied();
            let Some(at) = in_place.or_else(elsewhere) else {
                news.push(true);
                continue;
            };
            let told = (!outcome.failed).then_some((outcome.high_watermark, outcome.log_start));
            let before = session.partitions.get_mut(at).map(|c| std::mem::replace(&mut c.told, told));
            news.push(outcome.failed || outcome.bytes > 0 || before != Some(told));
            if let Some(flag) = moved.get_mut(at) {
                *flag = outcome.bytes > 0;
            }
        }
        session.move_back(&moved);
        if plan.incremental { news } else { vec![true; outcomes.len()] }
    }
}

/// What a fetch found in one partition, as far as sessions care.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// An error, or a diverging epoch.
    pub failed: bool,
    /// Bytes of records.
    pub bytes: usize,
    /// High watermark in the answer.
    pub high_watermark: i64,
    /// Log start in the answer.
    pub log_start: i64,
}

impl Session {
    fn move_back(&mut self, moved: &[bool]) {
        let mut flags = moved.iter();
        let (back, front): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.partitions).into_iter().partition(|_| flags.next().copied().unwrap_or(false));
        self.partitions = front;
        self.partitions.extend(back);
    }

    /// Where each partition stands.
    fn places(&self) -> BTreeMap<(TopicKey, i32), usize> {
        self.partitions.iter().enumerate().map(|(i, c)| ((c.key.clone(), c.position.index), i)).collect()
    }

    fn update(&mut self, asked: &Asked) {
        if asked.positions.is_empty() && asked.forgotten.is_empty() {
            return;
        }
        if !asked.positions.is_empty() {
            let mut places = self.places();
            for (key, position) in &asked.positions {
                let at = places.entry((key.clone(), position.index)).or_insert(self.partitions.len());
                match self.partitions.get_mut(*at) {
                    Some(cached) => cached.position = position.clone(),
                    None => self.partitions.push(Cached { key: key.clone(), position: position.clone(), told: None }),
                }
            }
        }
        if !asked.forgotten.is_empty() {
            self.partitions.retain(|c| !asked.forgotten.contains(&(c.key.clone(), c.position.index)));
        }
        self.bytes = self.partitions.iter().map(|c| c.key.cost()).sum();
    }
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// Without the frame that it was read from: sessions outlive their requests, and so do fetches that wait.
fn key_of(name: &StrBytes, id: [u8; 16], by_id: bool) -> TopicKey {
    if by_id { TopicKey::Id(TopicId(id)) } else { TopicKey::Name(StrBytes::from_string(name.as_str().to_owned())) }
}

/// The partitions of a request in order; one that is named twice counts once, with its last position (F20).
fn positions_of(request: &FetchRequest, by_id: bool) -> Vec<(TopicKey, Position)> {
    let mut positions: Vec<(TopicKey, Position)> = Vec::new();
    let mut places: BTreeMap<(TopicKey, i32), usize> = BTreeMap::new();
    for topic in &request.topics {
        let key = key_of(&topic.topic.0, *topic.topic_id.as_bytes(), by_id);
        for part in &topic.partitions {
            let position = Position {
                index: part.partition,
                offset: part.fetch_offset,
                max_bytes: part.partition_max_bytes,
                // Kafka's Fetch takes any negative epoch for none, its other APIs only this one.
                current_epoch: part.current_leader_epoch.max(NO_EPOCH),
                last_epoch: part.last_fetched_epoch,
            };
            match places.entry((key.clone(), part.partition)) {
                Entry::Occupied(at) => {
                    if let Some(slot) = positions.get_mut(*at.get()) {
                        slot.1 = position;
                    }
                }
                Entry::Vacant(at) => {
                    at.insert(positions.len());
                    positions.push((key.clone(), position));
                }
            }
        }
    }
    positions
}

#[cfg(test)]
mod tests;
