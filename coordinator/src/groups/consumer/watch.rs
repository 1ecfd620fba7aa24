//! Soft state of a KIP-848 group: who is alive until when, and what the coordinator looked at last. Nothing here survives
//! the process, and no record ever changes it.

use std::collections::BTreeMap;

use pyralog_protocol::MonoMs;

use super::record::MemberState;
use super::settings::Pace;
use super::state::{Consumer, Member};

/// One group's soft state. There exactly while the group has members.
#[derive(Debug, Default)]
pub(in crate::groups) struct Watch {
    /// Exactly the members of the hard group.
    pub leases: BTreeMap<String, Lease>,
    /// When the target was made last; none since the start.
    pub assigned_at: Option<MonoMs>,
    /// When the group's epoch rose last; none since the start.
    pub changed_at: Option<MonoMs>,
    /// The machine's count of changes to topics when the subscribed ones were looked at last; none since the start.
    pub topics_seen: Option<u64>,
}

/// Until when a member is waited for. It is expelled when the first of these has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::groups) struct Lease {
    /// For its next heartbeat.
    pub session: MonoMs,
    /// To give partitions back.
    pub revocation: Option<MonoMs>,
    /// To join again, after it was told to (classic members).
    pub join: Option<MonoMs>,
    /// To fetch its assignment (classic members).
    pub sync: Option<MonoMs>,
}

impl Lease {
    pub fn until(session: MonoMs) -> Self {
        Self { session, ..Self::default() }
    }

    /// When the member is expelled.
    pub fn due(&self) -> MonoMs {
        [Some(self.session), self.revocation, self.join, self.sync].into_iter().flatten().min().unwrap_or(self.session)
    }
}

impl Watch {
    /// What to assume after a load: everybody is alive, and has its whole time for what it still owes.
    pub fn after_load(group: &Consumer, pace: Pace, now: MonoMs) -> Option<Self> {
        let lease = |member: &Member| Lease {
            session: now.after_ms(session_timeout_ms(member, pace).into()),
            revocation: (member.current.state == MemberState::Unrevoked && !member.is_classic())
                .then(|| now.after_ms(member.about.rebalance_timeout_ms.into())),
            join: None,
            sync: None,
        };
        let leases = group.members.iter().map(|(id, member)| (id.clone(), lease(member))).collect();
        (!group.members.is_empty()).then(|| Self { leases, ..Self::default() })
    }

    /// The earliest deadline.
    pub fn due(&self) -> Option<MonoMs> {
        self.leases.values().map(Lease::due).min()
    }

    pub fn expired_members(&self, now: MonoMs) -> Vec<String> {
        self.leases.iter().filter(|(_, lease)| lease.due() <= now).map(|(id, _)| id.clone()).collect()
    }
}

/// Classic members choose their session timeout themselves, others take the group's.
pub(in crate::groups) fn session_timeout_ms(member: &Member, pace: Pace) -> i32 {
    member.about.classic.as_ref().map_or(pace.session_timeout_ms, |side| side.session_timeout_ms)
}
