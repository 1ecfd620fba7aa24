//! JoinGroup: who may become a member, and under which id. What then happens to the group is in `round`.
//! Holds: dynamic clients from v4 on become members only under an id that they were told before (KIP-394), older and
//! static ones at once; every refusal is answered, none is forgotten (G6).

use kafka_protocol::messages as m;
use pyralog_protocol::{Now, kafka_protocol};

use super::error::{JoinError, MemberError};
use super::live::{Parked, Session};
use super::promises::Promise;
use super::record::{Blob, GroupRecord, MemberJoin, Stage};
use super::reply::{Role, join_error, joined};
use super::step::Step;
use super::{Groups, NAME_BYTES_MAX};
use crate::command::Context;

/// How long a new member may wait for its first answer, in milliseconds. It has no id to send heartbeats with, and a
/// client that went away meanwhile comes back under a new one: without a bound they would pile up.
const FRESH_MEMBER_WAIT_MS: i64 = 300_000;

/// How long a promised member id is kept, in milliseconds, also for those who ask for a longer session. Clients come back at once;
/// who never does should not take memory for half an hour, nor hold up the others' rebalances.
const PROMISE_MS_MAX: i64 = 60_000;

/// Protocols of one member. Clients send one to three; to choose one takes the square of their number for each member.
const PROTOCOLS_MAX: usize = 16;

/// Client ids are cut to this many bytes in member ids, so that these always fit the wire and the keys.
const CLIENT_ID_BYTES_IN_MEMBER_ID: usize = 255;

/// A JoinGroup together with what its version implies.
pub(super) struct Joining<'a> {
    pub ctx: &'a Context,
    pub group: &'a str,
    pub member: &'a str,
    pub protocol_type: &'a str,
    pub description: MemberJoin,
}

impl<'a> Joining<'a> {
    pub fn new(ctx: &'a Context, request: &'a m::JoinGroupRequest) -> Self {
        let has_rebalance_timeout = ctx.api_version >= 1;
        let description = MemberJoin {
            instance: request.group_instance_id.as_ref().map(ToString::to_string),
            client_id: ctx.client_id.clone(),
            client_host: ctx.client_host.clone(),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: match has_rebalance_timeout {
                true => request.rebalance_timeout_ms,
                false => request.session_timeout_ms,
            },
            protocols: request.protocols.iter().map(|p| (p.name.to_string(), Blob::copy_of(&p.metadata))).collect(),
        };
        Self {
            ctx,
            group: request.group_id.as_str(),
            member: request.member_id.as_str(),
            protocol_type: request.protocol_type.as_str(),
            description,
        }
    }

    fn parked(&self) -> Parked {
        Parked { token: self.ctx.token, version: self.ctx.api_version }
    }

    fn member_id(&self, uuid: [u8; 16]) -> String {
        let base = self.description.instance.as_deref().unwrap_or(&self.ctx.client_id);
        let cut = match self.description.instance {
            Some(_) => base.len(), // bounded already, and meant to be recognised
            None => (0..=base.len().min(CLIENT_ID_BYTES_IN_MEMBER_ID))
                .rev()
                .find(|at| base.is_char_boundary(*at))
                .unwrap_or(0),
        };
        let mut id = base.get(..cut).unwrap_or_default().to_string();
        for (i, byte) in uuid.iter().enumerate() {
            let dash = matches!(i, 0 | 4 | 6 | 8 | 10);
            id.push_str(&format!("{}{byte:02x}", if dash { "-" } else { "" }));
        }
        id
    }
}

impl Groups {
    pub(super) fn join(&mut self, ctx: &Context, request: &m::JoinGroupRequest, step: &mut Step<'_>) {
        let joining = Joining::new(ctx, request);
        let Err(error) = self.try_join(&joining, step) else { return };
        self.refuse_join(&joining, &error, step);
    }

    pub(super) fn refuse_join(&self, joining: &Joining<'_>, error: &JoinError, step: &mut Step<'_>) {
        let member = match error {
            JoinError::MemberIdRequired { id } => id,
            JoinError::GroupFull { .. } => "",
            JoinError::Member(_)
            | JoinError::GroupIdTooLong { .. }
            | JoinError::NameTooLong { .. }
            | JoinError::SessionTimeout { .. }
            | JoinError::Protocols
            | JoinError::MigrationDisabled
            | JoinError::MetadataTooLarge { .. }
            | JoinError::TooManyProtocols { .. }
            | JoinError::TooManyGroups { .. } => joining.member,
        };
        step.reply(joining.ctx.token, join_error(joining.ctx.api_version, error.code(), member));
    }

    fn try_join(&mut self, joining: &Joining<'_>, step: &mut Step<'_>) -> Result<(), JoinError> {
        self.check_limits(joining)?;
        if !self.exists(joining.group) {
            self.check_creation(joining)?;
        }
        self.check_room(joining)?;
        self.check_protocols(joining)?;
        match joining.member.is_empty() {
            true => self.join_unknown(joining, step),
            false => self.join_known(joining, step),
        }
    }

    pub(super) fn check_limits(&self, joining: &Joining<'_>) -> Result<(), JoinError> {
        let (min, max) = (self.settings.session_timeout_ms_min, self.settings.session_timeout_ms_max);
        let bytes = joining.group.len();
        if bytes == 0 {
            return Err(MemberError::EmptyGroupId.into());
        }
        if bytes > NAME_BYTES_MAX {
            return Err(JoinError::GroupIdTooLong { bytes, max: NAME_BYTES_MAX });
        }
        let found = joining.description.session_timeout_ms;
        if !(min..=max).contains(&found) {
            return Err(JoinError::SessionTimeout { found, min, max });
        }
        let found = joining.description.protocols.len();
        if found > PROTOCOLS_MAX {
            return Err(JoinError::TooManyProtocols { found, max: PROTOCOLS_MAX });
        }
        let names = joining.description.protocols.iter().map(|(name, _)| name.len());
        let ids = [joining.protocol_type.len(), joining.description.instance.as_ref().map_or(0, String::len)];
        let bytes = names.chain(ids).max().unwrap_or(0);
        if bytes > NAME_BYTES_MAX {
            return Err(JoinError::NameTooLong { bytes, max: NAME_BYTES_MAX });
        }
        let bytes = joining.description.protocols.iter().map(|(name, blob)| name.len() + blob.as_slice().len()).sum();
        match self.settings.member_bytes_max {
            max if bytes > max => Err(JoinError::MetadataTooLarge { bytes, max }),
            _ => Ok(()),
        }
    }

    fn check_creation(&self, joining: &Joining<'_>) -> Result<(), JoinError> {
        if !joining.member.is_empty() {
            return Err(MemberError::Unknown.into());
        }
        match self.settings.groups_max {
            max if self.count() >= max => Err(JoinError::TooManyGroups { max }),
            _ => Ok(()),
        }
    }

    /// Members have their place, and so has a static instance that comes back; during a rebalance places go to those
    /// who are there first, so that a lowered limit takes effect.
    fn check_room(&self, joining: &Joining<'_>) -> Result<(), JoinError> {
        let max = self.settings.group_size_max;
        let Some(group) = self.hard.classic(joining.group) else { return Ok(()) };
        let returns = joining.description.instance.as_ref().is_some_and(|i| group.statics.contains_key(i));
        let waits = |s: &Session| s.join.is_some();
        let sessions = self.live.get(joining.group).map(|live| &live.sessions);
        let full = match group.head.stage {
            Stage::Empty => false,
            Stage::PreparingRebalance => {
                let waiting = sessions.map_or(0, |all| all.values().filter(|s| waits(s)).count());
                let is_waiting = sessions.and_then(|all| all.get(joining.member)).is_some_and(waits);
                !is_waiting && !returns && waiting >= max
            }
            Stage::CompletingRebalance | Stage::Stable => {
                !group.members.contains_key(joining.member) && !returns && group.members.len() >= max
            }
        };
        if full { Err(JoinError::GroupFull { max }) } else { Ok(()) }
    }

    fn check_protocols(&self, joining: &Joining<'_>) -> Result<(), JoinError> {
        let names: Vec<&str> = joining.description.protocols.iter().map(|(name, _)| name.as_str()).collect();
        let distinct: std::collections::BTreeSet<&str> = names.iter().copied().collect();
        let sound = !joining.protocol_type.is_empty() && !names.is_empty() && distinct.len() == names.len();
        let fits = match self.hard.classic(joining.group) {
            Some(group) if group.head.stage != Stage::Empty => {
                group.head.protocol_type.as_deref() == Some(joining.protocol_type)
                    && names.iter().any(|name| group.all_support(name))
            }
            Some(_) | None => true,
        };
        if sound && fits { Ok(()) } else { Err(JoinError::Protocols) }
    }

    fn join_unknown(&mut self, joining: &Joining<'_>, step: &mut Step<'_>) -> Result<(), JoinError> {
        let id = self.new_member_id(joining);
        let instance = joining.description.instance.as_ref();
        let former = instance.and_then(|instance| self.hard.classic(joining.group)?.statics.get(instance)).cloned();
        match former {
            Some(former) => self.return_static(joining, &former, &id, step),
            None if instance.is_none() && joining.ctx.api_version >= 4 => return self.promise(joining, id, step.now),
            None => self.add_member(joining, &id, step),
        }
        Ok(())
    }

    /// Two members never share an id, not even when the randomness that came with their requests is the same.
    pub(super) fn new_member_id(&self, joining: &Joining<'_>) -> String {
        let group = joining.group;
        let is_taken = |id: &str| {
            self.hard.classic(group).is_some_and(|g| g.members.contains_key(id))
                || self.hard.consumer(group).is_some_and(|g| g.members.contains_key(id))
                || self.live.get(group).is_some_and(|live| live.pending.contains_key(id))
        };
        let mut draw = joining.ctx.draw.clone();
        loop {
            let id = joining.member_id(draw.uuid());
            if !is_taken(&id) {
                return id;
            }
        }
    }

    /// Hands out an id to come back with. Such promises count against `group.max.size` on their own, and those of all groups
    /// have a limit in bytes, at which the oldest are broken.
    pub(super) fn promise(&mut self, joining: &Joining<'_>, id: String, now: Now) -> Result<(), JoinError> {
        let max = self.settings.group_size_max;
        let live = self.live.entry(joining.group.to_string()).or_default();
        if live.pending.len() >= max {
            return Err(JoinError::GroupFull { max });
        }
        let life_ms = i64::from(joining.description.session_timeout_ms).min(PROMISE_MS_MAX);
        let due = now.mono.after_ms(life_ms);
        live.pending.insert(id.clone(), due);
        self.wake_by(joining.group, due);
        let promise = Promise { group: joining.group.to_string(), id: id.clone(), due };
        for broken in self.promises.add(promise, now.mono) {
            let live = self.live.get_mut(&broken.group);
            if let Some(due) = live.and_then(|live| live.pending.get_mut(&broken.id)) {
                *due = now.mono;
                self.wake_by(&broken.group, now.mono);
            }
        }
        Err(JoinError::MemberIdRequired { id })
    }

    fn join_known(&mut self, joining: &Joining<'_>, step: &mut Step<'_>) -> Result<(), JoinError> {
        let (group, id) = (joining.group, joining.member);
        let pending = self.live.get(group).is_some_and(|live| live.pending.contains_key(id));
        if pending {
            self.add_member(joining, id, step);
            return Ok(());
        }
        let found = self.member_of(group, id, joining.description.instance.as_deref())?;
        let (stage, leads) = (found.head.stage, found.is_leader(id));
        let same = found.members.get(id).is_some_and(|m| m.join.protocols == joining.description.protocols);
        match stage {
            Stage::Empty => return Err(MemberError::Unknown.into()),
            Stage::CompletingRebalance if same => self.repeat_generation(joining, step),
            Stage::Stable if same && !leads => self.repeat_generation(joining, step),
            Stage::PreparingRebalance | Stage::CompletingRebalance | Stage::Stable => {
                self.rejoin(joining, step);
            }
        }
        Ok(())
    }

    /// Nothing changed for this member: perhaps it did not get the answer.
    fn repeat_generation(&mut self, joining: &Joining<'_>, step: &mut Step<'_>) {
        self.renew_session(joining.group, joining.member, step.now);
        let Some(group) = self.hard.classic(joining.group) else { return };
        step.reply(joining.ctx.token, joined(joining.ctx.api_version, group, joining.member, Role::AsElected));
    }

    fn add_member(&mut self, joining: &Joining<'_>, id: &str, step: &mut Step<'_>) {
        let group = joining.group;
        self.put_member(joining, id, step);
        self.change_head(group, step, |head| {
            if head.stage == Stage::Empty {
                head.protocol_type = Some(joining.protocol_type.to_string());
                head.leader = Some(id.to_string());
            }
        });
        let due = step.now.mono.after_ms(FRESH_MEMBER_WAIT_MS);
        let session = Session { due: Some(due), fresh: true, join: Some(joining.parked()), ..Session::default() };
        let live = self.live.entry(group.to_string()).or_default();
        live.pending.remove(id);
        live.sessions.insert(id.to_string(), session);
        live.note_growth(self.settings.initial_rebalance_delay_ms.into(), step.now);
        self.wake_by(group, due);
        self.rebalance(group, step);
    }

    fn rejoin(&mut self, joining: &Joining<'_>, step: &mut Step<'_>) {
        self.put_member(joining, joining.member, step);
        if let Some(session) = self.live.get_mut(joining.group).and_then(|l| l.sessions.get_mut(joining.member)) {
            session.fail_parked(pyralog_protocol::ErrorCode::RebalanceInProgress, joining.member, step);
            session.join = Some(joining.parked());
            if !session.fresh {
                session.due = None;
            }
        }
        self.rebalance(joining.group, step);
    }

    /// A static instance is back under a new member id (KIP-345). In a stable group nobody else notices, unless the
    /// choice of the protocol would now be another one.
    fn return_static(&mut self, joining: &Joining<'_>, former: &str, id: &str, step: &mut Step<'_>) {
        let group = joining.group;
        let led = self.replace_member(joining, former, id, step);
        let due = step.now.mono.after_ms(joining.description.session_timeout_ms.into());
        let mut session = Session { join: Some(joining.parked()), ..Session::default() };
        if let Some(live) = self.live.get_mut(group) {
            if let Some(mut old) = live.sessions.remove(former) {
                old.fail_parked(pyralog_protocol::ErrorCode::FencedInstanceId, former, step);
                (session.fresh, session.owes_sync) = (old.fresh, old.owes_sync);
            }
            live.sessions.insert(id.to_string(), session);
        }
        let Some(hard) = self.hard.classic(group) else { return };
        if hard.head.stage == Stage::Stable && hard.select_protocol() == hard.head.protocol {
            let role = match joining.ctx.api_version {
                9.. => Role::SkipsAssignment,
                _ if led => Role::NamesFormerLeader(former),
                _ => Role::AsElected,
            };
            step.reply(joining.ctx.token, joined(joining.ctx.api_version, hard, id, role));
            if let Some(session) = self.live.get_mut(group).and_then(|live| live.sessions.get_mut(id)) {
                (session.join, session.due) = (None, Some(due));
            }
            self.wake_by(group, due);
        } else {
            self.rebalance(group, step);
        }
    }

    /// Moves description, assignment and leadership to the new id; says whether the member leads.
    fn replace_member(&mut self, joining: &Joining<'_>, former: &str, id: &str, step: &mut Step<'_>) -> bool {
        let group = joining.group;
        let old = self.hard.classic(group).and_then(|g| g.members.get(former)).cloned().unwrap_or_default();
        let led = self.hard.classic(group).is_some_and(|g| g.is_leader(former));
        // The new id first: the group is never without members in between.
        self.put_member(joining, id, step);
        if !old.assignment.as_slice().is_empty() {
            let (group, member) = (group.to_string(), id.to_string());
            self.put(GroupRecord::Assignment { group, member, assignment: old.assignment }, step);
        }
        self.put(GroupRecord::MemberRemoved { group: group.to_string(), member: former.to_string() }, step);
        if led {
            self.change_head(group, step, |head| head.leader = Some(id.to_string()));
        }
        led
    }

    /// Once static, always static: an instance id that is left out later is not taken back.
    fn put_member(&mut self, joining: &Joining<'_>, id: &str, step: &mut Step<'_>) {
        let known = self.hard.classic(joining.group).and_then(|g| g.members.get(id)).map(|m| &m.join);
        let mut join = joining.description.clone();
        join.instance = join.instance.or_else(|| known.and_then(|k| k.instance.clone()));
        if known != Some(&join) {
            let (group, member) = (joining.group.to_string(), id.to_string());
            self.put(GroupRecord::Member { group, member, join }, step);
        }
    }
}
