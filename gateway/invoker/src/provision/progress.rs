//! What provisioning does, step by step, for people who watch. Deliberately absent: where it is shown.

use std::fmt;

use gateway_contract::Mebibytes;

/// A step that is about to be done, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// `$LATEST` gets this memory.
    MemoryChanging {
        /// As configured.
        function: String,
        /// What it gets.
        memory: Mebibytes,
    },
    /// A version was published.
    VersionPublished {
        /// As configured.
        function: String,
        /// Its number.
        version: u64,
        /// Its memory.
        memory: Mebibytes,
    },
    /// An alias points at this version now.
    AliasPointed {
        /// As configured.
        function: String,
        /// Its name.
        alias: String,
        /// Its version.
        version: u64,
    },
    /// The account does not allow this size.
    LeftOut {
        /// As configured.
        function: String,
        /// The size.
        memory: Mebibytes,
        /// The largest that is allowed, where AWS named it.
        ceiling: Option<Mebibytes>,
    },
    /// `$LATEST` has its own memory again.
    MemoryRestored {
        /// As configured.
        function: String,
        /// What it had before.
        memory: Mebibytes,
    },
    /// An alias is gone.
    AliasDeleted {
        /// As configured.
        function: String,
        /// Its name.
        alias: String,
    },
    /// A version is gone.
    VersionDeleted {
        /// As configured.
        function: String,
        /// Its number.
        version: u64,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MemoryChanging { function, memory } => {
                write!(f, "{function}: giving `$LATEST` {memory} and waiting until it is in force")
            }
            Self::VersionPublished { function, version, memory } => {
                write!(f, "{function}: published version {version} with {memory}")
            }
            Self::AliasPointed { function, alias, version } => {
                write!(f, "{function}: {alias} points at version {version}")
            }
            Self::LeftOut { function, memory, ceiling } => {
                write!(f, "{function}: {memory} is left out: this account does not allow it")?;
                ceiling.map_or(Ok(()), |ceiling| write!(f, " (its limit is {ceiling})"))
            }
            Self::MemoryRestored { function, memory } => {
                write!(f, "{function}: `$LATEST` has its {memory} again")
            }
            Self::AliasDeleted { function, alias } => write!(f, "{function}: deleted alias {alias}"),
            Self::VersionDeleted { function, version } => write!(f, "{function}: deleted version {version}"),
        }
    }
}
