//! One node's coordinator: the machines behind one door. A step takes a command, lets the machine decide, applies what
//! was decided and hands out records and replies; the loop above makes the records durable and then lets the replies
//! leave. Holds: [`Coordinator::apply`] is the only way in for hard state, so a coordinator that loads the records of
//! another one equals it. Knows no Raft, no disk and no connection.

use crate::command::{Command, Context};
use crate::config::ConfigError;
use crate::effects::{Effects, SET_BYTES_MAX};
use crate::groups::Groups;
use crate::metadata::{Image, Limits, Metadata, MetadataRecord};
use crate::record::Record;
use crate::vlsn::{VlsnLimits, Vlsns};
use pyralog_protocol::{Draw, MonoMs, NodeId, Now, TopicId};
use std::sync::Arc;

/// What a coordinator is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub node: NodeId,
    /// Broker configs of file, environment and flags, by Kafka's names.
    pub configs: Vec<(String, String)>,
    /// Level of the log that the process writes, in Kafka's words (`INFO`): shown by DescribeConfigs.
    pub log_level: String,
    /// Limits that are no configs of Kafka.
    pub limits: Limits,
    /// Limits of commits and sequencers.
    pub vlsn_limits: VlsnLimits,
}

impl Settings {
    /// A node with nothing configured.
    pub fn new(node: NodeId) -> Self {
        let (limits, vlsn_limits) = (Limits::default(), VlsnLimits::default());
        Self { node, configs: Vec::new(), log_level: "INFO".to_owned(), limits, vlsn_limits }
    }
}

/// The machines of one node.
#[derive(Debug)]
pub struct Coordinator {
    metadata: Metadata,
    groups: Groups,
    pub(crate) vlsns: Vlsns,
    published: u64,
}

/// A log that goes.
struct Deleted {
    /// Which set of records deletes it.
    set: usize,
    id: TopicId,
    /// Its own, and that of its view.
    names: Vec<String>,
}

impl Coordinator {
    /// An empty one. Reports everything that is wrong with the configs.
    pub fn new(settings: Settings) -> Result<Self, Vec<ConfigError>> {
        let metadata = Metadata::new(&settings)?;
        let groups = Groups::new(metadata.image().broker().groups.clone());
        Ok(Self { metadata, groups, vlsns: Vlsns::new(settings.vlsn_limits), published: 0 })
    }

    /// Begins to serve, after the content of the state store was applied in key order: founds the cluster if there is none, and gives the members of groups a whole
    /// session to show up.
    pub fn start(&mut self, draw: Draw, now: Now, out: &mut Effects) {
        self.metadata.found(draw, out);
        self.take_settings();
        self.groups.after_load(self.metadata.image(), now);
    }

    /// Applies one record that was not decided here: while loading, and as a follower.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Metadata(record) => self.metadata.apply(record),
            Record::Group(record) => self.groups.apply(record),
            Record::Vlsn(record) => self.vlsns.apply(record),
        }
    }

    /// One request. Its reply comes in `out`, now or in a later step.
    pub fn handle(&mut self, ctx: Context, command: Command, now: Now, out: &mut Effects) {
        match command {
            Command::JoinGroup(_)
            | Command::SyncGroup(_)
            | Command::Heartbeat(_)
            | Command::LeaveGroup(_)
            | Command::ConsumerGroupHeartbeat(_)
            | Command::ConsumerGroupDescribe(_)
            | Command::OffsetCommit(_)
            | Command::OffsetFetch(_)
            | Command::OffsetDelete(_)
            | Command::DescribeGroups(_)
            | Command::ListGroups(_)
            | Command::DeleteGroups(_) => self.groups.handle(&ctx, command, self.metadata.image(), now, out),
            Command::VlsnCommit(_)
            | Command::VlsnCommitted(_)
            | Command::VlsnDeleteCommit(_)
            | Command::SequencerReserve(_)
            | Command::SequencerDescribe(_) => self.vlsns.handle(&ctx, &command, (self.metadata.image(), now), out),
            Command::CreateTopics(_)
            | Command::AutoCreate(_)
            | Command::DeclareLogs(_)
            | Command::DeleteTopics(_)
            | Command::CreatePartitions(_)
            | Command::AlterConfigs(_)
            | Command::IncrementalAlterConfigs(_)
            | Command::InitProducerId(_)
            | Command::WriterEpoch(_)
            | Command::RaiseEpochs(()) => {
                let before = out.records.len();
                let deleting = matches!(command, Command::DeleteTopics(_)).then(|| self.metadata.image().clone());
                self.metadata.handle(ctx, command, now, out);
                self.tell_others(before, deleting.as_ref(), out);
            }
        }
    }

    /// The other machines learn which logs came, changed and went, and their views with them. `deleting`: the image before
    /// logs were deleted.
    fn tell_others(&mut self, before: usize, deleting: Option<&Image>, out: &mut Effects) {
        let view_of = |image: &Image, id| image.view_of_log(id).map(|view| view.metadata.log_id.clone());
        let mut deleted = Vec::new();
        for (set, records) in out.records.iter().enumerate().skip(before) {
            for record in records {
                match record {
                    Record::Metadata(MetadataRecord::Log(log)) => self.groups.topic_changed(&log.log),
                    Record::Metadata(MetadataRecord::Routing(routing)) => {
                        view_of(self.metadata.image(), routing.id).iter().for_each(|v| self.groups.topic_changed(v));
                    }
                    Record::Metadata(MetadataRecord::LogDeleted { id, log }) => {
                        let view = deleting.and_then(|image| view_of(image, *id));
                        let names = std::iter::once(log).chain(&view).map(ToString::to_string).collect();
                        deleted.push(Deleted { set, id: *id, names });
                    }
                    Record::Metadata(MetadataRecord::Configs(_)) => self.take_settings(),
                    Record::Metadata(
                        MetadataRecord::Cluster { .. }
                        | MetadataRecord::Version(_)
                        | MetadataRecord::ProducerIds { .. }
                        | MetadataRecord::Writer(_),
                    )
                    | Record::Group(_)
                    | Record::Vlsn(_) => {}
                }
            }
        }
        if !deleted.is_empty() {
            self.forget_committed(deleted, out);
        }
    }

    /// What was committed in deleted logs goes in the same atomic change, or before it where that is more than the store takes
    /// at once: a log of the same name must never meet it.
    fn forget_committed(&mut self, deleted: Vec<Deleted>, out: &mut Effects) {
        let names = deleted.iter().flat_map(|log| &log.names).cloned().collect();
        let mut gone = self.groups.topics_deleted(&names);
        // From behind, so that the places of the others stay what they are.
        for Deleted { set, id, names } in deleted.into_iter().rev() {
            let offsets = names.iter().filter_map(|name| gone.remove(name)).flatten().map(Record::Group);
            let (mut offsets, mut parts) = (offsets.collect::<Vec<_>>(), Effects::default());
            if offsets.iter().map(Record::bytes).sum::<usize>() > SET_BYTES_MAX {
                parts.commit_in_parts(offsets.drain(..));
            }
            if let Some(records) = out.records.get_mut(set) {
                records.extend(offsets.into_iter().chain(self.vlsns.log_deleted(id).map(Record::Vlsn)));
            }
            out.records.splice(set..set, parts.records);
        }
    }

    /// Broker configs of groups may have changed.
    fn take_settings(&mut self) {
        self.groups.set_settings(self.metadata.image().broker().groups.clone());
    }

    /// Does what is due. To be called at [`Coordinator::next_deadline`] or later; calling it early is harmless.
    pub fn on_deadline(&mut self, now: Now, out: &mut Effects) {
        self.groups.on_deadline(self.metadata.image(), now, out);
    }

    /// When [`Coordinator::on_deadline`] wants to be called next.
    pub fn next_deadline(&self) -> Option<MonoMs> {
        self.groups.next_deadline()
    }

    /// The metadata as it is now, with what was decided and is not committed yet.
    pub fn image(&self) -> Arc<Image> {
        Arc::new(self.metadata.image().clone())
    }

    /// All hard state, to be compared.
    #[cfg(all(test, feature = "raft-store"))]
    pub(crate) fn hard_state(&self) -> String {
        format!("{:?} {:?} {}", self.metadata.image(), self.vlsns, self.groups.hard_text())
    }

    /// The metadata, if it changed since this was asked last. To be published once the records of the steps before
    /// are committed.
    pub fn changed_image(&mut self) -> Option<Arc<Image>> {
        let version = self.metadata.image().version();
        let changed = version != self.published;
        self.published = version;
        changed.then(|| self.image())
    }
}
