//! Two decoded answers, compared field by field.
//!
//! An answer becomes a tree by way of its `Debug` text, so that every message type is covered without code of its own.
//! Lists are compared as bags, item by item of the same name or index: Kafka promises no order of topics, partitions or
//! configs (O5, A8, K1). Items whose name begins with `pyralog.` are ours alone and do not count.

use std::collections::BTreeMap;

/// An answer as a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tree {
    /// A number, a string, bytes, `None`.
    Leaf(String),
    /// An array.
    List(Vec<Tree>),
    /// A message.
    Fields(BTreeMap<String, Tree>),
}

impl Tree {
    /// What lies there: names of fields and places in lists, dots between.
    pub fn at(&self, path: &str) -> Option<&Tree> {
        path.split('.').filter(|name| !name.is_empty()).try_fold(self, |tree, name| match tree {
            Tree::Fields(fields) => fields.get(name),
            Tree::List(items) => items.get(name.parse::<usize>().ok()?),
            Tree::Leaf(_) => None,
        })
    }

    /// The number or string there; empty without one.
    pub fn text(&self, path: &str) -> &str {
        match self.at(path) {
            Some(Tree::Leaf(text)) => text,
            Some(Tree::List(_) | Tree::Fields(_)) | None => "",
        }
    }

    /// The items of the list there; none without one.
    pub fn items(&self, path: &str) -> &[Tree] {
        match self.at(path) {
            Some(Tree::List(items)) => items,
            Some(Tree::Leaf(_) | Tree::Fields(_)) | None => &[],
        }
    }
}

/// A field that may differ.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// API key, or `None` for all.
    pub key: Option<i16>,
    /// The last names of the path, dots between; list indexes do not count.
    pub field: &'static str,
    /// The pair (Kafka's, ours) that is allowed; `None` for any.
    pub values: Option<(&'static str, &'static str)>,
    /// Why.
    pub reason: &'static str,
}

/// Parses the text of `{:?}`.
pub fn parse(debug: &str) -> Tree {
    let mut parser = Parser { rest: debug };
    let tree = parser.value();
    assert!(parser.rest.trim().is_empty(), "left over: {}", parser.rest);
    tree
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn eat(&mut self, token: char) -> bool {
        self.rest = self.rest.trim_start();
        let found = self.rest.strip_prefix(token);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    /// Up to a character that ends a plain token.
    fn word(&mut self) -> String {
        self.rest = self.rest.trim_start();
        let end = self.rest.find([',', '(', ')', '[', ']', '{', '}', '"', ' ']).unwrap_or(self.rest.len());
        // `name: value`, but not a path or a time inside a token
        let end = self.rest[..end].strip_suffix(':').map_or(end, str::len);
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn quoted(&mut self) -> String {
        let mut escaped = false;
        let end = self.rest.char_indices().find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        let (text, rest) = self.rest.split_at(end.expect("a closing quote").0);
        self.rest = &rest[1..];
        text.to_owned()
    }

    fn value(&mut self) -> Tree {
        let name = self.word();
        if self.eat('"') {
            return Tree::Leaf(self.quoted());
        }
        if self.eat('[') {
            return Tree::List(self.items(']'));
        }
        if self.eat('(') {
            // Some(x) and newtypes are what they hold
            let mut items = self.items(')');
            return if items.len() == 1 { items.remove(0) } else { Tree::List(items) };
        }
        if self.eat('{') {
            return self.fields();
        }
        Tree::Leaf(name)
    }

    fn items(&mut self, end: char) -> Vec<Tree> {
        let mut items = Vec::new();
        while !self.eat(end) {
            items.push(self.value());
            self.eat(',');
        }
        items
    }

    fn fields(&mut self) -> Tree {
        let mut fields = BTreeMap::new();
        while !self.eat('}') {
            let name = match self.value() {
                Tree::Leaf(name) => name,
                Tree::List(_) | Tree::Fields(_) => panic!("a field name, at {}", self.rest),
            };
            assert!(self.eat(':'), "a colon after {name}, at {}", self.rest);
            fields.insert(name, self.value());
            self.eat(',');
        }
        Tree::Fields(fields)
    }
}

/// What tells an item from its neighbours: its name, its index.
pub fn identity(item: &Tree) -> String {
    const NAMES: [&str; 12] = [
        "name",
        "topic_id",
        "topic",
        "partition_index",
        "partition",
        "index",
        "group_id",
        "key",
        "resource_type",
        "resource_name",
        "node_id",
        "broker_id",
    ];
    let Tree::Fields(fields) = item else { return String::new() };
    let leaf = |name: &&str| match fields.get(*name) {
        Some(Tree::Leaf(text)) => Some(format!("{name}={text}")),
        Some(Tree::List(_) | Tree::Fields(_)) | None => None,
    };
    NAMES.iter().filter_map(leaf).collect::<Vec<_>>().join(" ")
}

/// Items of the same identity, in order; both lists are sorted by it.
fn pair_up<'a>(kafka: &'a [Tree], ours: &'a [Tree]) -> Vec<(Option<&'a Tree>, Option<&'a Tree>)> {
    let (mut kafka, mut ours) = (kafka.iter().peekable(), ours.iter().peekable());
    let mut pairs = Vec::new();
    loop {
        let order = match (kafka.peek(), ours.peek()) {
            (None, None) => return pairs,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => identity(a).cmp(&identity(b)),
        };
        pairs.push((kafka.next_if(|_| order.is_le()), ours.next_if(|_| order.is_ge())));
    }
}

/// Puts `*` where any value is allowed, so that it neither counts nor decides the order of a list; drops our own configs.
fn mask(tree: &Tree, key: i16, path: &str, allowed: &[Allowed]) -> Tree {
    let free = |a: &Allowed| a.values.is_none() && a.key.is_none_or(|k| k == key) && ends_with(path, a.field);
    if allowed.iter().any(free) {
        return Tree::Leaf("*".to_owned());
    }
    match tree {
        Tree::Leaf(text) => Tree::Leaf(text.clone()),
        Tree::List(items) => {
            let own = |item: &&Tree| !identity(item).strip_prefix("name=").is_some_and(crate::is_our_config);
            let mut items: Vec<Tree> = items.iter().filter(own).map(|item| mask(item, key, path, allowed)).collect();
            items.sort_by_key(|item| (identity(item), item.clone()));
            Tree::List(items)
        }
        Tree::Fields(fields) => {
            let masked =
                |(name, value): (&String, &Tree)| (name.clone(), mask(value, key, &format!("{path}.{name}"), allowed));
            Tree::Fields(fields.iter().map(masked).collect())
        }
    }
}

fn ends_with(path: &str, field: &str) -> bool {
    path.strip_suffix(field).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// What differs beyond the allowed, one line each: path, Kafka's value, ours.
pub fn compare(key: i16, kafka: &Tree, ours: &Tree, allowed: &[Allowed]) -> Vec<String> {
    let mut comparison = Comparison { key, allowed, found: Vec::new() };
    comparison.walk("", &mask(kafka, key, "", allowed), &mask(ours, key, "", allowed));
    comparison.found
}

struct Comparison<'a> {
    key: i16,
    allowed: &'a [Allowed],
    found: Vec<String>,
}

impl Comparison<'_> {
    fn walk(&mut self, path: &str, kafka: &Tree, ours: &Tree) {
        match (kafka, ours) {
            (Tree::Fields(a), Tree::Fields(b)) if a.keys().eq(b.keys()) => {
                a.iter().for_each(|(name, value)| self.walk(&format!("{path}.{name}"), value, &b[name]));
            }
            (Tree::List(a), Tree::List(b)) => pair_up(a, b).into_iter().for_each(|pair| match pair {
                (Some(a), Some(b)) => self.walk(path, a, b),
                (Some(a), None) => self.found.push(format!("{path}: ours lacks {a:?}")),
                (None, Some(b)) => self.found.push(format!("{path}: only ours has {b:?}")),
                (None, None) => {}
            }),
            _ if kafka == ours => {}
            (Tree::Leaf(a), Tree::Leaf(b)) if self.allows(path, a, b) => {}
            (Tree::Leaf(a), Tree::Leaf(b)) => self.found.push(format!("{path}: {a}, ours {b}")),
            _ => self.found.push(format!("{path}: {kafka:?}, ours {ours:?}")),
        }
    }

    fn allows(&self, path: &str, kafka: &str, ours: &str) -> bool {
        let pair = |allow: &Allowed| {
            allow.values == Some((kafka, ours))
                && allow.key.is_none_or(|k| k == self.key)
                && ends_with(path, allow.field)
        };
        self.allowed.iter().any(pair)
    }
}
