//! ApiVersions: which APIs, versions and feature levels a client may use.

use kafka_protocol::messages::api_versions_response::{FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::response::listed_apis;
use pyralog_protocol::{ErrorCode, kafka_protocol};

/// From here on clients name their software (KIP-511) and features travel (KIP-584).
const FLEXIBLE_FROM: i16 = 3;
/// Levels of `metadata.version` that a Kafka 4.3.1 supports; administration tools of that age look for it. Nothing else
/// is finalized, because clients switch on whole protocols by levels (`group.version`, `transaction.version`,
/// `share.version`): each is listed with the first release in which all of its APIs work.
const METADATA_VERSION: (i16, i16) = (7, 30);

/// Serves ApiVersions. `epoch` is the metadata's version: finalized levels are as old as that.
pub(crate) fn api_versions(version: i16, request: &ApiVersionsRequest, epoch: u64) -> ApiVersionsResponse {
    if version >= FLEXIBLE_FROM
        && !(is_software_word(&request.client_software_name) && is_software_word(&request.client_software_version))
    {
        return ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
    }
    let response = ApiVersionsResponse::default().with_api_keys(listed_apis().collect());
    if version < FLEXIBLE_FROM {
        return response;
    }
    let (min, max) = METADATA_VERSION;
    let name = StrBytes::from_static_str("metadata.version");
    response
        .with_supported_features(vec![
            SupportedFeatureKey::default().with_name(name.clone()).with_min_version(min).with_max_version(max),
        ])
        .with_finalized_features_epoch(i64::try_from(epoch).unwrap_or(i64::MAX))
        .with_finalized_features(vec![
            FinalizedFeatureKey::default().with_name(name).with_min_version_level(max).with_max_version_level(max),
        ])
}

/// Kafka's pattern `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?` (C5).
fn is_software_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}
