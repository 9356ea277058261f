//! How a JSON value becomes the little-endian bytes of one tensor element, per datatype. Strict: nothing is rounded to fit.

/// Why a value is no element of a datatype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// Another kind of value.
    Kind,
    /// The right kind, beyond what the datatype holds.
    Range,
}

/// A datatype that JSON can carry. Each method appends one element; what a datatype does not override, it does not take.
pub(super) trait Element {
    /// What a value must be, for error texts.
    const EXPECTED: &'static str;

    fn put_u64(_out: &mut Vec<u8>, _value: u64) -> Result<(), Misfit> {
        Err(Misfit::Kind)
    }

    fn put_i64(_out: &mut Vec<u8>, _value: i64) -> Result<(), Misfit> {
        Err(Misfit::Kind)
    }

    fn put_f64(_out: &mut Vec<u8>, _value: f64) -> Result<(), Misfit> {
        Err(Misfit::Kind)
    }

    fn put_bool(_out: &mut Vec<u8>, _value: bool) -> Result<(), Misfit> {
        Err(Misfit::Kind)
    }

    fn put_str(_out: &mut Vec<u8>, _value: &str) -> Result<(), Misfit> {
        Err(Misfit::Kind)
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Element for $type {
            const EXPECTED: &'static str = "an integer";

            #[inline]
            fn put_u64(out: &mut Vec<u8>, value: u64) -> Result<(), Misfit> {
                out.extend_from_slice(&<$type>::try_from(value).map_err(|_| Misfit::Range)?.to_le_bytes());
                Ok(())
            }

            #[inline]
            fn put_i64(out: &mut Vec<u8>, value: i64) -> Result<(), Misfit> {
                out.extend_from_slice(&<$type>::try_from(value).map_err(|_| Misfit::Range)?.to_le_bytes());
                Ok(())
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, i8, i16, i32, i64);

impl Element for f32 {
    const EXPECTED: &'static str = "a number";

    #[inline]
    fn put_u64(out: &mut Vec<u8>, value: u64) -> Result<(), Misfit> {
        Self::put_f64(out, value as f64)
    }

    #[inline]
    fn put_i64(out: &mut Vec<u8>, value: i64) -> Result<(), Misfit> {
        Self::put_f64(out, value as f64)
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to the nearest single is what FP32 means; overflow is checked"
    )]
    fn put_f64(out: &mut Vec<u8>, value: f64) -> Result<(), Misfit> {
        let single = value as Self;
        if !single.is_finite() {
            return Err(Misfit::Range);
        }
        out.extend_from_slice(&single.to_le_bytes());
        Ok(())
    }
}

impl Element for f64 {
    const EXPECTED: &'static str = "a number";

    #[inline]
    fn put_u64(out: &mut Vec<u8>, value: u64) -> Result<(), Misfit> {
        Self::put_f64(out, value as Self)
    }

    #[inline]
    fn put_i64(out: &mut Vec<u8>, value: i64) -> Result<(), Misfit> {
        Self::put_f64(out, value as Self)
    }

    #[inline]
    fn put_f64(out: &mut Vec<u8>, value: f64) -> Result<(), Misfit> {
        out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }
}

impl Element for bool {
    const EXPECTED: &'static str = "`true` or `false`";

    fn put_bool(out: &mut Vec<u8>, value: bool) -> Result<(), Misfit> {
        out.push(u8::from(value));
        Ok(())
    }
}

/// A byte string: its length as `u32`, then its bytes.
pub(super) struct ByteString;

impl Element for ByteString {
    const EXPECTED: &'static str = "a string";

    fn put_str(out: &mut Vec<u8>, value: &str) -> Result<(), Misfit> {
        let length = u32::try_from(value.len()).map_err(|_| Misfit::Range)?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }
}
