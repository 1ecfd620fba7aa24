//! The answer of ListConfigResources: what has configs, by type (behaviours K12). A pure function of an image. Groups
//! and subscriptions appear once something is set on them; logs, this broker and its logger always do.

use crate::metadata::Image;
use crate::metadata::wire::text;
use kafka_protocol::messages as m;
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use pyralog_protocol::{ErrorCode, kafka_protocol};

/// A kind of thing that has configs, by its number on the wire; in the order of the answer, which is Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
enum Kind {
    Group = 32,
    ClientMetrics = 16,
    BrokerLogger = 8,
    Broker = 4,
    Topic = 2,
}

const KINDS: [Kind; 5] = [Kind::Group, Kind::ClientMetrics, Kind::BrokerLogger, Kind::Broker, Kind::Topic];

/// Answers ListConfigResources. v0 knows subscriptions to client metrics only; from v1 on no type named is all of them.
pub fn list_config_resources(
    image: &Image,
    request: &m::ListConfigResourcesRequest,
    version: i16,
) -> m::ListConfigResourcesResponse {
    let answer = m::ListConfigResourcesResponse::default();
    let asked = &request.resource_types;
    let known = |number: &i8| KINDS.iter().any(|kind| *kind as i8 == *number);
    if version >= 1 && !asked.iter().all(known) {
        return answer.with_error_code(ErrorCode::UnsupportedVersion.code());
    }
    let wanted = |kind: &Kind| match version {
        0 => *kind == Kind::ClientMetrics,
        _ => asked.is_empty() || asked.contains(&(*kind as i8)),
    };
    let resources = KINDS.into_iter().filter(wanted).flat_map(|kind| of_kind(image, kind));
    answer.with_config_resources(resources.collect())
}

fn of_kind(image: &Image, kind: Kind) -> Vec<ConfigResource> {
    let named = |name: &str| ConfigResource::default().with_resource_name(text(name)).with_resource_type(kind as i8);
    match kind {
        Kind::Group => image.configured_groups().map(named).collect(),
        Kind::ClientMetrics => image.client_metrics_names().map(named).collect(),
        Kind::BrokerLogger | Kind::Broker => vec![named(&image.node().to_string())],
        Kind::Topic => image.sorted_logs().into_keys().map(named).collect(),
    }
}
