//! Nothing that is put in gets lost, and nothing is kept for who is gone.

use super::*;

#[tokio::test]
async fn f08_what_comes_before_the_look_rings_too() {
    let boxes = Mailboxes::default();
    let mailbox = boxes.open(ConnId(1));
    boxes.wake(ConnId(1));
    boxes.answer_all(vec![(Ticket { conn: ConnId(1), slot: 4 }, Answer::Close)]);
    mailbox.rung().await;
    let events = mailbox.take();
    assert!(events.wake && !events.stop);
    assert_eq!(events.answers.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [4]);
    let events = mailbox.take();
    assert!(!events.wake && events.answers.is_empty());
}

#[test]
fn what_comes_for_a_closed_connection_is_dropped() {
    let boxes = Mailboxes::default();
    let (one, other) = (boxes.open(ConnId(1)), boxes.open(ConnId(33)));
    assert_eq!(boxes.len(), 2);
    boxes.close(ConnId(1));
    boxes.wake(ConnId(1));
    boxes.stop_all();
    assert!(!one.take().wake);
    assert!(other.take().stop);
    assert_eq!(boxes.len(), 1);
}

#[test]
fn answers_reach_their_connections_in_order_whoever_they_are_mixed_with() {
    let boxes = Mailboxes::default();
    let (one, other) = (boxes.open(ConnId(1)), boxes.open(ConnId(2)));
    let row = [(1, 4), (1, 5), (2, 7), (3, 1), (1, 6), (2, 8)];
    boxes.answer_all(row.map(|(conn, slot)| (Ticket { conn: ConnId(conn), slot }, Answer::Close)).into());
    let slots = |mailbox: &Mailbox| mailbox.take().answers.iter().map(|(slot, _)| *slot).collect::<Vec<_>>();
    assert_eq!(slots(&one), [4, 5, 6]);
    assert_eq!(slots(&other), [7, 8], "and who is gone gets nothing");
}

#[tokio::test]
async fn an_answer_that_left_past_the_task_does_not_wake_it_and_is_told_at_the_next_look() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let stream = tokio::net::TcpStream::connect(listener.local_addr().expect("bound")).await.expect("a listener");
    let (_reading, writing) = stream.into_split();
    let boxes = Mailboxes::default();
    let mailbox = boxes.open(ConnId(1));
    mailbox.set_socket(Some(writing));
    let answer = |slot| vec![(Ticket { conn: ConnId(1), slot }, Answer::Frame(bytes::Bytes::from_static(b"answer")))];
    let rings = async || tokio::time::timeout(std::time::Duration::from_millis(20), mailbox.rung()).await.is_ok();

    mailbox.open_outlet(7);
    assert_eq!(boxes.answer_all(answer(7)), 6);
    assert!(!rings().await, "nobody needs to look");
    let events = mailbox.take();
    assert!(events.answers.is_empty() && events.left.is_some_and(|left| left.slot == 7));

    // The task looked, and works: what comes now is for it.
    assert_eq!(boxes.answer_all(answer(8)), 0);
    assert!(rings().await);
    assert_eq!(mailbox.take().answers.len(), 1);
}

#[test]
fn those_beyond_what_one_thread_answers_are_served_too() {
    let boxes = Mailboxes::default();
    let count = ANSWERED_HERE as u64 + 5;
    let opened: Vec<_> = (0..count).map(|conn| boxes.open(ConnId(conn))).collect();
    boxes.answer_all((0..count).map(|conn| (Ticket { conn: ConnId(conn), slot: 1 }, Answer::Close)).collect());
    assert!(opened.iter().all(|mailbox| mailbox.take().answers.len() == 1));
}
