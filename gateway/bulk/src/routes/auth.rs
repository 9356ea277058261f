//! Whose files and jobs: the hash of the bearer token.
//!
//! No token is refused: this gateway has no list of them. A token (or an identity-aware proxy that sets one) only keeps callers apart, so that
//! another token's ids are 404. Without a token the owner is the one of the command line.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

use crate::Owner;

/// The owner of a request.
pub(super) fn owner(headers: &HeaderMap) -> Owner {
    let token = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty());
    match token {
        Some(token) => {
            let digest = Sha256::digest(token);
            Owner(format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
        }
        None => Owner::local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Owner {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        owner(&headers)
    }

    #[test]
    fn a_token_is_known_by_its_hash_alone() {
        let one = of("Bearer sk-one");
        assert!(one.0.starts_with("sha256:") && !one.0.contains("sk-one"));
        assert_eq!(one, of("bearer  sk-one"));
        assert_ne!(one, of("Bearer sk-two"));
        assert_eq!(of("Basic abc"), Owner::local());
        assert_eq!(owner(&HeaderMap::new()), Owner::local());
    }
}
