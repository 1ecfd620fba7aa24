//! Clients whose broker stops working at any moment, and what may be there afterwards.
#![allow(clippy::unwrap_used, reason = "a test")]

mod keyed;
mod records;
mod topics;

use std::io::{Read, Write};
use std::sync::Barrier;

use bytes::Bytes;
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request};

use self::keyed::{Keyed, Kind};
use self::records::Records;
use self::topics::Topics;
use crate::conn::{Conn, frame};

/// What happens to the disk below the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Nothing: each answer has to be a success.
    Stays,
    /// It fails before the broker ends: an answer may say so, and says nothing about what is there.
    Fails,
}

impl Disk {
    /// Whether a request was done. An answer that it was not, or none, leaves open what is there.
    fn is_done(self, error: Option<i16>, what: &str) -> bool {
        match error {
            Some(0) => true,
            Some(code) if self == Disk::Stays => panic!("{what}: error {code}"),
            Some(_) | None => false,
        }
    }
}

/// A client that lives through what happens to its broker, and remembers what it was promised.
trait Client: Send {
    /// Connects, says so, and works until its connections break or an answer is an error.
    fn run(&mut self, connect: &(dyn Fn() -> Conn + Sync), started: &Barrier);

    /// Every promise that the broker broke so far, one line each.
    fn broken_promises(&self, conn: &mut Conn) -> Vec<String>;

    /// How much of what it asked for was acknowledged so far.
    fn acknowledged(&self) -> usize;
}

/// All of them.
pub struct Clients(Vec<Box<dyn Client>>);

impl Clients {
    /// Creates their topics, and clients whose draws the seed repeats.
    pub fn new(conn: &mut Conn, seed: u64, disk: Disk) -> Clients {
        Clients(vec![
            Box::new(Records::new(conn, seed, disk)),
            Box::new(Keyed::new(conn, seed, disk, Kind::Compacted)),
            Box::new(Keyed::new(conn, seed, disk, Kind::Unsynced)),
            Box::new(Topics::new(conn, seed, disk)),
        ])
    }

    /// Has all of them at work until their connections break, which is what `trouble` is for: it begins when all are connected.
    pub fn work_until(&mut self, connect: impl Fn() -> Conn + Sync, trouble: impl FnOnce()) {
        let started = Barrier::new(self.0.len() + 1);
        std::thread::scope(|scope| {
            for client in &mut self.0 {
                scope.spawn(|| client.run(&connect, &started));
            }
            started.wait();
            trouble();
        });
    }

    /// Every promise that the broker broke so far, one line each.
    pub fn broken_promises(&self, conn: &mut Conn) -> Vec<String> {
        self.0.iter().flat_map(|client| client.broken_promises(conn)).collect()
    }

    /// How much was acknowledged so far.
    ///
    /// # Panics
    ///
    /// If there is a kind of client that got nothing acknowledged: then this shows nothing.
    pub fn acknowledged(&self) -> usize {
        let each: Vec<usize> = self.0.iter().map(|client| client.acknowledged()).collect();
        assert!(each.iter().all(|count| *count > 10), "too little was acknowledged to show anything: {each:?}");
        each.iter().sum()
    }
}

/// A call that ends with the broker: `None` when the connection breaks at any point.
fn call<R: Request>(conn: &mut Conn, version: i16, request: &R) -> Option<R::Response> {
    let (_, body) = conn.encode(version, request);
    let stream = conn.stream();
    stream.write_all(&frame(&body)).ok()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut answer).ok()?;
    let header = if R::Response::header_version(version) >= 1 { 5 } else { 4 };
    Some(R::Response::decode(&mut Bytes::from(answer).slice(header..), version).unwrap())
}
