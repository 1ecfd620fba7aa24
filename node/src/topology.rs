//! What the data plane looks at: the metadata image together with the partitions that serve it. Replaced as a whole,
//! so that a request sees one consistent state, and only after the partitions in it can serve (M20).

use std::collections::BTreeMap;
use std::sync::Arc;

use pyralog_coordinator::metadata::{Image, LogState};
use pyralog_protocol::TopicId;
use pyralog_storage::Disk;

use crate::partition::Partition;
use crate::vlsn::VlsnLog;

/// A log with its open partitions.
#[derive(Debug)]
pub struct LogEntry<D: Disk> {
    /// Its metadata.
    pub log: Arc<LogState>,
    /// Its partitions, by number.
    pub partitions: Vec<Arc<Partition<D>>>,
}

impl<D: Disk> LogEntry<D> {
    /// The partition with this number, if there is one.
    pub fn partition(&self, index: i32) -> Option<&Arc<Partition<D>>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

/// What a partition number of a log names.
#[derive(Debug)]
pub(crate) enum Place<'t, D: Disk> {
    /// A partition.
    Partition(&'t Arc<Partition<D>>),
    /// The only one of a view.
    View(VlsnLog<'t, D>),
}

/// One consistent state of metadata and partitions.
#[derive(Debug)]
pub struct Topology<D: Disk> {
    /// The metadata.
    pub image: Arc<Image>,
    /// The open logs.
    pub logs: BTreeMap<TopicId, Arc<LogEntry<D>>>,
}

impl<D: Disk> Topology<D> {
    /// The log of this name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<LogEntry<D>>> {
        self.by_id(self.image.log(name)?.metadata.topic_id)
    }

    /// What a partition number of a log names, if anything.
    pub(crate) fn place<'t>(&'t self, entry: &'t LogEntry<D>, index: i32) -> Option<Place<'t, D>> {
        match entry.log.view_of {
            None => entry.partition(index).map(Place::Partition),
            Some(_) if index == 0 => self.vlsn_log(entry).map(Place::View),
            Some(_) => None,
        }
    }

    /// The log with this id.
    pub fn by_id(&self, id: TopicId) -> Option<&Arc<LogEntry<D>>> {
        self.logs.get(&id)
    }
}
