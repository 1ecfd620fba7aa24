//! How many records per second the client writes and reads: `throughput HOST:PORT LOG RECORDS BYTES [vlsn]`. The log is
//! created if it is not there; with `vlsn` it is one of VLSNs.
#![allow(clippy::unwrap_used, reason = "a tool for people who look at it")]

use std::time::Instant;

use pyralog_client::{LogConfig, PyralogClient, Record, Result, VlsnClient};

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, log, records, bytes, rest @ ..] = &words[..] else {
        println!("throughput HOST:PORT LOG RECORDS BYTES [vlsn]");
        return Ok(());
    };
    let (records, value) = (records.parse::<u32>().unwrap(), vec![7u8; bytes.parse().unwrap()]);
    let client = PyralogClient::connect(address).await?;
    let is_vlsn = rest.iter().any(|word| word == "vlsn");
    if !client.log_exists(log).await? {
        let config = LogConfig { partition_count: 4, ..Default::default() };
        let config = if is_vlsn { config.with("vlsn.enable", "true") } else { config };
        client.create_log_with_config(log, config).await?;
    }
    if is_vlsn { by_vlsn(client, log, records, value).await } else { plain(client, log, records, value).await }
}

fn report(what: &str, count: u32, since: Instant) {
    println!("{what}: {:.0} records/s", f64::from(count) / since.elapsed().as_secs_f64());
}

async fn plain(client: PyralogClient, log: &str, records: u32, value: Vec<u8>) -> Result<()> {
    let mut reader = client.reader(log).start(pyralog_client::StartAt::Latest).open().await?;
    let begun = Instant::now();
    for _ in 0..records {
        drop(client.enqueue(log, Record::new(None, value.clone())).await?);
    }
    client.flush().await;
    report("produce", records, begun);
    let begun = Instant::now();
    let mut read = 0;
    while read < records {
        read += u32::try_from(reader.poll(usize::MAX).await?.len()).unwrap();
    }
    report("consume", read, begun);
    Ok(())
}

async fn by_vlsn(client: PyralogClient, log: &str, records: u32, value: Vec<u8>) -> Result<()> {
    const POINTS: u32 = 5_000;
    let log = VlsnClient::open(client, log).await?;
    let first = log.last_vlsn().await?.map_or(0, |last| last + 1);
    let begun = Instant::now();
    for _ in 0..records {
        drop(log.enqueue(value.clone()).await?);
    }
    log.flush().await;
    report("write", records, begun);
    let begun = Instant::now();
    for n in 0..POINTS {
        log.read(first + u64::from(n * 7 % POINTS.min(records))).await?;
    }
    report("point reads, one at a time", POINTS, begun);
    let begun = Instant::now();
    let (mut pages, mut read) = (log.pages(first, u64::MAX), 0);
    while let Some(page) = pages.next().await? {
        read += u32::try_from(page.records.len()).unwrap();
    }
    report("range", read, begun);
    Ok(())
}
