//! What the documentation says of configs is what the catalogue says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pyralog_coordinator::config::catalogue::Unused;
use pyralog_coordinator::config::{Scope, unused};

const DOCUMENT: &str = include_str!("../../docs/DIFFERENCES.md");

/// The table of DIFFERENCES.md, from the catalogue: per scope and reason the names.
fn table() -> String {
    let mut out = String::from("| scope | what is said of it | configs |\n|---|---|---|\n");
    for scope in [Scope::Topic, Scope::Broker, Scope::Group, Scope::ClientMetrics] {
        let mut names: BTreeMap<Unused, Vec<&str>> = BTreeMap::new();
        for (config, why) in unused(scope) {
            names.entry(why).or_default().push(config.name);
        }
        for (why, names) in names {
            let _ = writeln!(out, "| {} | {} | `{}` |", scope.word(), why.reason(), names.join("`, `"));
        }
    }
    out
}

#[test]
fn unused_configs_are_in_the_documentation() {
    let table = table();
    assert!(DOCUMENT.contains(&table), "docs/DIFFERENCES.md should contain:\n{table}");
}
