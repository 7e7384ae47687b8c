"""A module that uses numba, read as text: what its names of numba's are, and its code with these names made lazy."""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import CodeType

__all__ = ["DECORATORS", "LAZY", "Module", "read"]

#: What makes a module one of numba's.
DECORATORS = ("jit", "njit", "vectorize", "guvectorize", "cfunc", "stencil", "jitclass")
#: The name by which rewritten code asks for a name of numba's; gone from the module when it has run.
LAZY = "__autoaccel_numba__"

#: Types and decorators: what a module may use of numba's when it is imported, without the real thing.
_LIGHT = frozenset(
    """njit jit numba types core decorators np ufunc experimental extending vectorize guvectorize cfunc stencil jitclass
    overload overload_method overload_attribute register_jitable
    void none boolean bool_ int_ intc intp uint uintc uintp byte char short int8
    int16 int32 int64 uint8 uint16 uint32 uint64 float_ double float32 float64 complex64 complex128 long_ longlong ulong
    ulonglong ushort uchar unicode_type string optional b1 i1 i2 i4 i8 u1 u2 u4 u8 f4 f8 c8 c16 Tuple UniTuple
    Array""".split()
)


@dataclass
class Module:
    """What the text of a module tells.

    Attributes:
        lazy: name in the module -> path of what it is in numba, for all that its top level imports from there.
        imports: these imports, as (module, name; ``""`` for the module itself).
        uses: the decorators of numba's that it mentions.
        heavy: what it uses of numba's while it is imported, or catches, that only numba itself can give.
        foreign: first line of a decorated function -> names in its signature that are not written out with numba's.
        tree: the syntax tree, for `code`.
    """

    tree: ast.Module
    lazy: dict[str, str] = field(default_factory=dict)
    imports: list[tuple[str, str]] = field(default_factory=list)
    uses: tuple[str, ...] = ()
    heavy: tuple[str, ...] = ()
    foreign: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def forget(self, paths: set[str]) -> None:
        """Take names out whose import from numba fails: in the module, they are something else."""
        self.lazy = {name: path for name, path in self.lazy.items() if path not in paths}
        self.foreign = dict(_signatures(self))

    def code(self, path: str, failing: Mapping[tuple[str, str], ImportError]) -> CodeType:
        """The module's code, with lazy objects in the place of its top-level imports from numba.

        Args:
            path: of its file.
            failing: of `imports`, those that fail, and how: who tries them goes on to something else.
        """
        tree = ast.fix_missing_locations(_Rewriter(failing).visit(self.tree))
        return compile(tree, path, "exec", dont_inherit=True)


def read(text: bytes, path: str) -> Module | None:
    """What there is of numba's in a module; None where it does not import numba at its top level.

    Raises:
        SyntaxError: it is no Python.
    """
    if b"numba" not in text:
        return None
    found = Module(ast.parse(text, path))
    star = False
    for node in _top_level(found.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "numba":
                    found.imports.append((alias.name, ""))
                    found.lazy[alias.asname or "numba"] = alias.name if alias.asname else "numba"
        elif isinstance(node, ast.ImportFrom) and _is_numba(node):
            star = star or any(alias.name == "*" for alias in node.names)
            found.imports += [(str(node.module), alias.name) for alias in node.names]
            found.lazy.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    if not found.lazy:
        return None
    words = {path.rpartition(".")[2] for path in found.lazy.values()}
    words |= {node.attr for node in ast.walk(found.tree) if isinstance(node, ast.Attribute)}
    found.uses = tuple(word for word in DECORATORS if word in words)
    heavy = {_full(node, found.lazy) for node in _run_at_import(found.tree) if _heavy(node, found.lazy)}
    heavy |= set(_caught(found))
    found.heavy = tuple(sorted(heavy | ({"import *"} if star else set())))
    found.foreign = dict(_signatures(found))
    return found


def _is_numba(node: ast.ImportFrom) -> bool:
    return node.level == 0 and (node.module or "").partition(".")[0] == "numba"


def _top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements that run when the module is imported, those in functions and classes left out."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        for child in ast.iter_child_nodes(waiting.pop()):
            if isinstance(child, ast.stmt):
                yield child
                if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    waiting.append(child)
            elif isinstance(child, ast.ExceptHandler | ast.match_case):
                waiting.append(child)


def _run_at_import(tree: ast.AST) -> Iterator[ast.expr]:
    """The names and attributes that are evaluated while the module is imported."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in (*child.decorator_list, *child.args.defaults, *filter(None, child.args.kw_defaults)):
                yield from _run_at_import(ast.Expr(part))
        elif isinstance(child, ast.Lambda):
            continue
        elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            # What stands in for a thing that numba does not have is not that thing.
            continue
        elif isinstance(child, ast.Attribute | ast.Name):
            yield child
            if isinstance(child, ast.Attribute) and not isinstance(child.value, ast.Name):
                yield from _run_at_import(ast.Expr(child.value))
        else:
            yield from _run_at_import(child)


def _heavy(node: ast.expr, lazy: dict[str, str]) -> bool:
    path = _full(node, lazy)
    if not path:
        return False
    return not path.startswith("numba.types.") and not set(path.split(".")) <= _LIGHT


def _caught(found: Module) -> Iterator[str]:
    """The exceptions of numba's that are caught anywhere: only a class can be."""
    for node in ast.walk(found.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            for one in node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]:
                if path := _full(one, found.lazy):
                    yield f"except {path}"


def _full(node: ast.expr, lazy: dict[str, str]) -> str:
    """The path in numba that a name or an attribute of one is, or ``""``; without what follows a type."""
    if isinstance(node, ast.Name):
        return lazy.get(node.id, "")
    if isinstance(node, ast.Attribute):
        inner = _full(node.value, lazy)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def _signatures(found: Module) -> Iterator[tuple[int, tuple[str, ...]]]:
    known = {*found.lazy, *dir(builtins)}
    for node in ast.walk(found.tree):
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            names: list[str] = []
            for decorator in node.decorator_list:
                # Somebody's own decorator may hold the signature.
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                names += [one.id for one in ast.walk(called) if isinstance(one, ast.Name) and one.id not in known]
                if isinstance(decorator, ast.Call):
                    given = [*decorator.args, *(one.value for one in decorator.keywords if one.arg == "signature")]
                    inner = (one for part in given for one in ast.walk(part) if isinstance(one, ast.Name))
                    names += [one.id for one in inner if one.id not in known]
            yield min(one.lineno for one in node.decorator_list), tuple(names)


class _Rewriter(ast.NodeTransformer):
    """Top-level imports from numba -> assignments of lazy objects; those in functions run when numba is there."""

    def __init__(self, failing: Mapping[tuple[str, str], ImportError]) -> None:
        self.failing = failing

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return node

    def visit_Import(self, node: ast.Import) -> list[ast.AST]:
        made: list[ast.AST] = []
        for alias in node.names:
            if alias.name.partition(".")[0] != "numba":
                made.append(ast.copy_location(ast.Import([alias]), node))
            else:
                path = alias.name if alias.asname else "numba"
                made.append(self._made(node, (alias.name, ""), alias.asname or "numba", path))
        return made

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.AST]:
        if not _is_numba(node) or any(alias.name == "*" for alias in node.names):
            return node
        return [
            self._made(node, (str(node.module), one.name), one.asname or one.name, f"{node.module}.{one.name}")
            for one in node.names
        ]

    def _made(self, node: ast.stmt, what: tuple[str, str], name: str, path: str) -> ast.AST:
        problem = self.failing.get(what)
        if problem is None:
            return _at(node, ast.Assign([ast.Name(name, ast.Store())], _call(LAZY, path)))
        return _at(node, ast.Raise(_call(type(problem).__name__, str(problem))))


def _call(name: str, text: str) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), [ast.Constant(text)], [])


def _at(node: ast.stmt, made: ast.stmt) -> ast.AST:
    for part in ast.walk(made):
        ast.copy_location(part, node)
    return made
