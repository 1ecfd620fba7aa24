//! The broker that a command talks to.

use std::time::Duration;

use clap::Args;
use pyralog_client::{ClientConfig, LogId, ProducerConfig, PyralogClient};

use super::failure::{Exit, Failure};

const NOBODY_THERE: &str = "\nIs a broker running there? `pyralog server` starts one on 127.0.0.1:9092; --bootstrap or \
                            PYRALOG_BOOTSTRAP name another address.";

/// Where the broker is.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// Address of a broker; several are separated by commas
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "PYRALOG_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        global = true,
        help_heading = "Connection"
    )]
    pub bootstrap: String,
    /// How long the broker may take: 500ms, 10s, 5m
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = super::values::span, global = true, help_heading = "Connection")]
    pub timeout: Duration,
}

impl Target {
    /// Settings of a client of it.
    pub fn config(&self) -> ClientConfig {
        let config = ClientConfig::new(&self.bootstrap);
        let producer =
            ProducerConfig { buffer_timeout: self.timeout, delivery_timeout: self.timeout, ..config.producer.clone() };
        ClientConfig {
            client_id: "pyralog-cli".to_owned(),
            connect_timeout: self.timeout,
            request_timeout: self.timeout,
            call_timeout: self.timeout,
            producer,
            ..config
        }
    }

    /// Connects with these settings.
    pub async fn connect_with(&self, config: ClientConfig) -> Result<PyralogClient, Failure> {
        config.connect().await.map_err(|error| Failure::from(error).hint_if(Exit::Unreachable, NOBODY_THERE))
    }

    /// Connects.
    pub async fn connect(&self) -> Result<PyralogClient, Failure> {
        self.connect_with(self.config()).await
    }
}

/// What failed, with the nearest name there is if a log is missing.
pub async fn suggest_log(client: &PyralogClient, log: &str, failure: impl Into<Failure>) -> Failure {
    let failure = failure.into();
    if !failure.is_missing() {
        return failure;
    }
    let logs = client.list_logs().await.unwrap_or_default();
    if LogId::new(log).is_ok_and(|id| logs.iter().any(|known| known.log_id == id)) {
        return failure; // it is a partition that is missing
    }
    match nearest(log, logs.iter().map(|known| known.log_id.as_str())) {
        Some(name) => failure.hint(&format!("; is {name} meant?")),
        None if logs.is_empty() => failure.hint("; there are no logs yet, `pyralog log create NAME` creates one"),
        None => failure.hint("; `pyralog log list` shows those that are there"),
    }
}

/// The name that was probably meant.
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, best) = names.map(|name| (edit_distance(wanted, name), name)).min()?;
    (distance <= best.len().max(wanted.len()) / 3).then_some(best)
}

/// Insertions, deletions and substitutions from one text to the other, by bytes. Names of logs and groups are short.
fn edit_distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let (mut diagonal, mut left) = (i, i + 1);
        for (cell, b) in row.iter_mut().skip(1).zip(to.bytes()) {
            let next = (diagonal + usize::from(a != b)).min(left + 1).min(*cell + 1);
            (diagonal, left) = (std::mem::replace(cell, next), next);
        }
        row[0] = i + 1;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_only_if_it_is_near() {
        let names = || ["orders", "payments", "order-items"].into_iter();
        assert_eq!(nearest("ordres", names()), Some("orders"));
        assert_eq!(nearest("Payments", names()), Some("payments"));
        assert_eq!(nearest("zebra", names()), None);
        assert_eq!(nearest("x", std::iter::empty()), None);
        assert_eq!((edit_distance("", "abc"), edit_distance("kitten", "sitting")), (3, 3));
    }
}
