//! Makes a world that breaks a rule smaller while it still does, so that what is left is what matters.
//!
//! Rule: try to leave something out; keep what still breaks the rule; begin again until nothing can be left out, or the tries are used up.

use gateway_contract::ModelId;

use super::{Load, Steering, World, WorldModel};
use crate::deployment::{Account, SizeClass, SizeLaw};

/// Worlds tried before the smallest so far is good enough.
const MAX_TRIES: u32 = 400;

impl World {
    /// The smallest world found for which `breaks` holds, as it does for this one.
    #[must_use]
    pub fn shrink(self, breaks: impl Fn(&Self) -> bool) -> Self {
        let mut smallest = self;
        let mut tries = 0;
        loop {
            let mut found = None;
            for candidate in smaller(&smallest) {
                tries += 1;
                if tries > MAX_TRIES {
                    return smallest;
                }
                if breaks(&candidate) {
                    found = Some(candidate);
                    break;
                }
            }
            match found {
                Some(world) => smallest = world,
                None => return smallest,
            }
        }
    }
}

/// Worlds with one thing less, the largest things first.
fn smaller(world: &World) -> Vec<World> {
    let mut worlds = Vec::new();
    if world.models.len() > 1 {
        worlds.extend((0..world.models.len()).map(|at| without_model(world, at)));
    }
    if world.seconds > 0.05 {
        worlds.push(World { seconds: world.seconds / 2.0, ..world.clone() });
        worlds.push(World { seconds: world.seconds * 0.9, ..world.clone() });
    }
    for at in 0..world.faults.len() {
        let mut smaller = world.clone();
        smaller.faults.remove(at);
        worlds.push(smaller);
    }
    if world.account != Account::default() {
        worlds.push(World { account: Account::default(), ..world.clone() });
    }
    for at in 0..world.models.len() {
        for model in simpler(&world.models[at]) {
            let mut smaller = world.clone();
            smaller.models[at] = model;
            worlds.push(smaller);
        }
    }
    worlds
}

fn without_model(world: &World, at: usize) -> World {
    let mut smaller = world.clone();
    smaller.models.remove(at);
    let gone = ModelId(u16::try_from(at).unwrap_or(u16::MAX));
    smaller.faults.retain(|fault| fault.model != Some(gone));
    for model in smaller.faults.iter_mut().filter_map(|fault| fault.model.as_mut()) {
        model.0 -= u16::from(*model > gone);
    }
    smaller
}

fn simpler(model: &WorldModel) -> Vec<WorldModel> {
    let mut models = Vec::new();
    let mut add = |changed: WorldModel| {
        if changed != *model {
            models.push(changed);
        }
    };
    add(WorldModel { patience: None, ..model.clone() });
    add(WorldModel { request_timeout: None, ..model.clone() });
    add(WorldModel { reserved_concurrency: None, ..model.clone() });
    add(WorldModel { sizes: SizeLaw { items_pmf: vec![1.0], ..model.sizes.clone() }, ..model.clone() });
    let classes = model.sizes.classes.iter().take(1).copied().collect();
    add(WorldModel { sizes: SizeLaw { classes, ..model.sizes.clone() }, ..model.clone() });
    let classes = model.sizes.classes.iter().map(|class| SizeClass { priority: 0, ..*class }).collect();
    add(WorldModel { sizes: SizeLaw { classes, ..model.sizes.clone() }, ..model.clone() });
    if let Load::Poisson(rate) = model.load {
        if rate > 0.5 {
            add(WorldModel { load: Load::Poisson(rate / 2.0), ..model.clone() });
        }
    } else {
        add(WorldModel { load: Load::Poisson(20.0), ..model.clone() });
    }
    if let Steering::Plans(plans) = &model.steering {
        for at in 1..plans.len() {
            let mut fewer = plans.clone();
            fewer.remove(at);
            add(WorldModel { steering: Steering::Plans(fewer), ..model.clone() });
        }
        let mut calm = plans.clone();
        calm.iter_mut().for_each(|(_, plan)| (plan.canary, plan.hold_out) = (None, None));
        add(WorldModel { steering: Steering::Plans(calm), ..model.clone() });
    }
    models
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::FaultKind;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let is_broken =
            |world: &World| world.faults.iter().any(|it| matches!(it.kind, FaultKind::Unreachable));
        let found =
            (0..).map(World::generate).find(|it| is_broken(it) && it.faults.len() > 1 && it.models.len() > 1);
        let smallest = found.unwrap().shrink(is_broken);
        assert_eq!((smallest.models.len(), smallest.faults.len()), (1, 1));
        assert!(smallest.seconds <= 0.1);
        let model = &smallest.models[0];
        assert!(model.patience.is_none() && model.request_timeout.is_none());
        assert_eq!(model.sizes.classes.len(), 1);
    }

    #[test]
    fn faults_follow_their_model_when_another_one_goes() {
        let mut world = (0..).map(World::generate).find(|it| it.models.len() == 3).unwrap();
        let of = |model| crate::deployment::Fault::new(0.0, 1.0, FaultKind::NoReport).of(ModelId(model));
        world.faults = vec![of(0), of(1), of(2)];
        let models: Vec<_> = without_model(&world, 1).faults.iter().filter_map(|it| it.model).collect();
        assert_eq!(models, [ModelId(0), ModelId(1)]);
    }
}
