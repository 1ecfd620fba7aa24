//! What consumers tell each other through the classic protocol (Kafka's ConsumerProtocolSubscription and
//! ConsumerProtocolAssignment), read out of and written into the bytes that members hand in. Counts buy no memory before
//! their bytes are there (SE-01).

/// The newest version of both that is known here; newer ones begin like it.
const NEWEST: i16 = 3;

/// Partitions by topic name.
pub(super) type Named = Vec<(String, Vec<i32>)>;

/// A member's subscription, as far as a coordinator has use for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConsumerSubscription {
    /// At most [`NEWEST`].
    pub version: i16,
    pub topics: Vec<String>,
    /// From version 1 on; before, members own nothing when they join.
    pub owned: Named,
    /// From version 3 on.
    pub rack: Option<String>,
}

impl ConsumerSubscription {
    /// None if these bytes are no subscription.
    pub fn read(metadata: &[u8]) -> Option<Self> {
        let mut bytes = Reader(metadata);
        let version = bytes.version()?;
        let topics = bytes.list(Reader::text)?;
        bytes.blob()?;
        let owned = if version >= 1 { bytes.list(Reader::partitions)? } else { Vec::new() };
        if version >= 2 {
            bytes.i32()?;
        }
        let rack = if version >= 3 { bytes.optional_text()? } else { None };
        Some(Self { version, topics, owned, rack })
    }
}

/// The topic names, or none if these bytes are no subscription. Looks at nothing behind the names.
pub(super) fn subscribed_topics(metadata: &[u8]) -> Option<Vec<&str>> {
    let mut bytes = Reader(metadata);
    bytes.version()?;
    bytes.list(Reader::name)
}

/// What an assignment gives, and whether it has data of an assignor with it. None if these bytes are no assignment.
pub(super) fn read_assignment(assignment: &[u8]) -> Option<(Named, bool)> {
    let mut bytes = Reader(assignment);
    bytes.version()?;
    let named = bytes.list(Reader::partitions)?;
    let user_data = bytes.blob()?.is_some_and(|data| !data.is_empty());
    Some((named, user_data))
}

/// An assignment without data of an assignor. All versions look alike.
pub(super) fn encode_assignment(version: i16, named: &[(&str, Vec<i32>)]) -> Vec<u8> {
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX).to_be_bytes();
    let mut out = version.to_be_bytes().to_vec();
    out.extend(count(named.len()));
    for (topic, partitions) in named {
        out.extend(i16::try_from(topic.len()).unwrap_or(i16::MAX).to_be_bytes());
        out.extend_from_slice(topic.as_bytes());
        out.extend(count(partitions.len()));
        partitions.iter().for_each(|partition| out.extend(partition.to_be_bytes()));
    }
    out.extend((-1i32).to_be_bytes());
    out
}

/// Reads from the front; none as soon as something is not there.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn version(&mut self) -> Option<i16> {
        self.i16().filter(|version| *version >= 0).map(|version| version.min(NEWEST))
    }

    fn name(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.i16()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn text(&mut self) -> Option<String> {
        self.name().map(ToString::to_string)
    }

    /// A negative length is null.
    fn optional_text(&mut self) -> Option<Option<String>> {
        let mut ahead = Reader(self.0);
        match ahead.i16()? {
            ..0 => {
                self.0 = ahead.0;
                Some(None)
            }
            _ => self.text().map(Some),
        }
    }

    /// A negative length is null.
    fn blob(&mut self) -> Option<Option<&'a [u8]>> {
        match usize::try_from(self.i32()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Some(None),
        }
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = u32::try_from(self.i32()?).ok()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }

    fn partitions(&mut self) -> Option<(String, Vec<i32>)> {
        Some((self.text()?, self.list(Self::i32)?))
    }
}
