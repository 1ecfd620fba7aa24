//! Which version of an API is spoken with a broker: the newest that both sides know.
//!
//! Holds: what this client builds fits every version in its table. The lower ends are those of Apache Kafka 3.0; older
//! brokers are refused by name instead of being half-served.

use std::collections::BTreeMap;

use pyralog_protocol::ApiKey;
use pyralog_protocol::api::Versions;
use pyralog_protocol::kafka_protocol::messages::ApiVersionsResponse;
use pyralog_protocol::vlsn::messages::FIRST_KEY;

/// The versions that this client builds and reads; `None` for what it never asks.
pub fn spoken(api: ApiKey) -> Option<Versions> {
    let (min, max) = match api {
        ApiKey::Produce => (7, 12), // v7: zstd; v13 names logs by id, and a produce must not depend on knowing it
        ApiKey::Fetch => (11, 12),  // v12: diverging epochs; v13 names logs by id
        ApiKey::ListOffsets => (4, 7),
        ApiKey::Metadata => (9, 12),
        ApiKey::OffsetCommit => (8, 9),
        ApiKey::OffsetFetch => (8, 9),
        ApiKey::FindCoordinator => (4, 5),
        ApiKey::DescribeGroups => (5, 6),
        ApiKey::ListGroups => (4, 5),
        ApiKey::ApiVersions => (0, 3),
        ApiKey::CreateTopics => (5, 7),
        ApiKey::DeleteTopics => (6, 6),
        ApiKey::DeleteRecords => (2, 2),
        ApiKey::InitProducerId => (2, 5),
        ApiKey::DescribeConfigs => (4, 4),
        ApiKey::DescribeLogDirs => (2, 4),
        ApiKey::CreatePartitions => (2, 3),
        ApiKey::DeleteGroups => (2, 2),
        ApiKey::IncrementalAlterConfigs => (1, 1),
        ApiKey::OffsetDelete => (0, 0),
        ApiKey::DescribeQuorum => (0, 2),
        ApiKey::DescribeCluster => (0, 1),
        ApiKey::VlsnDescribe
        | ApiKey::VlsnRead
        | ApiKey::VlsnReadRange
        | ApiKey::VlsnAppend
        | ApiKey::VlsnCommit
        | ApiKey::VlsnCommitted
        | ApiKey::VlsnDeleteCommit
        | ApiKey::SequencerReserve
        | ApiKey::SequencerDescribe
        | ApiKey::WriterEpoch => (0, 0),
        ApiKey::ConsumerGroupDescribe => (0, 1),
        ApiKey::JoinGroup
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::SyncGroup
        | ApiKey::OffsetForLeaderEpoch
        | ApiKey::AlterConfigs
        | ApiKey::AlterReplicaLogDirs
        | ApiKey::ElectLeaders
        | ApiKey::AlterPartitionReassignments
        | ApiKey::ListPartitionReassignments
        | ApiKey::UpdateFeatures
        | ApiKey::DescribeProducers
        | ApiKey::ConsumerGroupHeartbeat
        | ApiKey::ListConfigResources
        | ApiKey::DescribeTopicPartitions => return None,
    };
    Some(Versions { min, max })
}

/// What a broker offers, as far as this client knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offered(BTreeMap<ApiKey, Versions>);

impl Offered {
    /// From the answer to ApiVersions. APIs that this client does not know are passed over.
    pub fn from_answer(answer: &ApiVersionsResponse) -> Self {
        let known = answer.api_keys.iter().filter_map(|api| {
            let versions = Versions { min: api.min_version, max: api.max_version };
            ApiKey::from_code(api.api_key).map(|key| (key, versions))
        });
        Self(known.collect())
    }

    /// The newest version of an API that both sides know.
    pub fn pick(&self, api: ApiKey) -> Result<i16, NotOffered> {
        let offered = self.0.get(&api).copied();
        let refused = NotOffered { api, offered };
        let (Some(spoken), Some(theirs)) = (spoken(api), offered) else { return Err(refused) };
        let version = spoken.max.min(theirs.max);
        if version >= spoken.min && version >= theirs.min { Ok(version) } else { Err(refused) }
    }
}

/// A broker does not offer an API, or only in versions that this client does not speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOffered {
    /// The API.
    pub api: ApiKey,
    /// What the broker offers of it.
    pub offered: Option<Versions>,
}

impl std::fmt::Display for NotOffered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.offered, spoken(self.api)) {
            (None, _) if self.api.code() >= FIRST_KEY => {
                write!(f, "the broker does not offer {}: it is not Pyralog, or has its private APIs off", self.api)
            }
            (None, _) => write!(f, "the broker does not offer {}", self.api),
            (Some(theirs), Some(ours)) => {
                write!(f, "the broker offers {} v{theirs}, this client speaks v{ours}", self.api)
            }
            (Some(_), None) => write!(f, "this client does not speak {}", self.api),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyralog_protocol::api::APIS;
    use pyralog_protocol::kafka_protocol::messages::api_versions_response::ApiVersion;

    fn offers(api: ApiKey, min: i16, max: i16) -> Offered {
        let entry = |key| ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max);
        Offered::from_answer(&ApiVersionsResponse::default().with_api_keys(vec![entry(api.code()), entry(999)]))
    }

    #[test]
    fn the_newest_common_version_is_picked() {
        for (min, max, picked) in [(0, 20, Some(12)), (8, 9, Some(9)), (0, 7, Some(7)), (0, 6, None), (13, 14, None)] {
            assert_eq!(offers(ApiKey::Produce, min, max).pick(ApiKey::Produce).ok(), picked, "{min}-{max}");
        }
        let refused = offers(ApiKey::Produce, 0, 6).pick(ApiKey::Produce).unwrap_err();
        assert_eq!(refused.to_string(), "the broker offers Produce v0-6, this client speaks v7-12");
        let refused = offers(ApiKey::Produce, 0, 6).pick(ApiKey::Fetch).unwrap_err();
        assert_eq!(refused.to_string(), "the broker does not offer Fetch");
        let refused = offers(ApiKey::Produce, 0, 6).pick(ApiKey::VlsnCommit).unwrap_err().to_string();
        assert_eq!(refused, "the broker does not offer VlsnCommit: it is not Pyralog, or has its private APIs off");
    }

    #[test]
    fn what_is_spoken_is_in_the_protocols_table_and_its_answers_are_guarded() {
        for spec in &APIS {
            let Some(spoken) = spoken(spec.key) else { continue };
            assert!(spec.served.contains(spoken.max) && spec.served.contains(spoken.min), "{}", spec.name);
            let limits = pyralog_protocol::DecodeLimits::default();
            assert!(pyralog_protocol::guard::check_answer(&mut [], spec.key, spoken.max, &limits).is_some());
        }
    }
}
