//! ConsumerGroupDescribe. What a member was told to give back is shown as its own until it did.

use kafka_protocol::messages as m;
use kafka_protocol::messages::consumer_group_describe_response as described;
use pyralog_protocol::{ErrorCode, TopicId, kafka_protocol};

use super::state::{Consumer, Member};
use crate::command::{Context, Reply};
use crate::groups::admin::ALL_OPERATIONS;
use crate::groups::hard::Kind;
use crate::groups::reply::{answered, text};
use crate::groups::step::Step;
use crate::groups::{Groups, TopicView};
use crate::metadata::wire::wire_id;

/// Numbers of the protocols that a member may speak, from v1 on.
const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

impl Groups {
    pub(in crate::groups) fn describe_consumers(
        &self,
        ctx: &Context,
        request: &m::ConsumerGroupDescribeRequest,
        step: &mut Step<'_>,
    ) {
        let operations = if request.include_authorized_operations { ALL_OPERATIONS } else { i32::MIN };
        let find = |name: &m::GroupId| self.hard.groups.get(name.as_str()).map(|g| &g.kind);
        let describe = |name: &m::GroupId| match find(name) {
            Some(Kind::Consumer(consumer)) => self
                .describe_consumer(name, consumer, ctx.api_version, step.topics)
                .with_authorized_operations(operations),
            Some(Kind::Classic(_)) => refused(name, ErrorCode::GroupIdNotFound, "is not a consumer group"),
            None if name.is_empty() => refused(name, ErrorCode::InvalidGroupId, "is no group id"),
            None => refused(name, ErrorCode::GroupIdNotFound, "not found"),
        };
        let off = |name: &m::GroupId| refused(name, ErrorCode::UnsupportedVersion, "is of a kind that is switched off");
        let enabled = self.settings.consumer.enabled;
        let names = answered(&request.group_ids, |name| name.as_str());
        let groups = names.map(|name| if enabled { describe(name) } else { off(name) }).collect();
        step.reply(
            ctx.token,
            Reply::ConsumerGroupDescribe(m::ConsumerGroupDescribeResponse::default().with_groups(groups)),
        );
    }

    fn describe_consumer(
        &self,
        name: &m::GroupId,
        consumer: &Consumer,
        version: i16,
        topics: &dyn TopicView,
    ) -> described::DescribedGroup {
        let known = &self.settings.consumer;
        let assignor = consumer.preferred_assignor(&known.assignors).unwrap_or(known.default_assignor());
        let members = consumer.members.iter().map(|(id, member)| describe_member(id, member, version, topics));
        described::DescribedGroup::default()
            .with_group_id(name.clone())
            .with_group_state(text(consumer.state()))
            .with_group_epoch(consumer.head.epoch)
            .with_assignment_epoch(consumer.head.assignment_epoch)
            .with_assignor_name(text(assignor.name()))
            .with_members(members.collect())
    }
}

fn refused(name: &m::GroupId, code: ErrorCode, what: &str) -> described::DescribedGroup {
    described::DescribedGroup::default()
        .with_group_id(name.clone())
        .with_error_code(code.code())
        .with_error_message(Some(text(&format!("group {:?} {what}", name.as_str()))))
}

fn describe_member(id: &str, member: &Member, version: i16, topics: &dyn TopicView) -> described::Member {
    let (about, current) = (&member.about, &member.current);
    let held = current.assigned.iter().chain(current.revoking.iter()).map(|(topic, partition, _)| (topic, partition));
    let kind = if member.is_classic() { CLASSIC } else { CONSUMER };
    described::Member::default()
        .with_member_id(text(id))
        .with_instance_id(about.instance.as_deref().map(text))
        .with_rack_id(about.rack.as_deref().map(text))
        .with_member_epoch(current.epoch)
        .with_client_id(text(&about.client_id))
        .with_client_host(text(&about.client_host))
        .with_subscribed_topic_names(about.topics.iter().map(|name| text(name).into()).collect())
        .with_subscribed_topic_regex(Some(text(about.pattern.as_deref().unwrap_or_default())))
        .with_assignment(assignment(held.collect(), topics))
        .with_target_assignment(assignment(member.target.iter().collect(), topics))
        .with_member_type(if version >= 1 { kind } else { -1 })
}

/// Topics that are gone have no name to be shown with, and are left out.
fn assignment(mut all: Vec<(TopicId, i32)>, topics: &dyn TopicView) -> described::Assignment {
    all.sort_unstable();
    let topic = |of_topic: &[(TopicId, i32)]| {
        let id = of_topic.first()?.0;
        let entry = described::TopicPartitions::default()
            .with_topic_id(wire_id(id))
            .with_topic_name(text(topics.name_of(id)?).into())
            .with_partitions(of_topic.iter().map(|(_, partition)| *partition).collect());
        Some(entry)
    };
    described::Assignment::default().with_topic_partitions(all.chunk_by(|a, b| a.0 == b.0).filter_map(topic).collect())
}
