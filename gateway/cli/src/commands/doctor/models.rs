//! Each model's function: whether what the plan names is there, is one and the same worker, and answers.

use std::collections::BTreeMap;
use std::time::Instant;

use gateway_contract::Rung;
use gateway_invoker::inspect::{Inspector, NoWorker, call};
use gateway_invoker::provision::{
    AccountLimits, FunctionState, ProvisionError, PublishedVersion, alias_name,
};
use gateway_invoker::{InvokeError, LambdaInvoker, RefusedCause};
use gateway_server::config::{Loaded, ModelSettings};

use super::access::advice_on;
use super::finding::{Findings, Level};

const PROVISION: &str = "run `penstock provision`";
const DEPLOY: &str = "deploy the worker of this build, then run `penstock provision`";

/// Looks at a model's function and the aliases that may be chosen.
pub(super) async fn look(
    inspector: &Inspector,
    loaded: &Loaded,
    model: &ModelSettings,
    limits: Option<AccountLimits>,
    findings: &mut Findings,
) {
    let check = format!("models.{}.function", model.name);
    let state = match inspector.function(&model.function).await {
        Ok(state) => state,
        Err(error) => {
            // The gateway's own role need not look, only invoke.
            let is_denied = matches!(error, ProvisionError::Denied { .. });
            let level = if is_denied { Level::Warning } else { Level::Problem };
            return findings.add(check, level, error.to_string(), advice_on(&error));
        }
    };
    findings.ok(
        check,
        format!("`{}`: {} versions, {} aliases", model.function, state.versions.len(), state.aliases.len()),
    );
    architecture(model, &state, findings);
    timeout(loaded, model, &state, findings);
    concurrency(model, &state, limits, findings);
    let mut codes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for rung in &model.plan.rungs {
        if rung.qualifier.is_empty() {
            continue; // $LATEST, which was read
        }
        if let Some(version) = alias(inspector, model, &state, rung, Level::Problem, findings).await {
            codes.entry(version.content.code_sha256.clone()).or_default().push(rung.qualifier.clone());
        }
    }
    if model.policy.policy.chooses() {
        for &memory in &model.policy.bounds.memory_mib {
            let qualifier = alias_name(memory);
            if model.plan.rungs.iter().any(|rung| rung.memory_mib == memory) {
                continue;
            }
            let rung = Rung { max_items: 1, qualifier, memory_mib: memory, process_count: 1 };
            if let Some(version) = alias(inspector, model, &state, &rung, Level::Warning, findings).await {
                codes.entry(version.content.code_sha256.clone()).or_default().push(rung.qualifier);
            }
        }
    }
    same_code(model, &codes, findings);
}

fn architecture(model: &ModelSettings, state: &FunctionState, findings: &mut Findings) {
    let (check, ours) = (format!("models.{}.architecture", model.name), model.architecture.name());
    let theirs = state.latest.architectures();
    if theirs.is_empty() || theirs.iter().any(|name| name == ours) {
        return findings.ok(check, ours.to_owned());
    }
    let theirs = theirs.join(", ");
    let text = format!("the function is {theirs}, and is counted at the price of {ours}");
    findings.problem(check, text, format!("set `models.{}.architecture = \"{theirs}\"`", model.name));
}

fn timeout(loaded: &Loaded, model: &ModelSettings, state: &FunctionState, findings: &mut Findings) {
    let ours = loaded.settings.invoker.invoke_timeout;
    let Some(theirs) = state.latest.timeout_seconds() else { return };
    if ours.as_secs() < u64::from(theirs) {
        findings.warning(
            format!("models.{}.timeout", model.name),
            format!("the function may run for {theirs} s, and is given up after {} ms", ours.as_millis()),
            format!(
                "set `aws.invoke_timeout_ms` above {}: what is cut off here has run and is billed",
                u64::from(theirs) * 1000
            ),
        );
    }
}

fn concurrency(
    model: &ModelSettings,
    state: &FunctionState,
    limits: Option<AccountLimits>,
    findings: &mut Findings,
) {
    let Some(limits) = limits else { return };
    let (has, wanted) = (limits.of_function(state.reserved_concurrency), model.plan.max_in_flight);
    let check = format!("models.{}.concurrency", model.name);
    if wanted > has {
        let advice = "lower it, raise the function's reserved concurrency, or ask AWS for more";
        findings.warning(
            check,
            format!("`max_in_flight` is {wanted}, the function has {has} sandboxes at most"),
            advice,
        );
    } else {
        findings.ok(check, format!("{has} sandboxes at most, {wanted} wanted"));
    }
}

/// Looks at the version behind a rung's alias; gives it if it is there.
async fn alias<'a>(
    inspector: &Inspector,
    model: &ModelSettings,
    state: &'a FunctionState,
    rung: &Rung,
    missing: Level,
    findings: &mut Findings,
) -> Option<&'a PublishedVersion> {
    let (name, check) = (&rung.qualifier, format!("models.{}.alias.{}", model.name, rung.qualifier));
    let number = match (state.aliases.get(name), name.parse::<u64>()) {
        (Some(alias), _) => alias.version.parse::<u64>().ok(),
        (None, Ok(version)) => Some(version), // a plan may name a version instead
        (None, Err(_)) => {
            let effect =
                if missing == Level::Problem { "the plan needs it" } else { "its size is never chosen" };
            findings.add(
                check,
                missing,
                format!("`{}` has no alias `{name}`; {effect}", model.function),
                PROVISION,
            );
            return None;
        }
    };
    let version = number.and_then(|number| state.versions.iter().find(|version| version.version == number));
    let Some(version) = version else {
        let at = number
            .map_or_else(|| "$LATEST".to_owned(), |number| format!("version {number}, which is not there"));
        findings.problem(check, format!("`{name}` points at {at}"), PROVISION);
        return None;
    };
    if version.memory != rung.memory_mib {
        findings.problem(
            check,
            format!("`{name}` has {}, the plan counts on {}", version.memory, rung.memory_mib),
            format!("{PROVISION}, or mend the plan's memory: costs and times are those of another size"),
        );
    } else if let Err(error) = inspector.is_active(&model.function, version.version).await {
        findings.problem(check, error.to_string(), "wait until it is active, or see why it failed");
    } else {
        findings.ok(check, format!("version {}, {}", version.version, version.memory));
    }
    Some(version)
}

fn same_code(model: &ModelSettings, codes: &BTreeMap<String, Vec<String>>, findings: &mut Findings) {
    if codes.len() < 2 {
        return;
    }
    let each: Vec<String> = codes
        .iter()
        .map(|(sha, aliases)| format!("{} run {}", aliases.join(", "), sha.get(..8).unwrap_or(sha)))
        .collect();
    findings.problem(
        format!("models.{}.code", model.name),
        format!("its aliases run different code: {}", each.join("; ")),
        format!("{PROVISION} after each deployment: a switch of memory would change the answers"),
    );
}

/// Calls each alias of the plan with no items.
pub(super) async fn invoke(invoker: &LambdaInvoker, model: &ModelSettings, findings: &mut Findings) {
    for rung in &model.plan.rungs {
        let name = if rung.qualifier.is_empty() { "$LATEST" } else { &rung.qualifier };
        let check = format!("models.{}.answer.{name}", model.name);
        let names = (model.manifest.name.as_str(), model.manifest.version.as_str());
        let began = Instant::now();
        let called = call(invoker, &model.function, &rung.qualifier, names, rung.process_count).await;
        let took = began.elapsed().as_millis();
        match called {
            Ok(metering) => {
                let start = metering.init.map_or_else(String::new, |init| {
                    format!(", with a cold start of {} ms", init.as_millis())
                });
                findings.ok(check, format!("the worker answered in {took} ms{start}"));
            }
            Err(error @ NoWorker::OtherProtocol(_)) => findings.problem(check, error.to_string(), DEPLOY),
            Err(error @ NoWorker::Foreign(_)) => {
                findings.problem(check, error.to_string(), "see what the function runs");
            }
            Err(NoWorker::Invocation(error)) => findings.problem(check, error.to_string(), advice(&error)),
        }
    }
}

fn advice(error: &InvokeError) -> &'static str {
    match error {
        InvokeError::Refused { cause: RefusedCause::NotFound, .. } => PROVISION,
        InvokeError::Refused { cause: RefusedCause::ProtocolMismatch, .. } => DEPLOY,
        InvokeError::Refused { cause: RefusedCause::ModelMismatch, .. } => {
            "the function has another model than the manifest: deploy it, or mend `manifest`"
        }
        InvokeError::Refused { cause: RefusedCause::AccessDenied, .. } => {
            "allow lambda:InvokeFunction on the function's aliases"
        }
        InvokeError::Refused { .. } => "see the message, and the function's state in AWS's console",
        InvokeError::Throttled { .. } => "the account is busy; raise its concurrency if that is so for long",
        InvokeError::Function { .. } => "see the function's log",
        InvokeError::Unreachable { .. } => "look at `aws.endpoint_url`, the region and the route to it",
        InvokeError::Unknown { .. }
        | InvokeError::RequestTooLarge { .. }
        | InvokeError::ResponseTooLarge { .. } => "see the function's log and its time-out",
    }
}
