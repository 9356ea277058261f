//! Binary tensor data: checked against datatype and element count, and cut into items.

use bytes::Bytes;
use workers_protocol::Datatype;

/// Why bytes are no tensor. The texts follow the tensor's name in an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BadBytes {
    /// Fixed-size elements that need another number of bytes.
    Length { expected: u64, actual: u64 },
    /// Byte strings that end before or after their data.
    ByteStrings { element: u64, reason: &'static str },
    /// A BOOL that is neither 0 nor 1.
    Bool { element: usize },
}

impl std::fmt::Display for BadBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length { expected, actual } => {
                write!(f, "needs {expected} bytes for its shape and datatype, has {actual}")
            }
            Self::ByteStrings { element, reason } => write!(f, "element {element} {reason}"),
            Self::Bool { element } => write!(f, "element {element} is neither 0 nor 1"),
        }
    }
}

/// Checks the data of a tensor of `items` items with `elements` elements in all, and says where each item ends if their
/// sizes may differ (see `InputTensor::item_ends`).
pub(super) fn check(
    data: &Bytes,
    datatype: Datatype,
    items: u32,
    elements: u64,
) -> Result<Option<Box<[u32]>>, BadBytes> {
    let actual = u64::try_from(data.len()).unwrap_or(u64::MAX);
    let Some(size) = datatype.element_bytes() else {
        return byte_string_ends(data, items, elements / u64::from(items.max(1))).map(Some);
    };
    let expected = elements.saturating_mul(u64::try_from(size).unwrap_or(u64::MAX));
    if expected != actual {
        return Err(BadBytes::Length { expected, actual });
    }
    if datatype == Datatype::Bool
        && let Some(element) = data.iter().position(|&byte| byte > 1)
    {
        return Err(BadBytes::Bool { element });
    }
    Ok(None)
}

fn byte_string_ends(data: &[u8], items: u32, elements_per_item: u64) -> Result<Box<[u32]>, BadBytes> {
    // An element takes at least 4 bytes, so data bounds the memory asked for here. Without elements all items end at 0.
    let room = if elements_per_item == 0 { items as usize } else { (data.len() / 4 + 1).min(items as usize) };
    let mut ends = Vec::with_capacity(room);
    let mut position = 0_usize;
    for item in 0..u64::from(items) {
        for element in 0..elements_per_item {
            let cut = |reason| BadBytes::ByteStrings { element: item * elements_per_item + element, reason };
            let prefix = data.get(position..).and_then(|rest| rest.first_chunk::<4>());
            let length = u32::from_le_bytes(*prefix.ok_or_else(|| cut("is missing"))?) as usize;
            position = position
                .checked_add(4 + length)
                .filter(|&end| end <= data.len())
                .ok_or_else(|| cut("runs past the end of the data"))?;
        }
        ends.push(
            u32::try_from(position)
                .map_err(|_| BadBytes::ByteStrings { element: item, reason: "ends beyond 4 GiB" })?,
        );
    }
    if position != data.len() {
        let element = u64::from(items) * elements_per_item;
        return Err(BadBytes::ByteStrings { element, reason: "is more than the shape says" });
    }
    Ok(ends.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Bytes {
        let mut data = Vec::new();
        for text in texts {
            data.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
            data.extend_from_slice(text.as_bytes());
        }
        data.into()
    }

    #[test]
    fn byte_strings_are_cut_into_items() {
        let ends = check(&strings(&["a", "bcd", "", "ef"]), Datatype::Bytes, 2, 4).unwrap().unwrap();
        assert_eq!(&*ends, [12, 22]);
    }

    #[test]
    fn byte_strings_must_fill_their_data_exactly() {
        let whole = strings(&["abc", "de"]);
        assert!(check(&whole.slice(..whole.len() - 1), Datatype::Bytes, 2, 2).is_err(), "cut");
        assert!(check(&whole, Datatype::Bytes, 1, 1).is_err(), "too many");
        assert!(check(&whole, Datatype::Bytes, 3, 3).is_err(), "too few");
        let huge = Bytes::from_static(&[255, 255, 255, 255, 1]);
        assert!(check(&huge, Datatype::Bytes, 1, 1).is_err(), "length prefix beyond the data");
    }

    #[test]
    fn fixed_elements_must_have_their_size() {
        let data = Bytes::from_static(&[0; 16]);
        assert_eq!(check(&data, Datatype::Fp32, 2, 4), Ok(None));
        assert_eq!(check(&data, Datatype::Fp32, 1, 5), Err(BadBytes::Length { expected: 20, actual: 16 }));
        assert_eq!(
            check(&Bytes::from_static(&[0, 2]), Datatype::Bool, 1, 2),
            Err(BadBytes::Bool { element: 1 })
        );
    }
}
