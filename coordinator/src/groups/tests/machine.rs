//! What random runs share: the machine beside its store and its world, restarts, and time that stops at each deadline.

use pyralog_protocol::{Draw, MonoMs, Now, WallMs};

use super::super::{GroupSettings, Groups};
use super::{Store, Topics};
use crate::command::{Command, Context, Token};
use crate::effects::Effects;

/// The machine, what it stored, and all that it sees.
pub struct Machine {
    pub settings: GroupSettings,
    pub groups: Groups,
    pub store: Store,
    pub topics: Topics,
    pub now: Now,
    pub draw: Draw,
    next_token: u64,
}

impl Machine {
    /// One that never held a group.
    pub fn new(settings: GroupSettings, topics: Topics, draw: Draw) -> Self {
        Self {
            groups: Groups::new(settings.clone()),
            settings,
            store: Store::default(),
            topics,
            now: Now { mono: MonoMs(0), wall: WallMs(1_000_000) },
            draw,
            next_token: 0,
        }
    }

    /// A number below `n`.
    pub fn pick(&mut self, n: u64) -> u64 {
        self.draw.next_u64() % n
    }

    /// The token of the request that [`Machine::ask`] sends next.
    pub fn next_token(&self) -> Token {
        Token(self.next_token)
    }

    /// A request of a client. What comes of it is neither stored nor delivered yet.
    pub fn ask(&mut self, client: usize, version: i16, command: Command) -> Effects {
        let ctx = Context {
            token: self.next_token(),
            api_version: version,
            client_id: format!("client{client}"),
            client_host: "/::1".to_string(),
            draw: self.draw.clone(),
            no_room: None,
        };
        self.next_token += 1;
        self.draw.next_u64();
        let mut out = Effects::default();
        self.groups.handle(&ctx, command, &self.topics, self.now, &mut out);
        out
    }

    /// Goes on to the next deadline up to `end`, and does what is due then; `None` at `end`.
    pub fn next_due(&mut self, end: MonoMs) -> Option<Effects> {
        let due = self.groups.next_deadline().filter(|due| *due <= end);
        self.wait_until(due.map_or(end, |due| due.max(self.now.mono)));
        due.map(|_| {
            let mut out = Effects::default();
            self.groups.on_deadline(&self.topics, self.now, &mut out);
            out
        })
    }

    /// Lets time pass, without looking at deadlines.
    pub fn wait_until(&mut self, at: MonoMs) {
        self.now.wall.0 += (at.0 - self.now.mono.0) as i64;
        self.now.mono = at;
    }

    /// Another process begins with what is stored.
    pub fn restart(&mut self) {
        self.groups = Groups::new(self.settings.clone());
        self.store.records().for_each(|record| self.groups.apply(&record));
        self.groups.after_load(&self.topics, self.now);
    }

    /// Whether a restart would find the state that is served.
    pub fn is_stored(&self) -> bool {
        self.store.hard() == self.groups.hard
    }
}
