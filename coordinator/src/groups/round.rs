//! The rebalance: from the first join or leave to the moment when a generation is complete.
//! Holds: a generation only rises, and it is in a record before anybody is told of it (GR-08); each member that waits
//! in JoinGroup or SyncGroup is answered once, whatever happens to the group. Knows nothing of how requests look.

use pyralog_protocol::{ErrorCode, MonoMs, Now};

use super::Groups;
use super::live::{JoinPhase, Live, Session};
use super::record::{GroupHead, GroupRecord, Stage};
use super::reply::{Role, join_error, joined, sync_error, synced};
use super::step::Step;

/// A round in which only static members are missing is tried again after their rebalance timeout, but not more often
/// than this many milliseconds: the timeout may be 0 (G7).
const RETRY_MS_MIN: i64 = 1000;

impl Live {
    /// Somebody joined: an initial wait begins anew. Kafka lets it end first, and then adds a whole one, so that members who
    /// all come at once wait twice as long (GR-06).
    pub fn note_growth(&mut self, delay_ms: i64, now: Now) {
        if let Some(JoinPhase::Initial { due, end }) = &mut self.join {
            *due = now.mono.after_ms(delay_ms).min(*end);
        }
    }
}

impl Session {
    /// Answers what waits here with an error.
    pub fn fail_parked(&mut self, code: ErrorCode, member: &str, step: &mut Step<'_>) {
        if let Some(parked) = self.join.take() {
            step.reply(parked.token, join_error(parked.version, code, member));
        }
        if let Some(parked) = self.sync.take() {
            step.reply(parked.token, sync_error(code));
        }
    }
}

impl Groups {
    /// Membership changed: begin a rebalance, or see whether the one under way has all it waits for.
    pub(super) fn rebalance(&mut self, group: &str, step: &mut Step<'_>) {
        match self.stage(group) {
            Stage::PreparingRebalance => self.finish_if_all_joined(group, step),
            stage @ (Stage::Empty | Stage::CompletingRebalance | Stage::Stable) => {
                self.begin(group, stage, step);
            }
        }
    }

    fn begin(&mut self, group: &str, from: Stage, step: &mut Step<'_>) {
        let now = step.now;
        self.change_head(group, step, |head| enter(head, Stage::PreparingRebalance, now));
        let Some(hard) = self.hard.classic(group) else { return };
        let Some(live) = self.live.get_mut(group) else { return };
        live.sync_due = None;
        live.interrupted |= from == Stage::CompletingRebalance;
        for (id, session) in &mut live.sessions {
            session.owes_sync = false;
            if let Some(parked) = session.sync.take() {
                step.reply(parked.token, sync_error(ErrorCode::RebalanceInProgress));
                let timeout = hard.members.get(id).map_or(0, |m| m.join.session_timeout_ms);
                session.due = Some(step.now.mono.after_ms(timeout.into()));
            }
        }
        let patience_ms = i64::from(hard.rebalance_timeout_ms());
        let delay_ms = i64::from(self.settings.initial_rebalance_delay_ms);
        let due = match from {
            Stage::Empty => {
                let due = step.now.mono.after_ms(delay_ms);
                let end = step.now.mono.after_ms(patience_ms.max(delay_ms));
                live.join = Some(JoinPhase::Initial { due, end });
                due
            }
            Stage::PreparingRebalance | Stage::CompletingRebalance | Stage::Stable => {
                let due = step.now.mono.after_ms(patience_ms);
                live.join = Some(JoinPhase::All { due });
                due
            }
        };
        self.wake_by(group, due);
        // Sessions of former parked syncs run again: their deadlines may be the earliest now.
        self.wake_for_all(group);
        self.finish_if_all_joined(group, step);
    }

    /// Ends the join phase if there is nothing left that it waits for.
    pub(super) fn finish_if_all_joined(&mut self, group: &str, step: &mut Step<'_>) {
        let Some(live) = self.live.get(group) else { return };
        match live.join {
            Some(JoinPhase::All { .. }) if live.all_joined() => self.finish_round(group, step),
            // A delay of 0 waits for nobody, not even for who was promised an id.
            Some(JoinPhase::Initial { due, .. }) if due <= step.now.mono => self.finish_round(group, step),
            Some(JoinPhase::All { .. } | JoinPhase::Initial { .. }) | None => {}
        }
    }

    /// The join phase's time is over.
    pub(super) fn on_join_due(&mut self, group: &str, step: &mut Step<'_>) {
        if self.live.get(group).is_some_and(|live| live.join.is_some()) {
            self.finish_round(group, step);
        }
    }

    /// Ends the join phase: who did not come is out (static members stay until their session ends), the rest gets a
    /// generation.
    fn finish_round(&mut self, group: &str, step: &mut Step<'_>) {
        for id in self.absent_dynamic_members(group) {
            self.drop_member(group, &id, step);
        }
        let is_empty = self.hard.classic(group).is_none_or(|g| g.members.is_empty());
        if is_empty {
            return self.finish_empty(group, step);
        }
        let Some(leader) = self.elect(group) else { return self.wait_for_static(group, step.now) };
        let now = step.now;
        self.change_head(group, step, |head| {
            enter(head, Stage::CompletingRebalance, now);
            head.generation = head.generation.saturating_add(1);
            head.leader = Some(leader);
        });
        let protocol = self.hard.classic(group).and_then(super::hard::Classic::select_protocol);
        assert!(protocol.is_some(), "members that have no protocol in common were let into {group:?}");
        self.change_head(group, step, |head| head.protocol = protocol);
        self.announce(group, step);
    }

    fn absent_dynamic_members(&self, group: &str) -> Vec<String> {
        let (Some(hard), Some(live)) = (self.hard.classic(group), self.live.get(group)) else { return Vec::new() };
        let absent = |id: &&String| live.sessions.get(*id).is_none_or(|s| s.join.is_none());
        let dynamic = hard.members.iter().filter(|(_, m)| m.join.instance.is_none()).map(|(id, _)| id);
        dynamic.filter(absent).cloned().collect()
    }

    /// The leader stays if it came; else the first one that did. Nobody, if nobody did.
    fn elect(&self, group: &str) -> Option<String> {
        let (hard, live) = (self.hard.classic(group)?, self.live.get(group)?);
        let came = |id: &String| live.sessions.get(id).is_some_and(|s| s.join.is_some());
        let leader = hard.head.leader.as_ref().filter(|id| came(id));
        leader.or_else(|| hard.members.keys().find(|id| came(id))).cloned()
    }

    fn finish_empty(&mut self, group: &str, step: &mut Step<'_>) {
        let now = step.now;
        self.change_head(group, step, |head| {
            enter(head, Stage::Empty, now);
            head.generation = head.generation.saturating_add(1);
            (head.leader, head.protocol) = (None, None);
        });
        if let Some(live) = self.live.get_mut(group) {
            (live.join, live.sync_due, live.interrupted) = (None, None, false);
        }
    }

    fn wait_for_static(&mut self, group: &str, now: Now) {
        let patience_ms = self.hard.classic(group).map_or(0, |g| i64::from(g.rebalance_timeout_ms()));
        let due = now.mono.after_ms(patience_ms.max(RETRY_MS_MIN));
        if let Some(live) = self.live.get_mut(group) {
            live.join = Some(JoinPhase::All { due });
        }
        self.wake_by(group, due);
    }

    /// Tells everybody who waits of the new generation, and begins to wait for SyncGroup.
    fn announce(&mut self, group: &str, step: &mut Step<'_>) {
        let (Some(hard), Some(live)) = (self.hard.classic(group), self.live.get_mut(group)) else { return };
        live.join = None;
        live.sync_due = Some(step.now.mono.after_ms(hard.sync_timeout_ms().into()));
        for (id, session) in &mut live.sessions {
            (session.fresh, session.owes_sync) = (false, true);
            if let Some(parked) = session.join.take() {
                step.reply(parked.token, joined(parked.version, hard, id, Role::AsElected));
                let timeout = hard.members.get(id).map_or(0, |m| m.join.session_timeout_ms);
                session.due = Some(step.now.mono.after_ms(timeout.into()));
            }
        }
        self.wake_for_all(group);
    }

    /// The leader's assignments are in records: the group is stable, and who waits in SyncGroup gets its share.
    pub(super) fn stabilize(&mut self, group: &str, step: &mut Step<'_>) {
        let now = step.now;
        self.change_head(group, step, |head| enter(head, Stage::Stable, now));
        let (Some(hard), Some(live)) = (self.hard.classic(group), self.live.get_mut(group)) else { return };
        live.interrupted = false;
        for (id, session) in &mut live.sessions {
            if let Some(parked) = session.sync.take() {
                step.reply(parked.token, synced(parked.version, hard, id));
                let timeout = hard.members.get(id).map_or(0, |m| m.join.session_timeout_ms);
                session.due = Some(step.now.mono.after_ms(timeout.into()));
            }
        }
        self.wake_for_all(group);
    }

    /// Members that joined this generation but never asked for their assignment are out (G12).
    pub(super) fn on_sync_due(&mut self, group: &str, step: &mut Step<'_>) {
        let Some(live) = self.live.get_mut(group) else { return };
        live.sync_due = None;
        let silent: Vec<String> = live.sessions.iter().filter(|(_, s)| s.owes_sync).map(|(id, _)| id.clone()).collect();
        for id in &silent {
            self.drop_member(group, id, step);
        }
        if !silent.is_empty() {
            self.rebalance(group, step);
        }
    }

    /// Takes a member out of both states and answers what it waits for: under no id, because it has none any more. The caller
    /// sees to the rebalance.
    pub(super) fn drop_member(&mut self, group: &str, id: &str, step: &mut Step<'_>) {
        if let Some(mut session) = self.live.get_mut(group).and_then(|live| live.sessions.remove(id)) {
            session.fail_parked(ErrorCode::UnknownMemberId, "", step);
        }
        // One of those who stay leads, not one who comes meanwhile.
        let next = self.hard.classic(group).and_then(|g| g.members.keys().find(|other| *other != id)).cloned();
        self.change_head(group, step, |head| {
            if head.leader.as_deref() == Some(id) {
                head.leader = next;
            }
        });
        self.put(GroupRecord::MemberRemoved { group: group.to_string(), member: id.to_string() }, step);
    }

    /// Does what is due in one group.
    pub(super) fn wake_group(&mut self, group: &str, step: &mut Step<'_>) {
        let Some(live) = self.live.get_mut(group) else { return };
        let promises = live.pending.len();
        live.pending.retain(|_, due| *due > step.now.mono);
        let promise_broken = live.pending.len() < promises;
        let expired = live.expired_members(step.now.mono);
        for id in &expired {
            self.drop_member(group, id, step);
        }
        if !expired.is_empty() {
            self.rebalance(group, step);
        } else if promise_broken {
            self.finish_if_all_joined(group, step);
        }
        self.on_phases_due(group, step);
    }

    fn on_phases_due(&mut self, group: &str, step: &mut Step<'_>) {
        let now = step.now.mono;
        let is_due = |due: MonoMs| due <= now;
        let join = self.live.get(group).and_then(|live| live.join);
        match join {
            Some(JoinPhase::Initial { due, .. } | JoinPhase::All { due }) if is_due(due) => {
                self.on_join_due(group, step);
            }
            Some(_) | None => {}
        }
        if self.live.get(group).and_then(|live| live.sync_due).is_some_and(is_due) {
            self.on_sync_due(group, step);
        }
    }
}

/// The only place where a group's stage changes.
fn enter(head: &mut GroupHead, next: Stage, now: Now) {
    assert!(head.stage.may_become(next), "a group went from {} to {}", head.stage.name(), next.name());
    (head.stage, head.since_ms) = (next, now.wall.0);
}
