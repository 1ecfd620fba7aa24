//! What an error code of a broker means for a client: whether to come back, and what to look up before.

use pyralog_protocol::ErrorCode;

/// What to do about an error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same request may succeed later.
    Retry,
    /// The same, at another node: ask for metadata first.
    RetryElsewhere,
    /// The same, at another coordinator: ask for it first.
    RetryCoordinator,
    /// The request will never succeed as it is.
    Final,
}

impl Verdict {
    /// Whether trying again makes sense.
    pub fn is_retriable(self) -> bool {
        self != Self::Final
    }
}

/// Judges an error code; numbers that Kafka 4.3 does not know are final.
pub fn verdict(code: i16) -> Verdict {
    use ErrorCode as E;
    let Some(code) = ErrorCode::from_code(code) else { return Verdict::Final };
    #[allow(clippy::wildcard_enum_match_arm, reason = "135 codes, and a new one is final until it is known")]
    match code {
        E::UnknownTopicOrPartition
        | E::LeaderNotAvailable
        | E::NotLeaderOrFollower
        | E::ReplicaNotAvailable
        | E::NetworkException
        | E::KafkaStorageError
        | E::ListenerNotFound
        | E::FencedLeaderEpoch
        | E::UnknownLeaderEpoch
        | E::PreferredLeaderNotAvailable
        | E::EligibleLeadersNotAvailable
        | E::UnknownTopicId
        | E::InconsistentTopicId => Verdict::RetryElsewhere,
        E::CoordinatorNotAvailable | E::NotCoordinator => Verdict::RetryCoordinator,
        E::CorruptMessage
        | E::RequestTimedOut
        | E::CoordinatorLoadInProgress
        | E::NotEnoughReplicas
        | E::NotEnoughReplicasAfterAppend
        | E::NotController
        | E::ConcurrentTransactions
        | E::FetchSessionIdNotFound
        | E::InvalidFetchSessionEpoch
        | E::OffsetNotAvailable
        | E::UnstableOffsetCommit
        | E::ThrottlingQuotaExceeded
        | E::FetchSessionTopicIdError => Verdict::Retry,
        _ => Verdict::Final,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_kafkas_table() {
        for (code, expected) in [
            (3, Verdict::RetryElsewhere),
            (6, Verdict::RetryElsewhere),
            (7, Verdict::Retry),
            (16, Verdict::RetryCoordinator),
            (19, Verdict::Retry),
            (10, Verdict::Final),
            (87, Verdict::Final),
            (-1, Verdict::Final),
            (9999, Verdict::Final),
        ] {
            assert_eq!(verdict(code), expected, "{code}");
            assert_eq!(verdict(code).is_retriable(), expected != Verdict::Final);
        }
    }
}
