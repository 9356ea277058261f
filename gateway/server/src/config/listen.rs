//! `[listen]`

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenConfig {
    /// Address of the inference protocol. Port 0 picks a free one. Default `127.0.0.1:8080`.
    #[schemars(with = "String")]
    pub public_address: SocketAddr,
    /// Address of metrics, health and configuration. Keep it off public networks: it has no authentication. Default `127.0.0.1:8081`.
    #[schemars(with = "String")]
    pub admin_address: SocketAddr,
    /// Unix socket over which a new process of the same user gets the listening sockets of the running one, so that an upgrade refuses no
    /// connection; relative to the configuration file. With systemd's socket units it is not needed. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hand_over: Option<PathBuf>,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            public_address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_address: SocketAddr::from(([127, 0, 0, 1], 8081)),
            hand_over: None,
        }
    }
}
