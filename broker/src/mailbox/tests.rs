//! Nothing that is put in gets lost, and nothing is kept for who is gone.

use super::*;

#[tokio::test]
async fn f08_what_comes_before_the_look_rings_too() {
    let boxes = Mailboxes::default();
    let mailbox = boxes.open(ConnId(1));
    boxes.wake(ConnId(1));
    boxes.answer_all(vec![(Ticket { conn: ConnId(1), slot: 4 }, Answer::Close)], 8);
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

#[tokio::test]
async fn who_comes_in_the_moment_of_a_stop_is_told_of_it_as_well() {
    let boxes = Mailboxes::default();
    let before = boxes.open(ConnId(1));
    assert!(!before.take().stop);
    boxes.stop_all();
    let after = boxes.open(ConnId(2));
    assert!(rings(&after).await && after.take().stop);
    assert!(before.take().stop);
}

#[test]
fn answers_reach_their_connections_in_order_whoever_they_are_mixed_with() {
    let boxes = Mailboxes::default();
    let (one, other) = (boxes.open(ConnId(1)), boxes.open(ConnId(2)));
    let row = [(1, 4), (1, 5), (2, 7), (3, 1), (1, 6), (2, 8)];
    boxes.answer_all(row.map(|(conn, slot)| (Ticket { conn: ConnId(conn), slot }, Answer::Close)).into(), 8);
    let slots = |mailbox: &Mailbox| mailbox.take().answers.iter().map(|(slot, _)| *slot).collect::<Vec<_>>();
    assert_eq!(slots(&one), [4, 5, 6]);
    assert_eq!(slots(&other), [7, 8], "and who is gone gets nothing");
}

fn answer(conn: u64, slot: u64) -> (Ticket, Answer) {
    (Ticket { conn: ConnId(conn), slot }, Answer::Frame(bytes::Bytes::from_static(b"answer")))
}

async fn rings(mailbox: &Mailbox) -> bool {
    tokio::time::timeout(std::time::Duration::from_millis(20), mailbox.rung()).await.is_ok()
}

/// Mailboxes, and one of them with a socket, whose client lives as long as the last value.
async fn with_socket() -> (Mailboxes, Arc<Mailbox>, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let stream = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("a listener");
    let boxes = Mailboxes::default();
    let mailbox = boxes.open(ConnId(1));
    mailbox.set_socket(Some(Arc::new(stream)));
    (boxes, mailbox, listener.accept().expect("a connection").0)
}

#[tokio::test]
async fn an_answer_that_left_past_the_task_does_not_wake_it_and_is_told_at_the_next_look() {
    let (boxes, mailbox, _client) = with_socket().await;
    mailbox.open_outlet(7);
    assert_eq!(boxes.answer_all(vec![answer(1, 7)], 8), Gone { answers: 1, bytes: 6 });
    assert!(!rings(&mailbox).await, "nobody needs to look");
    let events = mailbox.take();
    assert!(events.answers.is_empty() && events.left.is_some_and(|left| left.slot == 7));

    // The task looked, and works: what comes now is for it.
    assert_eq!(boxes.answer_all(vec![answer(1, 8)], 8), Gone::default());
    assert!(rings(&mailbox).await);
    assert_eq!(mailbox.take().answers.len(), 1);
}

#[tokio::test]
async fn answers_are_the_tasks_beyond_what_one_thread_may_send_and_where_several_come_at_once() {
    let (boxes, mailbox, _client) = with_socket().await;
    let other = boxes.open(ConnId(2));
    mailbox.open_outlet(7);
    assert_eq!(boxes.answer_all(vec![answer(2, 1), answer(1, 7)], 1), Gone::default());
    assert!(rings(&mailbox).await && rings(&other).await);
    assert_eq!((mailbox.take().answers.len(), other.take().answers.len()), (1, 1));

    mailbox.open_outlet(7);
    assert_eq!(boxes.answer_all(vec![answer(1, 8), answer(1, 7)], 8), Gone::default());
    assert!(rings(&mailbox).await);
    assert_eq!(mailbox.take().answers.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [8, 7]);
}
