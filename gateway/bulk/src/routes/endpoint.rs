//! What the lines of a job are: calls of one endpoint.

/// An endpoint whose calls a job may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/embeddings`: each line's body names the model, the same in all.
    Embeddings,
    /// `/v2/models/NAME/infer`
    Infer {
        /// NAME.
        model: String,
    },
}

impl Endpoint {
    /// Reads a path.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        if path == "/v1/embeddings" {
            return Some(Self::Embeddings);
        }
        let model = path.strip_prefix("/v2/models/")?.strip_suffix("/infer")?;
        let fits = !model.is_empty()
            && model.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        fits.then(|| Self::Infer { model: model.to_owned() })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Embeddings => "/v1/embeddings".to_owned(),
            Self::Infer { model } => format!("/v2/models/{model}/infer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_kinds_of_paths_are_endpoints() {
        for path in ["/v1/embeddings", "/v2/models/mini-lm.2/infer"] {
            assert_eq!(Endpoint::parse(path).unwrap().path(), path);
        }
        for path in ["/v1/chat/completions", "/v2/models//infer", "/v2/models/a/b/infer", "/v2/models/a", ""]
        {
            assert_eq!(Endpoint::parse(path), None, "{path}");
        }
    }
}
