//! What leaves in one turn.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use pyralog_storage::{Disk, DiskFile, OpenMode};

use super::*;
use crate::disk::RealDisk;

const TURN: usize = 64 << 10;

/// A socket and its peer, which reads in a thread of its own and gives what it got.
async fn socket() -> (TcpStream, std::thread::JoinHandle<Vec<u8>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let peer = std::thread::spawn(move || {
        let mut got = Vec::new();
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.read_to_end(&mut got).expect("all of it");
        got
    });
    (TcpStream::connect(address).await.expect("a listener"), peer)
}

#[tokio::test]
async fn a_turn_ends_in_the_middle_of_a_range_and_nothing_is_lost() {
    let folder = std::env::temp_dir().join(format!("pyralog-outgoing-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let records: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let file = RealDisk::new(&folder).open("records", OpenMode::Create).expect("a file");
    file.write_all_at([&records, &[]], 0).expect("room");

    let (stream, peer) = socket().await;
    let mut outgoing = Outgoing::default();
    let range = FileRange { file: Arc::new(file), position: 0, len: records.len() };
    outgoing.push(vec![Piece::Bytes(Bytes::from_static(b"head")), Piece::Range(range)]);
    outgoing.push(vec![Piece::Bytes(Bytes::from_static(b"tail"))]);
    let mut turns = 0;
    loop {
        let mut sent = 0;
        let progress = outgoing.write(&stream, TURN, |bytes, _| sent += bytes).expect("an open socket");
        assert!(sent <= TURN, "{sent} bytes in one turn");
        match progress {
            Progress::Done => break,
            Progress::TurnOver => turns += 1,
            Progress::Full => stream.writable().await.expect("an open socket"),
            Progress::Cold(range) => outgoing.warmed(range.len),
        }
    }
    drop(stream);
    let expected = [&b"head"[..], &records, b"tail"].concat();
    assert!(turns > 0 && outgoing.is_empty() && outgoing.memory() == 0);
    assert!(peer.join().expect("the peer") == expected, "the peer got something else");
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test]
async fn se_17_all_of_an_answer_is_held_until_its_last_byte_is_sent() {
    let (stream, peer) = socket().await;
    let mut outgoing = Outgoing::default();
    let answers = [3 << 20, 1 << 20];
    let held: usize = answers.iter().map(|len| outgoing.push(vec![Piece::Bytes(vec![7; *len].into())])).sum();
    let (mut sent, mut freed) = (0, 0);
    loop {
        let count = |bytes, memory| (sent, freed) = (sent + bytes, freed + memory);
        let progress = outgoing.write(&stream, TURN, count).expect("an open socket");
        let gone = if sent < answers[0] { 0 } else { answers[0] };
        let gone = if sent < held { gone } else { held };
        assert_eq!((freed, outgoing.memory()), (gone, held - gone), "{sent} bytes are sent");
        match progress {
            Progress::Done => break,
            Progress::TurnOver => {}
            Progress::Full => stream.writable().await.expect("an open socket"),
            Progress::Cold(range) => panic!("{range:?} is in memory"),
        }
    }
    drop(stream);
    assert_eq!(peer.join().expect("the peer").len(), held);
}
