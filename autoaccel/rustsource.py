"""Whether Rust code is the source of an extension module: its content tells.

Lukewarm room: read when a ``.rs`` file or a crate of the right name lies in a searched directory and no manifest of it
is known.
"""

import sys

try:
    import posix as _os
except ImportError:  # Windows
    import nt as _os  # type: ignore[no-redef]

__all__ = ["MARKERS", "claims_crate", "claims_file", "defines_module", "has_template", "package_around", "read"]

#: What makes Rust code an extension module: PyO3's attribute (also in a `cfg_attr`), rust-cpython's macro, the C API's
#: function.
MARKERS = (
    b"#[pymodule",
    b"#[pyo3::pymodule",
    b"pyo3::pymodule]",
    b"pymodule)]",
    b"py_module_initializer!",
    b"PyInit_",
    b"PyInitU_",
    b"PyModExport_",
)

#: How a single file carries its manifest: RFC 3503, rust-script, rustimport.
_MANIFESTS = (b"---cargo", b"```cargo", b"//:")

_SEP = "\\" if sys.platform == "win32" else "/"


def claims_crate(manifest: str) -> bool:
    """Whether the library of the crate with this Cargo.toml is an extension module."""
    from .crates import read_crate

    crate = read_crate(manifest)
    if crate.library is None:
        return False
    text = read(crate.library)
    if defines_module(text) or has_template(text):
        return True
    # The library's root may only name the module that has the marker.
    return b"mod " in text and any(defines_module(read(path)) for path in _modules(crate.library.rpartition(_SEP)[0]))


def claims_file(path: str) -> bool:
    """Whether the ``.rs`` file is a module by itself; a file of a Cargo package is that package's."""
    text = read(path)
    return (defines_module(text) or has_manifest(text)) and package_around(path) is None


def defines_module(text: bytes) -> bool:
    """Whether Rust source defines an extension module; comments don't count."""
    if not any(word in text for word in MARKERS):
        return False
    return any(word in line.partition(b"//")[0] for line in _code(text).split(b"\n") for word in MARKERS)


def has_manifest(text: bytes) -> bool:
    """Whether Rust source carries a manifest of its own."""
    text = text.removeprefix(b"\xef\xbb\xbf")
    if has_template(text):
        return True
    if not any(word in text for word in _MANIFESTS) and not text.lstrip().startswith((b"---", b"#!")):
        return False
    from .toolchains.rustfile import manifest_block

    try:
        return manifest_block(text.decode("utf-8", "replace")) is not None
    except ValueError:
        return True  # and the build tells what is wrong with it


def has_template(text: bytes) -> bool:
    """Whether the first line asks for what a PyO3 module needs to be written for it, as rustimport does."""
    first = text.removeprefix(b"\xef\xbb\xbf").lstrip()[:80].partition(b"\n")[0]
    return first.startswith(b"//") and b"".join(first.split()).startswith(b"//rustimport:pyo3")


def package_around(path: str) -> "str | None":
    """The Cargo.toml of the package that a file belongs to: the first upwards, to the top of the project."""
    here = path.rpartition(_SEP)[0]
    while here:
        manifest = f"{here}{_SEP}Cargo.toml"
        # A workspace without a package of its own owns no files.
        if b"[package]" in read(manifest):
            return manifest
        if _os.access(f"{here}{_SEP}.git", 0):
            return None
        here = here.rpartition(_SEP)[0]
    return None


def read(path: str) -> bytes:
    """The content of a file; nothing where it can't be read."""
    try:
        descriptor = _os.open(path, _os.O_RDONLY | getattr(_os, "O_BINARY", 0))
    except (OSError, ValueError):
        return b""
    chunks = []
    try:
        while chunk := _os.read(descriptor, 1 << 20):
            chunks.append(chunk)
    except OSError:  # a directory
        return b""
    finally:
        _os.close(descriptor)
    return b"".join(chunks)


def _modules(folder: str, depth: int = 3) -> "list[str]":
    """The Rust files below a folder."""
    try:
        names = sorted(_os.listdir(folder))
    except OSError:
        return []
    found = [f"{folder}{_SEP}{name}" for name in names if name.endswith(".rs")]
    if depth:
        for name in names:
            if "." not in name and name != "target":
                found += _modules(f"{folder}{_SEP}{name}", depth - 1)
    return found


def _code(text: bytes) -> bytes:
    """Rust source without its block comments; those in string literals are rare enough."""
    while (start := text.find(b"/*")) >= 0:
        end = text.find(b"*/", start + 2)
        # The lines stay, so that nothing runs together.
        text = text[:start] + b"\n" + (text[end + 2 :] if end >= 0 else b"")
    return text
