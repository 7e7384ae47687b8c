"""Which init functions a library exports. ELF is read as its format says; of others, the names that stand in them."""

from __future__ import annotations

import re
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["init_functions", "makes", "undefined"]

_INIT = re.compile(rb"_?((?:PyInit|PyInitU|PyModExport|PyModExportU)_\w+)\Z")
_DYNSYM = 11
_GLOBAL_OR_WEAK = (1, 2)
_DEFAULT_OR_PROTECTED = (0, 3)


def init_functions(path: str) -> list[str]:
    """The names ``PyInit_…`` and ``PyModExport_…`` (PEP 489, PEP 793) that the library at ``path`` exports."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] == b"\x7fELF":
        names = _elf_symbols(data)
    else:
        names = re.findall(rb"\x00_?(Py(?:Init|ModExport)U?_\w+)(?=\x00)", data)
    return sorted({match[1].decode("ascii") for name in names if (match := _INIT.match(name))})


def makes(found: Collection[str], wanted: str) -> bool:
    """Whether one of these functions makes the module of the init function ``wanted``."""
    # PEP 793: from 3.15 on, PyModExport_x serves as well.
    return wanted in found or wanted.replace("PyInit", "PyModExport", 1) in found


def undefined(path: str) -> list[str]:
    """The symbols that the ELF library at ``path`` needs of others; none of weak ones, or of other formats."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] != b"\x7fELF":
        return []
    return [name.decode("ascii", "replace") for name, bind, _, where in _dynamic(data) if not where and bind == 1]


def _elf_symbols(data: bytes) -> list[bytes]:
    """Names of the defined, visible symbols of the dynamic symbol table."""
    return [
        name
        for name, bind, visibility, where in _dynamic(data)
        if where and bind in _GLOBAL_OR_WEAK and visibility in _DEFAULT_OR_PROTECTED
    ]


def _dynamic(data: bytes) -> list[tuple[bytes, int, int, int]]:
    """The dynamic symbol table: name, binding, visibility, and the section; of a torn file, nothing can be told."""
    try:
        return list(_read(data))
    except (struct.error, IndexError, ValueError):
        return []


def _read(data: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """As the format says (System V ABI, chapter 4)."""
    order = "<" if data[5] == 1 else ">"
    wide = data[4] == 2
    (table,) = struct.unpack_from(order + ("Q" if wide else "I"), data, 40 if wide else 32)
    size, count = struct.unpack_from(order + "HH", data, 58 if wide else 46)
    header = order + ("IIQQQQIIQQ" if wide else "10I")
    sections = [struct.unpack_from(header, data, table + index * size) for index in range(count)]
    for section in sections:
        if section[1] != _DYNSYM:
            continue
        start, length, link, entry = section[4], section[5], section[6], section[9]
        strings = sections[link][4]
        for at in range(start, start + length, entry):
            if wide:
                name, info, other, where = struct.unpack_from(order + "IBBH", data, at)
            else:
                name, _, _, info, other, where = struct.unpack_from(order + "IIIBBH", data, at)
            yield data[strings + name : data.index(b"\0", strings + name)], info >> 4, other & 3, where
