//! Reads the topics out of a consumer's metadata (Kafka's ConsumerProtocolSubscription), whatever its version: version,
//! count and names come first in all of them. Counts buy no memory before their bytes are there (SE-01). Looks at
//! nothing behind the names.

use std::collections::BTreeSet;

/// What a group reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subscription {
    /// Exactly these.
    Topics(BTreeSet<String>),
    /// Some metadata could not be read: to be on the safe side, every topic.
    Unknown,
}

impl Default for Subscription {
    fn default() -> Self {
        Self::Topics(BTreeSet::new())
    }
}

impl Subscription {
    pub fn contains(&self, topic: &str) -> bool {
        match self {
            Self::Topics(topics) => topics.contains(topic),
            Self::Unknown => true,
        }
    }
}

/// The topic names, or none if these bytes are no subscription.
pub(super) fn subscribed_topics(metadata: &[u8]) -> Option<Vec<String>> {
    let (version, rest) = metadata.split_first_chunk()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let (count, mut rest) = rest.split_first_chunk()?;
    let mut topics = Vec::new();
    for _ in 0..u32::try_from(i32::from_be_bytes(*count)).ok()? {
        let (length, text) = rest.split_first_chunk()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let (name, behind) = text.split_at_checked(length)?;
        topics.push(std::str::from_utf8(name).ok()?.to_string());
        rest = behind;
    }
    Some(topics)
}
