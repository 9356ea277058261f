//! The emulator alone, for trying and for the conformance script: `emulate [CONFIG]` serves until Ctrl-C. The product's
//! own command is `penstock emulate`.

use workers_emulator::EmulatorConfig;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = match std::env::args().nth(1) {
        Some(path) => EmulatorConfig::from_toml_file(path.as_ref())?,
        None => EmulatorConfig::default(),
    };
    workers_emulator::run(config, tokio::signal::ctrl_c()).await?;
    Ok(())
}
