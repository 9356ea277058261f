//! The search space: places, lattices, and errors that name the variable.

use optimizer_bayesopt::{Generator, SearchSpace, SpaceError, Variable};

fn mixed() -> SearchSpace {
    SearchSpace::new([
        ("batch", Variable::Integer { low: 1, high: 64, log: true }),
        ("processes", Variable::Integer { low: 1, high: 6, log: false }),
        ("memory", Variable::Ladder { rungs: vec![128.0, 512.0, 1769.0, 3538.0, 10_240.0] }),
        ("engine", Variable::Category { names: ["a", "b", "c"].map(String::from).to_vec() }),
        ("mode", Variable::Category { names: ["x", "y"].map(String::from).to_vec() }),
    ])
    .expect("the variables are sound")
}

#[test]
fn every_lattice_point_survives_encoding() {
    let space = mixed();
    let lattice = space.lattice(100_000).unwrap();
    assert_eq!(lattice.len(), 64 * 6 * 5 * 3 * 2);
    assert_eq!(space.size(), Some(11_520));
    assert_eq!(space.dimension(), 7);
    for point in &lattice {
        let encoded = space.encode(point).unwrap();
        assert!(encoded.iter().all(|x| (0.0..=1.0).contains(x)), "{point:?} {encoded:?}");
        assert_eq!(space.decode(&encoded).unwrap(), *point);
    }
    assert!(space.lattice(11_519).is_none());
}

#[test]
fn ratios_count_on_logarithmic_variables() {
    let space = mixed();
    let place = |batch: f64, memory: f64| space.encode(&[batch, 1.0, memory, 0.0, 0.0]).unwrap();
    assert!((place(8.0, 128.0)[0] - 0.5).abs() < 1e-12);
    assert!((place(1.0, 512.0)[2] - 4f64.ln() / 80f64.ln()).abs() < 1e-12);
}

#[test]
fn different_names_are_equally_far_apart() {
    let space = mixed();
    let at = |engine: f64| space.encode(&[1.0, 1.0, 128.0, engine, 0.0]).unwrap();
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
    for (a, b) in [(0.0, 1.0), (0.0, 2.0), (1.0, 2.0)] {
        assert!((distance(&at(a), &at(b)) - 1.0).abs() < 1e-12);
    }
}

#[test]
fn samples_and_decoded_points_belong_to_the_space() {
    let space = mixed();
    let mut generator = Generator::from_seed(4);
    for _ in 0..2_000 {
        space.check(&space.sample(&mut generator)).unwrap();
        let anywhere: Vec<f64> = (0..7).map(|_| 3.0 * generator.normal()).collect();
        space.check(&space.decode(&anywhere).unwrap()).unwrap();
    }
    space.check(&space.decode(&[f64::NAN; 7]).unwrap()).unwrap();
    space.check(&space.at_shares(&[1.0; 5])).unwrap();
    assert!(space.decode(&[0.0; 3]).is_err());
}

#[test]
fn neighbours_are_one_step_away() {
    let space = mixed();
    let neighbours = space.neighbours(&[1.0, 3.0, 1769.0, 1.0, 0.0]).unwrap();
    // One batch up, processes both ways, memory both ways, two engines, one mode.
    assert_eq!(neighbours.len(), 1 + 2 + 2 + 2 + 1);
    assert!(neighbours.iter().all(|point| space.check(point).is_ok()));
    let real = SearchSpace::new([("x", Variable::Real { low: 0.1, high: 10.0, log: true })]).unwrap();
    assert_eq!(real.neighbours(&[0.1]).unwrap().len(), 1);
    assert_eq!(real.size(), None);
    assert!(real.lattice(usize::MAX).is_none());
}

#[test]
fn faults_name_the_variable() {
    let fault = |variable| SearchSpace::new([("v", variable)]).unwrap_err().to_string();
    assert_eq!(
        fault(Variable::Ladder { rungs: vec![2.0, 1.0] }),
        "variable `v`: the rungs are not strictly ascending"
    );
    for variable in [
        Variable::Integer { low: 2, high: 1, log: false },
        Variable::Integer { low: 0, high: 1, log: true },
        Variable::Integer { low: i64::MIN, high: i64::MAX, log: false },
        Variable::Ladder { rungs: vec![] },
        Variable::Ladder { rungs: vec![f64::NAN] },
        Variable::Real { low: 1.0, high: 1.0, log: false },
        Variable::Real { low: 0.0, high: 1.0, log: true },
        Variable::Real { low: f64::NAN, high: 1.0, log: false },
        Variable::Category { names: vec![] },
        Variable::Category { names: vec!["a".into(), "a".into()] },
    ] {
        assert!(fault(variable).starts_with("variable `v`: "));
    }
    assert_eq!(SearchSpace::new(Vec::<(String, Variable)>::new()).unwrap_err(), SpaceError::Empty);
    let real = || Variable::Real { low: 0.0, high: 1.0, log: false };
    assert!(
        matches!(SearchSpace::new([("a", real()), ("a", real())]), Err(SpaceError::Duplicate { name }) if name == "a")
    );
    let space = mixed();
    let refused = space.encode(&[1.5, 1.0, 128.0, 0.0, 0.0]).unwrap_err();
    assert_eq!(refused.to_string(), "variable `batch` cannot be 1.5");
    assert!(space.check(&[1.0]).is_err());
}

#[test]
fn a_space_is_checked_when_it_is_read() {
    let space = mixed();
    let text = serde_json::to_string(&space).unwrap();
    assert_eq!(serde_json::from_str::<SearchSpace>(&text).unwrap(), space);
    let broken = text.replace("\"low\":1,\"high\":6", "\"low\":7,\"high\":6");
    assert!(serde_json::from_str::<SearchSpace>(&broken).unwrap_err().to_string().contains("processes"));
}
