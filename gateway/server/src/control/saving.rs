//! When learned state is written.

use std::time::Duration;

use gateway_contract::ModelId;
use optimizer_tuner::TunerState;
use tokio::time::Instant;

use super::decide::Input;
use super::task::ControlLoop;
use crate::driver::Invoke;

/// Learned state is written this often, if it changed.
pub(super) const SAVE_EVERY: Duration = Duration::from_secs(30);

impl<S: Invoke> ControlLoop<S> {
    /// Writes what was learned, where it changed.
    pub(super) async fn save_all(&mut self) {
        self.next_save = Instant::now() + SAVE_EVERY;
        if !self.claim.is_held() {
            return; // what is on the disk is another's
        }
        let changed: Vec<ModelId> =
            self.models.iter().filter(|(_, model)| model.is_changed).map(|(&id, _)| id).collect();
        for id in changed {
            self.take_turn(id, Input { wants_state: true, ..Input::default() }).await;
            let Some(model) = self.models.get_mut(&id) else { continue };
            model.is_changed = false;
            if let Some(state) = model.last_state.clone() {
                self.write(id, state).await;
            }
        }
        self.run_queued().await;
    }

    async fn write(&mut self, id: ModelId, state: TunerState) {
        let (Some(store), Some(model)) = (self.store.clone(), self.models.get(&id)) else {
            return;
        };
        let (stored, name) = (model.stored(state), model.steered.name.clone());
        let written = tokio::task::spawn_blocking(move || store.save(&stored)).await;
        let result = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        self.parts.catalogue.state_saves.with_label_values(&[label(result.is_ok())]).inc();
        match (result, &mut self.copy) {
            (Err(error), _) => {
                tracing::error!(model = %name, %error, "learned state was not written; it is tried again");
            }
            (Ok(bytes), Some(copy)) => {
                let (copies, of) = (self.parts.catalogue.state_copies.clone(), name.clone());
                copy.write(&name, bytes, move |copied| {
                    copies.with_label_values(&[label(copied.is_ok())]).inc();
                    if let Err(error) = copied {
                        tracing::warn!(model = %of, %error, "learned state was not copied; it is tried again with the next save");
                    }
                });
            }
            (Ok(_), None) => {}
        }
    }
}

const fn label(is_ok: bool) -> &'static str {
    if is_ok { "success" } else { "failure" }
}
