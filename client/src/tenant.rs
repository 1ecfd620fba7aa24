//! Many tenants in one log: the key is `tenant:sequence`, so each tenant has an order of its own and can be read alone, while
//! its records are spread over all partitions.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use pyralog_protocol::LogId;

use crate::client::PyralogClient;
use crate::error::{ConsumeError, PyralogError, Result};
use crate::log::{IntoLogId, StartAt};
use crate::record::Record;

/// Writes and reads records of tenants. Each tenant's records are numbered from 0; one `TenantClient` per log may write at a
/// time, because the numbers are handed out here. A record that could not be written leaves a gap.
///
/// This is the `TenantClient` of the first documents, with the numbers read back from the log, so that they go on after a
/// restart, and with a way to read a tenant. Opening it reads the log once, to go on behind the highest number of each tenant; reading a tenant reads the log too, for
/// there is no index by tenant.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// use pyralog_client::TenantClient;
///
/// let tenants = TenantClient::open(client, "bookings").await?;
/// let sequence = tenants.write("acme", b"room 12".to_vec()).await?;
/// for (sequence, record) in tenants.read("acme", sequence..).await? {
///     println!("{sequence}: {:?}", record.value);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TenantClient {
    client: PyralogClient,
    log_id: LogId,
    /// The next number of each tenant.
    next: Mutex<BTreeMap<String, u64>>,
}

/// Largest number of a tenant. Nobody comes there by counting: a key with a larger one is somebody else's, and so may be the one that has
/// it. Numbers that went on behind it would begin again, so none do.
const LARGEST: u64 = u64::MAX / 2;

/// Tenant and number of a key; the last colon counts, so that tenants may have colons in their names.
fn parse(key: &[u8]) -> Option<(&str, u64)> {
    let (tenant, sequence) = std::str::from_utf8(key).ok()?.rsplit_once(':')?;
    let sequence = sequence.parse().ok().filter(|sequence| *sequence <= LARGEST)?;
    Some((tenant, sequence))
}

impl TenantClient {
    /// Reads the log for the numbers that are taken.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// let tenants = pyralog_client::TenantClient::open(client, "bookings").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(client: PyralogClient, log: impl IntoLogId) -> Result<Self> {
        let tenants = Self { client, log_id: log.into_log_id()?, next: Mutex::default() };
        let mut next = BTreeMap::new();
        tenants
            .scan(|record| {
                if let Some((tenant, sequence)) = record.key.as_deref().and_then(parse) {
                    let known: &mut u64 = next.entry(tenant.to_owned()).or_default();
                    *known = (*known).max(sequence.saturating_add(1));
                }
            })
            .await?;
        Ok(Self { next: Mutex::new(next), ..tenants })
    }

    /// Writes a value under the tenant's next number, and returns that number. It fails with [`PyralogError::NoNumberLeft`] behind
    /// the largest, 2^63-1, which no tenant has but by the key of somebody who did not count.
    ///
    /// ```no_run
    /// # async fn example(tenants: pyralog_client::TenantClient) -> pyralog_client::Result<()> {
    /// let first = tenants.write("acme", b"room 12".to_vec()).await?;
    /// let second = tenants.write("acme", b"room 13".to_vec()).await?;
    /// assert_eq!(second, first + 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write(&self, tenant_id: &str, value: impl Into<Bytes>) -> Result<u64> {
        let sequence = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let next = next.entry(tenant_id.to_owned()).or_default();
            let sequence = *next;
            if sequence > LARGEST {
                return Err(PyralogError::NoNumberLeft { tenant: tenant_id.to_owned() });
            }
            *next += 1;
            sequence
        };
        let key = format!("{tenant_id}:{sequence}").into_bytes();
        self.client.produce(&self.log_id, Record::new(Some(key), value)).await?;
        Ok(sequence)
    }

    /// The tenant's records with numbers in the range, in order of their numbers.
    ///
    /// ```no_run
    /// # async fn example(tenants: pyralog_client::TenantClient) -> pyralog_client::Result<()> {
    /// let all = tenants.read("acme", ..).await?;
    /// let some = tenants.read("acme", 10..20).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read(&self, tenant_id: &str, range: impl std::ops::RangeBounds<u64>) -> Result<Vec<(u64, Record)>> {
        let mut found = Vec::new();
        self.scan(|record| {
            if let Some((tenant, sequence)) = record.key.as_deref().and_then(parse)
                && tenant == tenant_id
                && range.contains(&sequence)
            {
                found.push((sequence, record));
            }
        })
        .await?;
        found.sort_by_key(|(sequence, _)| *sequence);
        Ok(found)
    }

    /// Every record that is there now.
    async fn scan(&self, mut take: impl FnMut(Record)) -> Result<(), ConsumeError> {
        let mut ends = self.client.log_offsets(&self.log_id, StartAt::Latest).await?;
        let mut reader = self.client.reader(&self.log_id).open_whole().await?;
        loop {
            let positions = reader.positions();
            if positions.iter().all(|(partition, at)| ends.get(partition).is_none_or(|end| at >= end)) {
                return Ok(());
            }
            let records = reader.poll(usize::MAX).await?;
            if records.is_empty() {
                // A log that has become shorter (it was created anew, or its leader lost records) ends earlier than it did.
                let now = self.client.log_offsets(&self.log_id, StartAt::Latest).await?;
                ends.retain(|partition, _| now.contains_key(partition));
                ends.iter_mut().for_each(|(partition, end)| *end = (*end).min(now[partition]));
            }
            records.into_iter().for_each(&mut take);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_tenant_and_number() {
        assert_eq!(parse(b"acme:7"), Some(("acme", 7)));
        assert_eq!(parse(b"a:b:9223372036854775807"), Some(("a:b", LARGEST)));
        for other in [
            &b"acme"[..],
            b"acme:9223372036854775808",
            b"acme:18446744073709551615",
            b"acme:",
            b"acme:x",
            b":\xff",
            b"acme:-1",
        ] {
            assert_eq!(parse(other), None);
        }
    }
}
