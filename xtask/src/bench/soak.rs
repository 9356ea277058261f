//! Placeholder.
use crate::setup::Setup;
use anyhow::Result;
use std::path::Path;
#[derive(clap::Args)]
pub(crate) struct Arguments {}
pub(crate) fn run(_setup: &Setup, _arguments: &Arguments, _json: Option<&Path>) -> Result<()> {
    Ok(())
}
