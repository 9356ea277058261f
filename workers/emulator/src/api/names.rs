//! Function references: a name, a name with a qualifier, a partial or a full ARN; and the names' rules. Pure.

use super::ApiError;

/// A function and, where given, one of its versions or aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FunctionRef {
    pub(crate) name: String,
    pub(crate) qualifier: Option<String>,
}

/// Longest function name.
const MAXIMUM_NAME: usize = 64;

/// Longest alias or qualifier.
const MAXIMUM_QUALIFIER: usize = 128;

impl FunctionRef {
    /// Parses the path element `text` (percent-decoded) together with the query's qualifier.
    ///
    /// # Errors
    /// `ValidationException` for a malformed name, `InvalidParameterValueException` for two different qualifiers.
    pub(crate) fn parse(text: &str, query_qualifier: Option<&str>) -> Result<Self, ApiError> {
        let malformed = || {
            let pattern = "Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}(-gov)?-[a-z]+-\\d{1}:)?\
                           (\\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?";
            ApiError::validation(text, "functionName", pattern)
        };
        let parts: Vec<&str> = text.split(':').collect();
        let (name, qualifier) = match parts.as_slice() {
            ["arn", _, "lambda", _, _, "function", rest @ ..]
            | [_, "function", rest @ ..]
            | ["function", rest @ ..] => split(rest).ok_or_else(malformed)?,
            rest => split(rest).ok_or_else(malformed)?,
        };
        if !is_name(name, MAXIMUM_NAME) {
            return Err(malformed());
        }
        for given in [qualifier, query_qualifier].into_iter().flatten() {
            check_qualifier(given)?;
        }
        match (qualifier, query_qualifier) {
            (Some(of_name), Some(of_query)) if of_name != of_query => Err(ApiError::invalid_parameter(
                "The derived qualifier from the function name does not match the specified qualifier.",
            )),
            _ => Ok(Self {
                name: name.to_owned(),
                qualifier: qualifier.or(query_qualifier).map(str::to_owned),
            }),
        }
    }

    /// The part of the invoked ARN after the function's own.
    pub(crate) fn arn_suffix(&self) -> String {
        self.qualifier.as_ref().map(|qualifier| format!(":{qualifier}")).unwrap_or_default()
    }
}

fn split<'a>(parts: &[&'a str]) -> Option<(&'a str, Option<&'a str>)> {
    match parts {
        [name] => Some((name, None)),
        [name, qualifier] => Some((name, Some(qualifier))),
        _ => None,
    }
}

/// Whether `text` is a name of letters, digits, `-` and `_`.
pub(crate) fn is_name(text: &str, longest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.len() <= longest && text.bytes().all(allowed)
}

fn check_qualifier(text: &str) -> Result<(), ApiError> {
    if text == "$LATEST" || is_name(text, MAXIMUM_QUALIFIER) {
        return Ok(());
    }
    let pattern = "Member must satisfy regular expression pattern: (|[a-zA-Z0-9$_-]+)";
    Err(ApiError::validation(text, "qualifier", pattern))
}

/// Checks the name of an alias: a name that is not a number.
///
/// # Errors
/// `ValidationException`.
pub(crate) fn check_alias(text: &str) -> Result<(), ApiError> {
    if is_name(text, MAXIMUM_QUALIFIER) && !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    let pattern = "Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)";
    Err(ApiError::validation(text, "name", pattern))
}

/// Undoes percent-encoding; bytes that are no UTF-8 are replaced.
pub(crate) fn percent_decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let (bytes, mut decoded, mut index) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(byte) = bytes.get(index) {
        let hex = bytes.get(index + 1..index + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match (byte, hex.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(value)) => {
                decoded.push(value);
                index += 3;
            }
            _ => {
                decoded.push(*byte);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The value of `name` in a query string.
pub(crate) fn query_value(query: Option<&str>, name: &str) -> Option<String> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| percent_decode(&value.replace('+', " ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_reference_is_understood() {
        let live = Some("live".to_owned());
        for (text, qualifier) in [
            ("fn", None),
            ("fn:live", live.clone()),
            ("arn:aws:lambda:us-east-1:000000000000:function:fn", None),
            ("arn:aws:lambda:us-east-1:000000000000:function:fn:live", live.clone()),
            ("000000000000:function:fn:live", live.clone()),
            ("fn:$LATEST", Some("$LATEST".to_owned())),
        ] {
            let expected = FunctionRef { name: "fn".to_owned(), qualifier };
            assert_eq!(FunctionRef::parse(text, None), Ok(expected), "{text}");
        }
    }

    #[test]
    fn malformed_and_contradicting_references_are_refused() {
        for text in ["", "a b", "fn:a:b:c", "fn:", &"x".repeat(65)] {
            assert!(FunctionRef::parse(text, None).is_err(), "{text}");
        }
        assert!(FunctionRef::parse("fn:live", Some("other")).is_err());
        assert!(FunctionRef::parse("fn:live", Some("live")).is_ok());
    }

    #[test]
    fn an_alias_is_not_a_number() {
        assert!(check_alias("live-2").is_ok());
        assert!(check_alias("12").is_err() && check_alias("a.b").is_err());
    }

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(percent_decode("fn%3A%24LATEST%"), "fn:$LATEST%");
        assert_eq!(query_value(Some("a=1&Qualifier=%24LATEST"), "Qualifier"), Some("$LATEST".to_owned()));
        assert_eq!(query_value(None, "a"), None);
    }
}
