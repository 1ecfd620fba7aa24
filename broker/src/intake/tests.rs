//! Frames that come in piece by piece, without sockets.

use std::future::poll_fn;
use std::task::Poll;

use super::*;

const MIB: usize = 1 << 20;

/// Lets so many bytes of a frame of `size` come in; false if memory has to be waited for before.
fn receive(intake: &mut Intake, size: usize, bytes: usize) -> bool {
    let goal = intake.bytes().len() + bytes;
    while intake.bytes().len() < goal {
        let known = (intake.bytes().len() >= LENGTH_BYTES).then_some(size);
        if !intake.make_room(known) {
            return false;
        }
        let read = intake.room().min(goal - intake.bytes().len());
        intake.buffer().extend_from_slice(&vec![7; read]);
        intake.came(read);
        assert_covered(intake);
    }
    true
}

fn serve(intake: &mut Intake, size: usize) {
    drop(intake.take_frame(size - LENGTH_BYTES));
    intake.settle(true);
    assert_covered(intake);
}

/// Bytes that the buffer is covered for.
fn covered(intake: &Intake) -> usize {
    match &intake.cover {
        Some(Cover::Ahead(permit) | Cover::Frame { permit, .. }) => permit.num_permits() * 1024,
        None => COVER_FROM,
    }
}

fn assert_covered(intake: &Intake) {
    let capacity = intake.bytes.capacity();
    assert!(capacity <= covered(intake), "a buffer of {capacity} bytes is covered for {}", covered(intake));
}

async fn is_granted(intake: &mut Intake) -> bool {
    let mut granted = Box::pin(intake.granted());
    poll_fn(|context| Poll::Ready(granted.as_mut().poll(context).is_ready())).await
}

/// Connections with so much of a frame of 2 MiB each; memory for four of those.
fn crowd(connections: usize, bytes: usize) -> Vec<Intake> {
    let memory = Arc::new(RequestMemory::new(4 * (2 * MIB) * 4 / 3));
    let mut all: Vec<Intake> = (0..connections).map(|_| Intake::new(Arc::clone(&memory))).collect();
    for intake in &mut all {
        receive(intake, 2 * MIB, bytes);
    }
    all
}

#[tokio::test]
async fn nobody_who_holds_memory_waits_for_more() {
    let mut all = crowd(10, 2 * MIB);
    for first in 0..all.len() {
        for (i, intake) in all.iter_mut().enumerate().skip(first) {
            let granted = !intake.is_waiting() || is_granted(intake).await;
            assert_eq!(granted, i < first + 4, "of {i}, while {first} were served");
        }
        let missing = 2 * MIB - all[first].bytes().len();
        assert!(receive(&mut all[first], 2 * MIB, missing), "it has memory for all of its frame");
        serve(&mut all[first], 2 * MIB);
    }
}

#[tokio::test]
async fn who_only_announces_a_large_frame_holds_nothing() {
    let mut all = crowd(100, COVER_FROM);
    assert!(all.iter().all(|intake| intake.cover.is_none() && !intake.is_waiting()));
    let last = all.last_mut().expect("a hundred");
    assert!(!receive(last, 2 * MIB, 1), "from here on it costs memory");
    assert!(is_granted(last).await);
}

#[tokio::test]
async fn a_frame_larger_than_all_memory_is_served_alone() {
    let memory = Arc::new(RequestMemory::new(MIB));
    let mut all: Vec<Intake> = (0..2).map(|_| Intake::new(Arc::clone(&memory))).collect();
    for intake in &mut all {
        assert!(!receive(intake, 3 * MIB, MIB));
    }
    assert!(is_granted(&mut all[0]).await);
    assert!(!is_granted(&mut all[1]).await);
    all.remove(0);
    assert!(is_granted(&mut all[0]).await);
}

#[test]
fn a_small_request_after_a_large_one_leaves_no_buffer_behind() {
    let memory = Arc::new(RequestMemory::new(8 * MIB));
    let mut intake = Intake::new(memory);
    intake.frame_size = FRAME_BUFFER_MAX;
    assert!(receive(&mut intake, 100, 100));
    assert_eq!(intake.bytes.capacity(), FRAME_BUFFER_MAX, "as large as the frame before");
    receive(&mut intake, 100, COVER_FROM);
    serve(&mut intake, 100);
    assert!(intake.cover.is_none(), "a little of the next frame keeps a little");
    assert_eq!(intake.bytes().len(), COVER_FROM);

    intake.take_frame(COVER_FROM - LENGTH_BYTES);
    intake.settle(true);
    intake.frame_size = FRAME_BUFFER_MAX;
    assert!(receive(&mut intake, 100, FRAME_BUFFER_MAX));
    serve(&mut intake, 100);
    assert_eq!(covered(&intake), FRAME_BUFFER_MAX, "much of it keeps the memory");
}

#[test]
fn what_is_kept_of_a_frame_keeps_the_memory_that_covers_it() {
    let memory = Arc::new(RequestMemory::new(4 * FRAME_BUFFER_MAX));
    let mut intake = Intake::new(Arc::clone(&memory));
    intake.frame_size = FRAME_BUFFER_MAX;
    assert!(receive(&mut intake, FRAME_BUFFER_MAX, FRAME_BUFFER_MAX));
    let kept = intake.take_frame(FRAME_BUFFER_MAX - LENGTH_BYTES);
    intake.settle(true);
    assert!(intake.cover.is_none() && memory.ahead(1).is_none(), "a quarter of all there is");
    drop(kept);
    assert!(memory.ahead(FRAME_BUFFER_MAX).is_some());
}

#[tokio::test]
async fn a_buffer_that_is_kept_covers_no_other_one() {
    for is_kept in [false, true] {
        let mut intake = Intake::new(Arc::new(RequestMemory::new(8 * FRAME_BUFFER_MAX)));
        intake.frame_size = FRAME_BUFFER_MAX;
        assert!(receive(&mut intake, 100, FRAME_BUFFER_MAX));
        let kept = Some(intake.take_frame(100 - LENGTH_BYTES)).filter(|_| is_kept);
        intake.settle(true);
        assert_eq!(intake.make_room(Some(FRAME_BUFFER_MAX)), !is_kept, "the next frame is mostly there");
        assert!(!is_kept || is_granted(&mut intake).await);
        assert!(intake.make_room(Some(FRAME_BUFFER_MAX)));
        assert_covered(&intake);
        drop(kept);
    }
}

#[tokio::test]
async fn who_keeps_others_from_memory_is_told_after_a_pause_or_a_time_for_its_size() {
    let (soon, late) = (Instant::now() + Duration::from_secs(31), Instant::now() + Duration::from_secs(33));
    let stalled = soon - FRAME_STALL;
    let mut all = crowd(5, MIB);
    for intake in &mut all[..4] {
        assert!(is_granted(intake).await);
    }
    assert!(!all[0].is_in_the_way(stalled, late), "nobody waits");
    assert!(!is_granted(&mut all[4]).await);
    assert!(!all[0].is_in_the_way(soon, soon), "2 MiB have 32 s");
    assert!(all[0].is_in_the_way(stalled, soon), "nothing came for 5 s");
    assert!(all[0].is_in_the_way(late, late));
    all.pop();
    assert!(!all[0].is_in_the_way(stalled, late), "who waited is gone");
}

#[tokio::test]
async fn a_frame_that_is_given_up_keeps_no_memory_and_no_place() {
    let mut all = crowd(6, MIB);
    for intake in &mut all[..4] {
        assert!(is_granted(intake).await);
    }
    for intake in &mut all[4..] {
        assert!(!is_granted(intake).await);
    }
    all[4].give_up();
    all[0].give_up();
    assert!(!all[4].is_waiting() && all[0].bytes().is_empty());
    assert!(is_granted(&mut all[5]).await);
}
