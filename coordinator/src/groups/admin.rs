//! Groups as administrators see them: DescribeGroups, ListGroups, DeleteGroups; and the housekeeping that removes
//! expired offsets and groups that nothing is left of.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use kafka_protocol::messages as m;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::{ErrorCode, Now, kafka_protocol};

use super::error::DeleteError;
use super::hard::{Classic, Group, Kind};
use super::record::{Blob, Committed, GroupRecord, Stage};
use super::reply::{answered, text};
use super::step::Step;
use super::{Groups, TopicView};
use crate::command::{Context, Reply};
use crate::effects::Effects;

/// READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS: without ACLs everybody may do everything to a group.
pub(super) const ALL_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// Work of one housekeeping step, in offsets that are looked at: some milliseconds, for which everybody else waits. What is
/// left follows in the next step, `HOUSEKEEPING_PAUSE_MS` later.
const HOUSEKEEPING_WORK_MAX: usize = 100_000;
/// What writing one record costs, in offsets that are looked at.
const RECORD_WORK: usize = 10;
/// What it costs to find out whether a pattern matches a topic, in offsets that are looked at.
const MATCH_WORK: usize = 10;
/// How much of its members' metadata is read at the cost of one offset that is looked at.
const METADATA_BYTES_PER_WORK: usize = 32;
const HOUSEKEEPING_PAUSE_MS: i64 = 100;

/// What housekeeping does to one group.
struct Expiry {
    records: Vec<GroupRecord>,
    /// What it took to find out, and takes to do, in offsets that are looked at.
    work: usize,
}

impl Groups {
    pub(super) fn describe(&self, ctx: &Context, request: &m::DescribeGroupsRequest, step: &mut Step<'_>) {
        let operations = match request.include_authorized_operations && ctx.api_version >= 3 {
            true => ALL_OPERATIONS,
            false => i32::MIN,
        };
        let describe = |name: &m::GroupId| self.describe_one(ctx.api_version, name, operations);
        let groups = answered(&request.groups, |name| name.as_str()).map(describe).collect();
        step.reply(ctx.token, Reply::DescribeGroups(m::DescribeGroupsResponse::default().with_groups(groups)));
    }

    fn describe_one(&self, version: i16, name: &m::GroupId, operations: i32) -> DescribedGroup {
        let promised = Classic::default();
        let group = match self.hard.groups.get(name.as_str()).map(|group| &group.kind) {
            Some(Kind::Classic(classic)) => classic,
            Some(Kind::Consumer(_)) => return describe_other(version, name, "is not a classic group", operations),
            None if self.live.contains_key(name.as_str()) => &promised,
            None => return describe_other(version, name, "not found", operations),
        };
        let stable = group.head.stage == Stage::Stable;
        let protocol = group.head.protocol.as_deref().filter(|_| stable);
        let assigned = !self.live.get(name.as_str()).is_some_and(|live| live.interrupted);
        DescribedGroup::default()
            .with_group_id(name.clone())
            .with_group_state(text(group.head.stage.name()))
            .with_protocol_type(text(group.head.protocol_type.as_deref().unwrap_or_default()))
            .with_protocol_data(text(protocol.unwrap_or_default()))
            .with_members(describe_members(version, group, protocol, assigned))
            .with_authorized_operations(operations)
    }

    pub(super) fn list(&self, ctx: &Context, request: &m::ListGroupsRequest, step: &mut Step<'_>) {
        let among = |filter: &[StrBytes], value: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
        };
        let promised = Group::default();
        let soft = self.live.keys().filter(|name| !self.hard.groups.contains_key(*name));
        let all = self.hard.groups.iter().chain(soft.map(|name| (name, &promised)));
        // Kafka passes over blanks around a state, and not around a type (G20).
        let states: Vec<StrBytes> = request.states_filter.iter().map(|state| text(state.trim())).collect();
        let wanted =
            all.filter(|(_, group)| among(&states, group.state()) && among(&request.types_filter, group.type_name()));
        let listed = wanted.map(|(name, group)| {
            m::list_groups_response::ListedGroup::default()
                .with_group_id(text(name).into())
                .with_protocol_type(text(group.protocol_type()))
                .with_group_state(if ctx.api_version >= 4 { text(group.state()) } else { text("") })
                .with_group_type(if ctx.api_version >= 5 { text(group.type_name()) } else { text("") })
        });
        let response = m::ListGroupsResponse::default().with_groups(listed.collect());
        step.reply(ctx.token, Reply::ListGroups(response));
    }

    pub(super) fn delete(&mut self, ctx: &Context, request: &m::DeleteGroupsRequest, step: &mut Step<'_>) {
        let mut results = Vec::with_capacity(request.groups_names.len());
        let mut named = BTreeSet::new();
        // A group that is named again is answered once, as in Kafka: it was deleted, not unknown.
        for name in request.groups_names.iter().filter(|name| named.insert(name.as_str())) {
            let code = self.delete_one(name.as_str(), step).map_or_else(DeleteError::code, |()| ErrorCode::None);
            let result = m::delete_groups_response::DeletableGroupResult::default();
            results.push(result.with_group_id(name.clone()).with_error_code(code.code()));
        }
        step.reply(ctx.token, Reply::DeleteGroups(m::DeleteGroupsResponse::default().with_results(results)));
    }

    /// Promised member ids go with the group: their owners are told that they are unknown, and ask for others.
    fn delete_one(&mut self, name: &str, step: &mut Step<'_>) -> Result<(), DeleteError> {
        let is_empty = |group: &Group| match &group.kind {
            Kind::Classic(classic) => classic.head.stage == Stage::Empty,
            Kind::Consumer(consumer) => consumer.members.is_empty(),
        };
        match self.hard.groups.get(name).map(is_empty) {
            Some(true) => self.put(GroupRecord::GroupRemoved { group: name.to_string() }, step),
            Some(false) => return Err(DeleteError::HasMembers),
            None if self.live.contains_key(name) => {}
            None => return Err(DeleteError::NoGroup),
        }
        self.live.remove(name);
        Ok(())
    }

    /// Removes offsets that are past their retention, and empty groups that hold none; goes on behind the group where the
    /// last step stopped. Each group is its own atomic set. At the end it forgets patterns that no group has any more.
    pub(super) fn keep_house(&mut self, topics: &dyn TopicView, now: Now, out: &mut Effects) {
        let (mut work, mut plans, mut stopped_at) = (0, Vec::new(), None);
        let done = self.housekept.take();
        let behind = done.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        for (name, group) in self.hard.groups.range::<str, _>((behind, Bound::Unbounded)) {
            let plan = self.expiry(name, group, now);
            work += plan.work;
            if !plan.records.is_empty() {
                plans.push(plan.records);
            }
            if work >= HOUSEKEEPING_WORK_MAX {
                stopped_at = Some(name.clone());
                break;
            }
        }
        for plan in plans {
            let mut step = Step::new(topics, now);
            plan.into_iter().for_each(|record| self.put(record, &mut step));
            step.finish(out);
        }
        if stopped_at.is_none() {
            self.forget_patterns();
        }
        let interval_ms = self.settings.retention_check_interval_ms;
        let pause_ms = if stopped_at.is_some() { HOUSEKEEPING_PAUSE_MS } else { interval_ms };
        self.housekept = stopped_at;
        self.housekeeping_due = (!self.hard.groups.is_empty()).then(|| now.mono.after_ms(pause_ms.max(1)));
    }

    /// What housekeeping removes from one group (O11). Offsets of a group with members go only where everybody knows what
    /// is read, and never those of a topic that is.
    fn expiry(&self, name: &str, group: &Group, now: Now) -> Expiry {
        let nothing = Expiry { records: Vec::new(), work: 1 };
        let (is_empty, used_since) = match &group.kind {
            Kind::Consumer(consumer) if consumer.members.is_empty() => (true, consumer.head.empty_since_ms),
            Kind::Consumer(_) => (false, 0),
            Kind::Classic(classic) => match (classic.head.stage, classic.is_consumer()) {
                (Stage::Empty, _) => (true, classic.head.since_ms),
                (Stage::Stable, true) => (false, 0),
                (Stage::Stable | Stage::PreparingRebalance | Stage::CompletingRebalance, _) => return nothing,
            },
        };
        let expired = |c: &Committed| match c.expire_ms {
            Some(end) => now.wall.0 >= end,
            None => now.wall.0.saturating_sub(c.commit_ms.max(used_since)) >= self.settings.offsets_retention_ms,
        };
        let all = group.offsets.iter().flat_map(|(topic, ps)| ps.iter().map(move |(p, c)| (topic, *p, c)));
        let old = all.filter(|(_, _, c)| expired(c)).map(|(topic, p, _)| (topic, p));
        let mut gone: Vec<(&String, i32)> = old.collect();
        let held: usize = group.offsets.values().map(BTreeMap::len).sum();
        let mut work = 1 + held;
        // What the members read is known only from their metadata or patterns, which are looked at where something may go.
        if !gone.is_empty() && !is_empty {
            let topics: BTreeSet<&str> = gone.iter().map(|(topic, _)| topic.as_str()).collect();
            work += match &group.kind {
                Kind::Classic(classic) => classic.metadata_bytes() / METADATA_BYTES_PER_WORK,
                Kind::Consumer(consumer) => consumer.patterns.len() * topics.len() * MATCH_WORK,
            };
            let unread = self.unread(group, topics);
            gone.retain(|(topic, _)| unread.contains(topic.as_str()));
        }
        if is_empty && gone.len() == held && !self.live.contains_key(name) {
            let records = vec![GroupRecord::GroupRemoved { group: name.to_string() }];
            return Expiry { records, work: work + RECORD_WORK };
        }
        let removed = |(topic, partition): (&String, i32)| GroupRecord::OffsetRemoved {
            group: name.to_string(),
            topic: topic.clone(),
            partition,
        };
        let records: Vec<GroupRecord> = gone.into_iter().map(removed).collect();
        work += records.len() * RECORD_WORK;
        Expiry { records, work }
    }
}

/// A group that is no classic one, or none at all.
fn describe_other(version: i16, name: &m::GroupId, what: &str, operations: i32) -> DescribedGroup {
    let group = DescribedGroup::default().with_group_id(name.clone()).with_group_state(text("Dead"));
    if version < 6 {
        return group.with_authorized_operations(operations);
    }
    let message = text(&format!("group {:?} {what}", name.as_str()));
    group.with_error_code(ErrorCode::GroupIdNotFound.code()).with_error_message(Some(message))
}

/// Metadata is shown once there is a protocol in force; assignments are the last ones also while the group rebalances, unless
/// they are not `assigned` any more.
fn describe_members(
    version: i16,
    group: &Classic,
    protocol: Option<&str>,
    assigned: bool,
) -> Vec<DescribedGroupMember> {
    let entry = |(id, member): (&String, &super::hard::Member)| {
        let metadata = protocol.and_then(|p| member.join.metadata(p)).map(Blob::bytes);
        let assignment = assigned.then(|| member.assignment.bytes());
        DescribedGroupMember::default()
            .with_member_id(text(id))
            .with_group_instance_id(member.join.instance.as_deref().filter(|_| version >= 4).map(text))
            .with_client_id(text(&member.join.client_id))
            .with_client_host(text(&member.join.client_host))
            .with_member_metadata(metadata.unwrap_or_default())
            .with_member_assignment(assignment.unwrap_or_default())
    };
    group.members.iter().map(entry).collect()
}
