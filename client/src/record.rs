//! Records, as they are written and read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pyralog_protocol::{EpochOffset, LeaderEpoch, LogOffset};

/// What a position says that no broker has assigned yet.
pub(crate) const UNASSIGNED: i64 = -1;

/// One message of a log.
///
/// A record that is to be written has key, value, headers and timestamp; offset, epoch and partition are assigned when it
/// is appended, and are filled in when it is read.
///
/// ```
/// use pyralog_client::Record;
/// use std::time::SystemTime;
///
/// let anonymous = Record::new(None, b"all hands on deck".to_vec());
/// assert_eq!(anonymous.key, None);
///
/// let order = Record::new(Some(b"customer-7".to_vec()), b"two tickets".to_vec())
///     .with_header("origin", "kiosk-3")
///     .with_timestamp(SystemTime::UNIX_EPOCH);
/// assert_eq!(order.header("origin"), Some(&b"kiosk-3"[..]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The partition it was read from; 0 before it is written.
    pub partition: u32,
    /// Its position in the partition; -1 before it is written.
    pub offset: LogOffset,
    /// The leadership in which it was appended; -1 before it is written.
    pub epoch: LeaderEpoch,
    /// When it happened, to the millisecond; the time of the append where the log stamps records itself.
    pub timestamp: SystemTime,
    /// Decides on the partition and, in compacted logs, on what replaces what.
    pub key: Option<Bytes>,
    /// What is to be said. Empty for a tombstone.
    pub value: Bytes,
    /// Anything about the value.
    pub headers: Vec<RecordHeader>,
    /// Whether there is no value at all, which in a compacted log deletes the key.
    pub is_tombstone: bool,
}

/// A named value beside a record.
///
/// ```
/// use pyralog_client::{Record, RecordHeader};
///
/// let record = Record::new(None, b"21.5".to_vec()).with_header("unit", "celsius");
/// assert_eq!(record.headers, [RecordHeader { key: "unit".into(), value: Some("celsius".into()) }]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// Its name; names may repeat.
    pub key: String,
    /// Its value, which may be absent.
    pub value: Option<Bytes>,
}

impl Record {
    /// A record of this moment.
    ///
    /// ```
    /// use pyralog_client::Record;
    ///
    /// let record = Record::new(Some(b"sensor-4".to_vec()), b"ok".to_vec());
    /// assert_eq!(record.key.as_deref(), Some(&b"sensor-4"[..]));
    /// ```
    pub fn new(key: Option<Vec<u8>>, value: impl Into<Bytes>) -> Self {
        Self {
            partition: 0,
            offset: LogOffset(UNASSIGNED),
            epoch: LeaderEpoch(-1),
            timestamp: SystemTime::now(),
            key: key.map(Bytes::from),
            value: value.into(),
            headers: Vec::new(),
            is_tombstone: false,
        }
    }

    /// A record that deletes its key from a compacted log.
    ///
    /// ```
    /// use pyralog_client::Record;
    ///
    /// assert!(Record::tombstone(b"customer-7".to_vec()).is_tombstone);
    /// ```
    pub fn tombstone(key: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), is_tombstone: true, ..Self::new(None, Bytes::new()) }
    }

    /// The record with one more header.
    ///
    /// ```
    /// use pyralog_client::Record;
    ///
    /// let record = Record::new(None, b"{}".to_vec()).with_header("type", "application/json");
    /// assert_eq!(record.headers.len(), 1);
    /// ```
    #[must_use]
    pub fn with_header(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push(RecordHeader { key: key.into(), value: Some(value.into()) });
        self
    }

    /// The record with another timestamp.
    ///
    /// ```
    /// use pyralog_client::Record;
    /// use std::time::{Duration, SystemTime};
    ///
    /// let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(12 * 3600);
    /// assert_eq!(Record::new(None, b"bells".to_vec()).with_timestamp(noon).timestamp, noon);
    /// ```
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: SystemTime) -> Self {
        self.timestamp = timestamp;
        self
    }

    /// The value of the last header of this name.
    ///
    /// ```
    /// use pyralog_client::Record;
    ///
    /// let record = Record::new(None, b"".to_vec()).with_header("try", "1").with_header("try", "2");
    /// assert_eq!(record.header("try"), Some(&b"2"[..]));
    /// assert_eq!(record.header("absent"), None);
    /// ```
    pub fn header(&self, key: &str) -> Option<&[u8]> {
        self.headers.iter().rfind(|header| header.key == key).and_then(|header| header.value.as_deref())
    }

    /// Epoch and offset together: they name this record even if a later leader assigned the same offset again.
    ///
    /// ```
    /// use pyralog_client::{Epoch, EpochOffset, LogOffset, Record};
    ///
    /// let mut record = Record::new(None, b"x".to_vec());
    /// (record.epoch, record.offset) = (Epoch(5), LogOffset::new(1000));
    /// assert_eq!(record.position(), EpochOffset { epoch: Epoch(5), offset: LogOffset::new(1000) });
    /// ```
    pub fn position(&self) -> EpochOffset {
        EpochOffset { epoch: self.epoch, offset: self.offset }
    }

    /// Its VLSN: the number in a key of 8 bytes. Records of VLSN logs have one.
    ///
    /// ```
    /// use pyralog_client::Record;
    ///
    /// let record = Record::new(Some(1001u64.to_be_bytes().to_vec()), b"entry".to_vec());
    /// assert_eq!(record.vlsn(), Some(1001));
    /// assert_eq!(Record::from("no key").vlsn(), None);
    /// ```
    pub fn vlsn(&self) -> Option<u64> {
        self.key.as_deref().and_then(|key| key.try_into().ok()).map(u64::from_be_bytes)
    }

    /// The value as it goes over the wire: none for a tombstone.
    pub(crate) fn wire_value(&self) -> Option<&[u8]> {
        (!self.is_tombstone).then_some(&self.value[..])
    }
}

impl From<Vec<u8>> for Record {
    fn from(value: Vec<u8>) -> Self {
        Self::new(None, value)
    }
}

impl From<Bytes> for Record {
    fn from(value: Bytes) -> Self {
        Self::new(None, value)
    }
}

impl From<String> for Record {
    fn from(value: String) -> Self {
        Self::new(None, value)
    }
}

impl From<&'static str> for Record {
    fn from(value: &'static str) -> Self {
        Self::new(None, value)
    }
}

/// Where a record was appended.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// use pyralog_client::Record;
///
/// let appended = client.produce("orders", Record::new(None, b"tea".to_vec())).await?;
/// println!("partition {}, offset {}", appended.partition, appended.offset);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The partition.
    pub partition: u32,
    /// The offset; -1 when no acknowledgement was asked for, or when the broker only knows that it has the record already.
    pub offset: LogOffset,
    /// The time of the append, where the log stamps records itself.
    pub append_time: Option<SystemTime>,
}

/// Milliseconds since 1970, rounded down.
pub(crate) fn to_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => {
            let nanos = before.duration().as_nanos();
            i64::try_from(nanos.div_ceil(1_000_000)).map_or(i64::MIN, |ms| -ms)
        }
    }
}

/// The moment of so many milliseconds since 1970; 1970 itself where the platform cannot say it.
pub(crate) fn from_ms(ms: i64) -> SystemTime {
    let distance = Duration::from_millis(ms.unsigned_abs());
    let moment = if ms < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    moment.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_travel_as_milliseconds() {
        for ms in [0, 1, -1, -100, 1_700_000_000_123, i64::from(i32::MAX), -62_135_596_800_000] {
            assert_eq!(to_ms(from_ms(ms)), ms);
        }
        assert_eq!(to_ms(UNIX_EPOCH + Duration::from_nanos(1_999_999)), 1);
        assert_eq!(to_ms(UNIX_EPOCH - Duration::from_nanos(1)), -1);
        from_ms(i64::MAX);
        from_ms(i64::MIN);
    }
}
