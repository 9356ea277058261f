//! One helper around `std::sync::Mutex`. No locks of our own: the critical sections of this crate are a few
//! assignments long, and none of them is held across an `.await`.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, also after another holder panicked: every critical section here leaves its data consistent
/// between statements, so a poisoned lock carries no broken state.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
