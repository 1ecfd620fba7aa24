//! What members do in a generation: SyncGroup, Heartbeat, LeaveGroup.
//! Holds: nothing succeeds for another generation than the group's; the assignments of a generation come from one
//! SyncGroup of its leader, so no partition has two owners in it.

use std::collections::BTreeMap;

use kafka_protocol::messages as m;
use pyralog_protocol::{ErrorCode, Now, kafka_protocol};

use super::Groups;
use super::error::{MemberError, SyncError};
use super::hard::Classic;
use super::live::Parked;
use super::record::{Blob, GroupRecord, Stage};
use super::reply::{sync_error, synced, text};
use super::step::Step;
use crate::command::{Context, Reply};

impl Groups {
    /// The group, if these ids are a member's. Unknown ids come before wrong generations (G16).
    pub(super) fn member_of(&self, group: &str, id: &str, instance: Option<&str>) -> Result<&Classic, MemberError> {
        if group.is_empty() {
            return Err(MemberError::EmptyGroupId);
        }
        let found = self.hard.classic(group).ok_or(MemberError::Unknown)?;
        if let Some(instance) = instance {
            return match found.statics.get(instance) {
                Some(owner) if owner == id => Ok(found),
                Some(_) => Err(MemberError::Fenced),
                None => Err(MemberError::Unknown),
            };
        }
        if found.members.contains_key(id) { Ok(found) } else { Err(MemberError::Unknown) }
    }

    pub(super) fn check_generation(group: &Classic, found: i32) -> Result<(), MemberError> {
        match group.head.generation {
            current if current == found => Ok(()),
            current => Err(MemberError::Generation { found, current }),
        }
    }

    pub(super) fn sync(&mut self, ctx: &Context, request: &m::SyncGroupRequest, step: &mut Step<'_>) {
        // From v5 on both names are mandatory, and Kafka looks at nothing else before (G15).
        let nameless = request.protocol_type.is_none() || request.protocol_name.is_none();
        let checked =
            if ctx.api_version >= 5 && nameless { Err(SyncError::Protocol) } else { self.check_sync(request) };
        match checked {
            Err(error) => step.reply(ctx.token, sync_error(error.code())),
            Ok(Stage::Stable) => self.sync_stable(ctx, request, step),
            Ok(Stage::Empty | Stage::PreparingRebalance | Stage::CompletingRebalance) => {
                self.sync_completing(ctx, request, step);
            }
        }
    }

    fn check_sync(&self, request: &m::SyncGroupRequest) -> Result<Stage, SyncError> {
        let group = self.member_of(
            request.group_id.as_str(),
            request.member_id.as_str(),
            request.group_instance_id.as_deref(),
        )?;
        Self::check_generation(group, request.generation_id)?;
        let differs = |named: Option<&str>, ours: &Option<String>| named.is_some_and(|n| Some(n) != ours.as_deref());
        if differs(request.protocol_type.as_deref(), &group.head.protocol_type)
            || differs(request.protocol_name.as_deref(), &group.head.protocol)
        {
            return Err(SyncError::Protocol);
        }
        let max = self.settings.member_bytes_max;
        let bytes = request.assignments.iter().map(|a| a.assignment.len()).max().unwrap_or(0);
        match group.head.stage {
            Stage::Empty => Err(MemberError::Unknown.into()),
            Stage::PreparingRebalance => Err(MemberError::Rebalancing.into()),
            Stage::CompletingRebalance if bytes > max => Err(SyncError::AssignmentTooLarge { bytes, max }),
            stage @ (Stage::CompletingRebalance | Stage::Stable) => Ok(stage),
        }
    }

    fn sync_stable(&mut self, ctx: &Context, request: &m::SyncGroupRequest, step: &mut Step<'_>) {
        let (group, id) = (request.group_id.as_str(), request.member_id.as_str());
        if let Some(session) = self.live.get_mut(group).and_then(|live| live.sessions.get_mut(id)) {
            session.owes_sync = false;
        }
        self.renew_session(group, id, step.now);
        if let Some(hard) = self.hard.classic(group) {
            step.reply(ctx.token, synced(ctx.api_version, hard, id));
        }
    }

    fn sync_completing(&mut self, ctx: &Context, request: &m::SyncGroupRequest, step: &mut Step<'_>) {
        let (group, id) = (request.group_id.as_str(), request.member_id.as_str());
        let Some(session) = self.live.get_mut(group).and_then(|live| live.sessions.get_mut(id)) else {
            return step.reply(ctx.token, sync_error(ErrorCode::UnknownMemberId));
        };
        session.fail_parked(ErrorCode::RebalanceInProgress, id, step);
        session.sync = Some(Parked { token: ctx.token, version: ctx.api_version });
        (session.owes_sync, session.due) = (false, None);
        if self.hard.classic(group).is_some_and(|g| g.is_leader(id)) {
            self.assign(group, &request.assignments, step);
            self.stabilize(group, step);
        }
    }

    /// Stores what changed. Members without an assignment get empty bytes, strangers are left out (G15).
    fn assign(
        &mut self,
        group: &str,
        given: &[m::sync_group_request::SyncGroupRequestAssignment],
        step: &mut Step<'_>,
    ) {
        let given: BTreeMap<&str, &[u8]> = given.iter().map(|a| (a.member_id.as_str(), &*a.assignment)).collect();
        let Some(hard) = self.hard.classic(group) else { return };
        let share = |id: &str| given.get(id).copied().unwrap_or_default();
        let changed = hard.members.iter().filter(|(id, member)| member.assignment.as_slice() != share(id));
        let records: Vec<GroupRecord> = changed
            .map(|(id, _)| GroupRecord::Assignment {
                group: group.to_string(),
                member: id.clone(),
                assignment: Blob::copy_of(share(id)),
            })
            .collect();
        for record in records {
            self.put(record, step);
        }
    }

    pub(super) fn heartbeat(&mut self, ctx: &Context, request: &m::HeartbeatRequest, step: &mut Step<'_>) {
        let code = match self.try_heartbeat(request, step.now) {
            Ok(()) => ErrorCode::None,
            Err(error) => error.code(),
        };
        step.reply(ctx.token, Reply::Heartbeat(m::HeartbeatResponse::default().with_error_code(code.code())));
    }

    fn try_heartbeat(&mut self, request: &m::HeartbeatRequest, now: Now) -> Result<(), MemberError> {
        let (name, id) = (request.group_id.as_str(), request.member_id.as_str());
        let group = self.member_of(name, id, request.group_instance_id.as_deref())?;
        Self::check_generation(group, request.generation_id)?;
        let stage = group.head.stage;
        self.renew_session(name, id, now);
        match stage {
            Stage::Empty => Err(MemberError::Unknown),
            Stage::PreparingRebalance => Err(MemberError::Rebalancing),
            Stage::CompletingRebalance | Stage::Stable => Ok(()),
        }
    }

    pub(super) fn leave(&mut self, ctx: &Context, request: &m::LeaveGroupRequest, step: &mut Step<'_>) {
        let group = request.group_id.as_str();
        let response = m::LeaveGroupResponse::default();
        if group.is_empty() {
            let code = MemberError::EmptyGroupId.code().code();
            return step.reply(ctx.token, Reply::LeaveGroup(response.with_error_code(code)));
        }
        let members = |groups: &Self| groups.hard.classic(group).map_or(0, |g| g.members.len());
        let before = members(self);
        let response = if ctx.api_version <= 2 {
            response.with_error_code(leave_code(self.leave_one(group, request.member_id.as_str(), None, step)))
        } else {
            response.with_members(self.leave_each(group, &request.members, step))
        };
        if members(self) < before {
            self.rebalance(group, step);
        } else {
            // A promised id may have been all that a rebalance still waited for.
            self.finish_if_all_joined(group, step);
        }
        step.reply(ctx.token, Reply::LeaveGroup(response));
    }

    fn leave_each(
        &mut self,
        group: &str,
        members: &[m::leave_group_request::MemberIdentity],
        step: &mut Step<'_>,
    ) -> Vec<m::leave_group_response::MemberResponse> {
        let mut left = Vec::new();
        for member in members {
            let instance = member.group_instance_id.as_deref();
            let code = leave_code(self.leave_one(group, member.member_id.as_str(), instance, step));
            let entry = m::leave_group_response::MemberResponse::default()
                .with_member_id(member.member_id.clone())
                .with_group_instance_id(instance.map(text))
                .with_error_code(code);
            left.push(entry);
        }
        left
    }

    /// An instance id alone is enough (administrators remove static members so); a promised id is simply forgotten.
    fn leave_one(
        &mut self,
        group: &str,
        id: &str,
        instance: Option<&str>,
        step: &mut Step<'_>,
    ) -> Result<(), MemberError> {
        if self.live.get_mut(group).is_some_and(|live| live.pending.remove(id).is_some()) {
            return Ok(());
        }
        let id = match (id.is_empty(), instance) {
            (true, Some(instance)) => {
                let owner = self.hard.classic(group).and_then(|g| g.statics.get(instance));
                owner.cloned().ok_or(MemberError::Unknown)?
            }
            (true, None) | (false, _) => {
                self.member_of(group, id, instance)?;
                id.to_string()
            }
        };
        self.drop_member(group, &id, step);
        Ok(())
    }
}

fn leave_code(result: Result<(), MemberError>) -> i16 {
    result.map_or_else(|e| e.code(), |()| ErrorCode::None).code()
}
