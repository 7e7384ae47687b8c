//! `add_two(a, b)` with rust-cpython, which came before PyO3 and is no longer developed.

use cpython::{PyResult, Python, py_fn, py_module_initializer};

py_module_initializer!(sample, |py, module| {
    module.add(py, "__doc__", "rust-cpython turns a Rust function into a Python function.")?;
    module.add(py, "add_two", py_fn!(py, add_two(a: i32, b: i32)))
});

/// A thousand times the sum of two integers.
fn add_two(_: Python, a: i32, b: i32) -> PyResult<i64> {
    Ok(1000 * (i64::from(a) + i64::from(b)))
}
