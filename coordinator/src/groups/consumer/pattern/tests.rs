use pyralog_protocol::TopicId;

use super::*;
use crate::config::Overrides;

struct Names(Vec<LogId>);

impl TopicView for Names {
    fn topic(&self, name: &str) -> Option<(TopicId, i32)> {
        self.0.iter().any(|log| log.as_str() == name).then_some((TopicId::ZERO, 1))
    }

    fn name_of(&self, _: TopicId) -> Option<&str> {
        None
    }

    fn names(&self) -> Box<dyn Iterator<Item = &LogId> + '_> {
        Box::new(self.0.iter())
    }

    fn group_configs(&self, _: &str) -> Option<&Overrides> {
        None
    }
}

fn names(names: &[&str]) -> Names {
    Names(names.iter().map(|name| LogId::new(name).unwrap()).collect())
}

#[track_caller]
fn matches(pattern: &str, yes: &[&str], no: &[&str]) {
    let patterns = Patterns::default();
    patterns.check(pattern).unwrap();
    let mut compiled = Pattern::compile(pattern).unwrap();
    for name in yes {
        assert!(compiled.matches(name), "{pattern} and {name}");
    }
    for name in no {
        assert!(!compiled.matches(name), "{pattern} and {name}");
    }
}

#[test]
fn n12_a_pattern_matches_whole_names() {
    matches("t", &["t"], &["tt", "at", "ta", ""]);
    matches("a|ab", &["a", "ab"], &["abc", "b"]);
    matches("t.*", &["t", "topic.1"], &["at"]);
    matches("^t$", &["t"], &["tt"]);
    matches("", &[], &["t"]);
    matches("(?i)T[0-9]{2,}", &["t12", "T123"], &["t1"]);
    matches("[[:alpha:]]+-\\d", &["abc-1"], &["abc-a"]);
    matches("\\pL+", &["abc"], &["ab1"]);
    // What a comment or a parenthesis would swallow, if the pattern were wrapped as text.
    matches("(?x) t # comment", &["t"], &["tt"]);
}

#[test]
fn n12_quoted_text_is_literal_as_in_re2() {
    matches("\\Qa.b\\E.*", &["a.b", "a.bc"], &["axb"]);
    matches("\\Qa.b", &["a.b"], &["axb"]);
    matches("a\\\\Qb|c", &["c"], &["aQb"]);
    matches("\\Q\\E", &[], &["a"]);
}

#[test]
fn n04_invalid_patterns_say_what_is_wrong() {
    let patterns = Patterns::default();
    let wrong = |pattern: &str| patterns.check(pattern).unwrap_err().to_string();
    assert!(wrong("(").contains("\"(\"") && wrong("(").contains("unclosed"), "{}", wrong("("));
    for pattern in ["a)|(b", "[", "a{2,1}", "*", "(?=a)", "(a)\\1", "\\"] {
        assert!(wrong(pattern).starts_with("the regular expression"), "{pattern}: {}", wrong(pattern));
    }
}

#[test]
fn se01_patterns_are_bounded() {
    let patterns = Patterns::default();
    let refused = |pattern: &str| patterns.check(pattern).unwrap_err();
    assert_eq!(refused(&"a".repeat(4097)), PatternError::TooLong { bytes: 4097 });
    assert!(matches!(refused("((\\w{100}){100}){100}"), PatternError::TooLarge { .. }));
    assert!(matches!(refused(&"(".repeat(2000)), PatternError::Syntax { .. }));
    // Exponential where matching goes back and forth; here linear.
    matches("(a*)*(a|aa)*b", &["b"], &[&"a".repeat(249)]);
}

#[test]
fn n18_topics_are_taken_by_what_is_known_of_a_pattern_or_by_a_match() {
    let mut patterns = Patterns::default();
    let view = names(&["a1", "a2", "a3", "b1"]);
    let left = |patterns: &Patterns, pattern: &str, topics: &[&'static str]| {
        let mut topics: BTreeSet<&str> = topics.iter().copied().collect();
        patterns.take_matching(pattern, &mut topics);
        topics.into_iter().collect::<Vec<_>>().join(" ")
    };
    for _ in 0..2 {
        assert_eq!(left(&patterns, "a.*", &["a1", "b1"]), "b1");
        assert_eq!(left(&patterns, "a.*", &["a1", "a3", "b1", "b2", "c"]), "b1 b2 c");
        assert_eq!(left(&patterns, "[", &["a1"]), "a1");
        // Matched before, looked up from here on.
        patterns.topics("a.*", &view, MonoMs(0), 1000);
    }
}

#[test]
fn what_is_kept_follows_the_topics_and_is_bounded() {
    let mut patterns = Patterns::default();
    let view = names(&["a1", "a2", "b1"]);
    let show = |set: &BTreeSet<LogId>| set.iter().map(|log| log.as_str().to_string()).collect::<Vec<_>>().join(" ");
    let at = |ms| MonoMs(ms);
    assert_eq!(show(&patterns.topics("a.*", &view, at(0), 1000)), "a1 a2");
    patterns.topic_exists(&LogId::new("a3").unwrap());
    patterns.topic_exists(&LogId::new("b2").unwrap());
    patterns.topic_deleted("a1");
    patterns.topic_deleted("b1");
    assert_eq!(show(&patterns.topics("a.*", &view, at(999), 1000)), "a2 a3");
    // After the refresh interval it is looked for again.
    assert_eq!(show(&patterns.topics("a.*", &view, at(1000), 1000)), "a1 a2");
    for n in 0..2500 {
        patterns.topics(&heavy(n), &view, at(1000), 1000);
        patterns.topics("a.*", &view, at(1000), 1000);
    }
    assert!((100..2500).contains(&patterns.cached.len()), "{}", patterns.cached.len());
    assert!(kept_bytes(&patterns) <= KEPT_BYTES_MAX);
    assert!(patterns.cached.contains_key("a.*"), "what is used stays");
}

fn kept_bytes(patterns: &Patterns) -> usize {
    patterns.compiled().map(|pattern| pattern.bytes + pattern.scratch_bytes()).sum()
}

/// One of many that take a lot of memory.
fn heavy(n: usize) -> String {
    format!("(.*[a-z].*){{150}}{n}")
}

#[test]
fn se01_the_patterns_of_all_groups_together_are_bounded() {
    let mut patterns = Patterns::default();
    let long = (0..20).map(|n| format!("{n:x<240}")).collect::<Vec<_>>();
    let view = names(&long.iter().map(String::as_str).collect::<Vec<_>>());
    let refused = (0..10_000).find(|n| {
        let checked = patterns.check(&heavy(*n));
        patterns.topics(&heavy(*n), &view, MonoMs(0), 1000);
        assert!(kept_bytes(&patterns) <= KEPT_BYTES_MAX, "{} bytes after {n} patterns", kept_bytes(&patterns));
        matches!(checked, Err(PatternError::TooMany { .. }))
    });
    let refused = refused.expect("there is a limit");
    assert!(refused >= 50, "no more than {refused} large patterns");
    assert_eq!(patterns.check(&heavy(0)), Ok(()), "one that is there already");
    assert_eq!(patterns.check("orders-.*"), Ok(()), "one that takes little");
    patterns.keep_only(&BTreeSet::from([heavy(0).as_str()]));
    assert_eq!(patterns.cached.len(), 1);
    assert_eq!(patterns.check(&heavy(refused + 1)), Ok(()), "there is room again");
}

#[test]
fn ordinary_patterns_take_little_and_unicode_is_there_for_who_names_it() {
    for pattern in ["orders-.*", "(?i)[a-z]+\\.events", "[\\w.-]+-v\\d+", "^(dev|test)\\.[^.]*$"] {
        let bytes = Pattern::compile(pattern).unwrap().bytes;
        assert!(bytes <= LARGE_BYTES_MIN, "{pattern} takes {bytes}");
    }
    matches("\\w+", &["ab_1"], &["a.b"]);
    matches("\\p{Greek}|[^é]+|ü", &["abc"], &[]);
    matches("(?i)K\\B.", &["kx"], &["k"]);
}
