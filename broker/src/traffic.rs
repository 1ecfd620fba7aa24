//! What a connection moves of late, and so which threads it belongs to ([`crate::lanes`]).
//!
//! Holds: a connection moves after a number of requests or answers of one kind in a row, in either direction, so that one that
//! does this and that stays where it is, and the price of moving (a descriptor, a poll) is spread over many of them.

/// Produce requests count as large from so many bytes on.
const LARGE_REQUEST: usize = 32 << 10;
/// So many large requests in a row make a writer.
const WRITER_AFTER: u32 = 32;
/// Answers count as large from so many bytes on.
pub const LARGE_ANSWER: usize = 256 << 10;
/// So many large answers in a row make a reader of a backlog.
const READER_AFTER: u32 = 8;
/// Answers below so many bytes are those of a reader who has caught up.
const SMALL_ANSWER: usize = 64 << 10;
/// Requests of a writer that are not large, or small answers of a reader, in a row, after which it is neither any more.
const BACK_AFTER: u32 = 16;

/// Threads that serve a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    /// Those of the runtime that all connections begin on.
    #[default]
    Shared,
    /// The lanes for large produce requests.
    Writers,
    /// The lanes for large answers.
    Readers,
}

/// Counts what goes through one connection.
#[derive(Debug, Default)]
pub struct Traffic {
    at: Threads,
    large_requests: u32,
    large_answers: u32,
    others: u32,
}

/// One more of them in a row, or none.
fn in_a_row(count: u32, another: bool) -> u32 {
    if another { count.saturating_add(1) } else { 0 }
}

impl Traffic {
    /// A request of so many bytes came in.
    pub fn asked(&mut self, bytes: usize, is_produce: bool) {
        let large = is_produce && bytes >= LARGE_REQUEST;
        self.large_requests = in_a_row(self.large_requests, large);
        if self.at == Threads::Writers {
            self.others = in_a_row(self.others, !large);
        }
    }

    /// An answer of so many bytes is to leave.
    pub fn answered(&mut self, bytes: usize) {
        self.large_answers = in_a_row(self.large_answers, bytes >= LARGE_ANSWER);
        if self.at == Threads::Readers {
            self.others = in_a_row(self.others, bytes < SMALL_ANSWER);
        }
    }

    /// The threads that serve it.
    pub fn at(&self) -> Threads {
        self.at
    }

    /// The threads that it belongs to.
    pub fn belongs_to(&self) -> Threads {
        match self.at {
            Threads::Shared if self.large_answers >= READER_AFTER => Threads::Readers,
            Threads::Shared if self.large_requests >= WRITER_AFTER => Threads::Writers,
            Threads::Writers | Threads::Readers if self.others >= BACK_AFTER => Threads::Shared,
            stays @ (Threads::Shared | Threads::Writers | Threads::Readers) => stays,
        }
    }

    /// It goes on there, and begins to count anew.
    pub fn moves_to(&mut self, threads: Threads) {
        *self = Self { at: threads, ..Self::default() };
    }
}

#[cfg(test)]
mod tests;
