"""What ``// rustimport:pyo3`` in the first line of a Rust source asks for: that its ``#[pymodule]`` is written."""

from __future__ import annotations

import re

from .. import rustsource

__all__ = ["PYO3", "asked", "module_for"]

#: The dependency, where the manifest has none.
PYO3 = "0.30"

#: What is no code, with strings: they may look like comments, and comments like them.
_NO_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|r(#*)".*?"\1|"(?:\\.|[^"\\])*"|\'(?:\\[^\n]*?|[^\\\'\n])\'', re.DOTALL)
_ATTRIBUTES = r"(?:\s*#\[(?:[^\[\]]|\[[^\[\]]*\])*\])*"
_ITEM = rf"#\[\s*(?:pyo3::)?{{}}\b(?:[^\[\]]|\[[^\[\]]*\])*\]{_ATTRIBUTES}\s*(?:pub\b\s*(?:\([^)]*\)\s*)?)?{{}}\s+(\w+)"
_FUNCTION = re.compile(_ITEM.format("pyfunction", r"(?:(?:async|unsafe|const)\s+)*fn"))
_CLASS = re.compile(_ITEM.format("pyclass", "(?:struct|enum)"))


def asked(text: str) -> bool:
    """Whether a Rust source wants its module written."""
    data = text.encode("utf-8", "surrogateescape")
    return rustsource.has_template(data) and not rustsource.defines_module(data)


def module_for(name: str, text: str) -> str:
    """The module of all functions and classes in the text, to stand at its end."""
    code = _NO_CODE.sub(lambda match: '""' if match[0][0] in "\"r'" else " ", text)
    lines = [
        *(f"    module.add_function(pyo3::wrap_pyfunction!({one}, module)?)?;" for one in _FUNCTION.findall(code)),
        *(f"    module.add_class::<{one}>()?;" for one in _CLASS.findall(code)),
    ]
    return (
        f"\n#[pyo3::pymodule]\nfn {name}(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {{\n"
        "    use pyo3::types::PyModuleMethods;\n" + "\n".join(lines) + "\n    Ok(())\n}\n"
    )
