//! What leaves past the task leaves once, and whole, and the task is told.

use std::io::Read;
use std::net::{TcpListener, TcpStream as Peer};
use std::time::Duration;

use super::*;

/// An outlet, the socket as its task has it, and the client.
async fn outlet() -> (Outlet, Arc<TcpStream>, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let stream = Arc::new(TcpStream::connect(listener.local_addr().expect("bound")).await.expect("a listener"));
    let mut outlet = Outlet::default();
    outlet.set_socket(Some(Arc::clone(&stream)));
    (outlet, stream, listener.accept().expect("a connection").0)
}

fn frame(bytes: &[u8]) -> Answer {
    Answer::Frame(Bytes::copy_from_slice(bytes))
}

fn refused(outlet: &mut Outlet, slot: u64, bytes: &[u8]) -> bool {
    matches!(outlet.take(slot, frame(bytes)), Err(Answer::Frame(frame)) if frame == bytes)
}

fn all(mut peer: Peer) -> Vec<u8> {
    let mut got = Vec::new();
    peer.read_to_end(&mut got).expect("what was sent");
    got
}

#[tokio::test]
async fn an_answer_leaves_once_and_only_while_the_outlet_is_open_for_it() {
    let (mut outlet, stream, peer) = outlet().await;
    assert!(refused(&mut outlet, 1, b"closed"));
    outlet.open(2);
    assert!(refused(&mut outlet, 1, b"another's"));
    let sent = outlet.take(2, frame(b"its own")).expect("open").run();
    assert!(sent.is_whole() && sent.bytes() == 7);
    assert!(refused(&mut outlet, 2, b"again"));
    assert!(matches!(outlet.done(sent), (None, false)));
    assert!(refused(&mut outlet, 2, b"once more"));
    let told = outlet.close().expect("it left");
    assert_eq!((told.slot, told.bytes), (2, 7));
    assert_eq!(outlet.close(), None, "told once");
    outlet.open(3);
    assert_eq!(outlet.close(), None);
    assert!(refused(&mut outlet, 3, b"late"));
    drop((outlet, stream));
    assert_eq!(all(peer), b"its own");
}

#[tokio::test]
async fn a_task_that_comes_by_while_an_answer_is_being_sent_is_told_later() {
    let (mut outlet, _stream, _peer) = outlet().await;
    outlet.open(2);
    let sending = outlet.take(2, frame(b"its own")).expect("open");
    assert_eq!(outlet.close(), None, "nobody knows yet");
    // It goes on to wait, for the next request's bytes as well, and opens nothing meanwhile.
    outlet.open(2);
    assert!(refused(&mut outlet, 2, b"twice"));
    let (rest, awaited) = outlet.done(sending.run());
    assert!(rest.is_none() && awaited);
    assert_eq!(outlet.close().map(|left| left.slot), Some(2));
}

#[tokio::test]
async fn what_the_socket_does_not_take_is_the_tasks() {
    let (mut outlet, stream, peer) = outlet().await;
    let large: Vec<u8> = (0..32u32 << 20).map(|n| n.to_le_bytes()[1]).collect();
    outlet.open(5);
    let sent = outlet.take(5, frame(&large)).expect("open").run();
    let bytes = sent.bytes();
    assert!(bytes > 0 && !sent.is_whole());
    let (Some((5, Answer::Frame(rest))), true) = outlet.done(sent) else { panic!("more than a socket holds") };
    assert_eq!(bytes + rest.len(), large.len());
    assert_eq!(outlet.close(), None, "it has not left");
    drop((outlet, stream));
    let got = all(peer);
    assert!(got.len() == bytes && large.starts_with(&got) && large.ends_with(&rest), "some bytes are lost");
}

/// Only what is left counts from then on.
#[tokio::test]
async fn se_17_no_memory_of_a_large_answer_is_held_for_the_last_of_it() {
    // More than a socket takes in the end, and not twice as much.
    for len in (1..256).map(|n| n << 17) {
        let (mut outlet, _stream, _peer) = outlet().await;
        let large = Bytes::from(vec![7; len]);
        outlet.open(5);
        let sent = outlet.take(5, Answer::Frame(large.clone())).expect("open").run();
        if !sent.is_whole() {
            let rest = outlet.done(sent);
            assert!(rest.0.is_some() && large.is_unique());
            return;
        }
    }
    panic!("a socket takes more than 32 MiB");
}

#[tokio::test]
async fn errors_and_answers_that_are_no_frames_are_the_tasks() {
    let (mut outlet, _stream, peer) = outlet().await;
    outlet.open(1);
    assert!(matches!(outlet.take(1, Answer::Close), Err(Answer::Close)));
    drop(peer);
    // The first one meets a peer that is gone and may be taken; its reset is known to those behind it.
    let mut told = false;
    for _ in 0..100 {
        let sent = outlet.take(1, frame(b"to nobody")).expect("open").run();
        let (rest, look) = outlet.done(sent);
        told = rest.is_some() && look;
        if told {
            break;
        }
        outlet.open(1);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(told, "an error is told to nobody");
    outlet.set_socket(None);
    outlet.open(2);
    assert!(refused(&mut outlet, 2, b"no socket"));
}
