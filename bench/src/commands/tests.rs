//! How connections share partitions and threads share connections.

use std::net::SocketAddr;

use clap::Parser;

use super::{AtEnd, FetchArgs, Readers, shares};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    fetch: FetchArgs,
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Partitions of each connection, for partitions led by nodes with these ports.
fn assigned(leaders: &[u16], connections: usize, at_end: AtEnd) -> Result<Vec<(u16, Vec<i32>)>, String> {
    let mut args = Cli::parse_from(["fetch"]).fetch;
    (args.connections, args.at_end) = (connections, at_end);
    let there: Vec<_> = (0..).zip(leaders).map(|(index, port)| (address(*port), index, 7)).collect();
    let readers = Readers::assign(&there, &args).map_err(|error| error.to_string())?;
    let shown = readers.0.iter().map(|r| (r.leader.port(), r.from.iter().map(|(index, _)| *index).collect()));
    Ok(shown.collect())
}

#[test]
fn connections_share_the_partitions_of_their_leader() {
    let one = |partitions| assigned(&[1; 4], partitions, AtEnd::Restart).expect("readers");
    assert_eq!(one(4), [(1, vec![0]), (1, vec![1]), (1, vec![2]), (1, vec![3])]);
    assert_eq!(one(3), [(1, vec![0, 3]), (1, vec![1]), (1, vec![2])]);
    assert_eq!(one(6)[4..], [(1, vec![0]), (1, vec![1])], "several read the same one");
    let two = assigned(&[1, 2, 2, 1, 2], 3, AtEnd::Restart).expect("readers");
    assert_eq!(two, [(1, vec![0]), (2, vec![1, 2, 4]), (1, vec![3])]);
}

#[test]
fn what_is_read_to_its_end_is_read_once() {
    let readers = assigned(&[1, 1], 8, AtEnd::Stop).expect("readers");
    assert_eq!(readers, [(1, vec![0]), (1, vec![1])]);
}

#[test]
fn who_waits_needs_a_connection_for_each_partition() {
    assert!(assigned(&[1, 1, 1], 3, AtEnd::Wait).is_ok());
    let error = assigned(&[1, 1, 1], 2, AtEnd::Wait).expect_err("a partition would wait for another");
    assert!(error.contains("3 partitions need --connections 3"), "{error}");
}

#[test]
fn threads_share_all_connections() {
    for (connections, threads) in [(1, 1), (8, 3), (2, 5), (64, 4)] {
        let all: Vec<usize> = shares(connections, threads).flatten().collect();
        assert_eq!(all, (0..connections).collect::<Vec<_>>());
        assert!(shares(connections, threads).all(|share| !share.is_empty()));
    }
}
