//! Units in types.

/// Memory in MiB. AWS writes "MB" and means this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mebibytes(pub u32);

impl Mebibytes {
    /// Lambda memory that buys one vCPU. Source: AWS Lambda documentation, "Memory and computing power".
    pub const PER_VCPU: u32 = 1769;
    /// Smallest function memory.
    pub const LAMBDA_MIN: Self = Self(128);
    /// Largest function memory.
    pub const LAMBDA_MAX: Self = Self(10_240);

    /// CPU credit of a function of this size, in vCPUs.
    #[must_use]
    pub fn vcpus(self) -> f64 {
        f64::from(self.0) / f64::from(Self::PER_VCPU)
    }

    /// In GiB: what Lambda's "GB-second" multiplies with seconds.
    #[must_use]
    pub fn gibibytes(self) -> f64 {
        f64::from(self.0) / 1024.0
    }
}

impl std::fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} MiB", self.0)
    }
}
