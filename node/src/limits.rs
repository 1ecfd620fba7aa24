//! Every limit of one node, in one place. Each says what happens when it is met.

/// Limits, checked at admission. `Default` holds what the documentation promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest frame in bytes (`socket.request.max.bytes`). A longer one, or a length ≤ 0, closes the connection (C10).
    pub frame_bytes: usize,
    /// Connections in all, where `max.connections` leaves that open. One more is closed at once.
    pub connections: usize,
    /// Connections from one address, where `max.connections.per.ip` leaves that open. One more is closed at once.
    pub connections_per_address: usize,
    /// Connections in all, whatever is configured: what there are descriptors for.
    pub sockets: usize,
    /// Bytes of requests held in memory over all connections (`queued.max.request.bytes`). At the limit reading pauses;
    /// a connection whose request comes in slowly while others wait for its memory is closed.
    pub request_bytes: usize,
    /// Requests of one connection that may be unanswered at a time. At the limit reading from it pauses.
    pub in_flight: usize,
    /// Idle time after which a connection is closed, in ms (`connections.max.idle.ms`, C22).
    pub idle_ms: u64,
    /// Time that a peer may stall in the middle of a frame or without taking an answer, in ms; then it is closed.
    pub stall_ms: u64,
    /// Most bytes of records that one fetch answer carries, whatever the client asks (`fetch.max.bytes`).
    pub fetch_bytes: usize,
    /// Bytes of answers that wait to be sent, over all connections. The fuller it is, the less a fetch is given: at the
    /// limit one batch, so that everybody gets on while readers that do not read cost little (SE-17).
    pub answer_bytes: usize,
    /// Fetch sessions kept (`max.incremental.fetch.session.cache.slots`). At the limit the oldest idle one gives way;
    /// where none is idle, the client goes on without a session (KIP-227).
    pub fetch_sessions: usize,
    /// Most bytes that a partition gives to the journal at a time under high load; more is synced in its segments, so that the
    /// disk's bandwidth is not spent twice. 0: there is no journal.
    pub journal_bytes: usize,
    /// The same while the disk has time for both, where that is more.
    pub journal_calm_bytes: usize,
    /// Bytes of a partition that are on disk in the journal only, from which its segments are synced: see
    /// [`Outputs::flushes`](crate::Outputs::flushes).
    pub journal_flush_bytes: u64,
    /// Batches of so many bytes are left to whoever is appending to their partition. Who has a smaller one waits for it: that
    /// takes less time than another thread's answer.
    pub append_leave_bytes: usize,
    /// Bytes that a thread appends for others before it hands that on. 0: it hands on everything, its own append included.
    pub append_turn_bytes: usize,
    /// Files of logs that may be open at a time. Above it clean ones are closed, and those that cannot be closed synced
    /// before (OP-12): appends go on at the pace of the disk.
    pub open_files: usize,
    /// Memory for fetch sessions in all, in bytes. Where it is used up and no session is idle, the client goes on without
    /// one.
    pub fetch_session_bytes: usize,
    /// Memory for fetches that wait and name more than 64 KiB hold, over all connections, in bytes. Where it is used up, one
    /// more is answered at once.
    pub fetch_wait_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 104_857_600,
            connections: 20_000,
            connections_per_address: 20_000,
            sockets: usize::MAX,
            request_bytes: 512 << 20,
            in_flight: 64,
            idle_ms: 600_000,
            stall_ms: 30_000,
            fetch_bytes: 57_671_680,
            answer_bytes: 64 << 20,
            journal_bytes: 0,
            journal_calm_bytes: 0,
            journal_flush_bytes: u64::MAX,
            append_leave_bytes: 8 << 10,
            append_turn_bytes: 256 << 10,
            fetch_sessions: 1_000,
            fetch_session_bytes: 64 << 20,
            fetch_wait_bytes: 64 << 20,
            open_files: usize::MAX,
        }
    }
}
