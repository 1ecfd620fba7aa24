//! The map against a plain one, and its limits.

use std::collections::BTreeMap;

use pyralog_protocol::Draw;

use crate::compact::{ENTRY_BYTES, KeyMap};

#[test]
fn it_holds_the_newest_offset_of_each_key() {
    let mut draw = Draw::new(7);
    let mut map = KeyMap::new(100_000 * ENTRY_BYTES, 0.9, [3, 4]);
    let mut model = BTreeMap::new();
    for offset in 0..200_000 {
        let key = (draw.next_u64() % 50_000).to_be_bytes();
        assert!(map.put(&key, offset));
        model.insert(key, offset);
    }
    assert_eq!(map.len(), model.len());
    for key in 0..60_000u64 {
        let key = key.to_be_bytes();
        assert_eq!(map.get(&key), model.get(&key).copied());
    }
}

#[test]
fn an_older_offset_does_not_replace_a_newer_one() {
    let mut map = KeyMap::new(1000, 0.9, [0, 0]);
    assert!(map.put(b"k", 5) && map.put(b"k", 3) && map.put(b"", 0));
    assert_eq!((map.get(b"k"), map.get(b""), map.get(b"x")), (Some(5), Some(0), None));
}

#[test]
fn it_is_full_at_its_load_and_still_takes_what_it_knows() {
    for (bytes, load) in
        [(0, 0.9), (24 * 100, 0.5), (1 << 20, 0.9), (1 << 20, f64::NAN), (5 << 20, 7.0), (1 << 18, 0.0)]
    {
        let mut map = KeyMap::new(bytes, load, [9, 9]);
        let taken = (0..1_000_000i64).take_while(|n| map.put(&n.to_be_bytes(), *n)).count();
        assert_eq!(map.len(), taken);
        assert!(taken >= 1 && taken <= map.capacity(), "{taken} of {}", map.capacity());
        assert!(taken >= map.capacity() * 9 / 10, "{taken} of {}", map.capacity());
        assert!(map.bytes() <= bytes.max(16 * ENTRY_BYTES), "{} bytes of {bytes}", map.bytes());
        let (old, new) = (0i64.to_be_bytes(), (taken as i64).to_be_bytes());
        assert!(map.put(&old, 77) && !map.put(&new, 1));
        assert_eq!((map.get(&old), map.get(&new)), (Some(77), None));
    }
}

#[test]
fn a_few_keys_take_little_memory() {
    let mut map = KeyMap::new(128 << 20, 0.9, [9, 9]);
    for n in 0..1000i64 {
        map.put(&n.to_be_bytes(), n);
    }
    assert!(map.bytes() < 500_000, "{}", map.bytes());
}
