//! ConsumerGroupHeartbeat: joining, staying, leaving. Holds: a refused heartbeat changes nothing; one that is answered has
//! its records in the same step (GR-08); one that changes nothing writes nothing.

use kafka_protocol::messages as m;
use kafka_protocol::messages::consumer_group_heartbeat_response as answer;
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::{MonoMs, TopicId, kafka_protocol};

use super::assignor::Assignor;
use super::error::{FenceError, HeartbeatError};
use super::partitions::{Held, Partitions};
use super::pattern::PatternError;
use super::reconcile::{Goal, Owned, reconcile};
use super::record::{Current, LEFT_FOR_A_WHILE, MemberState, Subscriber};
use super::state::{Consumer, Member};
use super::watch::Lease;
use crate::command::{Context, Reply};
use crate::groups::hard::Kind;
use crate::groups::record::{GroupRecord, Stage};
use crate::groups::reply::text;
use crate::groups::step::Step;
use crate::groups::{Groups, NAME_BYTES_MAX};
use crate::metadata::wire::{topic_id, wire_id};

/// Member epoch of who leaves for good.
const LEAVES: i32 = -1;
/// Member epoch of who joins.
const JOINS: i32 = 0;
/// Shortest heartbeat interval that the coordinator asks for of its own accord. Kafka always asks for the configured one,
/// and a partition that moves takes two of them: one until its owner is told, one until the next owner asks (GR-06).
const BUSY_BEAT_MS_MIN: i32 = 500;

impl Groups {
    pub(in crate::groups) fn consumer_heartbeat(
        &mut self,
        ctx: &Context,
        request: &m::ConsumerGroupHeartbeatRequest,
        step: &mut Step<'_>,
    ) {
        let checked = self.check_shape(ctx.api_version, request);
        let outcome = checked.and_then(|()| match request.member_epoch {
            LEAVES | LEFT_FOR_A_WHILE => self.leave_consumer(request, step),
            JOINS if step.no_room => self.join_again(ctx, request, step),
            JOINS => self.check_wish(request).and_then(|()| self.join_consumer(ctx, request, step)),
            _ => self.beat(ctx, request, step),
        });
        let response = outcome.unwrap_or_else(|error| {
            let refused = m::ConsumerGroupHeartbeatResponse::default().with_error_code(error.code().code());
            refused.with_error_message(Some(text(&error.to_string())))
        });
        step.reply(ctx.token, Reply::ConsumerGroupHeartbeat(response));
    }

    /// What can be said of a request without looking at the group.
    fn check_shape(&mut self, version: i16, request: &m::ConsumerGroupHeartbeatRequest) -> Result<(), HeartbeatError> {
        if !self.settings.consumer.enabled {
            return Err(HeartbeatError::Disabled);
        }
        let (group, epoch) = (request.group_id.as_str(), request.member_epoch);
        let is_empty = |value: &Option<StrBytes>| value.as_ref().is_some_and(|value| is_blank(value));
        let need = |holds: bool, message| if holds { Ok(()) } else { Err(HeartbeatError::Invalid(message)) };
        need(!is_blank(group), "GroupId must not be empty")?;
        need(!is_empty(&request.instance_id), "InstanceId must not be empty")?;
        need(!is_empty(&request.rack_id), "RackId must not be empty")?;
        let may_lack_id = version == 0 && epoch == JOINS;
        need(may_lack_id || !is_blank(&request.member_id), "MemberId must not be empty")?;
        if epoch == JOINS {
            let subscribes = request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some();
            let owns_nothing = request.topic_partitions.as_ref().is_some_and(Vec::is_empty);
            need(request.rebalance_timeout_ms != -1, "RebalanceTimeoutMs is needed to join")?;
            need(subscribes, "SubscribedTopicNames or SubscribedTopicRegex is needed to join")?;
            need(owns_nothing, "TopicPartitions must be empty to join")?;
        }
        if epoch < LEFT_FOR_A_WHILE {
            return Err(HeartbeatError::MemberEpoch(epoch));
        }
        need(epoch != LEFT_FOR_A_WHILE || request.instance_id.is_some(), "InstanceId is needed to leave for a while")?;
        self.check_sizes(request)?;
        self.check_assignor(request.server_assignor.as_deref())
    }

    /// What the pattern is like matters where it would be stored: who leaves, or is no member, is told that first.
    fn check_wish(&mut self, request: &m::ConsumerGroupHeartbeatRequest) -> Result<(), HeartbeatError> {
        match request.subscribed_topic_regex.as_deref() {
            Some(pattern) if !pattern.is_empty() => self.check_pattern(request.group_id.as_str(), pattern),
            Some(_) | None => Ok(()),
        }
    }

    /// Where there are too many patterns, those that no group has any more go first.
    fn check_pattern(&mut self, group: &str, pattern: &str) -> Result<(), HeartbeatError> {
        match self.patterns.check(pattern) {
            Err(PatternError::TooMany { .. }) => {}
            checked => return Ok(checked?),
        }
        if self.hard.consumer(group).is_some_and(|consumer| consumer.patterns.contains_key(pattern)) {
            return Ok(()); // not another one
        }
        self.forget_patterns();
        Ok(self.patterns.check(pattern)?)
    }

    fn check_sizes(&self, request: &m::ConsumerGroupHeartbeatRequest) -> Result<(), HeartbeatError> {
        let optional = |value: &Option<StrBytes>| value.as_ref().map_or(0, |value| value.len());
        let ids = [
            ("GroupId", request.group_id.len()),
            ("MemberId", request.member_id.len()),
            ("InstanceId", optional(&request.instance_id)),
            ("RackId", optional(&request.rack_id)),
        ];
        let max = NAME_BYTES_MAX;
        if let Some((what, bytes)) = ids.into_iter().find(|(_, bytes)| *bytes > max) {
            return Err(HeartbeatError::TooLong { what, bytes, max });
        }
        let topics = request.subscribed_topic_names.iter().flatten();
        match (topics.map(|topic| topic.len()).sum::<usize>(), self.settings.member_bytes_max) {
            (bytes, max) if bytes > max => Err(HeartbeatError::TooLarge { bytes, max }),
            (_, _) => Ok(()),
        }
    }

    fn check_assignor(&self, asked: Option<&str>) -> Result<(), HeartbeatError> {
        let known = &self.settings.consumer.assignors;
        match asked {
            Some(name) if !Assignor::of(name).is_some_and(|assignor| known.contains(&assignor)) => {
                let known = known.iter().map(|assignor| assignor.name()).collect::<Vec<_>>().join(", ");
                Err(HeartbeatError::Assignor { found: name.chars().take(80).collect(), known })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn join_consumer(
        &mut self,
        ctx: &Context,
        request: &m::ConsumerGroupHeartbeatRequest,
        step: &mut Step<'_>,
    ) -> Result<m::ConsumerGroupHeartbeatResponse, HeartbeatError> {
        let group = request.group_id.as_str();
        let id = match request.member_id.as_str() {
            "" => pyralog_protocol::ids::base64url(&ctx.draw.clone().uuid()),
            given => given.to_string(),
        };
        self.check_place(group, &id, request.instance_id.as_deref())?;
        self.found_consumer(group, step)?;
        let base = match request.instance_id.as_deref() {
            Some(instance) => self.take_over(group, instance, &id, step),
            None => self.hard.consumer(group).and_then(|g| g.members.get(&id)).cloned().unwrap_or_default(),
        };
        self.serve_member(ctx, request, &Serving { group, id: &id, base }, step)
    }

    /// Without room nobody new is taken in. Who is there, and only begins anew, gets what it has.
    fn join_again(
        &mut self,
        ctx: &Context,
        request: &m::ConsumerGroupHeartbeatRequest,
        step: &mut Step<'_>,
    ) -> Result<m::ConsumerGroupHeartbeatResponse, HeartbeatError> {
        let (group, id, instance) =
            (request.group_id.as_str(), request.member_id.as_str(), request.instance_id.as_deref());
        self.check_place(group, id, instance)?;
        let here = self.hard.consumer(group).filter(|consumer| !consumer.is_away(id));
        let member = here.and_then(|consumer| consumer_member(consumer, id, instance).ok()).cloned();
        let base = member.ok_or(HeartbeatError::NoRoom)?;
        self.serve_member(ctx, request, &Serving { group, id, base }, step)
    }

    /// Whether a member may join: there is room, and its instance id is not in use.
    fn check_place(&self, group: &str, id: &str, instance: Option<&str>) -> Result<(), HeartbeatError> {
        let Some(consumer) = self.hard.consumer(group) else { return Ok(()) };
        let known = |id: &str| consumer.members.contains_key(id);
        let owner = instance.and_then(|instance| consumer.statics.get_key_value(instance));
        if let Some((instance, owner)) = owner
            && !consumer.is_away(owner)
            && !consumer.members.get(owner).is_some_and(Member::is_classic)
        {
            return Err(HeartbeatError::Unreleased { instance: instance.clone(), owner: owner.clone() });
        }
        match self.settings.consumer.size_max {
            max if consumer.members.len() >= max && !known(id) && owner.is_none() => {
                Err(HeartbeatError::GroupFull { max })
            }
            _ => Ok(()),
        }
    }

    /// Sees to it that there is a KIP-848 group of this name.
    fn found_consumer(&mut self, group: &str, step: &mut Step<'_>) -> Result<(), HeartbeatError> {
        match self.hard.groups.get(group).map(|g| &g.kind) {
            Some(Kind::Consumer(_)) => return Ok(()),
            Some(Kind::Classic(classic)) if classic.head.stage != Stage::Empty => {
                return self.upgrade(group, step);
            }
            Some(Kind::Classic(_)) => {}
            None if !self.exists(group) => match self.settings.groups_max {
                max if self.count() >= max => return Err(HeartbeatError::TooManyGroups { max }),
                _ => {}
            },
            None => {}
        }
        let head = super::record::ConsumerHead::default();
        self.put(GroupRecord::ConsumerHead { group: group.to_string(), head }, step);
        Ok(())
    }

    /// A static instance joins. What its former member id had becomes its own; the caller stores the description.
    pub(super) fn take_over(&mut self, group: &str, instance: &str, id: &str, step: &mut Step<'_>) -> Member {
        let Some(consumer) = self.hard.consumer(group) else { return Member::default() };
        let Some(former) = consumer.statics.get(instance).cloned() else {
            return consumer.members.get(id).cloned().unwrap_or_default();
        };
        let mut member = consumer.members.get(&former).cloned().unwrap_or_default();
        let assigned = std::mem::take(&mut member.current.assigned);
        member.current = Current { assigned, ..Current::default() };
        if former == id {
            self.put_current(group, id, member.current.clone(), step);
            return member;
        }
        if let Some(watch) = self.watches.get_mut(group) {
            watch.leases.remove(&former);
        }
        let (group, id) = (group.to_string(), id.to_string());
        self.put(GroupRecord::MemberRemoved { group: group.clone(), member: former }, step);
        self.put(
            GroupRecord::ConsumerMember { group: group.clone(), member: id.clone(), about: member.about.clone() },
            step,
        );
        if !member.target.is_empty() {
            let partitions = member.target.clone();
            self.put(GroupRecord::Target { group: group.clone(), member: id.clone(), partitions }, step);
        }
        self.put_current(&group, &id, member.current.clone(), step);
        member
    }

    fn beat(
        &mut self,
        ctx: &Context,
        request: &m::ConsumerGroupHeartbeatRequest,
        step: &mut Step<'_>,
    ) -> Result<m::ConsumerGroupHeartbeatResponse, HeartbeatError> {
        let (group, id) = (request.group_id.as_str(), request.member_id.as_str());
        let consumer = self.consumer_of(group)?;
        let base = consumer_member(consumer, id, request.instance_id.as_deref())?.clone();
        check_epoch(&base.current, request)?;
        self.check_wish(request)?;
        self.serve_member(ctx, request, &Serving { group, id, base }, step)
    }

    fn consumer_of(&self, group: &str) -> Result<&Consumer, HeartbeatError> {
        match self.hard.groups.get(group).map(|g| &g.kind) {
            Some(Kind::Consumer(consumer)) => Ok(consumer),
            Some(Kind::Classic(_)) => Err(HeartbeatError::NotConsumer(group.to_string())),
            None => Err(HeartbeatError::NoGroup(group.to_string())),
        }
    }

    /// The common part of joining and staying.
    fn serve_member(
        &mut self,
        ctx: &Context,
        request: &m::ConsumerGroupHeartbeatRequest,
        serving: &Serving<'_>,
        step: &mut Step<'_>,
    ) -> Result<m::ConsumerGroupHeartbeatResponse, HeartbeatError> {
        let Serving { group, id, base } = serving;
        let pace = self.pace(group, step.topics);
        let mut lease = Lease::until(step.now.mono.after_ms(pace.session_timeout_ms.into()));
        lease.revocation = self.watches.get(*group).and_then(|w| w.leases.get(*id)).and_then(|lease| lease.revocation);
        let owned = request.topic_partitions.as_ref().map_or(Owned::Unsaid, |said| Owned::Said(said_partitions(said)));
        let mut about = described(&base.about, ctx, request);
        if step.no_room {
            about = but_for_what_may_wait(about, &base.about);
            if about != base.about {
                self.keep_alive(group, id, lease.session);
                return Err(HeartbeatError::NoRoom);
            }
        }
        self.serve(serving, Word { about, lease, owned }, step);
        let Some(member) = self.hard.consumer(group).and_then(|g| g.members.get(*id)) else {
            return Err(FenceError::UnknownMember((*id).to_string()).into());
        };
        let full = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && request.topic_partitions.is_some();
        let changed = !member.current.assigned.same_partitions(&base.current.assigned);
        let told = request.member_epoch == JOINS || full || changed;
        let response = m::ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(text(id)))
            .with_member_epoch(member.current.epoch)
            .with_heartbeat_interval_ms(self.next_beat_ms(group, member, step))
            .with_assignment(told.then(|| assignment(&member.current.assigned)));
        Ok(response)
    }

    /// A refused heartbeat is a sign of life all the same.
    fn keep_alive(&mut self, group: &str, id: &str, until: MonoMs) {
        if let Some(lease) = self.watches.get_mut(group).and_then(|watch| watch.leases.get_mut(id)) {
            lease.session = lease.session.max(until);
        }
    }

    /// After how long a member is to be back: sooner than otherwise while it waits for something, and while the group
    /// changes. The larger the group, the less often, so that its members together cost the same.
    fn next_beat_ms(&self, group: &str, member: &Member, step: &Step<'_>) -> i32 {
        let calm_ms = self.pace(group, step.topics).heartbeat_interval_ms;
        let changed = self.watches.get(group).and_then(|watch| watch.changed_at);
        let lately = changed.is_some_and(|at| step.now.mono < at.after_ms(calm_ms.into()));
        let consumer = self.hard.consumer(group);
        if !lately && consumer.is_none_or(|g| member.current.is_reconciled_to(g.head.epoch)) {
            return calm_ms;
        }
        let members = consumer.map_or(0, |g| g.members.len());
        let busy_ms = i32::try_from(members).unwrap_or(i32::MAX).max(BUSY_BEAT_MS_MIN);
        busy_ms.min(calm_ms)
    }

    /// Brings member and group forward: description and life sign, group epoch, target, next step of the member.
    pub(super) fn serve(&mut self, serving: &Serving<'_>, word: Word, step: &mut Step<'_>) {
        let Serving { group, id, base } = serving;
        let Word { about, lease, owned } = word;
        let changed = about.topics != base.about.topics || about.pattern != base.about.pattern;
        let known = self.hard.consumer(group).and_then(|g| g.members.get(*id));
        if known.map(|member| &member.about) != Some(&about) {
            let (group, member) = ((*group).to_string(), (*id).to_string());
            self.put(GroupRecord::ConsumerMember { group, member, about: about.clone() }, step);
        }
        self.watches.entry((*group).to_string()).or_default().leases.insert((*id).to_string(), lease);
        self.wake_by(group, lease.due());
        self.refresh(group, changed, step);
        self.retarget(group, step);
        // Until the next target is made, the last one may name topics that this member does not subscribe to any more.
        let outdated = self.hard.consumer(group).is_some_and(|g| g.head.epoch > g.head.assignment_epoch);
        let subscribed = outdated.then(|| self.subscribed(&about, step));
        let Some(consumer) = self.hard.consumer(group) else { return };
        let Some(member) = consumer.members.get(*id) else { return };
        let assignment_epoch = consumer.head.assignment_epoch;
        let goal = Goal { target: &member.target, assignment_epoch, subscribed: subscribed.as_ref() };
        let is_free = |topic, partition| consumer.is_free_for(id, topic, partition);
        let next = reconcile(&member.current, &goal, &owned, is_free);
        self.put_current(group, id, next, step);
    }

    /// Stores what a member holds, if it changed. Who was told to give back has its rebalance timeout to do so.
    fn put_current(&mut self, group: &str, id: &str, next: Current, step: &mut Step<'_>) {
        let Some(member) = self.hard.consumer(group).and_then(|g| g.members.get(id)) else { return };
        if member.current == next {
            return;
        }
        let owes = next.state == MemberState::Unrevoked && !member.is_classic();
        let renewed = next.revoking != member.current.revoking;
        let until = step.now.mono.after_ms(member.about.rebalance_timeout_ms.into());
        let (name, member) = (group.to_string(), id.to_string());
        self.put(GroupRecord::Current { group: name, member, current: next }, step);
        let Some(lease) = self.watches.get_mut(group).and_then(|watch| watch.leases.get_mut(id)) else { return };
        if !owes {
            lease.revocation = None;
        } else if renewed || lease.revocation.is_none() {
            lease.revocation = Some(until);
            self.wake_by(group, until);
        }
    }

    fn leave_consumer(
        &mut self,
        request: &m::ConsumerGroupHeartbeatRequest,
        step: &mut Step<'_>,
    ) -> Result<m::ConsumerGroupHeartbeatResponse, HeartbeatError> {
        let (group, id) = (request.group_id.as_str(), request.member_id.as_str());
        let consumer = self.consumer_of(group)?;
        let member = consumer_member(consumer, id, request.instance_id.as_deref())?;
        if request.member_epoch == LEFT_FOR_A_WHILE {
            let assigned = member.current.assigned.clone();
            let away = Current { epoch: LEFT_FOR_A_WHILE, assigned, ..Current::default() };
            self.put_current(group, id, away, step);
        } else {
            self.expel(group, &[id.to_string()], step);
        }
        let response = m::ConsumerGroupHeartbeatResponse::default().with_member_id(Some(text(id)));
        Ok(response.with_member_epoch(request.member_epoch))
    }

    /// Takes members out: they left, or were silent or late. What they held is free at once. Without room the group keeps its
    /// protocol: to change it would be to write all of it anew.
    pub(super) fn expel(&mut self, group: &str, ids: &[String], step: &mut Step<'_>) {
        if !step.no_room && self.may_downgrade(group, ids) {
            return self.downgrade(group, ids, step);
        }
        for id in ids {
            if let Some(watch) = self.watches.get_mut(group) {
                watch.leases.remove(id);
            }
            self.put(GroupRecord::MemberRemoved { group: group.to_string(), member: id.clone() }, step);
        }
        let hash = self.topics_hash(group, step);
        let is_empty = self.hard.consumer(group).is_some_and(|g| g.members.is_empty());
        let now = step.now.wall.0;
        self.change_consumer_head(group, step, |head| {
            (head.epoch, head.topics_hash) = (head.epoch.saturating_add(1), hash);
            if is_empty {
                head.empty_since_ms = now;
            }
        });
    }

    /// Does what is due in one group.
    pub(in crate::groups) fn wake_consumer(&mut self, group: &str, step: &mut Step<'_>) {
        let Some(watch) = self.watches.get(group) else { return };
        let expired = watch.expired_members(step.now.mono);
        if !expired.is_empty() {
            self.expel(group, &expired, step);
        }
    }
}

/// A member whose request is served.
pub(super) struct Serving<'a> {
    pub group: &'a str,
    pub id: &'a str,
    /// As it was before this request.
    pub base: Member,
}

/// What a member says.
pub(super) struct Word {
    /// Of itself, with what it did not repeat.
    pub about: Subscriber,
    /// That it is alive.
    pub lease: Lease,
    pub owned: Owned,
}

/// The member, if these ids are one's.
pub(super) fn consumer_member<'a>(
    consumer: &'a Consumer,
    id: &str,
    instance: Option<&str>,
) -> Result<&'a Member, FenceError> {
    if let Some(instance) = instance {
        match consumer.statics.get(instance) {
            Some(owner) if owner == id => {}
            Some(owner) => {
                return Err(FenceError::FencedInstance { instance: instance.to_string(), owner: owner.clone() });
            }
            None => return Err(FenceError::UnknownInstance(instance.to_string())),
        }
    }
    consumer.members.get(id).ok_or_else(|| FenceError::UnknownMember(id.to_string()))
}

/// The previous epoch is taken from who owns nothing beyond what it is assigned: the answer that raised the epoch may have
/// been lost (N7).
fn check_epoch(current: &Current, request: &m::ConsumerGroupHeartbeatRequest) -> Result<(), HeartbeatError> {
    let (found, known) = (request.member_epoch, current.epoch);
    let owns_less = || {
        let said = request.topic_partitions.as_ref().map(|said| said_partitions(said));
        said.is_some_and(|owned| owned.iter().all(|(topic, p)| current.assigned.since(topic, p).is_some()))
    };
    match found == known || (found == current.previous && found < known && owns_less()) {
        true => Ok(()),
        false => Err(HeartbeatError::Fenced { found, known }),
    }
}

/// The description of a member after this request: what it does not say stays as it was.
fn described(base: &Subscriber, ctx: &Context, request: &m::ConsumerGroupHeartbeatRequest) -> Subscriber {
    let said = |value: &Option<StrBytes>| value.as_ref().map(ToString::to_string);
    let names = request.subscribed_topic_names.as_ref();
    let names = names.map(|names| names.iter().map(|name| name.to_string()).collect());
    let pattern = request.subscribed_topic_regex.as_ref();
    let pattern = pattern.map(|pattern| Some(pattern.to_string()).filter(|pattern| !pattern.is_empty()));
    Subscriber {
        instance: said(&request.instance_id).or_else(|| base.instance.clone()),
        rack: said(&request.rack_id).or_else(|| base.rack.clone()),
        client_id: ctx.client_id.clone(),
        client_host: ctx.client_host.clone(),
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => base.rebalance_timeout_ms,
            said => said,
        },
        topics: names.unwrap_or_else(|| base.topics.clone()),
        pattern: pattern.unwrap_or_else(|| base.pattern.clone()),
        assignor: said(&request.server_assignor).or_else(|| base.assignor.clone()),
        classic: None,
    }
}

/// A description without what is no reason to write it while there is no room: who asks from where, and how patient it is.
fn but_for_what_may_wait(about: Subscriber, base: &Subscriber) -> Subscriber {
    let (client_id, client_host) = (base.client_id.clone(), base.client_host.clone());
    Subscriber { client_id, client_host, rebalance_timeout_ms: base.rebalance_timeout_ms, ..about }
}

fn said_partitions(said: &[m::consumer_group_heartbeat_request::TopicPartitions]) -> Partitions {
    let of = |topic: &m::consumer_group_heartbeat_request::TopicPartitions| -> Vec<(TopicId, i32)> {
        let id = topic_id(&topic.topic_id);
        topic.partitions.iter().map(|partition| (id, *partition)).collect()
    };
    said.iter().flat_map(of).collect()
}

fn assignment(assigned: &Held) -> answer::Assignment {
    let topic = |(id, partitions): (TopicId, _)| {
        let partitions: Vec<i32> = Iterator::collect(partitions);
        answer::TopicPartitions::default().with_topic_id(wire_id(id)).with_partitions(partitions)
    };
    answer::Assignment::default().with_topic_partitions(assigned.by_topic().map(|(id, ps)| topic((id, ps))).collect())
}

/// Nothing but what Java's `trim` takes away, which is how Kafka asks for it.
fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c <= ' ')
}
