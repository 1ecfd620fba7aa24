//! The machine itself: state, dispatch, and the only writer.

use super::image::Image;
use super::record::MetadataRecord;
use crate::command::{Command, Context};
use crate::config::ConfigError;
use crate::effects::Effects;
use pyralog_protocol::{Draw, NodeId, Now};

/// Limits of the metadata that are no configs of Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most partitions that one request may create; more is POLICY_VIOLATION (behaviours A5).
    pub partitions_per_request: usize,
    /// Most partitions of all logs together; more is POLICY_VIOLATION.
    pub partitions_total: usize,
    /// Most names in one Metadata request that are created at a time; the rest is asked for again.
    pub auto_creates_per_request: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { partitions_per_request: 10_000, partitions_total: 200_000, auto_creates_per_request: 100 }
    }
}

/// The metadata of the cluster.
#[derive(Debug)]
pub struct Metadata {
    image: Image,
    limits: Limits,
}

impl Metadata {
    /// No logs yet.
    pub fn new(node: NodeId, configs: &[(String, String)], limits: Limits) -> Result<Self, Vec<ConfigError>> {
        let brokers = crate::config::BrokerConfigs::new(node, configs.iter().map(|(n, v)| (n, v)))?;
        Ok(Self { image: Image::empty(brokers), limits })
    }

    /// The state, uncommitted changes included.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Draws the cluster's id, if there is none yet.
    pub fn found(&mut self, _draw: Draw, _out: &mut Effects) {
        todo!()
    }

    /// One request; its reply comes in `out`.
    pub fn handle(&mut self, _ctx: Context, _command: Command, _now: Now, _out: &mut Effects) {
        let _ = self.limits;
        todo!()
    }

    /// Applies a record. The only writer of hard state; cannot fail.
    pub fn apply(&mut self, _record: &MetadataRecord) {
        todo!()
    }
}
