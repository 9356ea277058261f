//! The physical floor: an item's CPU work at the price of a vCPU-second.
//!
//! Rule: 1,769 MiB buy one vCPU, so a vCPU-second costs what 1,769 MiB cost for a second. Work is what one more item adds to a large batch on one
//! vCPU: nothing that a batch shares, no fee, no rounding, no wait. No batching on Lambda can be cheaper.

use gateway_contract::Mebibytes;

use super::known::{Known, KnownPlace};

/// Memory that buys one vCPU.
const ONE_VCPU: Mebibytes = Mebibytes(1769);
/// Batches between which an item's work is the slope.
const SLOPE: (u32, u32) = (512, 1024);

/// Dollars per item that no plan can go below.
#[must_use]
pub fn physical_floor_usd(known: &Known) -> f64 {
    let place = KnownPlace { memory_mib: ONE_VCPU, process_count: 1 };
    let (few, many) = (known.billed(place, SLOPE.0).mean(), known.billed(place, SLOPE.1).mean());
    (many - few) / f64::from(SLOPE.1 - SLOPE.0) * known.usd_per_second(ONE_VCPU)
}
