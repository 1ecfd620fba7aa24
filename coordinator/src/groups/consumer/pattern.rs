//! Subscriptions by pattern. The syntax is that of RE2, which Kafka's clients know: no back-references, no look-around,
//! and a match in time linear to the name. A pattern must match a whole name.
//!
//! What a pattern matches is derived from the topics that exist: it is kept here, follows topics that come and go, and can
//! be found again at any time. Holds: at most [`CACHED_MAX`] patterns and [`NAMES_MAX`] names are kept; beyond, what was
//! used longest ago is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use pyralog_protocol::{LogId, MonoMs};
use regex_automata::meta::{Config, Regex};
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
/// Patterns that are kept.
const CACHED_MAX: usize = 1000;
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
}

/// A compiled pattern.
struct Pattern(Regex);

impl Pattern {
    fn compile(pattern: &str) -> Result<Self, PatternError> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong { bytes: pattern.len() });
        }
        let shown = || pattern.chars().take(200).collect();
        let mut parser = regex_syntax::ParserBuilder::new().nest_limit(NESTING_MAX).build();
        let parsed = parser.parse(&without_quotes(pattern)).map_err(|error| PatternError::Syntax {
            pattern: shown(),
            why: match error {
                regex_syntax::Error::Parse(error) => error.kind().to_string(),
                regex_syntax::Error::Translate(error) => error.kind().to_string(),
                other => other.to_string(),
            },
        })?;
        // Anchored as a tree, not as text: in text, a comment or an unbalanced parenthesis could swallow the anchor.
        let whole = Hir::concat(vec![Hir::look(Look::Start), parsed, Hir::look(Look::End)]);
        let config = Config::new()
            .nfa_size_limit(Some(COMPILED_BYTES_MAX))
            .onepass_size_limit(Some(SCRATCH_BYTES_MAX))
            .hybrid_cache_capacity(SCRATCH_BYTES_MAX);
        let built = Regex::builder().configure(config).build_from_hir(&whole);
        built.map(Self).map_err(|_| PatternError::TooLarge { pattern: shown() })
    }

    /// Whether it matches the whole name.
    fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
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
        match self.cached.get(pattern) {
            Some(Resolved { pattern: Some(_), .. }) => Ok(()),
            Some(Resolved { pattern: None, .. }) | None => Pattern::compile(pattern).map(|_| ()),
        }
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
        let compiled = Pattern::compile(pattern).ok();
        let matching = |name: &&LogId| compiled.as_ref().is_some_and(|p| p.matches(name.as_str()));
        let topics: Arc<BTreeSet<LogId>> = Arc::new(view.names().filter(matching).cloned().collect());
        let resolved = Resolved { pattern: compiled, topics: topics.clone(), at: now, used: self.uses };
        self.cached.insert(pattern.to_string(), resolved);
        self.forget_some();
        topics
    }

    /// Takes from some topics those that the pattern matches. What is known already is looked up, and matched otherwise: a
    /// group may have thousands of patterns.
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
                let Ok(compiled) = Pattern::compile(pattern) else { return };
                topics.retain(|topic| !compiled.matches(topic));
            }
        }
    }

    /// A topic is there, perhaps since now.
    pub fn topic_exists(&mut self, name: &LogId) {
        for found in self.cached.values_mut() {
            let matches = found.pattern.as_ref().is_some_and(|p| p.matches(name.as_str()));
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
        while self.cached.len() > 1 && (self.cached.len() > CACHED_MAX || names > NAMES_MAX) {
            let oldest = self.cached.iter().min_by_key(|(_, found)| found.used).map(|(pattern, _)| pattern.clone());
            let Some(gone) = oldest.and_then(|pattern| self.cached.remove(&pattern)) else { return };
            names -= gone.topics.len();
        }
    }
}
