//! The outer planets on their way around the sun: a simulation in small steps, the same as in plain.py.
//!
//! ```cargo
//! [dependencies]
//! pyo3 = "0.30"
//! ```

use pyo3::prelude::*;

#[derive(Clone, Copy)]
struct Body {
    place: [f64; 3],
    speed: [f64; 3],
    mass: f64,
}

const YEAR: f64 = 365.24;
const SUN: f64 = 4.0 * std::f64::consts::PI * std::f64::consts::PI;

/// Places in astronomical units, speeds in those per day, masses in suns.
const PLANETS: [([f64; 3], [f64; 3], f64); 4] = [
    (
        [4.841_431_442_464_72, -1.160_320_044_027_428_4, -0.103_622_044_471_123_11],
        [0.001_660_076_642_744_037, 0.007_699_011_184_197_404, -6.904_600_169_720_63e-5],
        0.000_954_791_938_424_326_6,
    ),
    (
        [8.343_366_718_244_58, 4.124_798_564_124_305, -0.403_523_417_114_321],
        [-0.002_767_425_107_268_624, 0.004_998_528_012_349_172, 2.304_172_975_737_639e-5],
        0.000_285_885_980_666_130_8,
    ),
    (
        [12.894_369_562_139_131, -15.111_151_401_698_631, -0.223_307_578_892_655_7],
        [0.002_964_601_375_647_616, 0.002_378_471_739_594_809_5, -2.965_895_685_402_375_6e-5],
        4.366_244_043_351_563e-5,
    ),
    (
        [15.379_697_114_850_917, -25.919_314_609_987_964, 0.179_258_772_950_371_18],
        [0.002_680_677_724_903_893_2, 0.001_628_241_700_382_423, -9.515_922_545_197_159e-5],
        5.151_389_020_466_115e-5,
    ),
];

/// The energy of the system after so many steps of a hundredth of a year.
#[pyfunction]
fn energy(py: Python<'_>, steps: usize) -> f64 {
    // Nothing here is Python's: other threads may go on meanwhile.
    py.detach(|| {
        let mut bodies = system();
        for _ in 0..steps {
            advance(&mut bodies, 0.01);
        }
        total(&bodies)
    })
}

fn system() -> [Body; 5] {
    let mut bodies = [Body { place: [0.0; 3], speed: [0.0; 3], mass: SUN }; 5];
    for (body, (place, speed, mass)) in bodies[1..].iter_mut().zip(PLANETS) {
        *body = Body { place, speed: speed.map(|part| part * YEAR), mass: mass * SUN };
    }
    // The sun moves so that the whole stands still.
    for axis in 0..3 {
        let pull: f64 = bodies[1..].iter().fold(0.0, |sum, body| sum + body.speed[axis] * body.mass);
        bodies[0].speed[axis] = -pull / SUN;
    }
    bodies
}

fn advance(bodies: &mut [Body; 5], time: f64) {
    for i in 0..bodies.len() {
        for j in i + 1..bodies.len() {
            let (way, square) = between(&bodies[i], &bodies[j]);
            let force = time / (square * square.sqrt());
            let (mine, theirs) = (bodies[i].mass, bodies[j].mass);
            for axis in 0..3 {
                bodies[i].speed[axis] -= way[axis] * theirs * force;
                bodies[j].speed[axis] += way[axis] * mine * force;
            }
        }
    }
    for body in bodies {
        for axis in 0..3 {
            body.place[axis] += time * body.speed[axis];
        }
    }
}

fn between(a: &Body, b: &Body) -> ([f64; 3], f64) {
    let [x, y, z] = [0, 1, 2].map(|axis| a.place[axis] - b.place[axis]);
    ([x, y, z], x * x + y * y + z * z)
}

fn total(bodies: &[Body; 5]) -> f64 {
    let mut sum = 0.0;
    for (i, body) in bodies.iter().enumerate() {
        let [x, y, z] = body.speed;
        sum += 0.5 * body.mass * (x * x + y * y + z * z);
        for other in &bodies[i + 1..] {
            sum -= body.mass * other.mass / between(body, other).1.sqrt();
        }
    }
    sum
}

/// A simulation that Python is too slow for.
#[pymodule]
fn planets(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(energy, module)?)
}
