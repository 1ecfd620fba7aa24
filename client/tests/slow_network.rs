//! A network that delivers late what was sent: no record takes the place of another one that is acknowledged.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Broker, LONG, unique};
use pyralog_client::{
    Acks, ClientConfig, LogConfig, LogUpdate, ProduceError, ProducerConfig, PyralogClient, Record, VlsnClient,
    VlsnError, VlsnRead,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What of what clients send waits.
#[derive(Clone, Copy)]
enum Late {
    Nothing,
    /// On connections that were made before this moment.
    Before(Instant),
    /// Writes, as soon as somebody asks how far a VLSN log is.
    WritesOnceDescribed,
    Writes,
}

impl Late {
    fn holds(self, made: Instant, writes: bool) -> bool {
        match self {
            Self::Nothing | Self::WritesOnceDescribed => false,
            Self::Before(moment) => made < moment,
            Self::Writes => writes,
        }
    }
}

/// What lies between clients and a broker.
struct Network {
    late: Arc<watch::Sender<Late>>,
    /// How many writes have been held up.
    held: Arc<watch::Sender<usize>>,
    _broker: Broker,
    address: String,
}

impl Network {
    async fn with_broker(settings: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let advertised = format!("advertised.listeners=PLAINTEXT://{address}");
        let broker = Broker::own(&[&[advertised.as_str()], settings].concat());
        let late = Arc::new(watch::Sender::new(Late::Nothing));
        let held = Arc::new(watch::Sender::new(0));
        let (behind, states, holds) = (broker.address().to_owned(), late.clone(), held.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, behind.clone(), states.clone(), holds.clone()));
            }
        });
        Self { late, held, _broker: broker, address }
    }

    /// Waits until a write is held up that was not when this was called.
    fn next_held(&self) -> impl Future<Output = ()> {
        let mut held = self.held.subscribe();
        let before = *held.borrow_and_update();
        async move { drop(tokio::time::timeout(LONG, held.wait_for(|now| *now > before)).await.unwrap().unwrap()) }
    }

    /// Nothing comes through.
    fn hold(&self) {
        self.late.send_replace(Late::Before(Instant::now() + Duration::from_secs(3600)));
    }

    /// What waits comes through; nothing that is written after the next look at a VLSN log does.
    fn hold_writes_once_described(&self) {
        self.late.send_replace(Late::WritesOnceDescribed);
    }

    /// What was sent so far stays where it is; connections that are made from now on are quick.
    fn overtake(&self) {
        self.late.send_replace(Late::Before(Instant::now()));
    }

    fn deliver(&self) {
        self.late.send_replace(Late::Nothing);
    }

    /// A client that gives up soon.
    async fn client(&self) -> PyralogClient {
        let producer = ProducerConfig { delivery_timeout: Duration::from_secs(3), ..Default::default() };
        let (request_timeout, connect_timeout) = (Duration::from_secs(2), Duration::from_secs(2));
        let config = ClientConfig { request_timeout, connect_timeout, producer, ..ClientConfig::new(&self.address) };
        config.connect().await.unwrap()
    }
}

async fn carry(client: TcpStream, behind: String, late: Arc<watch::Sender<Late>>, held: Arc<watch::Sender<usize>>) {
    // API keys, as frames have them behind their length.
    const PRODUCE: &[u8] = &0i16.to_be_bytes();
    const VLSN_DESCRIBE: &[u8] = &30_720i16.to_be_bytes();
    const VLSN_APPEND: &[u8] = &30_723i16.to_be_bytes();
    let (made, mut writes, mut states) = (Instant::now(), false, late.subscribe());
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = TcpStream::connect(behind).await.unwrap().into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_broker, &mut to_client).await });
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count) = from_client.read(&mut bytes).await {
        // Nothing but writes goes where something was written.
        let api = bytes[..count].get(4..6);
        writes |= api == Some(PRODUCE);
        let is_described = api == Some(VLSN_DESCRIBE);
        late.send_if_modified(|late| {
            let is_time = is_described && matches!(late, Late::WritesOnceDescribed);
            if is_time {
                *late = Late::Writes;
            }
            is_time
        });
        let is_held = states.borrow().holds(made, writes);
        if is_held && (api == Some(PRODUCE) || api == Some(VLSN_APPEND)) {
            held.send_modify(|held| *held += 1);
        }
        let is_over = states.wait_for(|late| !late.holds(made, writes)).await.is_err();
        if is_over || count == 0 || to_broker.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

async fn log_behind(network: &Network) -> (PyralogClient, String) {
    with_log(network.client().await, "late").await
}

/// The same by a client whose buffer and requests have 200,000 bytes, and who waits so long for room.
async fn log_behind_a_small_buffer(network: &Network, buffer_timeout: Duration, stem: &str) -> (PyralogClient, String) {
    let mut config = ClientConfig::new(&network.address);
    config.producer.request_bytes = 200_000;
    config.producer.buffer_bytes = 200_000;
    config.producer.buffer_timeout = buffer_timeout;
    with_log(config.connect().await.unwrap(), stem).await
}

async fn with_log(client: PyralogClient, stem: &str) -> (PyralogClient, String) {
    let name = unique(stem);
    let config = LogConfig { partition_count: 1, ..Default::default() }.with("vlsn.enable", "true");
    client.create_log_with_config(&name, config).await.unwrap();
    (client, name)
}

/// What VLSNs have, from 0 on; all of it is decided.
async fn values(log: &VlsnClient) -> Vec<String> {
    let page = log.read_range(0, 100).await.unwrap();
    page.records.iter().map(|record| format!("{} {}", record.offset, String::from_utf8_lossy(&record.value))).collect()
}

/// The second record of the log, whose time is up before the network delivers it.
async fn fail_late(network: &Network, log: &VlsnClient) {
    assert_eq!(log.write("first").await.unwrap(), 0);
    network.hold();
    let failed = log.write("debit").await.unwrap_err();
    assert!(matches!(failed, VlsnError::Produce(_)), "{failed}");
    network.overtake();
}

/// Resumes, and has it delivered then.
async fn resume_before_it_comes(network: &Network, log: &VlsnClient) {
    fail_late(network, log).await;
    assert_eq!(log.resume().await.unwrap().last, Some(0), "it is still on its way");
    network.deliver();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_comes_late_keeps_the_vlsn_that_it_was_given() {
    for settings in [&[][..], &["pyralog.private.apis.enable=false"]] {
        let network = Network::with_broker(settings).await;
        let (client, name) = log_behind(&network).await;
        let log = VlsnClient::open(client, &name).await.unwrap();
        resume_before_it_comes(&network, &log).await;
        let late = log.wait(1, LONG).await.unwrap();
        assert!(late.is_found(), "the network delivers it: {late:?}");
        assert_eq!(log.write("credit").await.unwrap(), 2);
        assert_eq!(values(&log).await, ["0 first", "1 debit", "2 credit"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vlsn_that_failed_is_no_gap() {
    let network = Network::with_broker(&[]).await;
    let (client, name) = log_behind(&network).await;
    let log = VlsnClient::open(client, &name).await.unwrap();
    fail_late(&network, &log).await;
    let again = tokio::time::timeout(LONG, log.write_at(1, "debit")).await.unwrap();
    assert!(matches!(again, Err(VlsnError::Stopped { vlsn: 1, .. })), "{again:?}");
    log.resume().await.unwrap();
    network.deliver();
    assert_eq!(log.write_at(1, "debit").await, Ok(1));
    assert_eq!(values(&log).await, ["0 first", "1 debit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_exclusive_writer_gave_up_does_not_come_late() {
    let network = Network::with_broker(&[]).await;
    for is_conditional in [false, true] {
        let (client, name) = log_behind(&network).await;
        let log = VlsnClient::builder(client, &name).exclusive().open().await.unwrap();
        let epoch = log.writer_epoch();
        resume_before_it_comes(&network, &log).await;
        assert!(log.writer_epoch() > epoch);
        assert_eq!(log.wait(1, Duration::from_millis(500)).await.unwrap(), VlsnRead::NotYet, "it is refused");
        let written = match is_conditional {
            true => log.write_if(1, Some(0), "credit").await,
            false => log.write("credit").await,
        };
        assert_eq!(written.unwrap(), 1);
        assert_eq!(values(&log).await, ["0 first", "1 credit"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_writer_that_lost_the_log_does_not_take_it_back_by_resuming() {
    let network = Network::with_broker(&[]).await;
    let (client, name) = log_behind(&network).await;
    let first = VlsnClient::builder(client, &name).exclusive().open().await.unwrap();
    fail_late(&network, &first).await;
    let second = VlsnClient::builder(network.client().await, &name).exclusive().open().await.unwrap();
    let resumed = first.resume().await.unwrap_err();
    assert!(matches!(resumed, VlsnError::Fenced { .. }), "{resumed}");
    assert_eq!(second.write("credit").await.unwrap(), 1);
    network.deliver();
    assert_eq!(values(&second).await, ["0 first", "1 credit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_gave_the_log_up_does_not_take_it_back_by_resuming() {
    let network = Network::with_broker(&[]).await;
    let (client, name) = log_behind(&network).await;
    let first = VlsnClient::builder(client, &name).exclusive().open().await.unwrap();
    fail_late(&network, &first).await;
    first.release_writer().await.unwrap();
    let open = VlsnClient::open(network.client().await, &name).await.unwrap();
    assert_eq!(first.resume().await.unwrap().last, Some(0));
    assert_eq!(open.write("credit").await.unwrap(), 1);
    assert_eq!(first.write("behind what is in doubt").await.unwrap(), 2);
    network.deliver();
    assert_eq!(values(&open).await, ["0 first", "1 credit", "2 behind what is in doubt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_write_that_comes_late_keeps_its_vlsn() {
    let network = Network::with_broker(&[]).await;
    let (client, name) = log_behind(&network).await;
    let log = VlsnClient::open(client, &name).await.unwrap();
    assert_eq!(log.write_if(0, None, "first").await.unwrap(), 0);
    network.hold();
    tokio::select! {
        written = log.write_if(1, Some(0), "debit") => panic!("{written:?}"),
        () = network.next_held() => {}
    }
    network.deliver();
    assert!(log.wait(1, LONG).await.unwrap().is_found());
    assert_eq!(log.write("credit").await.unwrap(), 2);
    assert_eq!(values(&log).await, ["0 first", "1 debit", "2 credit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_repair_sent_before_it_failed_is_awaited() {
    let network = Network::with_broker(&[]).await;
    let (client, name) = log_behind_a_small_buffer(&network, Duration::from_secs(1), "repair").await;
    let log = VlsnClient::open(client, &name).await.unwrap();
    log.write("first").await.unwrap();
    network.client().await.update_log_config(&name, LogUpdate::new().partition_count(2)).await.unwrap();
    network.hold();
    // The buffer has room for four of them; the others wait for it, and find the writer halted.
    let writes = (0..7).map(|_| {
        let log = log.clone();
        tokio::spawn(async move { log.write(vec![0; 49_000]).await })
    });
    let held = network.next_held();
    let writes: Vec<_> = writes.collect();
    held.await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    network.hold_writes_once_described();
    for write in writes {
        let given_up = write.await.unwrap().unwrap_err().to_string();
        assert!(given_up.contains("the buffer of 200000 bytes was full"), "{given_up}");
    }
    let resuming = tokio::spawn({
        let log = log.clone();
        async move { log.resume().await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    network.deliver();
    resuming.await.unwrap().unwrap();
    let vlsn = log.write("credit").await.unwrap();
    let found = log.read(vlsn).await.unwrap().record(vlsn).unwrap();
    assert_eq!(found.value, "credit", "VLSN {vlsn} stands for another record");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_are_given_up_take_no_room() {
    let network = Network::with_broker(&[]).await;
    let (client, name) = log_behind_a_small_buffer(&network, Duration::from_secs(20), "room").await;
    let log = VlsnClient::builder(client, &name).sequencer(unique("room"), 1).open().await.unwrap();
    network.hold();
    for _ in 0..5 {
        // It has room, and waits for a number.
        let given_up = tokio::time::timeout(Duration::from_millis(100), log.enqueue(vec![0; 50_000])).await;
        assert!(given_up.is_err());
    }
    network.deliver();
    log.write(vec![0; 50_000]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_acknowledgements_the_buffer_is_bounded_too() {
    let network = Network::with_broker(&[]).await;
    let producer = ProducerConfig {
        acks: Acks::None,
        idempotent: false,
        request_bytes: 200_000,
        buffer_bytes: 200_000,
        buffer_timeout: Duration::from_secs(2),
        delivery_timeout: Duration::from_secs(4),
        ..Default::default()
    };
    let request_timeout = Duration::from_secs(3);
    let config = ClientConfig {
        request_timeout,
        connect_timeout: request_timeout,
        producer,
        ..ClientConfig::new(&network.address)
    };
    let client = config.connect().await.unwrap();
    let name = common::log(&client, "unanswered", 1).await;
    client.produce(&name, Record::from("there")).await.unwrap();
    network.hold();
    let (mut taken, mut failed) = (Vec::new(), None);
    // Far more than the system has room for in its sockets.
    while failed.is_none() && taken.len() < 800 {
        match client.enqueue(&name, Record::from(vec![0; 50_000])).await {
            Ok(delivery) => taken.push(delivery),
            Err(error) => failed = Some(error),
        }
    }
    assert!(matches!(failed, Some(ProduceError::BufferFull { .. })), "{} were taken, {failed:?}", taken.len());
    // What no socket takes has its time as well.
    tokio::time::timeout(LONG, client.flush()).await.unwrap();
    assert!(matches!(taken.pop().unwrap().await, Err(ProduceError::Expired { .. })));
    network.deliver();
    while client.produce(&name, Record::from("there again")).await.is_err() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_failure_the_buffer_is_bounded_too() {
    let network = Network::with_broker(&[]).await;
    let producer = ProducerConfig {
        request_bytes: 200_000,
        buffer_bytes: 200_000,
        in_flight: 1,
        delivery_timeout: Duration::from_secs(3),
        ..Default::default()
    };
    let config = ClientConfig { producer, ..ClientConfig::new(&network.address) };
    let (client, name) = (config.connect().await.unwrap(), unique("halted"));
    let settings = LogConfig { partition_count: 1, ..Default::default() }.with("vlsn.enable", "true");
    client.create_log_with_config(&name, settings).await.unwrap();
    let log = VlsnClient::open(client, &name).await.unwrap();
    log.write("first").await.unwrap();
    network.hold();
    let (in_air, ()) = tokio::join!(log.enqueue("in the air"), network.next_held());
    let in_air = in_air.unwrap();
    let expires = log.enqueue("waits behind it").await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut taken = 0;
    while taken < 100 && tokio::time::timeout(Duration::from_millis(200), log.enqueue(vec![0; 50_000])).await.is_ok() {
        taken += 1;
    }
    assert!(taken <= 4, "{taken} records of 50,000 bytes were taken");
    network.deliver();
    assert_eq!(in_air.await, Ok(1));
    assert!(matches!(expires.await, Err(VlsnError::Produce(ProduceError::Expired { .. }))));
    log.resume().await.unwrap();
    assert_eq!(log.write("third").await, Ok(2));
}
