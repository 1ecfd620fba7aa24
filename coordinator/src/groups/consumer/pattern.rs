//! Subscriptions by pattern. The syntax is that of RE2, which Kafka's clients know: no back-references, no look-around,
//! and a match in time linear to the name. A pattern must match a whole name.
//!
//! What a pattern matches is derived from the topics that exist: it is kept here, follows topics that come and go, and can
//! be found again at any time. Holds: what is kept takes [`KEPT_BYTES_MAX`] and has [`NAMES_MAX`] names at most; beyond, what
//! was used longest ago is forgotten. To find it again costs time, and the more the larger a pattern is: so large ones have a
//! limit of their own, at which another one is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use pyralog_protocol::{LogId, MonoMs};
use regex_automata::Input;
use regex_automata::meta::{Cache, Config, Regex};
use regex_syntax::hir::{Hir, Look};

use crate::groups::TopicView;

#[cfg(test)]
mod tests;

/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 4096;
/// Largest compiled pattern, in bytes.
const COMPILED_BYTES_MAX: usize = 512 << 10;
/// Memory in which a compiled pattern may keep what it found out while matching, in bytes. With less than the largest pattern
/// takes, one like `(.*){450}` goes through all of its states for each byte of each name instead: seconds for some hundred names.
const SCRATCH_BYTES_MAX: usize = COMPILED_BYTES_MAX;
/// Deepest nesting of groups and repetitions.
const NESTING_MAX: u32 = 100;
/// Compiled patterns above this size are large ones, in bytes. `orders-.*` takes some thousand.
const LARGE_BYTES_MIN: usize = 8 << 10;
/// Large patterns of all groups together, in bytes.
const LARGE_ALL_MAX: usize = 16 << 20;
/// What is kept of all patterns, compiled and with what they found out while matching, in bytes.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// What a compiled pattern takes besides what it says of itself, in bytes.
const OVERHEAD_BYTES: usize = 1024;
/// Names that all kept patterns match together.
const NAMES_MAX: usize = 2_000_000;

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::groups) enum PatternError {
    #[error("the regular expression has {bytes} bytes, {PATTERN_BYTES_MAX} are allowed")]
    TooLong { bytes: usize },
    #[error("the regular expression {pattern:?} is not valid: {why}")]
    Syntax { pattern: String, why: String },
    #[error("the regular expression {pattern:?} is too large when it is compiled")]
    TooLarge { pattern: String },
    #[error(
        "the regular expression takes {bytes} bytes when it is compiled; large ones of all groups take {others} already, and \
         {LARGE_ALL_MAX} are allowed: subscribe by name, or by something shorter"
    )]
    TooMany { bytes: usize, others: usize },
}

/// A compiled pattern.
struct Pattern {
    regex: Regex,
    /// What it found out while matching.
    scratch: Option<Box<Cache>>,
    /// What it takes without that.
    bytes: usize,
}

/// The tree of an expression, or what is wrong with it.
fn parse(text: &str, unicode: bool) -> Result<Hir, String> {
    let mut parser = regex_syntax::ParserBuilder::new();
    let parsed = parser.nest_limit(NESTING_MAX).unicode(unicode).utf8(unicode).build().parse(text);
    parsed.map_err(|error| match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        other => other.to_string(),
    })
}

impl Pattern {
    fn compile(pattern: &str) -> Result<Self, PatternError> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong { bytes: pattern.len() });
        }
        let shown = || pattern.chars().take(200).collect();
        let text = without_quotes(pattern);
        // Names are ASCII, and so are RE2's classes. With the rest of Unicode, patterns take ten times as much.
        let parsed = parse(&text, false)
            .or_else(|_| parse(&text, true))
            .map_err(|why| PatternError::Syntax { pattern: shown(), why })?;
        // Anchored as a tree, not as text: in text, a comment or an unbalanced parenthesis could swallow the anchor.
        let whole = Hir::concat(vec![Hir::look(Look::Start), parsed, Hir::look(Look::End)]);
        let config = Config::new()
            .nfa_size_limit(Some(COMPILED_BYTES_MAX))
            .onepass_size_limit(Some(SCRATCH_BYTES_MAX))
            .hybrid_cache_capacity(SCRATCH_BYTES_MAX);
        let built = Regex::builder().configure(config).build_from_hir(&whole);
        let regex = built.map_err(|_| PatternError::TooLarge { pattern: shown() })?;
        let bytes = OVERHEAD_BYTES + pattern.len() + regex.memory_usage();
        Ok(Self { regex, scratch: None, bytes })
    }

    /// Whether it matches the whole name.
    fn matches(&mut self, name: &str) -> bool {
        let scratch = self.scratch.get_or_insert_with(|| Box::new(self.regex.create_cache()));
        self.regex.is_match_with(scratch, &Input::new(name))
    }

    fn scratch_bytes(&self) -> usize {
        self.scratch.as_ref().map_or(0, |scratch| scratch.memory_usage())
    }
}

/// RE2's `\Q…\E`, which takes everything between literally, written so that our parser understands it.
fn without_quotes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        if let Some(quoted) = escape.strip_prefix("\\Q") {
            let (literal, behind) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            out.push_str(&regex_syntax::escape(literal));
            rest = behind;
        } else {
            let end = escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end);
            out.push_str(escape.get(..end).unwrap_or(escape));
            rest = escape.get(end..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

struct Resolved {
    /// None if the pattern does not compile: it was stored by a release that took it.
    pattern: Option<Pattern>,
    topics: Arc<BTreeSet<LogId>>,
    at: MonoMs,
    used: u64,
}

/// What patterns match.
#[derive(Default)]
pub(in crate::groups) struct Patterns {
    cached: BTreeMap<String, Resolved>,
    uses: u64,
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.cached.keys()).finish()
    }
}

impl Patterns {
    /// Whether the pattern may be subscribed to.
    pub fn check(&self, pattern: &str) -> Result<(), PatternError> {
        if let Some(Resolved { pattern: Some(_), .. }) = self.cached.get(pattern) {
            return Ok(());
        }
        let bytes = Pattern::compile(pattern)?.bytes;
        let others: usize = self.compiled().map(|other| other.bytes).filter(|bytes| *bytes > LARGE_BYTES_MIN).sum();
        match bytes > LARGE_BYTES_MIN && others + bytes > LARGE_ALL_MAX {
            true => Err(PatternError::TooMany { bytes, others }),
            false => Ok(()),
        }
    }

    /// Forgets all patterns but these.
    pub fn keep_only(&mut self, used: &BTreeSet<&str>) {
        self.cached.retain(|pattern, _| used.contains(pattern.as_str()));
    }

    fn compiled(&self) -> impl Iterator<Item = &Pattern> {
        self.cached.values().filter_map(|found| found.pattern.as_ref())
    }

    /// The topics that a pattern matches. Older than `refresh_ms`, they are looked for again.
    pub fn topics(
        &mut self,
        pattern: &str,
        view: &dyn TopicView,
        now: MonoMs,
        refresh_ms: i32,
    ) -> Arc<BTreeSet<LogId>> {
        self.uses += 1;
        let fresh = |found: &&mut Resolved| now < found.at.after_ms(refresh_ms.into());
        if let Some(found) = self.cached.get_mut(pattern).filter(fresh) {
            found.used = self.uses;
            return found.topics.clone();
        }
        let known = self.cached.remove(pattern).and_then(|found| found.pattern);
        let mut compiled = known.or_else(|| Pattern::compile(pattern).ok());
        let matching = |name: &&LogId| compiled.as_mut().is_some_and(|p| p.matches(name.as_str()));
        let topics: Arc<BTreeSet<LogId>> = Arc::new(view.names().filter(matching).cloned().collect());
        let resolved = Resolved { pattern: compiled, topics: topics.clone(), at: now, used: self.uses };
        self.cached.insert(pattern.to_string(), resolved);
        self.forget_some();
        topics
    }

    /// Takes from some topics those that the pattern matches. That is looked up where it is known: a group may have thousands of
    /// patterns.
    pub fn take_matching(&self, pattern: &str, topics: &mut BTreeSet<&str>) {
        match self.cached.get(pattern).map(|found| &found.topics) {
            Some(found) if found.len() < topics.len() => {
                for topic in found.iter() {
                    topics.remove(topic.as_str());
                }
            }
            Some(found) => topics.retain(|topic| !found.contains(*topic)),
            None if topics.is_empty() => {}
            None => {
                let Ok(mut compiled) = Pattern::compile(pattern) else { return };
                topics.retain(|topic| !compiled.matches(topic));
            }
        }
    }

    /// A topic is there, perhaps since now.
    pub fn topic_exists(&mut self, name: &LogId) {
        for found in self.cached.values_mut() {
            let matches = found.pattern.as_mut().is_some_and(|p| p.matches(name.as_str()));
            if matches && !found.topics.contains(name) {
                Arc::make_mut(&mut found.topics).insert(name.clone());
            }
        }
        self.forget_some();
    }

    /// A topic is gone.
    pub fn topic_deleted(&mut self, name: &str) {
        for found in self.cached.values_mut().filter(|found| found.topics.contains(name)) {
            Arc::make_mut(&mut found.topics).remove(name);
        }
    }

    /// The one that was used last always stays.
    fn forget_some(&mut self) {
        let mut names: usize = self.cached.values().map(|found| found.topics.len()).sum();
        let mut bytes: usize = self.compiled().map(|pattern| pattern.bytes).sum();
        while self.cached.len() > 1 && (bytes > KEPT_BYTES_MAX || names > NAMES_MAX) {
            let oldest = self.cached.iter().min_by_key(|(_, found)| found.used).map(|(pattern, _)| pattern.clone());
            let Some(gone) = oldest.and_then(|pattern| self.cached.remove(&pattern)) else { return };
            names -= gone.topics.len();
            bytes -= gone.pattern.map_or(0, |pattern| pattern.bytes);
        }
        // What they found out while matching is kept of as many as there is room for; the others find it out again.
        let mut room = KEPT_BYTES_MAX.saturating_sub(bytes);
        for pattern in self.cached.values_mut().filter_map(|found| found.pattern.as_mut()) {
            match room.checked_sub(pattern.scratch_bytes()) {
                Some(left) => room = left,
                None => pattern.scratch = None,
            }
        }
    }
}
