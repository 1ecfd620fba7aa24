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
