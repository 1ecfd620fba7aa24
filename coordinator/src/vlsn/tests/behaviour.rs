use super::*;
use crate::metadata::Writer;

fn bench() -> Bench {
    Bench::new(VlsnLimits::default())
}

#[test]
fn a_commit_is_one_number_that_does_not_go_backwards_unless_forced() {
    let mut b = bench();
    b.create("orders", 3, true);
    assert_eq!(b.commit("billing", "orders", 41, false), (0, 41, String::new()));
    let (code, now, why) = b.commit("billing", "orders", 40, false);
    assert_eq!((code, now), (42, 41));
    assert_eq!(why, "VLSN 40 is below 41, which is committed: force the commit to go back");
    assert_eq!(b.commit("billing", "orders", 41, false).0, 0, "the same again");
    assert_eq!(b.commit("billing", "orders", 40, true), (0, 40, String::new()));
    let entry = b.committed(Some("billing"), None).unwrap().remove(0);
    assert_eq!((entry.vlsn, entry.resume_partition, entry.lag), (Vlsn(40), 41 % 3, -1));
    assert_eq!(entry.metadata, None);
}

#[test]
fn the_largest_vlsn_is_committed_and_larger_ones_are_refused() {
    let mut b = bench();
    b.create("x", 2, true);
    for vlsn in [Vlsn::MAX.0 + 1, u64::MAX] {
        let (code, now, why) = b.commit("c", "x", vlsn, true);
        assert_eq!((code, now), (42, -1));
        assert!(why.contains(&vlsn.to_string()) && why.contains("9223372036854775806"), "{why}");
    }
    assert_eq!(b.commit("c", "x", Vlsn::MAX.0, false), (0, i64::MAX - 1, String::new()));
    assert_eq!(b.committed(Some("c"), None).unwrap()[0].resume_partition, 1);
}

#[test]
fn commits_name_vlsn_logs_and_consumers_that_can_be() {
    let mut b = bench();
    b.create("x", 1, true);
    b.create("plain", 1, false);
    let longest = "é".repeat(124) + "x";
    for (consumer, log, code, text) in [
        ("c", "nowhere", 3, "there is no log \"nowhere\""),
        ("c", "plain", 42, "log 'plain' is not addressed by VLSN"),
        ("c", "x.vlsn", 44, "x.vlsn is the read-only view of log x: name x instead"),
        ("", "x", 42, "must not be empty"),
        ("a\nb", "x", 42, "control character '\\n'"),
        (&*format!("{longest}x"), "x", 42, "has 250 bytes, 249 are allowed"),
        (&*longest, "x", 0, ""),
    ] {
        let (found, _, why) = b.commit(consumer, log, 1, false);
        assert_eq!(found, code, "{consumer:?} {log}: {why}");
        assert!(why.contains(text), "{why}");
    }
    assert_eq!(b.committed(Some(""), None), Err(42));
    let long = "m".repeat(4097);
    assert_eq!(b.commit_all("c", &[("x", 1, Some(&long))], false)[0].error_code, 12);
    assert_eq!(b.commit_all("c", &[("x", 1, Some(&long[1..]))], false)[0].error_code, 0);
}

#[test]
fn one_request_is_one_change_and_each_commit_is_decided_on_those_before_it() {
    let mut b = bench();
    b.create("x", 1, true);
    b.create("y", 1, true);
    let sets = b.sets;
    let results =
        b.commit_all("c", &[("x", 5, None), ("nowhere", 1, None), ("y", 7, Some("m")), ("x", 4, None)], false);
    let codes: Vec<_> = results.iter().map(|r| (r.error_code, r.vlsn)).collect();
    assert_eq!(codes, [(0, 5), (3, -1), (0, 7), (42, 5)]);
    assert_eq!(b.sets, sets + 1);
    // More than the log takes in one entry goes in several.
    let metadata = "m".repeat(4096);
    let logs: Vec<String> = (0..1500).map(|n| format!("log-{n}")).collect();
    for log in &logs {
        b.create(log, 1, true);
    }
    let sets = b.sets;
    let many: Vec<_> = logs.iter().map(|log| (log.as_str(), 10, Some(&*metadata))).collect();
    assert!(b.commit_all("c", &many, false).iter().all(|r| r.error_code == 0));
    assert_eq!(b.sets, sets + 2);
    assert_eq!(b.reloaded().vlsns, b.coordinator.vlsns);
}

#[test]
fn a_log_that_one_request_names_many_times_is_one_record() {
    let mut b = bench();
    b.create("x", 1, true);
    let entry = |vlsn: u64| VlsnCommitEntry { log: s("x"), vlsn: Vlsn(vlsn), metadata: Some(s(&vlsn.to_string())) };
    let commits = (0..1500).chain([7]).map(entry).collect();
    let (out, reply) = b.handle(Command::VlsnCommit(VlsnCommitRequest { consumer: s("c"), force: false, commits }));
    b.absorb(&out, |_| true);
    let Reply::VlsnCommit(answer) = reply else { panic!("{reply:?}") };
    let refused: Vec<_> = answer.results.iter().enumerate().filter(|(_, result)| result.error_code != 0).collect();
    assert_eq!(refused.iter().map(|(at, result)| (*at, result.vlsn)).collect::<Vec<_>>(), [(1500, 1499)]);
    assert_eq!(out.records.iter().flatten().count(), 1);
    assert_eq!(b.committed(Some("c"), None).unwrap()[0].vlsn, Vlsn(1499));
    assert_eq!(b.reloaded().vlsns, b.coordinator.vlsns);
}

#[test]
fn a_commit_costs_the_same_with_one_partition_and_with_a_thousand() {
    let mut b = bench();
    let mut cost = |log: &str, partitions: i32| {
        b.create(log, partitions, true);
        let commits = vec![VlsnCommitEntry { log: s(log), vlsn: Vlsn(1 << 40), metadata: None }];
        let request = VlsnCommitRequest { consumer: s("c"), force: false, commits };
        let (out, _) = b.handle(Command::VlsnCommit(request));
        let bytes = |record: &Record| postcard::to_allocvec(record).unwrap().len();
        out.records.iter().flatten().map(bytes).collect::<Vec<_>>()
    };
    let (one, thousand) = (cost("x", 1), cost("y", 1000));
    assert_eq!((one.len(), &one), (1, &thousand));
}

#[test]
fn listing_is_by_consumer_and_log_and_deleting_forgets() {
    let mut b = bench();
    for log in ["x", "y"] {
        b.create(log, 1, true);
        for consumer in ["b", "a"] {
            assert_eq!(b.commit(consumer, log, 3, false).0, 0);
        }
    }
    let names = |found: Vec<VlsnCommittedEntry>| {
        found.iter().map(|e| format!("{}/{}", &*e.consumer, &*e.log)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(b.committed(None, None).unwrap()), "a/x a/y b/x b/y");
    assert_eq!(names(b.committed(Some("a"), None).unwrap()), "a/x a/y");
    assert_eq!(names(b.committed(None, Some(&["y", "nowhere", "y"])).unwrap()), "a/y b/y");
    assert_eq!(names(b.committed(Some("a"), Some(&["y"])).unwrap()), "a/y");
    let remove = |b: &mut Bench, logs: Option<&[&str]>| {
        let logs = logs.map(|logs| logs.iter().map(|log| s(log)).collect());
        match b.send(Command::VlsnDeleteCommit(VlsnDeleteCommitRequest { consumer: s("a"), logs })) {
            Reply::VlsnDeleteCommit(r) => {
                r.results.iter().map(|r| (r.log.to_string(), r.error_code)).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(remove(&mut b, Some(&["x", "nowhere"])), [("nowhere".to_owned(), 3), ("x".to_owned(), 0)]);
    assert_eq!(names(b.committed(None, None).unwrap()), "a/y b/x b/y");
    assert_eq!(remove(&mut b, None), [("y".to_owned(), 0)]);
    assert_eq!(names(b.committed(None, None).unwrap()), "b/x b/y");
    assert_eq!(b.commit("a", "x", 0, false).0, 0, "from the beginning again");
}

#[test]
fn a_deleted_log_takes_its_commits_with_it_in_the_same_change() {
    let mut b = bench();
    b.create("x", 1, true);
    b.create("y", 1, true);
    b.commit("c", "x", 9, false);
    b.commit("c", "y", 9, false);
    let sets = b.sets;
    b.delete("x");
    assert_eq!(b.sets, sets + 1);
    assert_eq!(b.reloaded().vlsns, b.coordinator.vlsns);
    b.create("x", 1, true);
    assert_eq!(b.committed(None, None).unwrap().len(), 1, "a log of the same name begins anew");
    assert_eq!(b.commit("c", "x", 0, false).0, 0);
}

#[test]
fn the_number_of_commits_and_of_those_in_an_answer_is_bounded() {
    let mut b = Bench::new(VlsnLimits { commits: 3, commits_listed: 2, sequencers: 2, ..VlsnLimits::default() });
    b.create("x", 1, true);
    for consumer in ["a", "b", "c"] {
        assert_eq!(b.commit(consumer, "x", 1, false).0, 0);
    }
    let (code, _, why) = b.commit("d", "x", 1, false);
    assert_eq!((code, why.contains("there are 3 commits")), (44, true), "{why}");
    assert_eq!(b.commit("a", "x", 2, false).0, 0, "one that is there moves on");
    assert_eq!(b.committed(None, None), Err(44));
    assert_eq!(b.committed(Some("a"), None).unwrap().len(), 1);
    assert_eq!((b.reserve("p", 1, 0).error_code, b.reserve("q", 1, 0).error_code), (0, 0));
    assert_eq!((b.reserve("r", 1, 0).error_code, b.reserve("q", 1, 0).error_code), (44, 0));
}

#[test]
fn the_bytes_of_an_answer_are_bounded() {
    let mut b = Bench::new(VlsnLimits { listed_bytes: 20, ..VlsnLimits::default() });
    b.create("x", 1, true);
    assert_eq!(b.commit_all("a", &[("x", 1, Some("12345678"))], false)[0].error_code, 0);
    assert_eq!(b.commit_all("b", &[("x", 1, Some("12345678"))], false)[0].error_code, 0);
    assert_eq!(b.committed(None, None).unwrap().len(), 2, "20 bytes");
    assert_eq!(b.commit("c", "x", 1, false).0, 0);
    assert_eq!(b.committed(None, None), Err(44));
    assert_eq!(b.committed(Some("a"), None).unwrap().len(), 1);
}

#[test]
fn the_metadata_of_all_commits_together_is_bounded() {
    let mut b = Bench::new(VlsnLimits { commit_metadata_bytes: 10, ..VlsnLimits::default() });
    b.create("x", 1, true);
    let mut commit = |consumer: &str, metadata: Option<&str>| {
        let result = b.commit_all(consumer, &[("x", 1, metadata)], false).remove(0);
        (result.error_code, result.error_message.map(|m| m.to_string()).unwrap_or_default())
    };
    assert_eq!(commit("a", Some("12345678")).0, 0);
    let (code, why) = commit("b", Some("123"));
    assert_eq!((code, why.contains("may have 10 bytes together")), (44, true), "{why}");
    assert_eq!(commit("b", None).0, 0, "without any it counts");
    assert_eq!(commit("a", Some("123456789")).0, 0, "its own makes room");
    assert_eq!(commit("a", Some("1")).0, 0);
    assert_eq!(commit("b", Some("123456789")).0, 0);
    let mut b2 = b.reloaded();
    std::mem::swap(&mut b.coordinator, &mut b2);
    assert_eq!(b2.vlsns, b.coordinator.vlsns, "counted again on load");
    b.delete("x");
    b.create("x", 1, true);
    assert_eq!(
        b.commit_all("a", &[("x", 1, Some("1234567890"))], false)[0].error_code,
        0,
        "those of a deleted log are gone"
    );
}

#[test]
fn a_sequencer_hands_out_each_number_once_over_restarts() {
    let mut b = bench();
    let range = |r: SequencerReserveResponse| (r.error_code, r.first, r.count);
    assert_eq!(range(b.reserve("ids", 3, 0)), (0, 0, 3));
    assert_eq!(range(b.reserve("ids", 1, 0)), (0, 3, 1));
    b.coordinator = b.reloaded();
    assert_eq!(range(b.reserve("ids", 1 << 32, 0)), (0, 4, 1 << 32));
    assert_eq!(range(b.reserve("ids", 1, 1 << 40)), (0, 1 << 40, 1));
    assert_eq!(range(b.reserve("ids", 1, 5)), (0, (1 << 40) + 1, 1), "at least is no more than that");
    assert_eq!(range(b.reserve("other", 1, 0)), (0, 0, 1));
    let request = SequencerDescribeRequest { names: Some(vec![s("other"), s("nowhere"), s("other")]) };
    let Reply::SequencerDescribe(r) = b.send(Command::SequencerDescribe(request)) else { panic!() };
    let told: Vec<_> = r.sequencers.iter().map(|q| (q.name.to_string(), q.error_code, q.next)).collect();
    assert_eq!(told, [("nowhere".to_owned(), 91, 0), ("other".to_owned(), 0, 1)]);
    let all = SequencerDescribeRequest { names: None };
    let Reply::SequencerDescribe(r) = b.send(Command::SequencerDescribe(all)) else { panic!() };
    assert_eq!(r.sequencers.len(), 2);
}

#[test]
fn a_sequencer_ends_at_the_last_number_and_says_so() {
    let mut b = bench();
    for (name, count, at_least, code, text) in [
        ("x", 0, 0, 42, "0 numbers: 1 to 4294967296 at once"),
        ("x", (1 << 32) + 1, 0, 42, "1 to 4294967296"),
        ("a/b", 1, 0, 42, "named as a log is"),
        ("x", 2, SEQUENCE_END - 1, 1, "sequencer 'x' is used up"),
        ("x", 1, u64::MAX, 1, "would pass the last, 9223372036854775807"),
        ("x", 1, SEQUENCE_END - 1, 0, ""),
        ("x", 1, 0, 1, "is used up: 1 numbers from 9223372036854775808 on"),
    ] {
        let r = b.reserve(name, count, at_least);
        let why = r.error_message.map(|m| m.to_string()).unwrap_or_default();
        assert_eq!(r.error_code, code, "{name} {count} {at_least}: {why}");
        assert!(why.contains(text), "{why}");
        assert_eq!(r.count, if code == 0 { count } else { 0 });
    }
}

#[test]
fn each_take_of_the_writer_epoch_is_a_new_epoch_and_a_new_producer() {
    let mut b = bench();
    let id = b.create("x", 1, true);
    b.create("plain", 1, false);
    let held = |b: &Bench| b.coordinator.image().log_by_id(id).unwrap().metadata.writer;
    assert_eq!(held(&b), None);
    let first = b.writer("x", writer::TAKE, -1);
    assert_eq!((first.error_code, first.epoch, first.producer_epoch), (0, 0, 0));
    assert_eq!(held(&b), Some(Writer { epoch: 0, producer_id: Some(first.producer_id) }));
    let second = b.writer("x", writer::TAKE, 0);
    assert_eq!((second.error_code, second.epoch), (0, 1));
    assert!(second.producer_id > first.producer_id);
    let late = b.writer("x", writer::TAKE, 0);
    assert_eq!((late.error_code, late.epoch, late.producer_id, late.producer_epoch), (90, 1, -1, -1));
    assert_eq!(
        late.error_message.unwrap().to_string(),
        "the writer epoch of log x is 1, 0 was expected (-1: never taken)"
    );
    assert_eq!(b.writer("x", writer::RELEASE, 0).error_code, 90, "only who knows the epoch releases it");
    b.coordinator = b.reloaded();
    let released = b.writer("x", writer::RELEASE, 1);
    assert_eq!((released.error_code, released.epoch, released.producer_id), (0, 1, -1));
    assert_eq!(held(&b), Some(Writer { epoch: 1, producer_id: None }));
    let sets = b.sets;
    assert_eq!((b.writer("x", writer::RELEASE, -1).error_code, b.sets), (0, sets), "nothing to release");
    let third = b.writer("x", writer::TAKE, -1);
    assert_eq!(third.epoch, 2);
    assert!(third.producer_id > second.producer_id);
    let codes: Vec<_> = [("x", 7, -1), ("plain", 0, -1), ("x.vlsn", 0, -1), ("nowhere", 0, -1)]
        .into_iter()
        .map(|(log, action, expected)| b.writer(log, action, expected).error_code)
        .collect();
    assert_eq!(codes, [42, 42, 44, 3]);
    assert_eq!(*b.coordinator.image(), *b.reloaded().image());
    b.delete("x");
    b.create("x", 1, true);
    assert_eq!(b.writer("x", writer::TAKE, -1).epoch, 0, "another log of that name");
}
