//! ApiVersions: which APIs, versions and feature levels a client may use.

use kafka_protocol::messages::api_versions_response::{FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;
use pyralog_coordinator::metadata::Image;
use pyralog_protocol::response::listed_apis;
use pyralog_protocol::vlsn::messages;
use pyralog_protocol::{ErrorCode, kafka_protocol};

use super::features::{FEATURES, Feature};

/// From here on clients name their software (KIP-511) and features travel (KIP-584).
const FLEXIBLE_FROM: i16 = 3;

/// Serves ApiVersions. Finalized levels are as old as the metadata.
pub(crate) fn api_versions(version: i16, request: &ApiVersionsRequest, image: &Image) -> ApiVersionsResponse {
    if version >= FLEXIBLE_FROM
        && !(is_software_word(&request.client_software_name) && is_software_word(&request.client_software_version))
    {
        return ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
    }
    let private = image.broker().network.private_apis;
    let listed = listed_apis().filter(|api| private || api.api_key < messages::FIRST_KEY);
    let response = ApiVersionsResponse::default().with_api_keys(listed.collect());
    if version < FLEXIBLE_FROM {
        return response;
    }
    let name = |feature: &Feature| StrBytes::from_static_str(feature.name);
    // A minimum of 0 is new in v4: older clients take the whole answer for broken (C7).
    let sayable = |feature: &&Feature| feature.min > 0 || version > FLEXIBLE_FROM;
    let supported = FEATURES.iter().filter(sayable).map(|feature| {
        let key = SupportedFeatureKey::default().with_name(name(feature));
        key.with_min_version(feature.min).with_max_version(feature.max)
    });
    let finalized = FEATURES.iter().map(|feature| {
        let key = FinalizedFeatureKey::default().with_name(name(feature));
        key.with_min_version_level(feature.finalized).with_max_version_level(feature.finalized)
    });
    response
        .with_supported_features(supported.collect())
        .with_finalized_features_epoch(i64::try_from(image.version()).unwrap_or(i64::MAX))
        .with_finalized_features(finalized.collect())
}

/// Kafka's pattern `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?` (C5).
fn is_software_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}
