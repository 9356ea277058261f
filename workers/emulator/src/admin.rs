//! The emulator's own endpoints below `/_penstock/`: health, bill, sandboxes, fault script. Not part of the Lambda API.

use crate::faults::{FaultRule, FaultScript};
use crate::host::Host;
use crate::http_io::{Answer, Collected, collect, json};
use crate::metering::{vcpus, visible_cpus};
use crate::sync::lock;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json as object};
use std::sync::Arc;

/// Largest fault script, bytes.
const MAXIMUM_SCRIPT_BYTES: usize = 1 << 20;

/// Answers one request; `path` is what follows the prefix.
pub(crate) async fn handle(host: &Arc<Host>, path: &str, request: Request<Incoming>) -> Answer {
    let result = match (request.method().clone(), path) {
        (Method::GET, "health") => Ok(health(host)),
        (Method::GET, "bill") => {
            serde_json::to_value(host.ledger.bill(&host.config.prices)).map_err(|error| error.to_string())
        }
        (Method::GET, "sandboxes") => {
            let host = Arc::clone(host);
            // Reading the groups' files is blocking work.
            tokio::task::spawn_blocking(move || sandboxes(&host)).await.map_err(|error| error.to_string())
        }
        (Method::GET, "faults") => Ok(faults(host)),
        (Method::PUT, "faults") => put_faults(host, request).await,
        _ => {
            return json(StatusCode::NOT_FOUND, object!({ "error": "unknown path" }).to_string());
        }
    };
    match result {
        Ok(body) => json(StatusCode::OK, body.to_string()),
        Err(reason) => json(StatusCode::BAD_REQUEST, object!({ "error": reason }).to_string()),
    }
}

fn health(host: &Host) -> Value {
    object!({
        "status": "ok",
        "metering": host.meter.mechanism(),
        "cpu_scale": host.config.metering.cpu_scale,
        "quota_period_us": host.config.metering.quota_period_us,
        "functions": host.registry.all().iter().map(|function| function.name.clone()).collect::<Vec<_>>(),
    })
}

/// All sandboxes. `visible_cpus` is what an environment of this size sees on AWS and what the worker is told; the machine
/// may have fewer. `vcpus` is the granted share, before `cpu_scale`.
fn sandboxes(host: &Host) -> Value {
    let mut rows = Vec::new();
    for function in host.registry.all() {
        let in_flight = lock(&host.limits).in_flight(&function.name);
        for fleet in function.fleets() {
            for (sandbox, state) in fleet.sandboxes() {
                rows.push(object!({
                    "id": sandbox.id,
                    "function": function.name,
                    "version": fleet.version.version,
                    "memory_mib": fleet.version.memory_mib,
                    "vcpus": vcpus(fleet.version.memory_mib),
                    "visible_cpus": visible_cpus(fleet.version.memory_mib),
                    "state": state,
                    "process_id": sandbox.pid,
                    "runtime_api": sandbox.runtime_api,
                    "usage": sandbox.cell.usage(),
                    "function_in_flight": in_flight,
                }));
            }
        }
    }
    object!({ "sandboxes": rows })
}

fn faults(host: &Host) -> Value {
    host.with_faults(|script| {
        let rules: Vec<Value> = script
            .progress()
            .map(|(rule, matched, fired)| object!({ "rule": rule, "matched": matched, "fired": fired }))
            .collect();
        object!({ "faults": rules })
    })
}

/// Replaces the script: TOML with `[[fault]]` tables as in the configuration file, or JSON `{"fault": […]}`.
async fn put_faults(host: &Host, request: Request<Incoming>) -> Result<Value, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Script {
        #[serde(default)]
        fault: Vec<FaultRule>,
    }
    let body = match collect(request.into_body(), MAXIMUM_SCRIPT_BYTES).await {
        Ok(Collected::Whole(body, _)) => body,
        Ok(Collected::TooLarge { .. }) => return Err("the script is too large".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    let text = std::str::from_utf8(&body).map_err(|error| error.to_string())?;
    let script: Script = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).map_err(|error| error.to_string())?,
        false => toml::from_str(text).map_err(|error| error.to_string())?,
    };
    let count = script.fault.len();
    host.set_faults(FaultScript::new(script.fault));
    Ok(object!({ "rules": count }))
}
