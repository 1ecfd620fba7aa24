//! How messages of our own travel: Kafka's flexible encoding, version 0. One list of fields per message gives the struct,
//! its encoder, its decoder and the shape that the guard walks, so that the three cannot disagree.
//!
//! Holds: reading takes no more memory than the bytes that remain can pay for, guarded or not; what is behind the known
//! fields of a structure (tagged fields of newer versions) is skipped. Numbers are big-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::TopicId;
use crate::guard::{Kind, STRING_BYTES_MAX};
use crate::vlsn::Vlsn;

/// Why bytes are no message, or a message has no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside of a field.
    #[error("the message ends inside a field that needs {needed} bytes: {remaining} remain")]
    Cut {
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that there are.
        remaining: usize,
    },
    /// Null where the field is never null.
    #[error("null where it is not allowed")]
    Null,
    /// A varint of more than five bytes.
    #[error("a varint of more than 5 bytes")]
    Varint,
    /// A string that is none.
    #[error("a string is not valid utf-8")]
    Utf8,
    /// A string or an array that cannot be written down.
    #[error("{what} of {length}, {limit} are allowed")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// How long.
        length: usize,
        /// The limit.
        limit: usize,
    },
}

/// A field, or the items of one.
pub(crate) trait Wire: Sized {
    /// What the guard takes it for.
    const KIND: Kind;
    /// Whether it may be null.
    const NULLABLE: bool = false;
    /// Bytes on the wire.
    fn size(&self) -> usize;
    fn write(&self, out: &mut BytesMut) -> Result<(), WireError>;
    fn read(from: &mut Bytes) -> Result<Self, WireError>;
}

macro_rules! numbers {
    ($($type:ty, $kind:ident, $get:ident, $put:ident;)*) => {
        $(impl Wire for $type {
            const KIND: Kind = Kind::$kind;
            fn size(&self) -> usize {
                size_of::<Self>()
            }
            fn write(&self, out: &mut BytesMut) -> Result<(), WireError> {
                out.$put(*self);
                Ok(())
            }
            fn read(from: &mut Bytes) -> Result<Self, WireError> {
                need(from, size_of::<Self>())?;
                Ok(from.$get())
            }
        })*
    };
}
numbers! {
    i8, I8, get_i8, put_i8;
    i16, I16, get_i16, put_i16;
    i32, I32, get_i32, put_i32;
    i64, I64, get_i64, put_i64;
    u64, I64, get_u64, put_u64;
}

impl Wire for bool {
    const KIND: Kind = Kind::Bool;
    fn size(&self) -> usize {
        1
    }
    fn write(&self, out: &mut BytesMut) -> Result<(), WireError> {
        out.put_u8(u8::from(*self));
        Ok(())
    }
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        need(from, 1)?;
        Ok(from.get_u8() != 0)
    }
}

impl Wire for Vlsn {
    const KIND: Kind = u64::KIND;
    fn size(&self) -> usize {
        self.0.size()
    }
    fn write(&self, out: &mut BytesMut) -> Result<(), WireError> {
        self.0.write(out)
    }
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        u64::read(from).map(Self)
    }
}

impl Wire for TopicId {
    const KIND: Kind = Kind::Uuid;
    fn size(&self) -> usize {
        self.0.len()
    }
    fn write(&self, out: &mut BytesMut) -> Result<(), WireError> {
        out.put_slice(&self.0);
        Ok(())
    }
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        let mut id = Self::ZERO;
        need(from, id.0.len())?;
        from.copy_to_slice(&mut id.0);
        Ok(id)
    }
}

/// A field with a length in front, which says null as well.
trait Long: Sized {
    const KIND: Kind;
    fn length(&self) -> usize;
    /// Bytes behind the length.
    fn rest_size(&self) -> usize;
    fn write_rest(&self, out: &mut BytesMut) -> Result<(), WireError>;
    fn read_rest(length: usize, from: &mut Bytes) -> Result<Self, WireError>;
}

impl Long for StrBytes {
    const KIND: Kind = Kind::Str;
    fn length(&self) -> usize {
        self.len()
    }
    fn rest_size(&self) -> usize {
        self.len()
    }
    fn write_rest(&self, out: &mut BytesMut) -> Result<(), WireError> {
        let (what, length, limit) = ("a string", self.len(), STRING_BYTES_MAX);
        if length > limit {
            return Err(WireError::TooLong { what, length, limit });
        }
        out.put_slice(self.as_bytes());
        Ok(())
    }
    fn read_rest(length: usize, from: &mut Bytes) -> Result<Self, WireError> {
        need(from, length)?;
        Self::from_utf8(from.split_to(length)).map_err(|_| WireError::Utf8)
    }
}

impl Long for Bytes {
    const KIND: Kind = Kind::Bytes;
    fn length(&self) -> usize {
        self.len()
    }
    fn rest_size(&self) -> usize {
        self.len()
    }
    fn write_rest(&self, out: &mut BytesMut) -> Result<(), WireError> {
        out.put_slice(self);
        Ok(())
    }
    fn read_rest(length: usize, from: &mut Bytes) -> Result<Self, WireError> {
        need(from, length)?;
        Ok(from.split_to(length))
    }
}

impl<T: Wire> Long for Vec<T> {
    const KIND: Kind = Kind::Many(&T::KIND);
    fn length(&self) -> usize {
        self.len()
    }
    fn rest_size(&self) -> usize {
        self.iter().map(Wire::size).sum()
    }
    fn write_rest(&self, out: &mut BytesMut) -> Result<(), WireError> {
        self.iter().try_for_each(|item| item.write(out))
    }
    fn read_rest(length: usize, from: &mut Bytes) -> Result<Self, WireError> {
        // No item is smaller than a byte, so a count that lies buys nothing (SE-01).
        let room = from.remaining() / T::KIND.bytes_min(0, true).max(1);
        if length > room {
            return Err(WireError::Cut { needed: length, remaining: from.remaining() });
        }
        let mut items = Self::with_capacity(length);
        for _ in 0..length {
            items.push(T::read(from)?);
        }
        Ok(items)
    }
}

macro_rules! longs {
    ($([$($generic:tt)*] $type:ty;)*) => {
        $(impl<$($generic)*> Wire for $type {
            const KIND: Kind = <Self as Long>::KIND;
            fn size(&self) -> usize {
                varint_size(length_word(Long::length(self))) + Long::rest_size(self)
            }
            fn write(&self, out: &mut BytesMut) -> Result<(), WireError> {
                write_long(Some(self), out)
            }
            fn read(from: &mut Bytes) -> Result<Self, WireError> {
                read_long(from)?.ok_or(WireError::Null)
            }
        }

        impl<$($generic)*> Wire for Option<$type> {
            const KIND: Kind = <$type as Long>::KIND;
            const NULLABLE: bool = true;
            fn size(&self) -> usize {
                self.as_ref().map_or(1, Wire::size)
            }
            fn write(&self, out: &mut BytesMut) -> Result<(), WireError> {
                write_long(self.as_ref(), out)
            }
            fn read(from: &mut Bytes) -> Result<Self, WireError> {
                read_long(from)
            }
        })*
    };
}
longs! {
    [] StrBytes;
    [] Bytes;
    [T: Wire] Vec<T>;
}

/// A length of null is 0, any other one more than it is.
fn length_word(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX - 1).saturating_add(1)
}

fn write_long<T: Long>(value: Option<&T>, out: &mut BytesMut) -> Result<(), WireError> {
    let Some(value) = value else {
        write_varint(0, out);
        return Ok(());
    };
    let (length, limit) = (value.length(), usize::try_from(i32::MAX).unwrap_or(usize::MAX) - 1);
    if length > limit {
        return Err(WireError::TooLong { what: "a field", length, limit });
    }
    write_varint(length_word(length), out);
    value.write_rest(out)
}

fn read_long<T: Long>(from: &mut Bytes) -> Result<Option<T>, WireError> {
    let Some(length) = read_varint(from)?.checked_sub(1) else { return Ok(None) };
    T::read_rest(usize::try_from(length).unwrap_or(usize::MAX), from).map(Some)
}

fn need(from: &Bytes, needed: usize) -> Result<(), WireError> {
    let remaining = from.remaining();
    if needed > remaining { Err(WireError::Cut { needed, remaining }) } else { Ok(()) }
}

fn varint_size(value: u32) -> usize {
    let bits = u32::BITS - value.leading_zeros();
    usize::try_from(bits.div_ceil(7).max(1)).unwrap_or(5)
}

fn write_varint(mut value: u32, out: &mut BytesMut) {
    loop {
        let [low, ..] = (value & 0x7f).to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.put_u8(low);
        }
        out.put_u8(low | 0x80);
    }
}

fn read_varint(from: &mut Bytes) -> Result<u32, WireError> {
    let mut value = 0u32;
    for i in 0..5 {
        let byte = u8::from_be_bytes(i8::read(from)?.to_be_bytes());
        value |= u32::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(WireError::Varint)
}

/// Ends a structure: no tagged fields.
pub(super) fn write_no_tags(out: &mut BytesMut) {
    out.put_u8(0);
}

/// Passes over the tagged fields at the end of a structure.
pub(super) fn skip_tags(from: &mut Bytes) -> Result<(), WireError> {
    for _ in 0..read_varint(from)? {
        read_varint(from)?;
        let size = usize::try_from(read_varint(from)?).unwrap_or(usize::MAX);
        need(from, size)?;
        from.advance(size);
    }
    Ok(())
}

/// Declares a message or a part of one from the list of its fields, in the order of the wire.
macro_rules! message {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Default, PartialEq, Eq)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $type,)*
            }

            impl $name {
                pub(crate) const SHAPE: &'static $crate::guard::Shape = &$crate::guard::shape::<Self>(&[
                    $($crate::guard::field(stringify!($field), <$type as Wire>::KIND)
                        .nullable_if(<$type as Wire>::NULLABLE),)*
                ]);
            }

            impl Wire for $name {
                const KIND: $crate::guard::Kind = $crate::guard::Kind::One(Self::SHAPE);
                fn size(&self) -> usize {
                    $(self.$field.size() +)* 1
                }
                fn write(&self, out: &mut bytes::BytesMut) -> Result<(), WireError> {
                    $(self.$field.write(out)?;)*
                    $crate::vlsn::wire::write_no_tags(out);
                    Ok(())
                }
                fn read(from: &mut bytes::Bytes) -> Result<Self, WireError> {
                    let message = Self { $($field: Wire::read(from)?,)* };
                    $crate::vlsn::wire::skip_tags(from)?;
                    Ok(message)
                }
            }
        )*
    };
}
pub(super) use message;
