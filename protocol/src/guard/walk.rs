//! The walk over a body, led by a [`Shape`].

use super::DecodeLimits;

/// What a value is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Bool,
    I8,
    I16,
    I32,
    I64,
    Uuid,
    Str,
    Bytes,
    One(&'static Shape),
    Many(&'static Kind),
}

/// A structure on the wire.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Bytes of the decoded structure itself.
    memory: usize,
    fields: &'static [Field],
}

/// A field: what, since when, until when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    name: &'static str,
    kind: Kind,
    from: i16,
    to: i16,
    nullable_from: i16,
    tag: Option<u32>,
}

pub(crate) const fn shape<T>(fields: &'static [Field]) -> Shape {
    Shape { memory: size_of::<T>(), fields }
}

/// A field of all versions, never null; the methods narrow it.
pub(crate) const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, from: 0, to: i16::MAX, nullable_from: i16::MAX, tag: None }
}

impl Field {
    pub(super) const fn since(self, from: i16) -> Self {
        Self { from, ..self }
    }
    pub(super) const fn between(self, from: i16, to: i16) -> Self {
        Self { from, to, ..self }
    }
    pub(super) const fn nullable(self, nullable_from: i16) -> Self {
        Self { nullable_from, ..self }
    }
    pub(crate) const fn nullable_if(self, nullable: bool) -> Self {
        if nullable { self.nullable(0) } else { self }
    }
    pub(super) const fn tagged(self, tag: u32) -> Self {
        Self { tag: Some(tag), ..self }
    }
    fn is_in(&self, version: i16) -> bool {
        self.from <= version && version <= self.to
    }
    /// Whether a byte in front says if the structure is there.
    fn is_presence(&self, version: i16) -> bool {
        matches!(self.kind, Kind::One(_)) && self.nullable_from <= version
    }
}

/// Why a body is not decoded. The connection is closed on all of them (C11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// The body ends inside a field.
    #[error("{field} needs {needed} bytes, {remaining} remain")]
    Cut {
        /// The field.
        field: &'static str,
        /// Bytes it needs.
        needed: usize,
        /// Bytes there are.
        remaining: usize,
    },
    /// An array with more items than the remaining bytes can hold.
    #[error("{field} declares {declared} items, {remaining} bytes remain")]
    Count {
        /// The field.
        field: &'static str,
        /// Items declared.
        declared: i64,
        /// Bytes there are.
        remaining: usize,
    },
    /// A string over Kafka's 32767 bytes.
    #[error("{field} has {declared} bytes, a string may have 32767")]
    StringTooLong {
        /// The field.
        field: &'static str,
        /// Its length.
        declared: usize,
    },
    /// Null where null is not allowed.
    #[error("{field} is null, which this version does not allow")]
    Null {
        /// The field.
        field: &'static str,
    },
    /// A varint of more than five bytes.
    #[error("{field} has a varint of more than 5 bytes")]
    Varint {
        /// The field.
        field: &'static str,
    },
    /// A presence byte that is neither "there" nor "null".
    #[error("{field} has presence byte {found}, 1 and -1 are allowed")]
    Presence {
        /// The field.
        field: &'static str,
        /// The byte.
        found: i8,
    },
    /// More tagged fields in one structure than allowed.
    #[error("{found} tagged fields, {limit} are allowed")]
    Tags {
        /// Fields declared.
        found: u32,
        /// The limit.
        limit: usize,
    },
    /// A known tagged field that is not as long as it says.
    #[error("tagged field {field} declares {declared} bytes and has {found}")]
    TagSize {
        /// The field.
        field: &'static str,
        /// Size declared.
        declared: usize,
        /// Size found.
        found: usize,
    },
    /// More array items than one request may have.
    #[error("more than {limit} array items in one request")]
    Items {
        /// The limit.
        limit: usize,
    },
    /// Decoding would take more memory than a frame of this size may.
    #[error("decoding needs {needed} bytes of memory, a frame of this size may take {limit}")]
    Memory {
        /// Bytes needed, at least.
        needed: usize,
        /// The limit.
        limit: usize,
    },
}

/// What a checked body amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the body; what follows is surplus.
    pub body_bytes: usize,
    /// Upper bound of the memory that decoding takes, besides the frame.
    pub memory_bytes: usize,
    /// Array items.
    pub items: usize,
}

/// Memory of the tree that keeps unknown tagged fields, per five of them (half a node of eleven, rounded up).
const TAG_MEMORY: usize = 512;
const TAGS_PER_NODE: usize = 5;
/// Kafka's limit of a string on the wire.
pub(crate) const STRING_BYTES_MAX: usize = 32_767;
const VARINT_BYTES_MAX: usize = 5;

/// The state of one walk. `at` only grows and never passes the end.
pub(super) struct Walk<'a> {
    body: &'a mut [u8],
    at: usize,
    version: i16,
    flexible: bool,
    limits: &'a DecodeLimits,
    memory: usize,
    memory_max: usize,
    items: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(body: &'a mut [u8], version: i16, flexible: bool, limits: &'a DecodeLimits) -> Self {
        let memory_max = body.len().saturating_mul(limits.memory_per_frame_byte).saturating_add(limits.memory_base);
        Self { body, at: 0, version, flexible, limits, memory: 0, memory_max, items: 0 }
    }

    pub(super) fn run(mut self, shape: &Shape) -> Result<Usage, GuardError> {
        self.structure(shape)?;
        Ok(Usage { body_bytes: self.at, memory_bytes: self.memory, items: self.items })
    }

    fn structure(&mut self, shape: &Shape) -> Result<(), GuardError> {
        for field in shape.fields {
            if field.tag.is_none() && field.is_in(self.version) {
                self.value(field, field.kind)?;
            }
        }
        if self.flexible { self.tagged_fields(shape) } else { Ok(()) }
    }

    fn value(&mut self, field: &Field, kind: Kind) -> Result<(), GuardError> {
        match kind {
            Kind::Bool | Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 | Kind::Uuid => {
                self.skip(field.name, kind.bytes_min(self.version, self.flexible))
            }
            Kind::Str => self.string(field),
            Kind::Bytes => match self.length(field, LengthOf::Bytes)? {
                Some(length) => self.skip(field.name, length),
                None => Ok(()),
            },
            Kind::One(shape) if field.is_presence(self.version) => self.optional(field, shape),
            Kind::One(shape) => self.structure(shape),
            Kind::Many(item) => self.array(field, *item),
        }
    }

    fn string(&mut self, field: &Field) -> Result<(), GuardError> {
        match self.length(field, LengthOf::String)? {
            Some(declared) if declared > STRING_BYTES_MAX => {
                Err(GuardError::StringTooLong { field: field.name, declared })
            }
            Some(length) => self.skip(field.name, length),
            None => Ok(()),
        }
    }

    fn optional(&mut self, field: &Field, shape: &Shape) -> Result<(), GuardError> {
        let found = i8::from_be_bytes(self.take(field.name)?);
        match found {
            1 => self.structure(shape),
            ..0 => Ok(()),
            0 | 2.. => Err(GuardError::Presence { field: field.name, found }),
        }
    }

    fn array(&mut self, field: &Field, item: Kind) -> Result<(), GuardError> {
        let Some(count) = self.length(field, LengthOf::Array)? else { return Ok(()) };
        let item_min = item.bytes_min(self.version, self.flexible).max(1);
        if count > self.remaining() / item_min {
            let declared = i64::try_from(count).unwrap_or(i64::MAX);
            return Err(GuardError::Count { field: field.name, declared, remaining: self.remaining() });
        }
        self.items += count;
        if self.items > self.limits.items_max {
            return Err(GuardError::Items { limit: self.limits.items_max });
        }
        self.charge(count.saturating_mul(item.memory()))?;
        // Items of an array are never null themselves.
        let element = Field { kind: item, nullable_from: i16::MAX, ..*field };
        if item.is_fixed() {
            return self.skip(field.name, count.saturating_mul(item_min));
        }
        for _ in 0..count {
            self.value(&element, item)?;
        }
        Ok(())
    }

    fn tagged_fields(&mut self, shape: &Shape) -> Result<(), GuardError> {
        let found = self.varint("tagged fields")?;
        let limit = self.limits.tagged_fields_max;
        if usize::try_from(found).map_or(true, |n| n > limit) {
            return Err(GuardError::Tags { found, limit });
        }
        let mut unknown = 0usize;
        for _ in 0..found {
            let tag = self.varint("tag")?;
            let declared = usize::try_from(self.varint("tag size")?).unwrap_or(usize::MAX);
            // A tag that only a newer version knows is walked as unknown; the decoder refuses it, as Kafka does.
            let known = shape.fields.iter().find(|f| f.tag == Some(tag) && f.is_in(self.version));
            match known {
                Some(field) => self.known_tag(field, declared)?,
                None => {
                    unknown += 1;
                    self.skip("tagged field", declared)?;
                }
            }
        }
        self.charge(unknown.div_ceil(TAGS_PER_NODE) * TAG_MEMORY)
    }

    /// The decoder ignores the declared size of a tag that it knows, so it has to be right.
    fn known_tag(&mut self, field: &Field, declared: usize) -> Result<(), GuardError> {
        let start = self.at;
        self.value(field, field.kind)?;
        let found = self.at - start;
        if found == declared { Ok(()) } else { Err(GuardError::TagSize { field: field.name, declared, found }) }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), GuardError> {
        self.memory = self.memory.saturating_add(bytes);
        if self.memory > self.memory_max {
            return Err(GuardError::Memory { needed: self.memory, limit: self.memory_max });
        }
        Ok(())
    }

    /// A length or count; `None` is null, which then stands in the body as the decoder knows it.
    fn length(&mut self, field: &Field, of: LengthOf) -> Result<Option<usize>, GuardError> {
        let start = self.at;
        let declared = match of {
            // The encoding is length + 1 as a varint, which Java reads into a signed number.
            _ if self.flexible => self.varint(field.name)?.cast_signed().wrapping_sub(1),
            LengthOf::String => i32::from(i16::from_be_bytes(self.take(field.name)?)),
            LengthOf::Bytes | LengthOf::Array => i32::from_be_bytes(self.take(field.name)?),
        };
        if let Ok(length) = usize::try_from(declared) {
            return Ok(Some(length));
        }
        if self.version < field.nullable_from {
            return Err(GuardError::Null { field: field.name });
        }
        self.write_null(start);
        Ok(None)
    }

    /// Overwrites the length that was just read with null, in as many bytes as it had (C12).
    fn write_null(&mut self, start: usize) {
        let Some(bytes) = self.body.get_mut(start..self.at) else { return };
        if !self.flexible {
            bytes.fill(0xff);
        } else if let Some((last, padding)) = bytes.split_last_mut() {
            padding.fill(0x80);
            *last = 0;
        }
    }

    fn varint(&mut self, field: &'static str) -> Result<u32, GuardError> {
        let mut value = 0u32;
        for i in 0..VARINT_BYTES_MAX {
            let [byte] = self.take(field)?;
            value |= u32::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(GuardError::Varint { field })
    }

    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], GuardError> {
        let bytes = self.body.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).copied();
        let bytes = bytes.ok_or(GuardError::Cut { field, needed: N, remaining: self.remaining() })?;
        self.at += N;
        Ok(bytes)
    }

    fn skip(&mut self, field: &'static str, needed: usize) -> Result<(), GuardError> {
        let remaining = self.remaining();
        if needed > remaining {
            return Err(GuardError::Cut { field, needed, remaining });
        }
        self.at += needed;
        Ok(())
    }

    fn remaining(&self) -> usize {
        self.body.len().saturating_sub(self.at)
    }
}

/// How a length is encoded where the version is not flexible.
#[derive(Clone, Copy)]
enum LengthOf {
    String,
    Bytes,
    Array,
}

impl Kind {
    /// Fewest bytes that a value of this kind takes on the wire.
    pub(crate) fn bytes_min(self, version: i16, flexible: bool) -> usize {
        match self {
            Self::Bool | Self::I8 => 1,
            Self::I16 => 2,
            Self::I32 => 4,
            Self::I64 => 8,
            Self::Uuid => 16,
            Self::Str | Self::Bytes | Self::Many(_) if flexible => 1,
            Self::Str => 2,
            Self::Bytes | Self::Many(_) => 4,
            Self::One(shape) => {
                let there = shape.fields.iter().filter(|f| f.tag.is_none() && f.is_in(version));
                let fields: usize =
                    there.map(|f| if f.is_presence(version) { 1 } else { f.kind.bytes_min(version, flexible) }).sum();
                fields + usize::from(flexible)
            }
        }
    }

    /// Bytes of the decoded value itself, without what it points to.
    fn memory(self) -> usize {
        match self {
            Self::Bool | Self::I8 => 1,
            Self::I16 => 2,
            Self::I32 => 4,
            Self::I64 => 8,
            Self::Uuid => 16,
            Self::Str | Self::Bytes => size_of::<bytes::Bytes>(),
            Self::Many(_) => size_of::<Vec<u8>>(),
            Self::One(shape) => shape.memory,
        }
    }

    fn is_fixed(self) -> bool {
        match self {
            Self::Bool | Self::I8 | Self::I16 | Self::I32 | Self::I64 | Self::Uuid => true,
            Self::Str | Self::Bytes | Self::One(_) | Self::Many(_) => false,
        }
    }
}
