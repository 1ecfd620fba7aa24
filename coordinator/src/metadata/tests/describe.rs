use super::*;
use crate::config::{Scope, describe_configs};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};

fn describe(b: &Bench, kind: i8, resource: &str, keys: Option<&[&str]>) -> DescribeConfigsResult {
    let keys = keys.map(|keys| keys.iter().map(|key| s(key)).collect());
    let resource = DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(s(resource));
    let request = m::DescribeConfigsRequest::default().with_include_synonyms(true);
    let request = request.with_resources(vec![resource.with_configuration_keys(keys)]);
    describe_configs(&b.image(), &request, 4).results.remove(0)
}

fn entry(b: &Bench, kind: i8, resource: &str, key: &str) -> DescribeConfigsResourceResult {
    let mut result = describe(b, kind, resource, Some(&[key]));
    assert_eq!(result.configs.len(), 1, "{key}");
    result.configs.remove(0)
}

/// value/source [synonyms]
fn shown(b: &Bench, kind: i8, resource: &str, key: &str) -> String {
    let e = entry(b, kind, resource, key);
    let value = |v: &Option<StrBytes>| v.as_ref().map_or("null".to_owned(), ToString::to_string);
    let synonyms: Vec<_> = e.synonyms.iter().map(|s| format!("{}={}/{}", s.name, value(&s.value), s.source)).collect();
    format!("{}/{} [{}]", value(&e.value), e.config_source, synonyms.join(" "))
}

#[test]
fn k01_how_many_entries() {
    let mut b = bench();
    b.create("x", 1, &[]);
    let count = |kind, name: &str| describe(&b, kind, name, None).configs.len();
    // Kafka's 33 and 340, pyralog.durability in both, what pauses a log, and the scrub.
    assert_eq!((count(2, "x"), count(4, "1")), (37, 345));
    assert_eq!((count(32, "any"), count(16, "any"), count(8, "1"), count(4, "")), (17, 3, 1, 0));
    super::alter::one(&mut b, 4, "", "log.retention.ms", 0, "5");
    assert_eq!(describe(&b, 4, "", None).configs.len(), 1);
}

#[test]
fn k02_what_is_refused() {
    let b = bench();
    let cases =
        [(2, "nope", 3), (2, "bad name", 17), (4, "2", 42), (4, "x", 42), (3, "x", 42), (32, "", 42), (16, "", 42)];
    for (kind, name, code) in cases {
        let result = describe(&b, kind, name, None);
        assert_eq!((result.error_code, result.configs.len()), (code, 0), "{kind} {name:?}");
        assert_eq!((result.resource_type, &*result.resource_name), (kind, name));
    }
    assert_eq!((describe(&b, 8, "", None).error_code, describe(&b, 8, "5", None).error_code), (42, 42));
    assert_eq!(describe(&b, 32, "unknown-group", None).error_code, 0);
}

#[test]
fn k03_null_or_empty_is_all_and_unknown_keys_are_left_out() {
    let mut b = bench();
    b.create("x", 1, &[]);
    assert_eq!(describe(&b, 2, "x", Some(&[])).configs.len(), 37);
    let some = describe(&b, 2, "x", Some(&["retention.ms", "nope", "retention.ms"]));
    assert_eq!((some.error_code, some.configs.len()), (0, 1));
}

/// Each line is what Kafka 4.3.1 answered, save where it says so.
#[test]
fn k04_sources_and_synonyms() {
    let mut b = bench_with(&[("num.partitions", "4")]);
    b.create("x", 1, &[]);
    b.create("own", 1, &[("cleanup.policy", " compact , delete,compact"), ("retention.ms", " 5 ")]);
    assert_eq!(shown(&b, 2, "x", "retention.ms"), "604800000/5 []");
    assert_eq!(shown(&b, 2, "x", "flush.ms"), "9223372036854775807/5 []");
    assert_eq!(shown(&b, 2, "x", "cleanup.policy"), "delete/5 [log.cleanup.policy=delete/5]");
    assert_eq!(shown(&b, 2, "x", "remote.storage.enable"), "false/5 []");
    let own = "compact,delete/1 [cleanup.policy=compact,delete/1 log.cleanup.policy=delete/5]";
    assert_eq!(shown(&b, 2, "own", "cleanup.policy"), own);
    assert_eq!(shown(&b, 4, "1", "num.partitions"), "4/4 [num.partitions=4/4 num.partitions=1/5]");
    assert_eq!(shown(&b, 4, "1", "node.id"), "1/4 [node.id=1/4]");
    assert_eq!(shown(&b, 4, "1", "log.retention.ms"), "null/5 []");
    assert_eq!(shown(&b, 4, "1", "log.retention.hours"), "168/5 [log.retention.hours=168/5]");
    assert_eq!(shown(&b, 4, "1", "ssl.key.password"), "null/5 []");

    super::alter::one(&mut b, 4, "", "log.retention.ms", 0, "80000");
    let all = "log.retention.ms=80000/3";
    assert_eq!(shown(&b, 4, "", "log.retention.ms"), format!("80000/3 [{all}]"));
    super::alter::one(&mut b, 4, "1", "log.retention.ms", 0, "70000");
    let layers = format!("log.retention.ms=70000/2 {all} log.retention.hours=168/5");
    assert_eq!(shown(&b, 4, "1", "log.retention.ms"), format!("70000/2 [{layers}]"));
    assert_eq!(shown(&b, 2, "x", "retention.ms"), format!("70000/2 [{layers}]"));
    assert_eq!(shown(&b, 2, "own", "retention.ms"), format!("5/1 [retention.ms=5/1 {layers}]"));
    super::alter::one(&mut b, 4, "1", "foo.bar", 0, "secret?");
    assert_eq!(shown(&b, 4, "1", "foo.bar"), "null/2 [foo.bar=null/2]");
    assert!(entry(&b, 4, "1", "foo.bar").is_sensitive && entry(&b, 4, "1", "foo.bar").read_only);

    // What kafka-reassign-partitions --throttle sets is listed while it is set.
    let rate = "leader.replication.throttled.rate";
    assert!(describe(&b, 4, "1", Some(&[rate])).configs.is_empty());
    assert_eq!(super::alter::one(&mut b, 4, "1", rate, 0, "fast"), 42);
    assert_eq!(super::alter::one(&mut b, 4, "1", rate, 0, "-1"), 42);
    assert_eq!(super::alter::one(&mut b, 4, "1", rate, 0, "1000"), 0);
    assert_eq!(shown(&b, 4, "1", rate), format!("1000/2 [{rate}=1000/2 {rate}=9223372036854775807/5]"));

    let timeout = "consumer.session.timeout.ms";
    assert_eq!(shown(&b, 32, "g", timeout), "45000/5 [group.consumer.session.timeout.ms=45000/5]");
    assert_eq!(
        shown(&b, 32, "g", "share.isolation.level"),
        "read_uncommitted/5 [share.isolation.level=read_uncommitted/5]"
    );
    super::alter::one(&mut b, 32, "g", timeout, 0, "46000");
    let set = "46000/8 [consumer.session.timeout.ms=46000/8 group.consumer.session.timeout.ms=45000/5]";
    assert_eq!(shown(&b, 32, "g", timeout), set);
    assert_eq!(shown(&b, 16, "m", "interval.ms"), "300000/5 []");
    super::alter::one(&mut b, 16, "m", "interval.ms", 0, "1000");
    assert_eq!(shown(&b, 16, "m", "interval.ms"), "1000/7 [interval.ms=1000/7]");
    assert_eq!(shown(&b, 8, "1", "root"), "INFO/6 []");

    // Kafka says source 5 and no synonyms; the truth is that the file sets it.
    let mut b = bench_with(&[("log.retention.hours", "2")]);
    b.create("x", 1, &[]);
    let hours = "7200000/4 [log.retention.hours=2/4 log.retention.hours=168/5]";
    assert_eq!(shown(&b, 2, "x", "retention.ms"), hours);
}

#[test]
fn k04_types_documentation_and_secrets_by_version() {
    let mut b = bench_with(&[("ssl.key.password", "hunter2")]);
    b.create("x", 1, &[]);
    let e = entry(&b, 4, "1", "ssl.key.password");
    assert_eq!((e.value, e.is_sensitive, e.config_source, e.config_type), (None, true, 4, 9));
    assert!(e.synonyms.iter().all(|s| s.value.is_none()));
    let kinds = [("preallocate", 1), ("compression.type", 2), ("segment.bytes", 3), ("retention.ms", 5)];
    let more = [("min.cleanable.dirty.ratio", 6), ("cleanup.policy", 7)];
    for (name, kind) in kinds.into_iter().chain(more) {
        assert_eq!(entry(&b, 2, "x", name).config_type, kind);
    }
    assert!(entry(&b, 2, "x", "retention.ms").documentation.is_none(), "only when asked");
    let resource = DescribeConfigsResource::default().with_resource_type(2).with_resource_name(s("x"));
    let resource = resource.with_configuration_keys(None);
    let request = m::DescribeConfigsRequest::default().with_include_documentation(true).with_resources(vec![resource]);
    let v4 = describe_configs(&b.image(), &request, 4).results.remove(0);
    assert!(v4.configs.iter().all(|c| c.documentation.as_ref().is_some_and(|d| !d.is_empty())));
    assert!(v4.configs.iter().all(|c| c.synonyms.is_empty()), "only when asked");
    let v1 = describe_configs(&b.image(), &request, 1).results.remove(0);
    assert!(v1.configs.iter().all(|c| c.documentation.is_none() && c.config_type == 0));
}

#[test]
fn k11_the_broker_lists_its_defaults() {
    let b = bench();
    for name in ["default.replication.factor", "num.partitions", "log.retention.hours", "pyralog.durability"] {
        assert!(entry(&b, 4, "1", name).value.is_some(), "{name}");
    }
    let listed = describe(&b, 4, "1", None).configs;
    let expected = Scope::Broker.configs().iter().filter(|c| c.described).map(|c| c.name);
    assert!(listed.iter().map(|c| &*c.name).eq(expected));
}

#[test]
fn every_answer_encodes_in_every_version() {
    use kafka_protocol::protocol::Encodable;
    let mut b = bench();
    b.create("x", 1, &[]);
    for version in 1..=4 {
        let resource = |(kind, name): (i8, &str)| {
            let resource = DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(s(name));
            resource.with_configuration_keys(None)
        };
        let resources = [(2, "x"), (4, "1"), (8, "1"), (16, "m"), (32, "g"), (2, "none")].map(resource);
        let request = m::DescribeConfigsRequest::default().with_resources(resources.to_vec());
        let request = request.with_include_synonyms(true).with_include_documentation(true);
        let response = describe_configs(&b.image(), &request, version);
        response.encode(&mut bytes::BytesMut::new(), version).unwrap();
    }
}

/// A few bytes name a resource, and an answer has no other bound.
#[test]
fn se_01_one_request_describes_so_many_configs_and_no_more() {
    let b = bench();
    let resource = |name: &str| {
        let resource = DescribeConfigsResource::default().with_resource_type(4).with_resource_name(s(name));
        resource.with_configuration_keys(Some(vec![s("log.retention.ms")]))
    };
    let request = m::DescribeConfigsRequest::default().with_resources(vec![resource("1"); 2000]);
    let results = describe_configs(&b.image(), &request, 4).results;
    let described = results.iter().take_while(|result| result.error_code == 0).count();
    assert_eq!(described, 500_000 / 345 + 1);
    assert!(results[described..].iter().all(|result| result.error_code == 44 && result.configs.is_empty()));
    assert!(results[1999].error_message.as_ref().is_some_and(|why| why.contains("fewer")));
    assert_eq!(describe(&b, 4, "1", None).configs.len(), 345, "the next request begins anew");
}
