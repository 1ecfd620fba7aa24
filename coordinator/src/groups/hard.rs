//! Hard state: what the records built. Holds: the same records in the order of steps and their latest values in key
//! order give the same state. `apply` is the only writer and cannot fail. Knows no time, session or token.

use std::collections::{BTreeMap, BTreeSet};

use super::consumer::Consumer;
use super::record::{Blob, Committed, GroupHead, GroupRecord, MemberJoin};
use super::subscription::subscribed_topics;

/// All groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Hard {
    pub groups: BTreeMap<String, Group>,
}

/// One group: its members, in the words of its protocol, and its offsets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    pub kind: Kind,
    /// Topic to partition to commit. No inner map is empty.
    pub offsets: BTreeMap<String, BTreeMap<i32, Committed>>,
}

/// The protocol of a group. A record of the other protocol changes it: what the group was before has gone by then.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// The classic protocol, or no protocol at all: a group that only holds offsets has a head that nobody wrote yet.
    Classic(Classic),
    /// KIP-848.
    Consumer(Consumer),
}

impl Default for Kind {
    fn default() -> Self {
        Self::Classic(Classic::default())
    }
}

/// A classic group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Classic {
    pub head: GroupHead,
    pub members: BTreeMap<String, Member>,
    /// Instance id to member id; exactly the static ones of `members`.
    pub statics: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Member {
    pub join: MemberJoin,
    pub assignment: Blob,
}

impl Hard {
    pub fn apply(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::Head { group, head } => self.classic_mut(group).head.clone_from(head),
            GroupRecord::Member { group, member, join } => self.classic_mut(group).put_member(member, join),
            GroupRecord::Assignment { group, member, assignment } => {
                self.classic_mut(group).members.entry(member.clone()).or_default().assignment.clone_from(assignment);
            }
            GroupRecord::MemberRemoved { group, member } => self.shrink(group, |g| match &mut g.kind {
                Kind::Classic(classic) => classic.remove_member(member),
                Kind::Consumer(consumer) => consumer.remove_member(member),
            }),
            GroupRecord::MembersRemoved { group } => self.shrink(group, |g| match &mut g.kind {
                Kind::Classic(classic) => *classic = Classic { head: classic.head.clone(), ..Classic::default() },
                Kind::Consumer(consumer) => consumer.remove_members(),
            }),
            GroupRecord::ConsumerHead { group, head } => self.consumer_mut(group).head.clone_from(head),
            GroupRecord::ConsumerMember { group, member, about } => self.consumer_mut(group).put_member(member, about),
            GroupRecord::Target { group, member, partitions } => {
                self.consumer_mut(group).put_target(member, partitions)
            }
            GroupRecord::Current { group, member, current } => self.consumer_mut(group).put_current(member, current),
            GroupRecord::Offset { group, topic, partition, committed } => {
                self.group_mut(group).put_offset(topic, *partition, committed);
            }
            GroupRecord::OffsetRemoved { group, topic, partition } => {
                self.shrink(group, |g| g.remove_offset(topic, *partition));
            }
            GroupRecord::TopicRemoved { group, topic } => self.shrink(group, |g| {
                g.offsets.remove(topic);
            }),
            GroupRecord::GroupRemoved { group } => {
                self.groups.remove(group);
            }
        }
    }

    /// The group, if it is a classic one.
    pub fn classic(&self, group: &str) -> Option<&Classic> {
        match &self.groups.get(group)?.kind {
            Kind::Classic(classic) => Some(classic),
            Kind::Consumer(_) => None,
        }
    }

    /// The group, if it is a KIP-848 one.
    pub fn consumer(&self, group: &str) -> Option<&Consumer> {
        match &self.groups.get(group)?.kind {
            Kind::Consumer(consumer) => Some(consumer),
            Kind::Classic(_) => None,
        }
    }

    /// Also makes a classic group of another one.
    fn classic_mut(&mut self, group: &str) -> &mut Classic {
        let kind = &mut self.group_mut(group).kind;
        if let Kind::Consumer(_) = kind {
            *kind = Kind::default();
        }
        match kind {
            Kind::Classic(classic) => classic,
            Kind::Consumer(_) => unreachable!("made classic above"),
        }
    }

    /// Also makes a KIP-848 group of another one.
    fn consumer_mut(&mut self, group: &str) -> &mut Consumer {
        let kind = &mut self.group_mut(group).kind;
        if let Kind::Classic(_) = kind {
            *kind = Kind::Consumer(Consumer::default());
        }
        match kind {
            Kind::Consumer(consumer) => consumer,
            Kind::Classic(_) => unreachable!("made KIP-848 above"),
        }
    }

    fn group_mut(&mut self, group: &str) -> &mut Group {
        // Nearly always it is there, and then its name need not be copied: this is where a load spends its time.
        if !self.groups.contains_key(group) {
            self.groups.insert(group.to_string(), Group::default());
        }
        self.groups.get_mut(group).unwrap_or_else(|| unreachable!("inserted above"))
    }

    /// Takes something from a group; what nothing is left of would not be there after a load either.
    fn shrink(&mut self, group: &str, change: impl FnOnce(&mut Group)) {
        let Some(found) = self.groups.get_mut(group) else { return };
        change(found);
        if *found == Group::default() {
            self.groups.remove(group);
        }
    }
}

impl Group {
    fn put_offset(&mut self, topic: &str, partition: i32, committed: &Committed) {
        if let Some(partitions) = self.offsets.get_mut(topic) {
            partitions.insert(partition, committed.clone());
        } else {
            self.offsets.insert(topic.to_string(), BTreeMap::from([(partition, committed.clone())]));
        }
    }

    fn remove_offset(&mut self, topic: &str, partition: i32) {
        let Some(partitions) = self.offsets.get_mut(topic) else { return };
        partitions.remove(&partition);
        if partitions.is_empty() {
            self.offsets.remove(topic);
        }
    }

    pub fn committed(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.offsets.get(topic)?.get(&partition)
    }

    /// Kafka's word for where it stands.
    pub fn state(&self) -> &'static str {
        match &self.kind {
            Kind::Classic(classic) => classic.head.stage.name(),
            Kind::Consumer(consumer) => consumer.state(),
        }
    }

    /// Kafka's word for its protocol.
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::Classic(_) => "classic",
            Kind::Consumer(_) => "consumer",
        }
    }

    /// What its members are.
    pub fn protocol_type(&self) -> &str {
        match &self.kind {
            Kind::Classic(classic) => classic.head.protocol_type.as_deref().unwrap_or_default(),
            Kind::Consumer(_) => "consumer",
        }
    }
}

impl Classic {
    fn put_member(&mut self, id: &str, join: &MemberJoin) {
        let member = self.members.entry(id.to_string()).or_default();
        if let Some(old) = member.join.instance.as_ref().filter(|old| Some(*old) != join.instance.as_ref()) {
            self.statics.remove(old);
        }
        if let Some(instance) = &join.instance {
            self.statics.insert(instance.clone(), id.to_string());
        }
        member.join.clone_from(join);
    }

    /// An instance that already belongs to another member id stays with that one.
    fn remove_member(&mut self, id: &str) {
        let Some(member) = self.members.remove(id) else { return };
        if let Some(instance) = member.join.instance
            && self.statics.get(&instance).is_some_and(|owner| owner == id)
        {
            self.statics.remove(&instance);
        }
    }

    pub fn is_leader(&self, member: &str) -> bool {
        self.head.leader.as_deref() == Some(member)
    }

    /// How long a rebalance waits: for the most patient member.
    pub fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|m| m.join.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// How long the round after the join waits for SyncGroup. A client that asked for no patience at all (G7) still
    /// needs the time to send it.
    pub fn sync_timeout_ms(&self) -> i32 {
        let patience = |m: &Member| match m.join.rebalance_timeout_ms {
            1.. => m.join.rebalance_timeout_ms,
            _ => m.join.session_timeout_ms,
        };
        self.members.values().map(patience).max().unwrap_or(0)
    }

    /// Whether every member knows the protocol.
    pub fn all_support(&self, protocol: &str) -> bool {
        self.members.values().all(|m| m.join.protocols.iter().any(|(name, _)| name == protocol))
    }

    /// The protocol with most votes: each member votes for the first of its own that all know. The leader's order
    /// decides a tie.
    pub fn select_protocol(&self) -> Option<String> {
        let judge = self.head.leader.as_ref().and_then(|id| self.members.get(id)).or(self.members.values().next())?;
        let candidates: Vec<&str> =
            judge.join.protocols.iter().map(|(name, _)| name.as_str()).filter(|name| self.all_support(name)).collect();
        let mut votes = vec![0usize; candidates.len()];
        for member in self.members.values() {
            let names = member.join.protocols.iter().map(|(name, _)| name.as_str());
            let choice = names.filter_map(|name| candidates.iter().position(|c| *c == name)).next();
            if let Some(vote) = choice.and_then(|i| votes.get_mut(i)) {
                *vote += 1;
            }
        }
        let most = votes.iter().max()?;
        let winner = votes.iter().position(|v| v == most)?;
        candidates.get(winner).map(ToString::to_string)
    }

    pub fn is_consumer(&self) -> bool {
        self.head.protocol_type.as_deref() == Some("consumer")
    }

    /// The topics that the members read, as far as this group's protocol lets anybody know; none if some metadata cannot be
    /// read. All of it is: to be asked once, however many topics are looked for.
    pub fn subscribed(&self) -> Option<BTreeSet<&str>> {
        let mut topics = BTreeSet::new();
        if self.members.is_empty() || !self.is_consumer() {
            return Some(topics);
        }
        let protocol = self.head.protocol.as_ref()?;
        for member in self.members.values() {
            topics.extend(subscribed_topics(member.join.metadata(protocol)?.as_slice())?);
        }
        Some(topics)
    }

    /// What has to be read to know the subscription.
    pub fn metadata_bytes(&self) -> usize {
        let Some(protocol) = &self.head.protocol else { return 0 };
        let metadata = self.members.values().filter_map(|member| member.join.metadata(protocol));
        metadata.map(|blob| blob.as_slice().len()).sum()
    }
}

impl MemberJoin {
    /// What the member said under this protocol.
    pub(super) fn metadata(&self, protocol: &str) -> Option<&Blob> {
        self.protocols.iter().find(|(name, _)| name == protocol).map(|(_, metadata)| metadata)
    }
}
