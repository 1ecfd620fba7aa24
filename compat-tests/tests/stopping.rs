//! How a broker stops: in order, and without making its clients wait.

use std::time::Duration;

use pyralog_compat_tests::calls::Fetch;
use pyralog_compat_tests::{Batch, Broker, BrokerOptions};

#[test]
fn a_stop_answers_a_long_poll_and_loses_nothing() {
    let mut broker = Broker::start(BrokerOptions::new());
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("stopping", 1, &[]);
    conn.append(&name, 0, &Batch::of("a", 3).encode());
    let poll = Fetch::at(&name, 0, 3).wait(600_000, 1);
    let poller = std::thread::spawn(move || conn.fetch(&poll));
    std::thread::sleep(Duration::from_millis(300));
    broker.terminate();
    let answer = poller.join().expect("the poll is answered, not cut off");
    assert_eq!((answer.error_code, answer.high_watermark), (0, 3));
    broker.restart();
    assert_eq!(broker.connect().read(&name, 0, 0)[0].values(), ["a-0", "a-1", "a-2"]);
}
