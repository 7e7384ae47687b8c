"""Take a generated C file apart: what its author wrote, and what Cython writes into every module.

Three quarters of the time that a compiler spends on a small module go into functions of Cython's own, which
are the same in the next module. They can be compiled once, if three things hold:

* A function is used again only where all that its compilation reads is the same. Its key covers its text after the
  preprocessor and, transitively, each type, prototype and inline function that it names, and all of `Python.h`.
* What differs between modules is reached by symbols. Cython's functions name fields of the module's state, and the
  author's half says where these are (`_aa_f…` is a field, `_aa_s…` an element of one of its tables). Other variables
  become hidden symbols under their own names.
* A function's symbol ends in its key, so that two versions of it never meet.

Whatever does not fit these rules stays in the author's half.

What a half and a part say of types, prototypes and inline functions is what they read: nineteen of twenty lines of
`Python.h` are not. Modules of one process have most of their text in common; what was found out of it is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import dataclass, replace
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

__all__ = ["RULE", "Split", "Unsplittable", "prefix_of", "prepare", "read_text", "split", "write_text"]

#: Texts of which something is remembered.
_REMEMBERED = 1 << 14

#: To be changed when the same input gives another output; part of keys.
RULE = "2"

_HIDDEN = '__attribute__((visibility("hidden")))'
#: Two parts may have the same function; then the linker takes the first. Nothing else calls a copy of its own.
_WEAK = '__attribute__((visibility("hidden"), weak))'


class Unsplittable(Exception):
    """The file has something that must not be torn from its place."""


def read_text(path: str) -> str:
    """A generated file, with whatever bytes a literal of its author's may have."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def write_text(path: str, text: str) -> None:
    """The opposite of `read_text`."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)


# before the preprocessor

_SLOT = re.compile(r"^#define (__pyx_\w+) (__pyx_\w+)\[(\d+)\]$", re.MULTILINE)
_SECTION = "/* #### Code section: {} ### */"
_SLOTS = _SECTION.format("constant_name_defines")
_UTILITIES = _SECTION.format("utility_code_def")
#: Where functions begin that may be Cython's own, and where they end.
_MARKS = {
    _SECTION.format("module_code"): "_aa_begin",
    _SECTION.format("initfunc_declarations"): "_aa_end",
    _UTILITIES: "_aa_begin",
}
#: From here on, nobody needs the module's name as a literal.
_NAMED = """static const char _aa_name[] = __Pyx_MODULE_NAME;
#undef __Pyx_MODULE_NAME
#define __Pyx_MODULE_NAME _aa_name
"""
_FACE = re.compile(
    r"^static [^\n;]*\b__pyx_\w*(?:memoryview|array|15View_dot_MemoryView_)\w*\([^\n;]*\) \{\n.*?^\}\n",
    re.MULTILINE | re.DOTALL,
)


def prepare(text: str) -> str:
    """Generated C with names for the places of constants, and marks around functions that may be Cython's own.

    What is added moves no line, for tracebacks may tell them; but those of functions that lines would tell apart.

    Raises:
        Unsplittable: the file is not laid out as it would have to be.
    """
    if any(text.count(section) != 1 for section in (_SLOTS, *_MARKS)):
        raise Unsplittable("another layout")
    slots = [f"_aa_i{name} = {number}" for name, _, number in _SLOT.findall(text)]
    text = _SLOT.sub(r"#define \1 \2[_aa_i\1]", text)
    if slots:
        text = text.replace(_SLOTS, f"{_SLOTS} enum {{ {', '.join(slots)} }};")
    for section, mark in _MARKS.items():
        text = text.replace(section, f"{section} extern int {mark};")
    named = text.index("\n", text.index(_UTILITIES)) + 1
    # The face of memoryviews tells its lines, which are others in each file.
    places = [(named, named), *(face.span() for face in _FACE.finditer(text))]
    pieces = []
    position = 0
    line = 1
    for start, end in sorted(places):
        line += text.count("\n", position, end)
        added = f"#line 1\n{text[start:end]}" if start < end else _NAMED
        pieces += [text[position:start], added, f"#line {line}\n"]
        position = end
    return "".join((*pieces, text[position:]))


# what stands at the top level

_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|[{}();]|^#[^\n]*', re.MULTILINE)
_LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'')
_BRACE = re.compile(r'[{}]|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'')
_ATTRIBUTE = re.compile(r"__(?:attribute|asm)(?:__)?\s*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|__extension__")
#: Lines of the preprocessor's. Pragmas that do more than keep a compiler quiet are code.
_LINE = re.compile(r"^#(?!\s*pragma\s+(?!GCC diagnostic))[^\n]*(?:\n|$)", re.MULTILINE)
_PRAGMA = re.compile(r"#\s*pragma\s+(?!GCC diagnostic)")
_NAME = re.compile(r"\b[A-Za-z_]\w*")
_TAG = re.compile(r"\b(?:struct|union|enum)\s+(\w+)(?=\s*[{;])")
#: A name of Cython's that is not called there. `(void) &name;` is how it keeps compilers from complaining.
_ADDRESS = re.compile(r"_\w++(?=\s*[,;)}=!?:&|])")
_IGNORED = re.compile(r"\(void\) ?&_\w+")
_STRUCTURE = re.compile(r"\b(?:struct|union)\s+(\w+)")
#: What makes an item more than what it declares.
_ACTIVE = re.compile(r"__attribute__\s*\(\([^;{]*?\b_*(?:used|constructor|destructor|alias|ifunc)(?:__)?\b")
_ENUM = re.compile(r"\benum\b[^{};]*\{([^}]*)\}")
_DECLARATOR = re.compile(r"^[^(]*\(\s*\*")
_POINTER = re.compile(r"^[^(]*\(\s*\*\s*(?:const\s+)?(\w+)\s*(?:\[[^]]*\]\s*)*\)")
_BRACES = re.compile(r"\{[^{}]*\}")
_PARENS = re.compile(r"\([^()]*\)")
_STATIC = re.compile(r"\bstatic\b")
_INLINE = {"inline", "__inline", "__inline__"}


@dataclass(frozen=True, slots=True)
class _Item:
    """A declaration or a definition.

    Attributes:
        text: as it stands there, without lines for the preprocessor.
        kind: "function" with its body, "prototype", "variable", "variables", "type", or "field" of the module's state.
        names: what it declares.
        static, inline: whether it says so.
        shareable: whether it stands where Cython's own functions do.
        place: of a field of the module's state, where it is in there.
    """

    text: str
    kind: str
    names: tuple[str, ...]
    static: bool = False
    inline: bool = False
    shareable: bool = False
    place: str = ""

    @property
    def head(self) -> str:
        """A function's text before its body."""
        for token in _TOKEN.finditer(self.text):
            if token[0] == "{":
                return self.text[: token.start()].rstrip()
        raise AssertionError(self.text)


def _spans(text: str, position: int) -> Iterator[tuple[int, int, int]]:
    """Start, end, and the beginning of the body (-1 for a declaration), of each item from ``position`` on."""
    start = position
    parens = braces = 0
    found = True
    while found:
        found = False
        for token in _TOKEN.finditer(text, position):
            what = token[0]
            if what == "(":
                parens += 1
            elif what == ")":
                parens -= 1
            elif what == ";":
                if not braces and not parens:
                    yield start, token.end(), -1
                    start = token.end()
            elif what == "{":
                if not braces and not parens and _plain(text[start : token.start()]).endswith(")"):
                    position = _body(text, token.end())
                    yield start, position, token.start()
                    start = position
                    # From here on again: what is in the body is none of the file's.
                    found = True
                    break
                braces += 1
            elif what == "}":
                braces -= 1
            elif what[0] == "#" and _PRAGMA.match(what):
                raise Unsplittable(what)
    if _plain(text[start:]):
        raise Unsplittable(text[start:])


def _body(text: str, position: int) -> int:
    """Where the function's body ends that begins before ``position``."""
    depth = 1
    for token in _BRACE.finditer(text, position):
        what = token[0]
        if what == "}":
            depth -= 1
            if not depth:
                return token.end()
        elif what == "{":
            depth += 1
    raise Unsplittable("a function without an end")


def _plain(text: str) -> str:
    return _ATTRIBUTE.sub(" ", _LINE.sub("", text)).strip()


@lru_cache(_REMEMBERED)
def _item(text: str, body: int, shareable: bool) -> _Item | None:
    """What a text declares; a function's body begins at ``body``."""
    whole = _LINE.sub("", text).strip()
    plain = _plain(text[:body]) if body >= 0 else _ATTRIBUTE.sub(" ", _LITERAL.sub('""', whole)).strip()
    if plain in ("", ";"):
        return None
    words = plain.partition("(")[0].split()
    if words and words[0] in ("asm", "__asm__", "__asm", "_Static_assert"):
        raise Unsplittable(plain)
    static, inline = "static" in words, not _INLINE.isdisjoint(words)
    if body >= 0:
        if not words or not words[-1].lstrip("*").isidentifier():
            raise Unsplittable(plain)
        return _Item(whole, "function", (words[-1].lstrip("*"),), static, inline, shareable)
    names = _TAG.findall(plain)
    for constants in _ENUM.findall(plain):
        names += [one.partition("=")[0].strip() for one in constants.split(",") if one.strip()]
    shell = plain.rstrip("; \n")
    while (shorter := _BRACES.sub(" ", shell)) != shell:
        shell = shorter
    typedef = words[0] == "typedef"
    if pointers := _POINTER.findall(shell.partition("=")[0]):
        return _Item(whole, "type" if typedef else "variable", (*names, *pointers), static)
    # Which of the names it declares is not looked for where it is that deep.
    declared = _NAME.findall(shell) if _DECLARATOR.match(shell.partition("=")[0]) else []
    while (shorter := _PARENS.sub("\0", shell)) != shell:
        shell = shorter
    before = shell.partition("=")[0]
    for one in shell.split(","):
        found = _NAME.findall(one.partition("=")[0].partition("[")[0].partition("\0")[0])
        if found and found[-1] not in ("struct", "union", "enum"):
            declared.append(found[-1])
    if typedef or (not static and names and words[0] != "extern"):
        kind = "type"
    else:
        kind = "prototype" if "\0" in before else "variable"
        if kind == "variable" and len(declared) != 1 and not names:
            kind = "variables"
    return _Item(whole, kind, tuple(dict.fromkeys((*names, *declared))), static, inline)


@lru_cache(_REMEMBERED)
def _said_inline(item: _Item) -> _Item:
    return replace(item, inline=True)


@lru_cache(_REMEMBERED)
def _names(text: str) -> frozenset[str]:
    """All names in a text."""
    return frozenset(_NAME.findall(_LITERAL.sub("", text)))


def _read(text: str, position: int) -> list[_Item]:
    items: list[_Item] = []
    shareable = False
    for start, end, body in _spans(text, position):
        item = _item(text[start:end], body - start if body >= 0 else -1, shareable)
        if item is not None:
            if item.names in (("_aa_begin",), ("_aa_end",)):
                shareable = item.names == ("_aa_begin",)
            items.append(item)
    # One of prototype and definition may say it for both.
    inline = {item.names[0] for item in items if item.inline and item.names}
    return [
        _said_inline(item)
        if not item.inline and item.kind in ("function", "prototype") and item.names[0] in inline
        else item
        for item in items
    ]


# the module's state

_STATE = "__pyx_mstate_global"
_STATE_TYPE = "__pyx_mstatetype"
_ACCESS = re.compile(rf"\b{_STATE}\s*->\s*(\w+)(?:\s*\[\s*_aa_i(\w+)\s*\])?")
_FIELD = re.compile(r"(\w[\w\s*]*?)\b(\w+)\s*(\[[^]]*\])?\s*;")


def _by_symbol(found: re.Match[str]) -> str:
    return f"_aa_s{found[2]}" if found[2] else f"_aa_f{found[1]}"


def _fields(items: list[_Item]) -> list[_Item]:
    """Declarations of the symbols by which functions reach the module's state, to stand after its type.

    Raises:
        Unsplittable: there is no such type.
    """
    state = next((item for item in items if item.kind == "type" and _STATE_TYPE in item.names), None)
    if state is None or not any(f"{_STATE}_static" in item.names for item in items):
        raise Unsplittable("no state of the module's own")
    fields = {name: (words, table) for words, name, table in _FIELD.findall(state.text.partition("{")[2])}
    found: dict[str, _Item] = {}
    for item in items:
        if item.kind == "function":
            for access in _ACCESS.finditer(item.text):
                name, (words, table) = _by_symbol(access), fields.get(access[1], ("", ""))
                if words and name not in found:
                    bounds = "[]" if table and not access[2] else ""
                    text = f"extern {_HIDDEN} {words}{name}{bounds};"
                    place = access[1] + (f"[_aa_i{access[2]}]" if access[2] else "")
                    found[name] = _Item(text, "field", (name,), place=place)
    return list(found.values())


# what a function reads

_LITERAL_OR_SPACE = re.compile(r'("(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\')|\s+')


def _visible(text: str) -> str:
    """A static declaration or definition as one that other files see."""
    return _STATIC.sub(_HIDDEN, text, count=1)


@lru_cache(_REMEMBERED)
def _outside(item: _Item) -> str | None:
    """How a file that does not have ``item`` may know it; None for what it can't know."""
    if item.kind == "function":
        if item.static and not item.inline:
            return f"{_visible(item.head)};"
        if len(_STATIC.findall(item.text)) > item.static:
            return None  # its own variables are one set, not one for each file
    elif item.kind == "prototype":
        return item.text if item.inline else _visible(item.text)
    elif item.kind == "variable":
        text = item.text.partition("=")[0].rstrip("; \n")
        if item.static:
            return f"extern {_visible(text)};"
        return f"{text};" if text.startswith("extern") else f"extern {text};"
    elif item.kind == "variables":
        return None
    return item.text


@lru_cache(_REMEMBERED)
def _digest(text: str) -> bytes:
    if '"' in text or "'" in text:
        words = _LITERAL_OR_SPACE.sub(lambda found: found[1] or " ", text)
    else:
        words = " ".join(text.split())
    return hashlib.blake2b(words.encode("utf-8", "surrogateescape"), digest_size=16).digest()


@lru_cache(_REMEMBERED)
def _compared(text: str) -> frozenset[str]:
    """Names of Cython's that a text uses other than by calling them."""
    return frozenset(_ADDRESS.findall(_IGNORED.sub("", text)))


def _index(items: list[_Item]) -> dict[str, list[int]]:
    """For a name the places of the items that declare it."""
    index: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        for name in item.names:
            index.setdefault(name, []).append(number)
    return index


class _Declarations:
    """What a text declares, to be said again in parts."""

    def __init__(self, text: str) -> None:
        self._items = _read(text, 0)
        self._index = _index(self._items)
        self._always = self._reached(number for number, item in enumerate(self._items) if _ACTIVE.search(item.text))
        self._masks: dict[str, int] = {}

    def said(self, names: Iterable[str]) -> str:
        """What there is of names, and all that this names."""
        mask = self._always
        for name in self._index.keys() & names:
            if name not in self._masks:
                self._masks[name] = self._reached(self._index[name])
            mask |= self._masks[name]
        return "".join(f"{item.text}\n" for number, item in enumerate(self._items) if mask >> number & 1)

    def _reached(self, numbers: Iterable[int]) -> int:
        """Items and all that they name, directly or not, as bits."""
        waiting = list(numbers)
        mask = 0
        while waiting:
            number = waiting.pop()
            if not mask >> number & 1:
                mask |= 1 << number
                waiting += [one for name in _names(self._items[number].text) for one in self._index.get(name, ())]
        return mask


class Prefix:
    """What stands before a module's own text: `Python.h`.

    Attributes:
        structures: those that it names.
        seed: a digest of it.
    """

    def __init__(self, text: str) -> None:
        if re.search(_PRAGMA.pattern, text):
            raise Unsplittable("a pragma before Python.h ends")
        self._bare = _LINE.sub("", text)
        self._declarations: _Declarations | None = None
        self.seed = hashlib.blake2b(self._bare.encode("utf-8", "surrogateescape"), digest_size=16).digest()
        self.structures = frozenset(_STRUCTURE.findall(self._bare))

    def look(self) -> None:
        """Find out what it declares, which takes as long as to compile all of it twice."""
        if self._declarations is None:
            # What can't be taken apart is said whole.
            with contextlib.suppress(Unsplittable):
                self._declarations = _Declarations(self._bare)

    def said(self, names: Iterable[str]) -> str:
        """What it says of names; all that it says, as long as nobody has looked."""
        return self._bare if self._declarations is None else self._declarations.said(names)


_known_prefix = lru_cache(4)(Prefix)


@dataclass(frozen=True, slots=True)
class Split:
    """A preprocessed file, and what of it can be compiled apart.

    Attributes:
        keys: the functions that can, and for each the digest of all that its compilation reads.
        sizes: for each the length of its text.
        prefix: what stands before the module's own text.
    """

    keys: dict[str, str]
    sizes: dict[str, int]
    prefix: Prefix
    _items: list[_Item]
    _reach: dict[str, int]

    def half(self, moved: Collection[str]) -> str:
        """The author's half: the file without the functions ``moved``, which can see of it what they need."""
        reached = self._reached(moved)
        seen = {name for item in reached for name in item.names}
        shared = seen.intersection(self.keys)
        fields = [item for item in reached if item.kind == "field"]
        places = _places(fields)
        if fields:
            seen.add(f"{_STATE}_static")
        kept, names = self._kept(moved, _names(places))
        parts = [self.prefix.said(names), self._renamed(shared)]
        for item in kept:
            name = item.names[0] if item.names else ""
            text = item.text
            if item.static and name in seen:
                if item.kind == "variable" or (item.kind == "prototype" and name in shared):
                    text = _visible(text)
                elif item.kind == "function" and name in shared:
                    # The pragma applies to declarations, not to definitions.
                    text = f"{_visible(item.head)};" + ("" if name in moved else f"\n{_visible(text)}")
            parts += [text, "\n"]
        return "".join((*parts, places))

    def part(self, wanted: Collection[str]) -> str:
        """A file with the functions ``wanted`` and all that their compilation reads."""
        reached = self._reached(wanted)
        shared = {name for item in reached for name in item.names}.intersection(self.keys)
        texts = []
        for item in reached:
            if item.kind == "function" and item.names[0] in wanted:
                text = f"{_visible(item.head)};\n{_STATIC.sub(_WEAK, item.text, count=1)}"
            else:
                text = _outside(item) or ""
            texts.append(_ACCESS.sub(_by_symbol, text))
        names = {name for text in texts for name in _names(text)}
        return "".join((self.prefix.said(names), self._renamed(shared), *(f"{text}\n" for text in texts)))

    def symbol(self, name: str) -> str:
        """What the linker calls a function."""
        return f"{name}_{self.keys[name]}"

    def _renamed(self, names: Collection[str]) -> str:
        # https://gcc.gnu.org/onlinedocs/gcc/Symbol-Renaming-Pragmas.html
        return "".join(f"#pragma redefine_extname {name} {self.symbol(name)}\n" for name in sorted(names))

    def _reached(self, names: Collection[str]) -> list[_Item]:
        mask = 0
        for name in names:
            mask |= self._reach[name]
        return [item for index, item in enumerate(self._items) if mask >> index & 1]

    def _kept(self, moved: Collection[str], names: Collection[str]) -> tuple[list[_Item], set[str]]:
        """What the file without the functions ``moved`` has to say, ``names`` included; and all names in that."""
        index = _index(self._items)
        kept = {number for number, item in enumerate(self._items) if self._is_needed(item, moved)}
        known = set(names)
        waiting = [*kept, *(number for name in names for number in index.get(name, ()))]
        kept.update(waiting)
        while waiting:
            item = self._items[waiting.pop()]
            declared = item.kind == "function" and item.names[0] in moved
            more = _names(item.head if declared else item.text) - known
            known |= more
            numbers = {number for name in more for number in index.get(name, ())} - kept
            kept |= numbers
            waiting += numbers
        return [item for number, item in enumerate(self._items) if number in kept and item.kind != "field"], known

    def _is_needed(self, item: _Item, moved: Collection[str]) -> bool:
        """Whether an item counts although nobody names it."""
        if item.kind == "function" and item.names[0] in moved:
            return False
        if item.kind in ("variable", "variables") or (item.kind == "function" and not (item.static and item.inline)):
            return True
        completes = item.kind == "type" and not self.prefix.structures.isdisjoint(item.names)
        return completes or _ACTIVE.search(item.text) is not None


def _places(fields: list[_Item]) -> str:
    """A function that is never called; assembly in it says where the fields of the state are."""
    if not fields:
        return ""
    lines = [
        f'__asm__ volatile (".globl {name}\\n\\t.hidden {name}\\n\\t.set {name}, {_STATE}_static+%c0" '
        f': : "i" (__builtin_offsetof({_STATE_TYPE}, {field.place})));\n'
        for field in fields
        for name in field.names
    ]
    return f"\nstatic __attribute__((used, noinline, cold)) void _aa_places(void) {{\n{''.join(lines)}}}\n"


def split(text: str, main: str, module: str, prefix: Prefix | None = None) -> Split:
    """Find out what of a preprocessed file can be compiled apart.

    Args:
        text: the output of the preprocessor, with its lines, for what `prepare` made.
        main: the file as the preprocessor was told it.
        module: the module's name without its package.
        prefix: what would stand before the text, where it is known and left out.

    Raises:
        Unsplittable: the file has something that must stay in its place.
    """
    start = 0
    if prefix is None:
        prefix, start = prefix_of(text, main)
    items = _read(text, start)
    place = next((index for index, item in enumerate(items) if _STATE_TYPE in item.names), len(items))
    items[place + 1 : place + 1] = _fields(items)
    # Copies of an inline function have addresses of their own.
    compared = {name for item in items for name in _compared(item.text)}
    graph = _Graph(items, f"_{len(module)}{module}_", compared, prefix.structures)
    keys = graph.keys(prefix.seed)
    sizes = {name: len(items[graph.may[name]].text) for name in keys}
    return Split(keys, sizes, prefix, items, {name: graph.reach[graph.may[name]] for name in keys})


def prefix_of(text: str, main: str) -> tuple[Prefix, int]:
    """What stands before the module's own text in a preprocessed file, and where that begins; as for `split`.

    Raises:
        Unsplittable: it does not begin with `Python.h`.
    """
    start = _own(text, main)
    # Only the file's name in it is another one for each file.
    return _known_prefix(text[:start].replace(main, "")), start


def _own(text: str, main: str) -> int:
    """Where the module's own text begins, after Python.h."""
    python = text.find('Python.h" 1')
    back = text.find(f' "{main}" 2\n', max(python, 0))
    if python < 0 or back < 0:
        raise Unsplittable("no Python.h")
    return text.rfind("\n", 0, back) + 1


class _Graph:
    """What the functions that may be Cython's own name, directly and through what that names.

    Attributes:
        may: such functions, by their place among the items.
        reach: for an item the places of all that it reads, as bits.
    """

    def __init__(self, items: list[_Item], own: str, compared: set[str], before: Collection[str]) -> None:
        self.may = {
            item.names[0]: number
            for number, item in enumerate(items)
            if item.shareable
            and item.static
            and not item.inline
            and own not in item.names[0]
            and not _PRAGMA.search(item.text)
        }
        self._texts: dict[int, str] = {}
        needs, spoiled = self._needs(items, compared, before)
        spoiled = _users(needs, spoiled)
        self.may = {name: number for name, number in self.may.items() if number not in spoiled}
        self.reach = _reach(needs)

    def _needs(
        self, items: list[_Item], compared: set[str], before: Collection[str]
    ) -> tuple[dict[int, set[int]], set[int]]:
        """For each item that a function may read those that it names, and the items that can't be read elsewhere."""
        index = _index(items)
        # A function may look into a structure that it does not name: those that Python.h names and leaves open.
        completed = [
            number
            for number, item in enumerate(items)
            if item.kind == "type" and not frozenset(before).isdisjoint(item.names)
        ]
        needs: dict[int, set[int]] = {}
        spoiled: set[int] = set()
        ours = frozenset(self.may.values())
        waiting = list(ours)
        while waiting:
            number = waiting.pop()
            if number in needs:
                continue
            needs[number] = set()
            item = items[number]
            known = item.text if number in ours else _outside(item)
            stays = item.kind == "function" and (
                item.names[0] in compared if item.inline else item.static and number not in ours
            )
            if known is None or stays:
                spoiled.add(number)
                continue
            self._texts[number] = known = _ACCESS.sub(_by_symbol, known) if _STATE in known else known
            names = _names(known)
            if _STATE in names or _STATE_TYPE in names:
                spoiled.add(number)
                continue
            needs[number] = {one for name in names for one in index.get(name, ())}
            if number in ours:
                needs[number].update(completed)
            waiting += needs[number]
        return needs, spoiled

    def keys(self, seed: bytes) -> dict[str, str]:
        """For each function the digest of what stands before, which is ``seed``, and of all that it reads."""
        digests = {1 << number: _digest(text) for number, text in self._texts.items()}
        found = {}
        for name, number in self.may.items():
            reach = self.reach[number]
            told = sorted(digest for bit, digest in digests.items() if reach & bit)
            found[name] = hashlib.blake2b(b"".join((RULE.encode(), seed, *told)), digest_size=16).hexdigest()
        return found


def _users(needs: dict[int, set[int]], of: set[int]) -> set[int]:
    """``of``, and all that need one of them."""
    users: dict[int, list[int]] = {}
    for number, needed in needs.items():
        for one in needed:
            users.setdefault(one, []).append(number)
    found = set(of)
    waiting = list(of)
    while waiting:
        for user in users.get(waiting.pop(), ()):
            if user not in found:
                found.add(user)
                waiting.append(user)
    return found


def _reach(needs: dict[int, set[int]]) -> dict[int, int]:
    """For each itself and all that it needs, directly or not, as bits."""
    reach = {number: 1 << number for number in needs}
    changed = True
    while changed:
        changed = False
        for number, needed in needs.items():
            mask = reach[number]
            for one in needed:
                mask |= reach[one]
            if mask != reach[number]:
                reach[number] = mask
                changed = True
    return reach
