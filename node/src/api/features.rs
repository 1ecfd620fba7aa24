//! Feature levels: the table that ApiVersions lists, and UpdateFeatures. Levels are those of the release and cannot be
//! changed while it runs, so an update is a success where it asks for the level in force, and a refusal everywhere else.

use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::{ErrorCode, kafka_protocol};

/// A feature and its levels.
pub(crate) struct Feature {
    pub name: &'static str,
    /// Lowest level that is supported.
    pub min: i16,
    /// Highest level that is supported.
    pub max: i16,
    /// The level in force.
    pub finalized: i16,
}

/// Levels of `metadata.version` are those that a Kafka 4.3.1 supports; administration tools of that age look for it.
/// Clients switch on whole protocols by levels (`group.version` is KIP-848; `transaction.version`, `share.version`): each is
/// listed with the first release in which all of its APIs work.
pub(crate) const FEATURES: [Feature; 2] = [
    Feature { name: "metadata.version", min: 7, max: 30, finalized: 30 },
    Feature { name: "group.version", min: 0, max: 1, finalized: 1 },
];

/// Bytes of a name that a message repeats; what is no feature may be 32 KiB long.
const NAME_SHOWN_MAX: usize = 80;

/// Why a level stays as it is.
#[derive(Debug, thiserror::Error)]
enum UpdateError {
    #[error("upgrade type {0} is not 1 (upgrade), 2 (safe downgrade) or 3 (unsafe downgrade)")]
    UpgradeType(i8),
    #[error("there is no feature '{0}' here")]
    Unknown(String),
    #[error("level {asked} of {name} is not supported: {min} to {max} are")]
    Level { name: &'static str, asked: i16, min: i16, max: i16 },
    #[error("the level of {name} is {finalized} and belongs to this release: it cannot become {asked}")]
    Fixed { name: &'static str, asked: i16, finalized: i16 },
}

fn update_code(error: &UpdateError) -> ErrorCode {
    match error {
        UpdateError::UpgradeType(_)
        | UpdateError::Unknown(_)
        | UpdateError::Level { .. }
        | UpdateError::Fixed { .. } => ErrorCode::InvalidUpdateVersion,
    }
}

/// Serves UpdateFeatures: all or nothing, so the first refusal is the answer to the whole request. `validate_only` makes
/// no difference, because a success changes nothing.
pub(crate) fn update_features(version: i16, request: &UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let answer = UpdateFeaturesResponse::default().with_error_message(None);
    if let Some(error) = request.feature_updates.iter().find_map(|asked| refusal(version, asked)) {
        let message = format!("no level was changed: {error}");
        return answer.with_error_code(update_code(&error).code()).with_error_message(Some(StrBytes::from(message)));
    }
    let done = |asked: &FeatureUpdateKey| {
        let result = UpdatableFeatureResult::default().with_feature(asked.feature.clone());
        result.with_error_message(Some(StrBytes::from_static_str("NONE")))
    };
    // From v2 on the code at the top says it all.
    answer.with_results(if version < 2 { request.feature_updates.iter().map(done).collect() } else { Vec::new() })
}

fn refusal(version: i16, asked: &FeatureUpdateKey) -> Option<UpdateError> {
    if version >= 1 && !(1..=3).contains(&asked.upgrade_type) {
        return Some(UpdateError::UpgradeType(asked.upgrade_type));
    }
    let Some(feature) = FEATURES.iter().find(|feature| feature.name == asked.feature.as_str()) else {
        return Some(UpdateError::Unknown(asked.feature.chars().take(NAME_SHOWN_MAX).collect()));
    };
    let &Feature { name, min, max, finalized } = feature;
    match asked.max_version_level {
        level if level == finalized => None,
        asked if !(min..=max).contains(&asked) => Some(UpdateError::Level { name, asked, min, max }),
        asked => Some(UpdateError::Fixed { name, asked, finalized }),
    }
}

#[cfg(test)]
mod tests;
