//! Golden bytes of keys and values. A change here is a change of the format: raise `FORMAT_VERSION`, and say why in the
//! commit.

use expect_test::{Expect, expect};

use super::super::keys::{self, LogPosition, MetaKey, Shard};
use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(bytes: &[u8], expected: Expect) {
    expected.assert_eq(&hex(bytes));
}

#[test]
fn keys_are_shard_then_rest() {
    let shard = Shard(7);
    check(&shard.log_key(258), expect!["000000070000000000000102"]);
    check(&shard.key(b"g/x"), expect!["00000007672f78"]);
    check(&keys::format_key(), expect!["ffffffff666f726d6174"]);
    let names = [
        (MetaKey::HardState, "hard_state"),
        (MetaKey::ConfState, "conf_state"),
        (MetaKey::Truncated, "truncated"),
        (MetaKey::Snapshot, "snapshot"),
        (MetaKey::Applied, "applied"),
    ];
    for (key, name) in names {
        assert_eq!(shard.meta_key(key), shard.key(name.as_bytes()));
    }
    assert_eq!(Column::ALL.map(Column::name), ["raft_log", "raft_meta", "meta", "groups", "vlsn"]);
}

#[test]
fn spans_end_at_the_successor_of_their_prefix() {
    let to = |shard: u32, prefix: &[u8]| hex(&Shard(shard).span(Column::Meta, prefix).to);
    assert_eq!(to(0, b"a"), "0000000062");
    assert_eq!(to(0, &[0x61, 0xff, 0xff]), "0000000062");
    assert_eq!(to(0, &[0xff]), "00000001");
    assert_eq!(to(0x00ff_ffff, &[]), "01");
}

#[test]
fn values_are_these_bytes() {
    check(&keys::encode_position(LogPosition { index: 3, term: 2 }), expect!["00000000000000030000000000000002"]);
    check(&keys::encode_u64(300), expect!["000000000000012c"]);
    let records = [Cell::Set { row: 1, column: 2, value: 300 }, Cell::ClearRow { row: 9 }];
    let data = keys::encode_records(&records[..]).unwrap();
    check(&data, expect!["0102000102ac020209"]);
    let entry = eraftpb::Entry { index: 3, term: 2, data: data.into(), ..Default::default() };
    check(&keys::encode_proto(&entry), expect!["1002180322090102000102ac020209"]);
    let hard_state = eraftpb::HardState { term: 2, vote: 1, commit: 3, ..Default::default() };
    check(&keys::encode_proto(&hard_state), expect!["080210011803"]);
    let conf_state = eraftpb::ConfState { voters: vec![1, 2], ..Default::default() };
    check(&keys::encode_proto(&conf_state), expect!["08010802"]);
}

#[test]
fn records_of_another_version_or_with_rest_do_not_parse() {
    assert!(keys::decode_records::<Vec<Cell>>(&[]).is_err());
    assert!(keys::decode_records::<Vec<Cell>>(&[2, 0]).unwrap_err().to_string().contains("version 2"));
    assert!(keys::decode_records::<Vec<Cell>>(&[1, 0, 0]).unwrap_err().to_string().contains("left over"));
    assert!(keys::decode_records::<Vec<Cell>>(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err(), "a count buys no memory");
}
