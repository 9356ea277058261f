//! The OpenAI-compatible routes that are answered live: `/v1/embeddings` and `/v1/models`.
//!
//! An embedding call is one inference request like any other, of as many items as it has inputs: it goes through the same admission, and its
//! inputs may travel in different batches. Deliberately absent: token arrays as inputs (the tokenizer is the worker's), generation, and the
//! routes of jobs (`gateway-bulk`).

mod answer;
mod embeddings;
mod error;
mod model;
mod models;
mod request;
mod tokens;

pub use answer::write_embeddings;
pub(in crate::http) use embeddings::route as embeddings;
pub use error::OpenAiError;
pub use model::Embedder;
pub(in crate::http) use models::{list as list_models, one as one_model};
pub use request::{EmbeddingsRequest, Texts};
pub use tokens::TokenCounter;
