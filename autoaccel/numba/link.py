"""From what `emit` dumps to objects and a library: LLVM's and the linker's part, in a process without numba."""

from __future__ import annotations

import ctypes
import os
import shlex
from dataclasses import dataclass

from .. import compiler, process
from ..keys import config_var
from .emit import CONSTANTS, ENVIRONMENT, THREADS, TUPLE_STYLE, UNRESOLVED, NotNative

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .emit import Overload

__all__ = ["Native", "library", "machine", "native"]

#: Functions that take an exception's address: the runtime's own follow the variable, see aart.c.
_RENAMED = ("PyErr_SetString", "PyErr_SetObject", "PyErr_SetNone", "PyErr_Format", "PyNumber_AsSsize_t")
_THREADING = ("numba_parallel_for", "get_num_threads", "set_num_threads", "get_thread_id")
_RANDOM = ("numba_get_np_random", "numba_get_py_random", "numba_rnd")


@dataclass(frozen=True)
class Native:
    """An overload as an object file, and what its table row says.

    Attributes:
        symbol, types, flags, signature, pickled: see `emit.Overload`.
        environments: (symbol, pickled constants).
        unresolved: names that the table must give.
    """

    symbol: str
    types: bytes
    flags: int
    signature: str
    pickled: bytes
    environments: tuple[tuple[str, bytes], ...]
    unresolved: tuple[str, ...]


def machine(triple: str, cpu: str, features: str, level: int) -> Any:
    """LLVM's code generator for position-independent code."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=level, reloc="pic", codemodel="default"
    )


def native(told: Overload, target: Any, runtime: str) -> tuple[Native, bytes]:
    """The object of an overload.

    Raises:
        NotNative: it needs what the runtime does not have.
    """
    import llvmlite.binding as llvm

    module = llvm.parse_bitcode(told.bitcode)
    wrapper = None if told.flags & TUPLE_STYLE else llvm.parse_assembly(told.wrapper)
    # What nobody refers to would be dropped when modules are linked.
    for one in module.functions:
        if one.name in (told.main, told.wrapper) and not one.is_declaration:
            one.linkage = "external"
    if wrapper is not None:
        module.link_in(wrapper)
        for helper in told.helpers:
            module.link_in(llvm.parse_bitcode(helper), preserve=True)
    else:
        module.get_function(told.wrapper).name = told.symbol
    for one in module.functions:
        if one.is_declaration:
            continue
        if one.name in (told.symbol, told.main):
            one.linkage, one.visibility = "external", "hidden"
        elif one.linkage not in (llvm.Linkage.internal, llvm.Linkage.private):
            one.linkage = "internal"
    there = {one.name for one in module.functions}
    for name in there.intersection(_RENAMED):
        module.get_function(name).name = f"aart_{name}"
    _optimise(llvm, module, target, None if wrapper is None else told.symbol)
    flags = told.flags
    environments: list[tuple[str, bytes]] = []
    known = dict(told.environments)
    for variable in list(module.global_variables):
        if variable.name.startswith(ENVIRONMENT):
            constants = known[variable.name]
            # numba's names count within a process: two processes may mean different things by one.
            variable.name = f"aae_{told.symbol[4:]}_{len(environments)}"
            variable.visibility = "hidden"
            flags |= CONSTANTS if constants else 0
            environments.append((variable.name, constants))
    wanted = [one.name for one in module.functions if one.is_declaration]
    if any(name.startswith(_RANDOM) for name in wanted):
        raise NotNative("it draws random numbers, whose state is numba's")
    flags |= THREADS if any(name in _THREADING for name in wanted) else 0
    live = {one.name for one in module.global_variables}
    unresolved = tuple(name for name in told.unresolved if name in live)
    wanted += [one.name for one in module.global_variables if one.is_declaration and one.name not in unresolved]
    _available(wanted, runtime, {name for name, _ in environments})
    made = Native(told.symbol, told.types, flags, told.signature, told.pickled, tuple(environments), unresolved)
    return made, target.emit_object(module)


def _optimise(llvm: Any, module: Any, target: Any, wrapper: str | None) -> None:
    """Take out what is not needed; the rest is numba's work already, but for our wrapper."""
    options = llvm.create_pipeline_tuning_options(speed_level=0)
    builder = llvm.create_pass_builder(target, options)
    if wrapper is not None:
        full = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=3))
        full.getFunctionPassManager().run(module.get_function(wrapper), full)
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, builder)
    module.verify()


def _available(names: Sequence[str], runtime: str, inside: set[str]) -> None:
    libraries = [ctypes.CDLL(None), ctypes.CDLL(runtime), ctypes.CDLL("libm.so.6")]
    for name in names:
        if name.startswith("llvm.") or name in inside:
            continue
        if not any(hasattr(one, name) for one in libraries):
            raise NotNative(f"it needs {name}, which the runtime does not have")


def library(
    stem: str,
    functions: Sequence[tuple[str, int, dict[str, Any], Sequence[Native]]],
    note: bytes,
    objects: Sequence[str],
    runtime: str,
    workdir: str,
) -> tuple[str, str]:
    """Link a module's library; its path, and what the tools said.

    Args:
        stem: the last part of the module's name.
        functions: (qualified name, first line, `emit.function_row`, overloads).
        note: what the library tells Python.
        objects: paths of the overloads' objects.
        runtime: the runtime's path.
        workdir: where to write.

    Raises:
        NotNative: it can't be linked.
    """
    from ..csource import init_name

    with open(f"{workdir}/note", "wb") as file:
        file.write(note)
    with open(f"{workdir}/table.c", "w", encoding="utf-8") as file:
        file.write(_table(stem, init_name(stem), functions, f"{workdir}/note"))
    found = compiler.find("c", name=stem, path=f"{workdir}/table.c")
    path = f"{workdir}/{stem}{config_var('EXT_SUFFIX')}"
    here = os.path.join(os.path.dirname(__file__), "csrc")
    command = [*found.command, "-shared", "-fPIC", "-O1", "-w", f"-I{here}", f"{workdir}/table.c", *objects, runtime,
               "-lm", "-Wl,-z,now", "-Wl,--gc-sections", "-o", path]  # fmt: skip
    result = process.run(command, cwd=workdir, env=process.environment(), timeout=120)
    if result.status != 0:
        raise NotNative(f"the linker failed: {result.output.strip()[-2000:]}")
    return path, shlex.join(command) + "\n" + result.output


def _table(
    stem: str, init: str, functions: Sequence[tuple[str, int, dict[str, Any], Sequence[Native]]], note: str
) -> str:
    hidden = '__attribute__((visibility("hidden")))'
    everything = [one for *_, overloads in functions for one in overloads]
    environments = [pair for one in everything for pair in one.environments]
    lines = ['#include "aart.h"', "extern void *autoaccel_numba_module(const char *, const aa_module *);"]
    quoted = note.replace("\\", "\\\\").replace('"', '\\"')
    inner = quoted.replace("\\", "\\\\").replace('"', '\\"')
    marks = f'aa_note:\\n.incbin \\"{inner}\\"\\naa_note_end:\\n.byte 0\\n'
    names = ".hidden aa_note, aa_note_end\\n.global aa_note, aa_note_end\\n"
    lines += [
        f'__asm__(".section .rodata\\n{names}{marks}.previous\\n");',
        f"extern const unsigned char aa_note[] {hidden}, aa_note_end[] {hidden};",
    ]
    for place, (name, constants) in enumerate(environments):
        lines.append(f'extern void *env{place} __asm__("{name}") {hidden};')
        if constants:
            lines.append(f"static const unsigned char data{place}[] = {{{','.join(map(str, constants))}}};")
    rows = [
        f"{{&env{place}, {f'data{place}' if constants else '0'}, {len(constants)}}}"
        for place, (_, constants) in enumerate(environments)
    ]
    lines.append(f"static const aa_env envs[] = {{{', '.join([*rows, '{0, 0, 0}'])}}};")
    for place, name in enumerate(sorted({name for one in everything for name in one.unresolved})):
        target = name[len(UNRESOLVED) :]
        lines.append(f'extern char ut{place}[] __asm__("{target}") {hidden};')
        lines.append(f'void *uv{place} __asm__("{name}") {hidden} = ut{place};')
    index = 0
    entries = []
    for place, (name, line, row, overloads) in enumerate(functions):
        cells = []
        for one in overloads:
            lines.append(f"extern char {one.symbol}[] {hidden};")
            cells.append(f"{{{one.symbol}, {_bytes(one.types)}, {len(one.types)}, {one.flags}, {index}}}")
            index += 1
        lines.append(f"static const aa_overload overloads{place}[] = {{{', '.join(cells)}}};")
        words = "".join(f"{_bytes(word.encode())}, " for word in row["argnames"])
        lines.append(f"static const char *const names{place}[] = {{{words}0}};")
        masks = row["conversions"]
        if masks is not None:
            lines.append(f"static const unsigned masks{place}[] = {{{', '.join(f'{mask}u' for mask in [*masks, 0])}}};")
        entries.append(
            f"{{{_bytes(name.encode())}, {line}, {len(row['argnames'])}, {row['defaults']}, {len(overloads)}, "
            f"names{place}, overloads{place}, {f'masks{place}' if masks is not None else '0'}}}"
        )
    lines.append(f"static const aa_function functions[] = {{{', '.join(entries)}}};")
    lines.append(
        f"static const aa_module module = {{AA_ABI, {len(entries)}, functions, {len(environments)}, envs, "
        "aa_note, aa_note_end};"
    )
    visible = '__attribute__((visibility("default")))'
    lines.append(f"{visible} void *{init}(void) {{ return autoaccel_numba_module({_bytes(stem.encode())}, &module); }}")
    return "\n".join(lines) + "\n"


def _bytes(data: bytes) -> str:
    return '(const void *)"' + "".join(f"\\{byte:03o}" for byte in data) + '"'
