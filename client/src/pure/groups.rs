//! Groups as brokers describe them: answers of both generations of the protocol as one kind of value, and where a reset puts
//! offsets.
//!
//! Holds: the assignment of a classic member is bytes that another client chose; no count in them is believed before it is
//! compared with the bytes that are left. Offsets after a reset lie between the start and the end of their partition.

use std::collections::BTreeMap;

use pyralog_protocol::LogOffset;
use pyralog_protocol::kafka_protocol::messages::consumer_group_describe_response as new;
use pyralog_protocol::kafka_protocol::messages::describe_groups_response as classic;
use pyralog_protocol::kafka_protocol::messages::list_groups_response::ListedGroup;

use crate::groups::{GroupDescription, GroupKind, GroupMember, GroupReset, GroupSummary};

/// The protocol type of consumers, whose assignments can be read.
const CONSUMER: &str = "consumer";

/// A group in a listing. Brokers before 3.8 do not say the type, and only know classic groups.
pub fn listed(group: &ListedGroup) -> GroupSummary {
    let kind = if group.group_type.is_empty() { "classic" } else { group.group_type.as_str() };
    GroupSummary {
        group: group.group_id.to_string(),
        kind: GroupKind::from_name(kind),
        state: group.group_state.to_string(),
        protocol_type: group.protocol_type.to_string(),
    }
}

/// A group of the classic protocol.
pub fn classic(group: &classic::DescribedGroup, coordinator: pyralog_protocol::NodeId) -> GroupDescription {
    let is_consumer = group.protocol_type.is_empty() || group.protocol_type.as_str() == CONSUMER;
    let member = |member: &classic::DescribedGroupMember| GroupMember {
        member_id: member.member_id.to_string(),
        instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: None,
        assignment: if is_consumer {
            assignment(&member.member_assignment).unwrap_or_default()
        } else {
            BTreeMap::new()
        },
    };
    GroupDescription {
        group: group.group_id.to_string(),
        kind: GroupKind::Classic,
        state: group.group_state.to_string(),
        protocol_type: group.protocol_type.to_string(),
        assignor: group.protocol_data.to_string(),
        coordinator,
        epoch: None,
        members: group.members.iter().map(member).collect(),
    }
}

/// A group of the consumer protocol (KIP-848).
pub fn consumer(group: &new::DescribedGroup, coordinator: pyralog_protocol::NodeId) -> GroupDescription {
    let member = |member: &new::Member| GroupMember {
        member_id: member.member_id.to_string(),
        instance_id: member.instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: Some(member.member_epoch),
        assignment: partitions(&member.assignment),
    };
    GroupDescription {
        group: group.group_id.to_string(),
        kind: GroupKind::Consumer,
        state: group.group_state.to_string(),
        protocol_type: CONSUMER.to_owned(),
        assignor: group.assignor_name.to_string(),
        coordinator,
        epoch: Some(group.group_epoch),
        members: group.members.iter().map(member).collect(),
    }
}

fn partitions(assignment: &new::Assignment) -> BTreeMap<String, Vec<u32>> {
    let topic = |topic: &new::TopicPartitions| {
        let partitions = topic.partitions.iter().filter_map(|partition| u32::try_from(*partition).ok()).collect();
        (topic.topic_name.to_string(), partitions)
    };
    assignment.topic_partitions.iter().map(topic).collect()
}

/// What the leader of a classic group gave a member: version, topics with their partitions, and data of the assignor's own.
/// `None` when the bytes are something else.
pub fn assignment(bytes: &[u8]) -> Option<BTreeMap<String, Vec<u32>>> {
    let mut bytes = Reader(bytes);
    if bytes.0.is_empty() {
        return Some(BTreeMap::new());
    }
    let _version = bytes.take::<2>()?;
    let mut topics = BTreeMap::new();
    // A topic without a name and partitions takes six bytes.
    for _ in 0..bytes.count(6)? {
        let length = usize::try_from(i16::from_be_bytes(bytes.take()?)).ok()?;
        let name = String::from_utf8(bytes.slice(length)?.to_vec()).ok()?;
        let mut partitions = Vec::new();
        for _ in 0..bytes.count(4)? {
            partitions.push(u32::from_be_bytes(bytes.take()?));
        }
        topics.insert(name, partitions);
    }
    Some(topics)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }

    /// A number of elements that each take so many bytes at least.
    fn count(&mut self, each: usize) -> Option<usize> {
        let count = usize::try_from(i32::from_be_bytes(self.take()?)).ok()?;
        (count <= self.0.len() / each).then_some(count)
    }
}

/// Where a reset puts the offset of a partition. `found` is what the broker says of the moment, for resets to one.
pub fn reset(
    to: &GroupReset,
    committed: Option<LogOffset>,
    range: std::ops::RangeInclusive<LogOffset>,
    found: Option<LogOffset>,
) -> Option<LogOffset> {
    let (start, end) = (*range.start(), *range.end());
    let wanted = match to {
        GroupReset::Earliest => start,
        GroupReset::Latest => end,
        GroupReset::Offset(offset) => *offset,
        GroupReset::Shift(by) => LogOffset(committed?.0.saturating_add(*by)),
        GroupReset::Time(_) => found.unwrap_or(end),
    };
    Some(wanted.max(start).min(end.max(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(topics: &[(&str, &[i32])]) -> Vec<u8> {
        let mut bytes = vec![0, 3];
        bytes.extend(i32::try_from(topics.len()).unwrap().to_be_bytes());
        for (name, partitions) in topics {
            bytes.extend(i16::try_from(name.len()).unwrap().to_be_bytes());
            bytes.extend(name.bytes());
            bytes.extend(i32::try_from(partitions.len()).unwrap().to_be_bytes());
            partitions.iter().for_each(|partition| bytes.extend(partition.to_be_bytes()));
        }
        bytes.extend((-1i32).to_be_bytes());
        bytes
    }

    #[test]
    fn assignments_are_read() {
        let read = assignment(&bytes(&[("a", &[0, 2]), ("b", &[])])).unwrap();
        assert_eq!(read, BTreeMap::from([("a".to_owned(), vec![0, 2]), ("b".to_owned(), vec![])]));
        assert_eq!(assignment(&[]), Some(BTreeMap::new()));
    }

    #[test]
    fn se_15_no_count_in_an_assignment_is_believed() {
        let good = bytes(&[("topic", &[0, 1, 2])]);
        for cut in 1..good.len() - 4 {
            assert_eq!(assignment(&good[..cut]), None, "{cut}");
        }
        for at in 0..good.len() {
            for byte in [0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                drop(assignment(&bad));
            }
        }
        assert_eq!(assignment(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), None);
        assert_eq!(assignment(&[0, 0, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn a_reset_stays_within_the_partition() {
        let (start, end) = (LogOffset(10), LogOffset(20));
        let to = |reset: GroupReset, committed: Option<i64>, found: Option<i64>| {
            super::reset(&reset, committed.map(LogOffset), start..=end, found.map(LogOffset)).map(|offset| offset.0)
        };
        assert_eq!(to(GroupReset::Earliest, None, None), Some(10));
        assert_eq!(to(GroupReset::Latest, Some(3), None), Some(20));
        assert_eq!(to(GroupReset::Offset(LogOffset(15)), None, None), Some(15));
        assert_eq!(to(GroupReset::Offset(LogOffset(5)), None, None), Some(10));
        assert_eq!(to(GroupReset::Offset(LogOffset(99)), None, None), Some(20));
        assert_eq!(to(GroupReset::Shift(-3), Some(15), None), Some(12));
        assert_eq!(to(GroupReset::Shift(i64::MIN), Some(15), None), Some(10));
        assert_eq!(to(GroupReset::Shift(i64::MAX), Some(15), None), Some(20));
        assert_eq!(to(GroupReset::Shift(1), None, None), None);
        assert_eq!(to(GroupReset::Time(std::time::UNIX_EPOCH), None, Some(13)), Some(13));
        assert_eq!(to(GroupReset::Time(std::time::UNIX_EPOCH), None, None), Some(20));
    }
}
