//! Who else wants Lambda's concurrency: each invocation of a job asks here first.

use std::future::Future;
use std::pin::Pin;

/// The right to run one invocation; dropping it gives it back.
pub type Permit = Box<dyn Send>;

/// A source of permits. On the command line nobody else is there ([`Unshared`]); inside a gateway live traffic goes first.
pub trait Capacity: Send + Sync + 'static {
    /// Waits for the right to run one invocation. Dropping the future gives up the place.
    fn permit(&self) -> Pin<Box<dyn Future<Output = Permit> + Send + '_>>;

    /// Told after each invocation whether Lambda throttled it.
    fn invoked(&self, was_throttled: bool) {
        let _ = was_throttled;
    }
}

/// No one else: the job's own parallelism is the only bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unshared;

impl Capacity for Unshared {
    fn permit(&self) -> Pin<Box<dyn Future<Output = Permit> + Send + '_>> {
        Box::pin(std::future::ready(Box::new(()) as Permit))
    }
}
