//! The HTTP side: Open Inference Protocol v2 REST over an accept loop of our own.
//!
//! It reads, validates and writes; it decides nothing about batches. [`PublicApplication`] answers (its routes alone: [`public_router`]), [`serve`] runs
//! a listener.
//! Deliberately absent: TLS, authentication, metrics (see [`HttpTelemetry`]) and the admin routes.

mod accept;
mod application;
mod config;
mod errors;
mod health;
mod infer;
pub mod lines;
mod metadata;
pub mod openai;
mod openapi;
mod repository;
mod router;
mod state;
mod statistics;
mod telemetry;

pub use accept::{Application, Shutdown, serve};
pub use application::{PublicApplication, PublicFuture};
pub use config::HttpConfig;
pub use router::public_router;
pub use state::{HttpState, Readiness};
pub use telemetry::{HttpTelemetry, NoTelemetry, RequestRecord};
