//! Two answers in words that both brokers share: what differs, and the order of lists where Kafka's is fixed.

use pyralog_compat_tests::diff::identity;

use super::*;

/// What may differ beside [`ALLOWED`].
const FREE: &[Allowed] = &[
    any(Some(35), "log_dir", "two processes, two folders"),
    any(Some(35), "usable_bytes", "others use the volume, too"),
    any(Some(55), "nodes", "the only listener, instead of that of the controller"),
    any(Some(55), "leader_epoch", "each one's own log"),
    any(Some(55), "high_watermark", "each one's own log"),
    any(Some(55), "log_end_offset", "each one's own log"),
    any(Some(55), "last_fetch_timestamp", "each one's own clock"),
    any(Some(55), "last_caught_up_timestamp", "each one's own clock"),
    pair(0, "error_code", ("-1", "2"), "P12: a precise code where Kafka answers UNKNOWN_SERVER_ERROR"),
    pair(0, "error_code", ("-1", "76"), "P12: a precise code where Kafka answers UNKNOWN_SERVER_ERROR"),
    pair(0, "error_code", ("-1", "87"), "P5, P8, P12: a precise code where Kafka answers UNKNOWN_SERVER_ERROR"),
    pair(2, "error_code", ("-1", "42"), "an isolation level that there is not"),
    pair(9, "error_code", ("-1", "25"), "a member epoch without a member id"),
    pair(37, "error_code", ("-1", "44"), "A5: too many partitions at once"),
];

/// Lists whose order Kafka leaves open, mostly that of a hash table: by API and path.
const UNORDERED: &[(i16, &str)] = &[
    (0, ".responses"),
    (0, ".responses.partition_responses"),
    (1, ".responses"),
    (1, ".responses.partitions"),
    (2, ".topics"),
    (2, ".topics.partitions"),
    (3, ".topics"),
    (8, ".topics"),
    (8, ".topics.partitions"),
    (9, ".topics"),
    (9, ".topics.partitions"),
    (9, ".groups.topics"),
    (9, ".groups.topics.partitions"),
    (15, ".groups"),
    (16, ".groups"),
    (18, ".api_keys"),
    (18, ".supported_features"),
    (18, ".finalized_features"),
    (19, ".topics"),
    (19, ".topics.configs"),
    (20, ".responses"),
    (21, ".topics"),
    (21, ".topics.partitions"),
    (32, ".results.configs"),
    (35, ".results.topics"),
    (35, ".results.topics.partitions"),
    (55, ".nodes.listeners"),
    (34, ".results"),
    (34, ".results.partitions"),
    (37, ".results"),
    (42, ".results"),
    (43, ".replica_election_results"),
    (47, ".topics"),
    (47, ".topics.partitions"),
    (68, ".assignment.topic_partitions"),
    (68, ".assignment.topic_partitions.partitions"),
    (69, ".groups"),
    (69, ".groups.members"),
    (69, ".groups.members.subscribed_topic_names"),
    (69, ".groups.members.assignment.topic_partitions"),
    (69, ".groups.members.assignment.topic_partitions.partitions"),
    (69, ".groups.members.target_assignment.topic_partitions"),
    (69, ".groups.members.target_assignment.topic_partitions.partitions"),
    (74, ".config_resources"),
];

/// What differs between two answers that say the same in the same words, beyond what is meant to.
pub fn differences(key: i16, kafka: &Tree, ours: &Tree, meant: &[Allowed]) -> Vec<String> {
    // Here these are compared: `Seen` knows them, or whether there is one.
    const REFINED: [&str; 4] = ["topic_id", "member_id", "producer_id", "session_id"];
    let allowed: Vec<Allowed> = (ALLOWED.iter().chain(FREE).chain(meant))
        .filter(|allowed| !REFINED.contains(&allowed.field) && allowed.key != Some(16))
        .copied()
        .collect();
    let mut found = compare(key, kafka, ours, &allowed);
    if found.is_empty() {
        let orders_of = |tree: &Tree| {
            let mut orders = Vec::new();
            orders_in(key, "", tree, &mut orders);
            orders
        };
        let pairs = orders_of(kafka).into_iter().zip(orders_of(ours));
        found.extend(
            pairs
                .filter(|(kafka, ours)| kafka != ours)
                .map(|((path, kafka), (_, ours))| format!("order of {path}: {kafka:?}, ours {ours:?}")),
        );
    }
    found
}

/// The order of the items of every list that has one; lists without are gone through by what their items are called.
fn orders_in(key: i16, path: &str, tree: &Tree, found: &mut Vec<(String, Vec<String>)>) {
    match tree {
        Tree::Leaf(_) => {}
        Tree::Fields(fields) => {
            fields.iter().for_each(|(name, inner)| orders_in(key, &format!("{path}.{name}"), inner, found));
        }
        Tree::List(items) => {
            let mut named: Vec<(String, &Tree)> = items.iter().map(|item| (called(item), item)).collect();
            if UNORDERED.contains(&(key, path)) {
                named.sort();
            } else {
                found.push((path.to_owned(), named.iter().map(|(name, _)| name.clone()).collect()));
            }
            named.into_iter().for_each(|(_, item)| orders_in(key, path, item, found));
        }
    }
}

fn called(item: &Tree) -> String {
    match item {
        Tree::Leaf(text) => text.clone(),
        Tree::List(_) | Tree::Fields(_) => identity(item),
    }
}

/// Kafka begins a topic anew in the answer to a Fetch where a refused partition came in between.
pub fn merged(topics: Vec<Tree>) -> Vec<Tree> {
    let mut all: Vec<Tree> = Vec::new();
    for mut topic in topics {
        let place = all.iter().position(|before| identity(before) == identity(&topic));
        let Some(place) = place else {
            all.push(topic);
            continue;
        };
        if let (Some(before), Some(more)) = (partitions_of(&mut all[place]), partitions_of(&mut topic)) {
            before.append(more);
        }
    }
    all
}

fn partitions_of(topic: &mut Tree) -> Option<&mut Vec<Tree>> {
    let Tree::Fields(fields) = topic else { return None };
    match fields.get_mut("partitions") {
        Some(Tree::List(partitions)) => Some(partitions),
        Some(Tree::Leaf(_) | Tree::Fields(_)) | None => None,
    }
}
