//! The OpenAPI document is true: what it describes is there, answers what it says, and nothing else is described.
//! With schemathesis at hand (`pip install schemathesis`), that looks for requests whose answers the document does not allow.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::process::Command;

use pyralog_compat_tests::http::{Answer, get, request};
use pyralog_compat_tests::{BrokerOptions, private, skip};
use serde_json::{Value, json};

const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

/// What a reference in the document points at, or the value itself.
fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(at) => resolve(document, document.pointer(at.trim_start_matches('#')).expect("what a reference names")),
        None => value,
    }
}

/// Whether a value is what a schema says: as much of JSON Schema as the document uses.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolve(document, schema);
    if let Some(any) = schema.get("oneOf").and_then(Value::as_array) {
        let fitting = any.iter().filter(|one| fits(document, one, value).is_ok()).count();
        return if fitting == 1 { Ok(()) } else { Err(format!("{fitting} of oneOf fit {value}")) };
    }
    let wrong = |what: &str| Err(format!("{value} is not {what} of {schema}"));
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => {
            let Some(members) = value.as_object() else { return wrong("the type") };
            let known = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
            for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
                if !members.contains_key(name.as_str().unwrap()) {
                    return wrong("complete as for what is required");
                }
            }
            for (name, member) in members {
                match known.get(name) {
                    Some(schema) => fits(document, schema, member)?,
                    None if schema.get("additionalProperties") == Some(&json!(false)) => return wrong("only"),
                    None => {}
                }
            }
            Ok(())
        }
        Some("array") => {
            let Some(items) = value.as_array() else { return wrong("the type") };
            items.iter().try_for_each(|item| fits(document, &schema["items"], item))
        }
        Some("integer") => {
            let Some(number) = value.as_i64().map(i128::from).or(value.as_u64().map(i128::from)) else {
                return wrong("the type");
            };
            let bound =
                |name: &str| schema.get(name).and_then(|b| b.as_i64().map(i128::from).or(b.as_u64().map(i128::from)));
            let inside =
                bound("minimum").is_none_or(|min| number >= min) && bound("maximum").is_none_or(|max| number <= max);
            if inside { Ok(()) } else { wrong("within the bounds") }
        }
        Some("string") if !value.is_string() => wrong("the type"),
        Some("boolean") if !value.is_boolean() => wrong("the type"),
        Some("null") if !value.is_null() => wrong("the type"),
        Some(_) | None => Ok(()),
    }
}

/// The answer is one of those that the operation documents, in form and content.
fn check(document: &Value, operation: &Value, answer: &Answer) -> Result<(), String> {
    let documented = operation["responses"].get(answer.status.to_string());
    let Some(documented) = documented else { return Err(format!("status {} is not documented", answer.status)) };
    let Some(content) = documented.get("content") else {
        return if answer.body.is_empty() { Ok(()) } else { Err("a body that is not documented".to_owned()) };
    };
    let form = answer.header("content-type").unwrap_or_default().to_owned();
    let schema = content.get(&form).ok_or_else(|| format!("{form:?} is not documented for {}", answer.status))?;
    match form.ends_with("json") && !form.contains("ndjson") {
        true => fits(document, &schema["schema"], &answer.json()),
        false => Ok(()),
    }
}

fn path_of(document: &Value, path: &str, item: &Value, log: &str) -> String {
    let mut path = path.to_owned();
    for parameter in item.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        let parameter = resolve(document, parameter);
        let example = &parameter["example"];
        let example = example.as_str().map_or_else(|| example.to_string(), |text| text.replace("LOG", log));
        path = path.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), &example);
    }
    assert!(!path.contains('{'), "{path} names all of its parameters");
    path
}

#[test]
fn every_operation_answers_what_the_document_says() {
    let Some(broker) = private(BrokerOptions::new()) else { return };
    let (log, _) = broker.connect().new_topic("vlsn", 2, &[("vlsn.enable", "true")]);
    let document = get(broker.http(), "/v1/openapi.json").json();
    assert_eq!(document["openapi"], json!("3.1.0"));
    let mut good = BTreeSet::new();
    // Twice: what writes goes before what reads the second time.
    for round in 0..2 {
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in METHODS {
                let Some(operation) = item.get(method) else {
                    let at = path_of(&document, path, item, &log);
                    let refused = request(broker.http(), &method.to_uppercase(), &at, &[], b"");
                    assert_eq!(refused.status, 405, "{method} {path} is not described");
                    continue;
                };
                let example = operation.pointer("/requestBody/content/application~1json/example");
                let body = example.map(Value::to_string).unwrap_or_default();
                let send = |log: &str, headers: &[(&str, &str)], query: &str| {
                    let at = path_of(&document, path, item, log) + query;
                    let headers = [headers, &[("Content-Type", "application/json")]].concat();
                    let answer = request(broker.http(), &method.to_uppercase(), &at, &headers, body.as_bytes());
                    let checked = check(&document, operation, &answer);
                    assert_eq!(checked, Ok(()), "{method} {at}: {}", answer.text());
                    answer.status
                };
                let id = operation["operationId"].as_str().unwrap();
                if method != "delete" && send(&log, &[], "") < 300 {
                    good.insert(id.to_owned());
                }
                send("nothing-here", &[], "");
                send(&log, &[], "?nonsense=1");
                if id.starts_with("read") && path.contains("{log}") {
                    send(&log, &[("Accept", "text/html")], "");
                    send(&log, &[("Accept", "application/octet-stream, application/x-ndjson")], "?encoding=base64");
                    send(&log, &[], "?from=0&max_records=1");
                }
                if method == "delete" && round == 1 {
                    assert_eq!(send(&log, &[], ""), 204);
                    good.insert(id.to_owned());
                }
            }
        }
    }
    let all = document["paths"].as_object().unwrap().values();
    let all = all.flat_map(|item| METHODS.iter().filter_map(|method| item.get(*method)?["operationId"].as_str()));
    assert_eq!(good.iter().map(String::as_str).collect::<BTreeSet<_>>(), all.collect(), "each succeeded once");
}

#[test]
fn a_checker_of_documents_finds_planted_mistakes() {
    let document =
        json!({"a": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 0}}}});
    let schema = json!({"$ref": "#/a"});
    assert!(fits(&document, &schema, &json!({"n": 1})).is_ok());
    for wrong in [json!({}), json!({"n": -1}), json!({"n": "1"}), json!([])] {
        assert!(fits(&document, &schema, &wrong).is_err(), "{wrong}");
    }
    let closed = json!({"type": "object", "properties": {}, "additionalProperties": false});
    assert!(fits(&document, &closed, &json!({"n": 1})).is_err());
}

#[test]
fn schemathesis_finds_no_answer_that_the_document_does_not_allow() {
    if !Command::new("schemathesis").arg("--version").output().is_ok_and(|done| done.status.success()) {
        return skip("schemathesis is not there", "pip install schemathesis");
    }
    let Some(broker) = private(BrokerOptions::new()) else { return };
    broker.connect().new_topic("vlsn", 2, &[("vlsn.enable", "true")]);
    let document = format!("http://{}/v1/openapi.json", broker.http());
    let run = Command::new("schemathesis")
        .args(["run", "--max-examples", "50", "--generation-deterministic", "--no-color"])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .arg(&document)
        // What it remembers of a run belongs to no checkout.
        .current_dir(broker.folder())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
}
