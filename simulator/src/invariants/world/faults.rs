//! What goes wrong in a random world: nothing, one thing, or several at once.

use gateway_contract::{Mebibytes, ModelId};

use super::MEMORY;
use super::draw::Draw;
use crate::deployment::{Fault, FaultKind};
use crate::lambda::ThrottleReason;

pub(super) fn faults(draw: &mut Draw, seconds: f64, models: usize) -> Vec<Fault> {
    let count = *draw.pick(&[0, 1, 1, 2, 3, 6]);
    let mut faults = Vec::new();
    for _ in 0..count {
        let from_s = draw.between(0.0, seconds);
        let to_s = if draw.one_in(4) { seconds + 1_000.0 } else { draw.between(from_s, seconds) };
        let kind = kind(draw);
        let model = u16::try_from(draw.below(models as u64)).unwrap_or(0);
        let fault = Fault::new(from_s, to_s, kind);
        faults.push(if draw.one_in(2) { fault.of(ModelId(model)) } else { fault });
    }
    if draw.one_in(8) {
        faults.push(Fault::new(draw.between(0.3, 1.0) * seconds, seconds, FaultKind::Drain));
    }
    faults
}

fn kind(draw: &mut Draw) -> FaultKind {
    let share = if draw.one_in(4) { 1.0 } else { draw.log_between(0.01, 1.0) };
    let memory: Mebibytes = *draw.pick(&MEMORY);
    match draw.below(14) {
        0 => FaultKind::Slow(draw.log_between(0.2, 50.0)),
        1 => FaultKind::SlowAt(memory, draw.log_between(1.0, 50.0)),
        2 => FaultKind::NoReport,
        3 | 4 => FaultKind::Throttled(*draw.pick(&ThrottleReason::ALL)),
        5 => FaultKind::LostResponses { share },
        6 => FaultKind::FunctionErrors { share },
        7 => FaultKind::PartialFailures { share },
        8 => FaultKind::PoisonItems { share },
        9 => FaultKind::Unreachable,
        10 => FaultKind::RefusedAt(memory),
        11 => FaultKind::OutOfMemoryAbove { items: draw.count(0, 30) },
        12 => FaultKind::LargeAnswers(draw.log_between(1.0, 1_000.0)),
        _ => FaultKind::ColdStorm,
    }
}
