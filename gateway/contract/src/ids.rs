//! Identities. Plain numbers: what they stand for lives in the shell.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A model that this gateway serves: its position in the configuration.
    ModelId(u16)
);
id!(
    /// A request while it is in flight. Given by the shell, unique for the life of the process.
    RequestId(u64)
);
id!(
    /// One attempt to run a batch: a retry and each half of a bisection get their own. Given by the engine, ascending.
    BatchId(u64)
);
id!(
    /// A version of a model's serving plan, ascending.
    PlanRevision(u64)
);
