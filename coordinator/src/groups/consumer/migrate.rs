//! Groups that change their protocol while they have members (`group.consumer.migration.policy`): to KIP-848 when the
//! first member joins with it, to classic when the last member that spoke it is gone.
//!
//! Holds: epoch and generation are one number that never falls; nobody loses what it holds by the change, and nothing is
//! given to somebody else in it; whoever waits in a classic round is told to join again.

use std::collections::BTreeMap;

use pyralog_protocol::{ErrorCode, TopicId};

use super::bridge::{PROTOCOL_TYPE, assignment_bytes};
use super::error::{HeartbeatError, MigrationError};
use super::partitions::{Held, Partitions};
use super::record::{ClassicSide, ConsumerHead, Current, Subscriber};
use super::state::Member;
use super::watch::{Lease, Watch};
use crate::effects::SET_BYTES_MAX;
use crate::groups::hard::{self, Classic};
use crate::groups::join::Joining;
use crate::groups::live::{Live, Session};
use crate::groups::record::{Blob, GroupHead, GroupRecord, MemberJoin, Stage};
use crate::groups::step::Step;
use crate::groups::subscription::{ConsumerSubscription, read_assignment};
use crate::groups::{Groups, TopicView};

/// A classic member in the words of the other protocol.
struct Converted {
    id: String,
    about: Subscriber,
    assigned: Partitions,
}

impl Groups {
    /// Makes a KIP-848 group of a classic one with members, or changes nothing.
    pub(super) fn upgrade(&mut self, group: &str, step: &mut Step<'_>) -> Result<(), HeartbeatError> {
        let refused = |why| HeartbeatError::Migration { group: group.to_string(), why };
        let Some(classic) = self.hard.classic(group) else { return Ok(()) };
        let members = self.check_upgrade(classic, step.topics).map_err(refused)?;
        let (generation, is_stable) = (classic.head.generation, classic.head.stage == Stage::Stable);
        if let Some(live) = self.live.get_mut(group) {
            // Whoever was promised an id may still come with it.
            let pending = std::mem::take(&mut live.pending);
            for (id, session) in &mut std::mem::replace(live, Live { pending, ..Live::default() }).sessions {
                session.fail_parked(ErrorCode::RebalanceInProgress, id, step);
            }
        }
        self.put(GroupRecord::MembersRemoved { group: group.to_string() }, step);
        let head = ConsumerHead { epoch: generation, assignment_epoch: generation, ..ConsumerHead::default() };
        self.put(GroupRecord::ConsumerHead { group: group.to_string(), head }, step);
        let mut watch = Watch::default();
        for Converted { id, about, assigned } in members {
            let timeout_ms = about.classic.as_ref().map_or(0, |side| side.session_timeout_ms);
            watch.leases.insert(id.clone(), Lease::until(step.now.mono.after_ms(timeout_ms.into())));
            let held: Held = assigned.iter().map(|(topic, partition)| (topic, partition, generation)).collect();
            let current = Current { epoch: generation, previous: generation, assigned: held, ..Current::default() };
            let (group, member) = (group.to_string(), id);
            self.put(GroupRecord::ConsumerMember { group: group.clone(), member: member.clone(), about }, step);
            self.put(GroupRecord::Target { group: group.clone(), member: member.clone(), partitions: assigned }, step);
            self.put(GroupRecord::Current { group, member, current }, step);
        }
        self.watches.insert(group.to_string(), watch);
        self.wake_for_all(group);
        // In the middle of a round nobody has what it is to have: without the digest, the first who is served gets a new target made.
        if is_stable {
            let hash = self.topics_hash(group, step);
            self.change_consumer_head(group, step, |head| head.topics_hash = hash);
        }
        Ok(())
    }

    fn check_upgrade(&self, classic: &Classic, topics: &dyn TopicView) -> Result<Vec<Converted>, MigrationError> {
        let settings = &self.settings.consumer;
        if !settings.migration.upgrade {
            return Err(MigrationError::Policy);
        }
        let kind = classic.head.protocol_type.as_deref().unwrap_or_default();
        if kind != PROTOCOL_TYPE {
            return Err(MigrationError::ProtocolType(kind.chars().take(80).collect()));
        }
        let members = classic.members.len();
        match settings.size_max {
            max if members >= max => return Err(MigrationError::Size { members, max }),
            _ => {}
        }
        let mut taken = Partitions::default();
        let convert = |(id, member): (&String, &hard::Member)| convert(id, member, classic, topics, &mut taken);
        let converted = classic.members.iter().map(convert).collect::<Result<Vec<_>, _>>()?;
        let bytes = converted.iter().map(|c| c.id.len() + c.about.bytes() + 64 + 40 * c.assigned.len()).sum();
        match SET_BYTES_MAX {
            max if bytes > max => Err(MigrationError::TooLarge { bytes, max }),
            _ => Ok(converted),
        }
    }

    /// Whether the group becomes a classic one when these members are gone.
    pub(super) fn may_downgrade(&self, group: &str, leaving: &[String]) -> bool {
        self.classic_without(group, |id| leaving.iter().any(|gone| gone == id))
            && self.hard.consumer(group).is_some_and(|g| g.members.len() > leaving.len())
    }

    /// Whether the group becomes a classic one when this static member comes back with the classic protocol.
    pub(super) fn may_downgrade_for(&self, group: &str, returning: &str) -> bool {
        let speaks = self.hard.consumer(group).and_then(|g| g.members.get(returning)).is_some_and(Member::is_classic);
        !speaks && self.classic_without(group, |id| id == returning)
    }

    fn classic_without(&self, group: &str, is_gone: impl Fn(&str) -> bool) -> bool {
        let Some(consumer) = self.hard.consumer(group) else { return false };
        let staying = || consumer.members.iter().filter(|(id, _)| !is_gone(id));
        let bytes: usize =
            staying().map(|(id, m)| id.len() + m.about.bytes() + 64 + 300 * m.current.assigned.len()).sum();
        self.settings.consumer.migration.downgrade
            && staying().all(|(_, member)| member.is_classic())
            && staying().count() <= self.settings.group_size_max
            && bytes <= SET_BYTES_MAX
    }

    /// Makes a classic group of those who stay, and lets them rebalance.
    pub(super) fn downgrade(&mut self, group: &str, leaving: &[String], step: &mut Step<'_>) {
        let Some(consumer) = self.hard.consumer(group) else { return };
        let staying = consumer.members.iter().filter(|(id, _)| !leaving.contains(id));
        let members = staying.map(|(id, member)| (id.clone(), classic_member(member, step.topics))).collect();
        self.become_classic(group, members, step);
        self.rebalance(group, step);
    }

    /// Makes a classic group in which a returning static member still has its former id, but speaks as it joins now.
    pub(super) fn downgrade_with(&mut self, group: &str, returning: &str, joining: &Joining<'_>, step: &mut Step<'_>) {
        let Some(consumer) = self.hard.consumer(group) else { return };
        let mut members: BTreeMap<String, (MemberJoin, Blob)> =
            consumer.members.iter().map(|(id, member)| (id.clone(), classic_member(member, step.topics))).collect();
        if let Some((join, _)) = members.get_mut(returning) {
            join.clone_from(&joining.description);
        }
        self.become_classic(group, members, step);
        self.rebalance(group, step);
    }

    fn become_classic(&mut self, group: &str, members: BTreeMap<String, (MemberJoin, Blob)>, step: &mut Step<'_>) {
        let Some(generation) = self.hard.consumer(group).map(|consumer| consumer.head.epoch) else { return };
        self.watches.remove(group);
        self.put(GroupRecord::MembersRemoved { group: group.to_string() }, step);
        let head = GroupHead {
            protocol_type: Some(PROTOCOL_TYPE.to_string()),
            generation,
            leader: members.keys().next().cloned(),
            protocol: None,
            stage: Stage::Stable,
            since_ms: step.now.wall.0,
        };
        self.put(GroupRecord::Head { group: group.to_string(), head }, step);
        let mut live = Live::default();
        for (id, (join, assignment)) in members {
            let due = step.now.mono.after_ms(join.session_timeout_ms.into());
            live.sessions.insert(id.clone(), Session { due: Some(due), ..Session::default() });
            let (group, member) = (group.to_string(), id);
            self.put(GroupRecord::Member { group: group.clone(), member: member.clone(), join }, step);
            self.put(GroupRecord::Assignment { group, member, assignment }, step);
        }
        self.live.insert(group.to_string(), live);
        self.wake_for_all(group);
        let protocol = self.hard.classic(group).and_then(Classic::select_protocol);
        self.change_head(group, step, |head| head.protocol = protocol);
    }
}

/// A partition that a leader gave to two members is held by the first of them: what the other one has of it is not known
/// here, and it is told to join again at once.
fn convert(
    id: &str,
    member: &hard::Member,
    classic: &Classic,
    topics: &dyn TopicView,
    taken: &mut Partitions,
) -> Result<Converted, MigrationError> {
    let join = &member.join;
    let agreed = classic.head.protocol.as_deref().and_then(|protocol| join.metadata(protocol));
    let metadata = agreed.or_else(|| join.protocols.first().map(|(_, metadata)| metadata));
    let subscription = metadata.and_then(|metadata| ConsumerSubscription::read(metadata.as_slice()));
    let subscription = subscription.ok_or_else(|| MigrationError::Subscription(id.to_string()))?;
    let bytes = member.assignment.as_slice();
    let (named, user_data) = match bytes.is_empty() {
        true => (Vec::new(), false),
        false => read_assignment(bytes).ok_or_else(|| MigrationError::Assignment(id.to_string()))?,
    };
    if user_data {
        return Err(MigrationError::UserData(id.to_string()));
    }
    let existing = |(name, partitions): (String, Vec<i32>)| {
        let found = topics.topic(&name);
        let exists = move |partition: &i32| found.is_some_and(|(_, count)| (0..count).contains(partition));
        let ids = partitions.into_iter().filter(exists).filter_map(move |partition| Some((found?.0, partition)));
        ids.collect::<Vec<(TopicId, i32)>>()
    };
    let assigned = named.into_iter().flat_map(existing).filter(|(topic, p)| !taken.contains(*topic, *p));
    let assigned: Partitions = assigned.collect();
    assigned.iter().for_each(|(topic, partition)| taken.insert(topic, partition));
    let about = Subscriber {
        instance: join.instance.clone(),
        rack: subscription.rack,
        client_id: join.client_id.clone(),
        client_host: join.client_host.clone(),
        rebalance_timeout_ms: join.rebalance_timeout_ms,
        topics: subscription.topics.into_iter().collect(),
        pattern: None,
        assignor: None,
        classic: Some(ClassicSide { session_timeout_ms: join.session_timeout_ms, protocols: join.protocols.clone() }),
    };
    Ok(Converted { id: id.to_string(), about, assigned })
}

fn classic_member(member: &Member, topics: &dyn TopicView) -> (MemberJoin, Blob) {
    let about = &member.about;
    let side = about.classic.clone().unwrap_or_default();
    let join = MemberJoin {
        instance: about.instance.clone(),
        client_id: about.client_id.clone(),
        client_host: about.client_host.clone(),
        session_timeout_ms: side.session_timeout_ms,
        rebalance_timeout_ms: about.rebalance_timeout_ms,
        protocols: side.protocols,
    };
    (join, Blob::copy_of(&assignment_bytes(member, topics)))
}
