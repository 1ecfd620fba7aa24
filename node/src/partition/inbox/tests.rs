use std::collections::BTreeMap;

use pyralog_protocol::Draw;

use super::*;

/// A thread, between two of its steps.
enum Thread<'a> {
    /// It has no job.
    Free,
    /// It has the turn: first its own job, then the others.
    AtWork(Turn<'a, Job>, Option<Job>),
    /// It found the inbox full, and waits for the lock.
    Waiting(Job),
}

/// Connection and number of a job.
type Job = (usize, u32);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// Who finds the inbox full does not look for what was left before.
    PassBy,
    /// The turn ends without a look at what was left meanwhile, and nobody looks for what was left before.
    EndBlindly,
    /// The partition's lock is given to others between taking a job out and doing it.
    LetIn,
}

/// Threads with a connection each come and go in a drawn order. What each connection asked must be done in order, once, and all
/// of it, and only by one at a time.
fn run(seed: u64, planted: Planted) -> Result<(), String> {
    let mut draw = Draw::new(u128::from(seed));
    let mut below = |n: usize| usize::try_from(draw.next_u64() % n as u64).unwrap_or(0);
    let inbox = Inbox::new();
    let mut threads: Vec<Thread> = (0..4).map(|_| Thread::Free).collect();
    let mut asked: BTreeMap<usize, u32> = BTreeMap::new();
    let mut done: BTreeMap<usize, u32> = BTreeMap::new();
    let mut finish = |(connection, number): Job| {
        let before = done.insert(connection, number).unwrap_or(0);
        if before + 1 == number { Ok(()) } else { Err(format!("{number} of {connection} after {before}")) }
    };
    for step in 0_u32.. {
        let busy: Vec<usize> = (0..4).filter(|at| !matches!(threads[*at], Thread::Free)).collect();
        if step > 200 && busy.is_empty() {
            break;
        }
        let at = if step > 200 { busy[below(busy.len())] } else { below(4) };
        let at_work = threads.iter().filter(|thread| matches!(thread, Thread::AtWork(..))).count();
        if at_work > 1 {
            return Err("two have the turn".to_owned());
        }
        threads[at] = match std::mem::replace(&mut threads[at], Thread::Free) {
            Thread::Free => {
                let number = asked.entry(at).or_insert(0);
                *number += 1;
                let job = (at, *number);
                // Three of them fill it.
                match inbox.enter(job, BYTES_MAX / 3) {
                    Entered::Left => Thread::Free,
                    Entered::Turn(job) => Thread::AtWork(inbox.turn(), Some(job)),
                    Entered::Alone(job) => Thread::Waiting(job),
                }
            }
            Thread::AtWork(turn, Some(own)) => {
                while planted != Planted::EndBlindly
                    && let Some(job) = inbox.take()
                {
                    finish(job)?;
                }
                finish(own)?;
                Thread::AtWork(turn, None)
            }
            Thread::AtWork(_, None) if planted == Planted::EndBlindly => Thread::Free,
            // It dies. What it leaves is done by whoever comes next.
            Thread::AtWork(_, None) if step <= 200 && below(20) == 0 => Thread::Free,
            Thread::AtWork(turn, None) if below(4) == 0 => {
                turn.hand_on();
                Thread::AtWork(inbox.turn(), None)
            }
            Thread::AtWork(mut turn, None) => match turn.next() {
                Some(job) if planted == Planted::LetIn => Thread::AtWork(turn, Some(job)),
                Some(job) => {
                    finish(job)?;
                    Thread::AtWork(turn, None)
                }
                None => Thread::Free,
            },
            Thread::Waiting(own) => {
                while planted != Planted::PassBy
                    && let Some(job) = inbox.take()
                {
                    finish(job)?;
                }
                finish(own)?;
                Thread::Free
            }
        };
    }
    while let Some(job) = inbox.take().filter(|_| planted == Planted::Nothing) {
        finish(job)?;
    }
    if done == asked { Ok(()) } else { Err(format!("asked {asked:?}, done {done:?}")) }
}

#[test]
fn every_job_is_done_once_and_in_the_order_of_its_connection() {
    for seed in 0..3_000 {
        run(seed, Planted::Nothing).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

#[test]
fn planted_mistakes_are_caught() {
    assert!((0..100).any(|seed| run(seed, Planted::PassBy).is_err()));
    assert!((0..100).any(|seed| run(seed, Planted::EndBlindly).is_err()));
    assert!((0..100).any(|seed| run(seed, Planted::LetIn).is_err()));
}

#[test]
fn an_empty_inbox_holds_no_memory() {
    let inbox = Inbox::new();
    assert_eq!(inbox.enter(1, 10), Entered::Turn(1));
    assert_eq!(inbox.enter(2, 10), Entered::Left);
    let mut turn = inbox.turn();
    assert_eq!(turn.next(), Some(2));
    assert_eq!(inbox.state.lock().left.capacity(), 0);
    assert_eq!(turn.next(), None);
    assert_eq!(inbox.enter(3, 10), Entered::Turn(3), "the turn is over");
}
