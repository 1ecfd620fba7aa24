//! What survives a power loss, drawn from a seed. Coins alone would hardly ever draw the states that hurt most (all names
//! and no content, everything up to a moment, one file whole and another empty), so a seed first draws a kind of loss.

use std::ops::Range;

use pyralog_protocol::Draw;

use super::SECTOR;

const PAGE: usize = 4096;

/// A kind of loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nothing,
    Everything,
    /// Each part, length and name with so many chances of eight.
    Odds(u64),
    /// What was done up to a moment.
    Until(u64),
    /// Names and lengths but no content: what a journal of metadata alone brings back.
    Names,
    /// Content, but neither names nor lengths.
    Contents,
    /// Each file fares on its own, names by coins.
    Files,
}

/// The dice of one power loss.
pub struct Weather {
    seed: u64,
    span: Range<u64>,
    kind: Kind,
    grain: usize,
    /// Parts may be cut anywhere.
    torn: bool,
    draw: Draw,
}

impl Weather {
    /// `span`: numbers of the changes that are not durable.
    pub fn new(seed: u64, span: Range<u64>) -> Self {
        let mut draw = Draw::new(u128::from(seed) ^ 0xd15c);
        let kind = Self::kind(&mut draw, &span);
        Self::of_kind(seed, span, kind, draw)
    }

    fn of_kind(seed: u64, span: Range<u64>, kind: Kind, mut draw: Draw) -> Self {
        let (grain, torn) = match draw.next_u64() % 8 {
            0 => (PAGE, false),
            1 => (SECTOR, true),
            _ => (SECTOR, false),
        };
        Self { seed, span, kind, grain, torn, draw }
    }

    fn kind(draw: &mut Draw, span: &Range<u64>) -> Kind {
        match draw.next_u64() % 16 {
            0 | 1 => Kind::Nothing,
            2 => Kind::Everything,
            3..=6 => Kind::Odds(4),
            7 => Kind::Odds(7),
            8 => Kind::Odds(1),
            9 | 10 => Kind::Until(span.start + draw.next_u64() % (span.end + 1).saturating_sub(span.start).max(1)),
            11 => Kind::Names,
            12 => Kind::Contents,
            _ => Kind::Files,
        }
    }

    /// The dice for one file.
    pub fn of_file(&self, inode: u64) -> Self {
        let mut draw = Draw::new(u128::from(self.seed) << 64 | u128::from(inode) ^ 0xf11e);
        let own = Self::kind(&mut draw, &self.span);
        let kind = if self.kind == Kind::Files { own } else { self.kind };
        Self::of_kind(self.seed, self.span.clone(), kind, draw)
    }

    pub fn grain(&self) -> usize {
        self.grain
    }

    /// Whether a change of an entry, or a length that was set, is there.
    pub fn keeps_name(&mut self, at: u64) -> bool {
        match self.kind {
            Kind::Nothing | Kind::Contents => false,
            Kind::Everything | Kind::Names => true,
            Kind::Odds(of_eight) => self.odds(of_eight),
            Kind::Until(end) => at <= end,
            Kind::Files => self.odds(4),
        }
    }

    /// How much of a part is there: all of it, nothing, or where parts tear its beginning.
    pub fn part(&mut self, at: u64, len: usize) -> usize {
        let (kept, may_tear) = match self.kind {
            Kind::Nothing | Kind::Names => (false, false),
            Kind::Everything | Kind::Contents => (true, false),
            Kind::Odds(of_eight) => (self.odds(of_eight), true),
            Kind::Until(end) if at == end => (self.odds(4), true),
            Kind::Until(end) => (at < end, false),
            Kind::Files => (self.odds(4), true),
        };
        match kept {
            false => 0,
            true if may_tear && self.torn && self.odds(2) => (self.draw.next_u64() % len.max(1) as u64) as usize,
            true => len,
        }
    }

    /// Which of the lengths that a file had is the one that it has. None: whatever the content that is there needs.
    pub fn length(&mut self, lengths: &[usize]) -> Option<usize> {
        match self.kind {
            Kind::Nothing | Kind::Contents => lengths.first().copied(),
            Kind::Names => lengths.last().copied(),
            Kind::Everything | Kind::Until(_) => None,
            Kind::Odds(_) | Kind::Files => {
                let at = self.draw.next_u64() as usize % (2 * lengths.len());
                lengths.get(at).copied()
            }
        }
    }

    fn odds(&mut self, of_eight: u64) -> bool {
        self.draw.next_u64() % 8 < of_eight
    }
}
