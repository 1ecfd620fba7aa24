//! How ids and numbers of the protocol crate are written in records: by their plain content, checked on the way in.

use pyralog_protocol::vlsn::{Routing, RoutingEpoch, Vlsn};
use pyralog_protocol::{LeaderEpoch, LogId, NodeId, TopicId, WallMs};

macro_rules! plain {
    ($module:ident, $outer:ty, $inner:ty, $write:expr, $read:expr) => {
        pub(crate) mod $module {
            use super::*;
            use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

            pub(crate) fn serialize<S: Serializer>(value: &$outer, out: S) -> Result<S::Ok, S::Error> {
                let write: fn(&$outer) -> $inner = $write;
                write(value).serialize(out)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$outer, D::Error> {
                let read: fn($inner) -> Result<$outer, String> = $read;
                read(<$inner>::deserialize(from)?).map_err(D::Error::custom)
            }
        }
    };
}
plain!(topic_id, TopicId, [u8; 16], |id| id.0, |bytes| Ok(TopicId(bytes)));
plain!(log_id, LogId, String, |log| log.as_str().to_owned(), |name| LogId::new(&name).map_err(|e| e.to_string()));
plain!(wall, WallMs, i64, |ms| ms.0, |ms| Ok(WallMs(ms)));
plain!(node, NodeId, i32, |node| node.0, |node| Ok(NodeId(node)));
plain!(epoch, LeaderEpoch, i32, |epoch| epoch.0, |epoch| Ok(LeaderEpoch(epoch)));
plain!(leader, Option<NodeId>, Option<i32>, |node| node.map(|n| n.0), |node| Ok(node.map(NodeId)));
plain!(nodes, Vec<NodeId>, Vec<i32>, |n| n.iter().map(|n| n.0).collect(), |n| {
    Ok(n.into_iter().map(NodeId).collect())
});
plain!(vlsn, Vlsn, u64, |vlsn| vlsn.0, |number| Ok(Vlsn(number)));
plain!(
    routing,
    Routing,
    Vec<(u64, i32)>,
    |routing| routing.epochs().iter().map(|e| (e.from.0, e.partitions)).collect(),
    |epochs| {
        let epoch = |(from, partitions)| RoutingEpoch { from: Vlsn(from), partitions };
        let epochs: Vec<_> = epochs.into_iter().map(epoch).collect();
        Routing::from_epochs(&epochs).map_err(|e| e.to_string())
    }
);
