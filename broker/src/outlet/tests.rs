//! What leaves past the task leaves once, and whole.

use std::io::Read;
use std::net::{TcpListener, TcpStream as Peer};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use super::*;

/// An outlet, the half of the socket that its task would have, and the client.
async fn outlet() -> (Outlet, OwnedReadHalf, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let stream = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("a listener");
    let (reading, writing) = stream.into_split();
    let mut outlet = Outlet::default();
    outlet.set_socket(Some(writing));
    (outlet, reading, listener.accept().expect("a connection").0)
}

fn frame(bytes: &[u8]) -> Answer {
    Answer::Frame(Bytes::copy_from_slice(bytes))
}

fn rest(answer: Option<Answer>) -> Option<Bytes> {
    match answer {
        Some(Answer::Frame(frame)) => Some(frame),
        None | Some(Answer::Pieces(_) | Answer::Value(_) | Answer::Close | Answer::Unencodable(_)) => None,
    }
}

fn all(mut peer: Peer) -> Vec<u8> {
    let mut got = Vec::new();
    peer.read_to_end(&mut got).expect("what was sent");
    got
}

#[tokio::test]
async fn an_answer_leaves_once_and_only_while_the_outlet_is_open_for_it() {
    let (mut outlet, reading, peer) = outlet().await;
    assert_eq!(rest(outlet.send(1, frame(b"closed")).1).as_deref(), Some(&b"closed"[..]));
    outlet.open(2);
    assert_eq!(rest(outlet.send(1, frame(b"another's")).1).as_deref(), Some(&b"another's"[..]));
    let (sent, left) = outlet.send(2, frame(b"its own"));
    assert!(sent == 7 && left.is_none());
    assert_eq!(rest(outlet.send(2, frame(b"again")).1).as_deref(), Some(&b"again"[..]));
    let told = outlet.close().expect("it left");
    assert_eq!((told.slot, told.bytes), (2, 7));
    assert_eq!(outlet.close(), None, "told once");
    outlet.open(3);
    assert_eq!(outlet.close(), None);
    assert_eq!(rest(outlet.send(3, frame(b"late")).1).as_deref(), Some(&b"late"[..]));
    drop((outlet, reading));
    assert_eq!(all(peer), b"its own");
}

#[tokio::test]
async fn what_the_socket_does_not_take_is_the_tasks() {
    let (mut outlet, reading, peer) = outlet().await;
    let large: Vec<u8> = (0..32u32 << 20).map(|n| n.to_le_bytes()[1]).collect();
    outlet.open(5);
    let (sent, left) = outlet.send(5, frame(&large));
    let left = rest(left).expect("more than a socket holds");
    assert!(sent > 0 && sent + left.len() == large.len(), "{sent} and {}", left.len());
    assert_eq!(outlet.close(), None, "it has not left");
    drop((outlet, reading));
    let got = all(peer);
    assert!(got.len() == sent && large.starts_with(&got) && large.ends_with(&left), "some bytes are lost");
}

#[tokio::test]
async fn errors_and_answers_that_are_no_frames_are_the_tasks() {
    let (mut outlet, reading, peer) = outlet().await;
    outlet.open(1);
    assert!(matches!(outlet.send(1, Answer::Close), (0, Some(Answer::Close))));
    drop(peer);
    // The first one meets a peer that is gone and may be taken; its reset is known to those behind it.
    let mut refused = false;
    for slot in 2..100 {
        outlet.open(slot);
        refused = outlet.send(slot, frame(b"to nobody")).1.is_some();
        if refused {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(refused, "an error is told to nobody");
    outlet.set_socket(None);
    outlet.open(1000);
    assert!(outlet.send(1000, frame(b"no socket")).1.is_some());
    drop(reading);
}
