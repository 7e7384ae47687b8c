//! `sample._native`: the part of the package that is Rust.

use pyo3::prelude::*;

/// A thousand times the sum of two integers.
#[pyfunction]
fn add_two(a: i32, b: i32) -> i64 {
    1000 * (i64::from(a) + i64::from(b))
}

/// PyO3 checks the arguments, and turns the result into a Python object.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(add_two, module)?)
}
