//! Members of a KIP-848 group that speak the classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
//! Holds: they are members like all others. Their generation is the member epoch; a JoinGroup does what a heartbeat does,
//! with the partitions that its subscription says are owned; SyncGroup hands out what is assigned; a Heartbeat tells them
//! when to join again. None of these requests ever waits.

use kafka_protocol::messages as m;
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::{ErrorCode, kafka_protocol};

use super::error::FenceError;
use super::heartbeat::{Serving, Word, consumer_member};
use super::partitions::{Held, Partitions};
use super::reconcile::Owned;
use super::record::{ClassicSide, MemberState, Subscriber};
use super::state::{Consumer, Member};
use super::watch::Lease;
use crate::command::{Context, Reply};
use crate::groups::error::{JoinError, MemberError, SyncError};
use crate::groups::join::Joining;
use crate::groups::reply::{sync_error, text};
use crate::groups::step::Step;
use crate::groups::subscription::{ConsumerSubscription, encode_assignment};
use crate::groups::{Groups, TopicView};

/// The only protocol type that can take part.
pub(super) const PROTOCOL_TYPE: &str = "consumer";

impl From<FenceError> for MemberError {
    fn from(error: FenceError) -> Self {
        match error {
            FenceError::UnknownMember(_) | FenceError::UnknownInstance(_) => Self::Unknown,
            FenceError::FencedInstance { .. } => Self::Fenced,
        }
    }
}

impl Groups {
    /// JoinGroup to a KIP-848 group with members.
    pub(in crate::groups) fn join_bridge(&mut self, ctx: &Context, request: &m::JoinGroupRequest, step: &mut Step<'_>) {
        let joining = Joining::new(ctx, request);
        let Err(error) = self.try_join_bridge(ctx, request, &joining, step) else { return };
        self.refuse_join(&joining, &error, step);
    }

    fn try_join_bridge(
        &mut self,
        ctx: &Context,
        request: &m::JoinGroupRequest,
        joining: &Joining<'_>,
        step: &mut Step<'_>,
    ) -> Result<(), JoinError> {
        self.check_limits(joining)?;
        let (group, instance) = (joining.group, joining.description.instance.as_deref());
        let subscription = self.check_bridge(joining)?;
        let new = joining.member.is_empty();
        if new && instance.is_none() && ctx.api_version >= 4 {
            return self.promise(joining, self.new_member_id(joining), step.now);
        }
        let id = if new { self.new_member_id(joining) } else { joining.member.to_string() };
        let Some(consumer) = self.hard.consumer(group) else { return Err(MemberError::Unknown.into()) };
        // Whoever was expelled learns it here: it may believe that it owns what others have by now.
        let is_promised = self.live.get(group).is_some_and(|live| live.pending.contains_key(&id));
        if !new && !is_promised {
            consumer_member(consumer, &id, instance).map_err(MemberError::from)?;
        }
        let returns = instance.filter(|_| new).and_then(|instance| consumer.statics.get(instance)).cloned();
        if let Some(former) = &returns
            && self.may_downgrade_for(group, former)
        {
            self.downgrade_with(group, former, joining, step);
            self.join(ctx, request, step);
            return Ok(());
        }
        let base = match instance.filter(|_| new) {
            Some(instance) => self.take_over(group, instance, &id, step),
            None => consumer.members.get(&id).cloned().unwrap_or_default(),
        };
        let about = described(&base.about, joining, &subscription);
        let mut lease = Lease::until(step.now.mono.after_ms(joining.description.session_timeout_ms.into()));
        lease.sync = Some(step.now.mono.after_ms(patience_ms(&about).into()));
        if let Some(live) = self.live.get_mut(group) {
            live.pending.remove(&id);
        }
        let owned = Owned::Said(subscription.owned(step.topics));
        self.serve(&Serving { group, id: &id, base }, Word { about, lease, owned }, step);
        let Some(member) = self.hard.consumer(group).and_then(|g| g.members.get(&id)) else { return Ok(()) };
        let response = m::JoinGroupResponse::default()
            .with_generation_id(member.current.epoch)
            .with_protocol_type((ctx.api_version >= 7).then(|| text(PROTOCOL_TYPE)))
            .with_protocol_name(Some(text(first_protocol(member))))
            .with_member_id(text(&id));
        step.reply(ctx.token, Reply::JoinGroup(response));
        Ok(())
    }

    /// Whether somebody who speaks the classic protocol may be in this group; what it subscribes to, if so.
    fn check_bridge(&self, joining: &Joining<'_>) -> Result<ConsumerSubscription, JoinError> {
        let settings = &self.settings.consumer;
        let Some(consumer) = self.hard.consumer(joining.group) else { return Err(MemberError::Unknown.into()) };
        if !settings.migration.upgrade && !settings.migration.downgrade {
            return Err(JoinError::MigrationDisabled);
        }
        let names = || joining.description.protocols.iter().map(|(name, _)| name.as_str());
        let distinct = names().collect::<std::collections::BTreeSet<_>>().len() == names().count();
        if joining.protocol_type != PROTOCOL_TYPE || !distinct || !consumer.shares_protocol(names()) {
            return Err(JoinError::Protocols);
        }
        let instance = joining.description.instance.as_ref();
        let known = consumer.members.contains_key(joining.member)
            || instance.is_some_and(|instance| consumer.statics.contains_key(instance));
        match settings.size_max {
            max if consumer.members.len() >= max && !known => return Err(JoinError::GroupFull { max }),
            _ => {}
        }
        let metadata = joining.description.protocols.first().map(|(_, metadata)| metadata.as_slice());
        metadata.and_then(ConsumerSubscription::read).ok_or(JoinError::Protocols)
    }

    pub(in crate::groups) fn sync_bridge(&mut self, ctx: &Context, request: &m::SyncGroupRequest, step: &mut Step<'_>) {
        let topics = step.topics;
        let nameless = request.protocol_type.is_none() || request.protocol_name.is_none();
        let checked = match ctx.api_version >= 5 && nameless {
            true => Err(SyncError::Protocol),
            false => self.check_sync_bridge(request, step),
        };
        let response = match checked {
            Err(error) => return step.reply(ctx.token, sync_error(error.code())),
            Ok(member) => synced(ctx.api_version, member, topics),
        };
        let group = request.group_id.as_str();
        self.renew_lease(group, request.member_id.as_str(), step, |lease| lease.sync = None);
        step.reply(ctx.token, Reply::SyncGroup(response));
    }

    fn check_sync_bridge(&mut self, request: &m::SyncGroupRequest, step: &Step<'_>) -> Result<&Member, SyncError> {
        let (group, id) = (request.group_id.as_str(), request.member_id.as_str());
        let instance = request.group_instance_id.as_deref();
        let (consumer, member) = self.classic_member(group, id, instance)?;
        check_generation(member, request.generation_id)?;
        let differs = |said: &Option<StrBytes>, ours: &str| said.as_ref().is_some_and(|said| said.as_str() != ours);
        if differs(&request.protocol_type, PROTOCOL_TYPE) || differs(&request.protocol_name, first_protocol(member)) {
            return Err(SyncError::Protocol);
        }
        // Who still has to give partitions back learns from this answer which.
        let outdated = member.current.epoch < consumer.head.assignment_epoch;
        if outdated && member.current.state != MemberState::Unrevoked {
            self.call_back(group, id, step);
            return Err(MemberError::Rebalancing.into());
        }
        Ok(self.classic_member(group, id, instance)?.1)
    }

    pub(in crate::groups) fn heartbeat_bridge(
        &mut self,
        ctx: &Context,
        request: &m::HeartbeatRequest,
        step: &mut Step<'_>,
    ) {
        let code = match self.try_heartbeat_bridge(request, step) {
            Ok(()) => ErrorCode::None,
            Err(error) => error.code(),
        };
        step.reply(ctx.token, Reply::Heartbeat(m::HeartbeatResponse::default().with_error_code(code.code())));
    }

    fn try_heartbeat_bridge(&mut self, request: &m::HeartbeatRequest, step: &mut Step<'_>) -> Result<(), MemberError> {
        let (group, id) = (request.group_id.as_str(), request.member_id.as_str());
        let (_, member) = self.classic_member(group, id, request.group_instance_id.as_deref())?;
        check_generation(member, request.generation_id)?;
        // In a group in which all speak the classic protocol nobody else would make the target.
        self.refresh(group, false, step);
        self.retarget(group, step);
        let (consumer, member) = self.classic_member(group, id, None)?;
        let should_join = member.current.epoch < consumer.head.assignment_epoch
            || match member.current.state {
                MemberState::Stable => false,
                MemberState::Unrevoked => true,
                MemberState::Unreleased => consumer.can_complete(id),
            };
        self.renew_lease(group, id, step, |_| {});
        if should_join {
            self.call_back(group, id, step);
            return Err(MemberError::Rebalancing);
        }
        Ok(())
    }

    /// A member was told to join again: it has its rebalance timeout to do so.
    fn call_back(&mut self, group: &str, id: &str, step: &Step<'_>) {
        let Some(member) = self.hard.consumer(group).and_then(|g| g.members.get(id)) else { return };
        let until = step.now.mono.after_ms(patience_ms(&member.about).into());
        let Some(lease) = self.watches.get_mut(group).and_then(|watch| watch.leases.get_mut(id)) else { return };
        if lease.join.is_none() {
            lease.join = Some(until);
            self.wake_by(group, until);
        }
    }

    fn renew_lease(&mut self, group: &str, id: &str, step: &Step<'_>, change: impl FnOnce(&mut Lease)) {
        let side = self.hard.consumer(group).and_then(|g| g.members.get(id)).and_then(|m| m.about.classic.as_ref());
        let Some(timeout_ms) = side.map(|side| side.session_timeout_ms) else { return };
        let Some(lease) = self.watches.get_mut(group).and_then(|watch| watch.leases.get_mut(id)) else { return };
        lease.session = step.now.mono.after_ms(timeout_ms.into());
        change(lease);
        let due = lease.due();
        self.wake_by(group, due);
    }

    /// LeaveGroup takes members of either protocol out: administrators remove static ones so.
    pub(in crate::groups) fn leave_bridge(
        &mut self,
        ctx: &Context,
        request: &m::LeaveGroupRequest,
        step: &mut Step<'_>,
    ) {
        let group = request.group_id.as_str();
        let single = [m::leave_group_request::MemberIdentity::default().with_member_id(request.member_id.clone())];
        let identities = if ctx.api_version <= 2 { &single[..] } else { &request.members };
        let found = identities.iter().map(|identity| self.leaving(group, identity)).collect::<Vec<_>>();
        let mut ids: Vec<String> = found.iter().flatten().cloned().collect();
        ids.sort_unstable();
        ids.dedup();
        if !ids.is_empty() {
            self.expel(group, &ids, step);
        }
        let code = |found: &Result<String, MemberError>| match found {
            Ok(_) => ErrorCode::None.code(),
            Err(error) => error.code().code(),
        };
        // As it was asked: the Java client looks for its own identities in the answer.
        let entry = |(identity, found): (&m::leave_group_request::MemberIdentity, &Result<String, _>)| {
            m::leave_group_response::MemberResponse::default()
                .with_member_id(identity.member_id.clone())
                .with_group_instance_id(identity.group_instance_id.as_deref().map(text))
                .with_error_code(code(found))
        };
        let response = match ctx.api_version {
            ..=2 => m::LeaveGroupResponse::default().with_error_code(found.first().map_or(0, code)),
            _ => m::LeaveGroupResponse::default().with_members(identities.iter().zip(&found).map(entry).collect()),
        };
        step.reply(ctx.token, Reply::LeaveGroup(response));
    }

    /// Who is meant. A promised id is forgotten, and nobody: unlike a classic group, Kafka's knows of no promises.
    fn leaving(&mut self, group: &str, who: &m::leave_group_request::MemberIdentity) -> Result<String, MemberError> {
        if let Some(live) = self.live.get_mut(group) {
            live.pending.remove(who.member_id.as_str());
        }
        let consumer = self.hard.consumer(group).ok_or(MemberError::Unknown)?;
        let instance = who.group_instance_id.as_deref();
        match (who.member_id.as_str(), instance) {
            ("", Some(instance)) => consumer.statics.get(instance).cloned().ok_or(MemberError::Unknown),
            (id, _) => {
                consumer_member(consumer, id, instance)?;
                Ok(id.to_string())
            }
        }
    }

    /// The member, if these ids are one's who speaks the classic protocol.
    fn classic_member(
        &self,
        group: &str,
        id: &str,
        instance: Option<&str>,
    ) -> Result<(&Consumer, &Member), MemberError> {
        let consumer = self.hard.consumer(group).ok_or(MemberError::Unknown)?;
        let member = consumer_member(consumer, id, instance)?;
        if member.is_classic() { Ok((consumer, member)) } else { Err(MemberError::Unknown) }
    }
}

fn check_generation(member: &Member, found: i32) -> Result<(), MemberError> {
    match member.current.epoch {
        current if current == found => Ok(()),
        current => Err(MemberError::Generation { found, current }),
    }
}

/// How long a member may take to come back. Who asks for no patience at all (G7) still needs the time to send a request.
fn patience_ms(about: &Subscriber) -> i32 {
    match about.rebalance_timeout_ms {
        patience @ 1.. => patience,
        _ => about.classic.as_ref().map_or(0, |side| side.session_timeout_ms),
    }
}

fn first_protocol(member: &Member) -> &str {
    let side = member.about.classic.as_ref();
    side.and_then(|side| side.protocols.first()).map_or("", |(name, _)| name.as_str())
}

fn described(base: &Subscriber, joining: &Joining<'_>, subscription: &ConsumerSubscription) -> Subscriber {
    let join = &joining.description;
    Subscriber {
        instance: join.instance.clone().or_else(|| base.instance.clone()),
        rack: subscription.rack.clone().or_else(|| base.rack.clone()),
        client_id: join.client_id.clone(),
        client_host: join.client_host.clone(),
        rebalance_timeout_ms: join.rebalance_timeout_ms,
        topics: subscription.topics.iter().cloned().collect(),
        pattern: None,
        assignor: base.assignor.clone(),
        classic: Some(ClassicSide { session_timeout_ms: join.session_timeout_ms, protocols: join.protocols.clone() }),
    }
}

fn synced(version: i16, member: &Member, topics: &dyn TopicView) -> m::SyncGroupResponse {
    let from_v5 = |value: &str| (version >= 5).then(|| text(value));
    m::SyncGroupResponse::default()
        .with_protocol_type(from_v5(PROTOCOL_TYPE))
        .with_protocol_name(from_v5(first_protocol(member)))
        .with_assignment(assignment_bytes(member, topics).into())
}

/// A member's assignment as its own assignor would have written it.
pub(super) fn assignment_bytes(member: &Member, topics: &dyn TopicView) -> Vec<u8> {
    let side = member.about.classic.as_ref();
    let metadata = side.and_then(|side| side.protocols.first()).map(|(_, metadata)| metadata.as_slice());
    let version = metadata.and_then(ConsumerSubscription::read).map_or(0, |subscription| subscription.version);
    encode_assignment(version, &named(&member.current.assigned, topics))
}

/// By name, as the classic protocol wants it. Topics that are gone have none.
fn named<'a>(held: &Held, topics: &'a dyn TopicView) -> Vec<(&'a str, Vec<i32>)> {
    held.by_topic().filter_map(|(id, partitions)| Some((topics.name_of(id)?, partitions.collect()))).collect()
}

impl ConsumerSubscription {
    /// What the member says that it owns, as far as it exists.
    fn owned(&self, topics: &dyn TopicView) -> Partitions {
        let ids = |(name, partitions): &(String, Vec<i32>)| {
            let id = topics.topic(name).map(|(id, _)| id);
            partitions.iter().filter_map(|partition| Some((id?, *partition))).collect::<Vec<_>>()
        };
        self.owned.iter().flat_map(ids).collect()
    }
}
