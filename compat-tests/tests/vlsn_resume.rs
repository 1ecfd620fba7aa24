//! Writers that are killed, each followed at once by the next one, which does not know what the one before it had on its way.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pyralog_compat_tests::draw::Draw;
use pyralog_compat_tests::{BrokerOptions, private};

/// A VLSN belongs to the record that it was acknowledged for, and to no other.
#[test]
fn id_12_what_was_acknowledged_is_there_for_whoever_wrote_it() {
    let Some(broker) = private(BrokerOptions::new()) else { return };
    let name = "resumed";
    let mut conn = broker.connect();
    conn.create_topic(name, 1, &[("vlsn.enable", "true")]);
    let mut draw = Draw::stream(3, "resume");
    let mut acknowledged = Vec::new();
    for round in 0..25 {
        let mut writer = Command::new(pyralog_compat_tests::broker::binary())
            .args(["vlsn", "write", name, "--bootstrap", broker.kafka()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the writer starts");
        let lines: String = (0..2000).map(|n| format!("r{round}.{n}\n")).collect();
        writer.stdin.take().expect("its input").write_all(lines.as_bytes()).expect("written");
        let end = Instant::now() + Duration::from_millis(5 + draw.below(40));
        let mut said = BufReader::new(writer.stdout.take().expect("its output")).lines();
        let mut count = 0;
        while let Some(Ok(line)) = said.next() {
            acknowledged.push((line.parse::<i64>().expect("a VLSN"), format!("r{round}.{count}")));
            count += 1;
            if Instant::now() > end {
                writer.kill().expect("killed");
            }
        }
        writer.wait().expect("its end");
    }
    // One partition, and no VLSN is left out: it is the offset.
    let (mut there, mut next) = (BTreeMap::new(), 0);
    while next < conn.end_offset(name, 0) {
        for batch in conn.read(name, 0, next) {
            next = batch.last_offset() + 1;
            there.extend((batch.base_offset..).zip(batch.values()));
        }
    }
    for (vlsn, value) in &acknowledged {
        assert_eq!(there.get(vlsn), Some(value), "VLSN {vlsn}");
    }
    assert!(acknowledged.len() > 100, "{} were acknowledged: this shows little", acknowledged.len());
}
