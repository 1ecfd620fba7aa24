#![allow(clippy::unwrap_used)]

use super::*;
use crate::body::Body;
use crate::guard::{DecodeLimits, check_body};
use crate::messages as kp;
use crate::request::{Request, for_each_api, with_kafka_apis, with_private_apis};
use crate::response::{Response, encode_response};
use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::HeaderVersion;

#[test]
fn table_is_sorted_complete_and_consistent() {
    assert!(APIS.windows(2).all(|pair| pair[0].key < pair[1].key));
    for spec in &APIS {
        assert_eq!(spec.key.spec(), spec);
        assert_eq!(ApiKey::from_code(spec.key.code()), Some(spec.key));
        assert_eq!(spec.name, format!("{:?}", spec.key));
        assert!(spec.served.min <= spec.served.max && spec.listed.max == spec.served.max);
    }
    for code in [4, 5, 17, 24, 52, 93, 999, -1, i16::MIN, i16::MAX] {
        assert_eq!(ApiKey::from_code(code), None, "key {code}");
    }
}

#[test]
fn c08_produce_is_listed_from_0_and_served_from_3() {
    let spec = ApiKey::Produce.spec();
    assert_eq!((spec.listed, spec.served), (Versions { min: 0, max: 13 }, Versions { min: 3, max: 13 }));
    let different: Vec<_> = APIS.iter().filter(|spec| spec.listed != spec.served).collect();
    assert_eq!(different.len(), 1);
}

#[test]
fn c03_apiversions_has_response_header_0_in_every_version() {
    for version in ApiKey::ApiVersions.spec().served.iter() {
        assert_eq!(ApiKey::ApiVersions.spec().response_header_version(version), 0);
    }
}

/// What the decoder crate says about a version's headers.
macro_rules! header_versions {
    ($($name:ident, $request:ident, $response:ident;)*) => {
        fn header_versions(api: ApiKey, version: i16) -> (i16, i16) {
            match api {
                $(ApiKey::$name => (kp::$request::header_version(version), kp::$response::header_version(version)),)*
                _ => (2, 1),
            }
        }
    };
}
with_kafka_apis!(header_versions);

#[test]
fn header_versions_agree_with_the_decoder() {
    for spec in &APIS {
        for version in spec.served.iter() {
            let ours = (spec.request_header_version(version), spec.response_header_version(version));
            assert_eq!(ours, header_versions(spec.key, version), "{} v{version}", spec.name);
        }
    }
}

/// A default request or answer, there and back.
macro_rules! round_trips {
    ($($name:ident, $request:ident, $response:ident;)*) => {
        fn round_trip(api: ApiKey, version: i16) {
            match api {
                $(ApiKey::$name => {
                    let mut body = BytesMut::new();
                    Body::encode(&kp::$request::default(), version, &mut body).unwrap();
                    let usage = check_body(&mut body, api, version, &DecodeLimits::default()).unwrap();
                    assert_eq!(usage.body_bytes, body.len());
                    let mut body: Bytes = body.freeze();
                    <kp::$request as Body>::decode(version, &mut body).unwrap();
                    assert!(body.is_empty());
                    let mut body = BytesMut::new();
                    Body::encode(&kp::$response::default(), version, &mut body).unwrap();
                    <kp::$response as Body>::decode(version, &mut body.freeze()).unwrap();
                    assert_eq!(Request::from(kp::$request::default()).api(), api);
                    assert_eq!(Response::from(kp::$response::default()).api(), api);
                    encode_response(1, version, kp::$response::default().into()).unwrap();
                })*
            }
        }
    };
}
for_each_api!(round_trips);

#[test]
fn every_served_version_decodes_and_encodes() {
    for spec in &APIS {
        for version in spec.served.iter() {
            round_trip(spec.key, version);
        }
    }
}
