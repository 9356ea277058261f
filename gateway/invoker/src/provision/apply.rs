//! Doing what the plan says, and giving `$LATEST` its memory back whatever happens.

use gateway_contract::Mebibytes;

use super::api::{Failed, Published, Settled, told};
use super::sdk::Failure;
use super::{Action, AliasPlan, AliasState, FunctionPlan, Progress, ProvisionError, Provisioner};

/// Tries against somebody else's changes before giving up.
const TRIES: u32 = 3;

/// What became of a function's aliases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionReport {
    /// As configured.
    pub function: String,
    /// One for each wanted alias.
    pub rows: Vec<Row>,
    /// Largest memory that the account allows, where a refusal named it.
    pub memory_ceiling: Option<Mebibytes>,
    /// What ended the run early. A failure to restore `$LATEST` wins over what came before it.
    pub error: Option<ProvisionError>,
}

/// What became of an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub alias: String,
    /// Its memory.
    pub memory: Mebibytes,
    /// Its version, if it has one that fits.
    pub version: Option<u64>,
    /// What was done.
    pub result: RowResult,
}

/// What was done with an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowResult {
    /// Nothing: it was right.
    Unchanged,
    /// Made.
    Created,
    /// Pointed at another version.
    Updated,
    /// Not made: the account does not allow its memory.
    LeftOut,
    /// Not made: the run ended before.
    NotMade,
}

impl RowResult {
    /// One word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Created => "created",
            Self::Updated => "updated",
            Self::LeftOut => "left out",
            Self::NotMade => "not made",
        }
    }
}

/// Marks the versions that we published.
pub(super) fn description(memory: Mebibytes) -> String {
    format!("penstock {}", super::alias_name(memory))
}

type Watch<'a> = &'a (dyn Fn(Progress) + Send + Sync);

impl Provisioner {
    /// Makes the plan's aliases. Prunes nothing; that is [`Provisioner::prune`].
    pub async fn apply(&self, plan: &FunctionPlan, progress: Watch<'_>) -> FunctionReport {
        let function = &plan.state.function;
        let mut report = FunctionReport {
            function: function.clone(),
            rows: Vec::with_capacity(plan.aliases.len()),
            memory_ceiling: None,
            error: None,
        };
        // What `$LATEST` was last given, if not its own.
        let mut borrowed: Option<Mebibytes> = None;
        for alias in &plan.aliases {
            let row =
                |version, result| Row { alias: alias.alias.clone(), memory: alias.memory, version, result };
            if report.error.is_some() {
                report.rows.push(row(None, RowResult::NotMade));
                continue;
            }
            if let (Action::Point { version: None, .. }, Some(ceiling)) =
                (&alias.action, report.memory_ceiling)
                && alias.memory > ceiling
            {
                progress(left_out(function, alias.memory, Some(ceiling)));
                report.rows.push(row(None, RowResult::LeftOut));
                continue;
            }
            report.rows.push(match self.make(plan, alias, &mut borrowed, progress).await {
                Ok((version, result)) => row(Some(version), result),
                Err(ProvisionError::MemoryRefused { ceiling, .. }) => {
                    report.memory_ceiling = report.memory_ceiling.or(ceiling);
                    progress(left_out(function, alias.memory, ceiling));
                    row(None, RowResult::LeftOut)
                }
                Err(error) => {
                    report.error = Some(error);
                    row(None, RowResult::NotMade)
                }
            });
        }
        if let Some(found) = borrowed {
            let original = plan.state.latest_memory;
            match self.restore(plan, original).await {
                Ok(()) => progress(Progress::MemoryRestored { function: function.clone(), memory: original }),
                Err(source) => {
                    let (function, source) = (function.clone(), Box::new(source));
                    report.error = Some(ProvisionError::NotRestored { function, original, found, source });
                }
            }
        }
        report
    }

    /// One alias: its version, and what was done.
    async fn make(
        &self,
        plan: &FunctionPlan,
        alias: &AliasPlan,
        borrowed: &mut Option<Mebibytes>,
        progress: Watch<'_>,
    ) -> Result<(u64, RowResult), ProvisionError> {
        let (version, existing) = match &alias.action {
            Action::Keep { version } => return Ok((*version, RowResult::Unchanged)),
            Action::Point { version, existing } => (*version, existing),
        };
        self.go_on()?;
        let function = &plan.state.function;
        let version = match version {
            Some(version) => version,
            None => {
                let version = self.publish(plan, alias.memory, borrowed, progress).await?;
                let memory = alias.memory;
                progress(Progress::VersionPublished { function: function.clone(), version, memory });
                version
            }
        };
        // An alias must never point at a version that cannot serve yet.
        self.api.settled(function, Some(version)).await?;
        self.point(function, &alias.alias, version, existing.as_ref()).await?;
        let name = alias.alias.clone();
        progress(Progress::AliasPointed { function: function.clone(), alias: name, version });
        let result = if existing.is_some() { RowResult::Updated } else { RowResult::Created };
        Ok((version, result))
    }

    /// Publishes `$LATEST` with this memory. Revisions guard both steps: a change by somebody else in between is noticed.
    async fn publish(
        &self,
        plan: &FunctionPlan,
        memory: Mebibytes,
        borrowed: &mut Option<Mebibytes>,
        progress: Watch<'_>,
    ) -> Result<u64, ProvisionError> {
        let function = &plan.state.function;
        let mut noticed = String::new();
        for _ in 0..TRIES {
            let settled = self.settled_with(plan, memory, borrowed, progress).await?;
            match self.api.publish(function, &description(memory), &settled).await {
                Ok(Published { version, memory: found }) if found == Some(memory) => return Ok(version),
                Ok(published) => {
                    noticed = format!("version {} came out with other memory", published.version);
                }
                Err((_, Failure::WrongRevision(message))) => noticed = message,
                // Of the guards, the code's hash is refused as an invalid value.
                Err((_, Failure::Invalid(message))) => {
                    return Err(ProvisionError::Changed { function: function.clone(), message });
                }
                Err(failed) => return Err(told(function)(failed)),
            }
        }
        Err(ProvisionError::Changed { function: function.clone(), message: noticed })
    }

    /// `$LATEST` once it has this memory, and still the code that the plan was made for.
    async fn settled_with(
        &self,
        plan: &FunctionPlan,
        memory: Mebibytes,
        borrowed: &mut Option<Mebibytes>,
        progress: Watch<'_>,
    ) -> Result<Settled, ProvisionError> {
        let function = &plan.state.function;
        let mut noticed = "its memory was changed".to_owned();
        let mut is_ours = false;
        for _ in 0..TRIES {
            let settled = self.api.settled(function, None).await?;
            if settled.code_sha256 != plan.state.latest.code_sha256 {
                let message = "it has new code".to_owned();
                return Err(ProvisionError::Changed { function: function.clone(), message });
            }
            match (settled.failed_update.clone(), is_ours) {
                (None, _) if settled.memory == memory => return Ok(settled),
                (Some(message), true) => {
                    return Err(ProvisionError::UpdateFailed { function: function.clone(), message });
                }
                // An update of somebody else that failed before is no reason not to try ours.
                (_, _) => {}
            }
            progress(Progress::MemoryChanging { function: function.clone(), memory });
            // Noted before: an update whose answer is lost may have been done.
            let before = borrowed.replace(memory);
            match self.api.set_memory(function, memory, settled.revision_id.as_deref()).await {
                Ok(()) => is_ours = true,
                Err((_, Failure::WrongRevision(message))) => noticed = message,
                Err((operation, Failure::Invalid(message))) => {
                    *borrowed = before;
                    return Err(memory_refused(function, memory, &message)
                        .unwrap_or_else(|| Failure::Invalid(message).into_error(operation, function)));
                }
                Err(failed) => return Err(told(function)(failed)),
            }
        }
        Err(ProvisionError::Changed { function: function.clone(), message: noticed })
    }

    async fn point(
        &self,
        function: &str,
        alias: &str,
        version: u64,
        existing: Option<&AliasState>,
    ) -> Result<(), ProvisionError> {
        let pointed = match existing {
            Some(existing) => {
                let revision = existing.revision_id.as_deref();
                self.api.update_alias(function, alias, version, revision).await
            }
            None => self.api.create_alias(function, alias, version).await,
        };
        match pointed {
            Ok(()) => Ok(()),
            // Either somebody else was here, or our own call was done and its answer lost: see which.
            Err((_, Failure::Conflict(message) | Failure::WrongRevision(message))) => {
                let found = self.api.alias(function, alias).await.map_err(told(function))?;
                let is_done = found.version == version.to_string() && found.weighted.is_empty();
                let message = format!("{alias}: {message}");
                let changed = ProvisionError::Changed { function: function.to_owned(), message };
                if is_done { Ok(()) } else { Err(changed) }
            }
            Err(failed) => Err(told(function)(failed)),
        }
    }

    /// Gives `$LATEST` its memory back, also after a stop. Only from a memory of the ladder: another one is somebody else's.
    async fn restore(&self, plan: &FunctionPlan, original: Mebibytes) -> Result<(), ProvisionError> {
        let function = &plan.state.function;
        let api = self.api.unstoppable();
        let mut last: Option<Failed> = None;
        for _ in 0..TRIES {
            let settled = api.settled(function, None).await?;
            let is_ours = plan.aliases.iter().any(|alias| alias.memory == settled.memory);
            if settled.memory == original || !is_ours {
                return Ok(());
            }
            match api.set_memory(function, original, settled.revision_id.as_deref()).await {
                Ok(()) => {
                    api.settled(function, None).await?;
                    return Ok(());
                }
                Err(failed @ (_, Failure::WrongRevision(_))) => last = Some(failed),
                Err(failed) => return Err(told(function)(failed)),
            }
        }
        last.map_or(Ok(()), |failed| Err(told(function)(failed)))
    }
}

fn left_out(function: &str, memory: Mebibytes, ceiling: Option<Mebibytes>) -> Progress {
    Progress::LeftOut { function: function.to_owned(), memory, ceiling }
}

/// Whether a refused value is the memory, and the limit that AWS names: `'MemorySize' value failed to satisfy constraint: Member
/// must have value less than or equal to 3008`.
fn memory_refused(function: &str, memory: Mebibytes, message: &str) -> Option<ProvisionError> {
    let lower = message.to_ascii_lowercase();
    if !lower.contains("memorysize") {
        return None;
    }
    let number = lower.split_once("less than or equal to ").map(|(_, rest)| rest);
    let digits = number.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
    let ceiling = digits.and_then(|digits| digits.parse().ok()).map(Mebibytes);
    let (function, message) = (function.to_owned(), message.to_owned());
    Some(ProvisionError::MemoryRefused { function, memory, ceiling, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_is_read_from_the_refusal() {
        let text = "'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to 3008";
        let refused = memory_refused("f", Mebibytes(4096), text);
        assert!(
            matches!(refused, Some(ProvisionError::MemoryRefused { ceiling: Some(Mebibytes(3008)), .. })),
            "{refused:?}"
        );
        let unnamed = memory_refused("f", Mebibytes(4096), "MemorySize is not supported");
        assert!(matches!(unnamed, Some(ProvisionError::MemoryRefused { ceiling: None, .. })), "{unnamed:?}");
        assert_eq!(memory_refused("f", Mebibytes(4096), "'Timeout' value failed"), None);
    }
}
