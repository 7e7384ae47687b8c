"""The values that the cold rooms hand along: what is built, with what, and what came out. Frozen; no behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .errors import Diagnostic
    from .settings import Settings
    from .sources import Source

__all__ = ["Artifact", "Built", "Options", "Plan", "Tool"]


@dataclass(frozen=True, slots=True)
class Options:
    """How to compile and link an extension module, in the words of ``setuptools.Extension``; paths are absolute.

    Attributes:
        language: ``"c"``, ``"c++"`` or None for what the source's suffix says.
        absent: paths that were tried before the ones above, in vain.
        folders: folders that a pattern was looked for in, and what they had before.
    """

    sources: tuple[str, ...] = ()
    include_dirs: tuple[str, ...] = ()
    define_macros: tuple[tuple[str, str | None], ...] = ()
    undef_macros: tuple[str, ...] = ()
    library_dirs: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    runtime_library_dirs: tuple[str, ...] = ()
    extra_objects: tuple[str, ...] = ()
    extra_compile_args: tuple[str, ...] = ()
    extra_link_args: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    language: str | None = None
    absent: tuple[str, ...] = field(default=(), metadata={"key": False})
    folders: tuple[tuple[str, tuple[str, ...]], ...] = field(default=(), metadata={"key": False})

    def plus(self, other: Options) -> Options:
        """Both, ``other`` last, each element once (arguments as often as they are given)."""
        merged: dict[str, object] = {}
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if one.name == "language":
                merged[one.name] = theirs or mine
            elif one.name in ("extra_compile_args", "extra_link_args"):
                merged[one.name] = mine if theirs == mine else mine + theirs
            else:
                merged[one.name] = tuple(dict.fromkeys(mine + theirs))
        return Options(**merged)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Tool:
    """A program or package that decides the bytes of the result.

    Attributes:
        name: what it is called in messages.
        version: one line for people.
        identity: digest of what it is; part of every key.
        files: its files whose stat identity tells that it has been replaced.
        directories: folders that belong to it: a header in one of them is checked through the folder, not one by one.
        parts: (folder below which all belongs to one product, the product's folder that is checked instead).
    """

    name: str
    version: str
    identity: str
    files: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is known to decide the result before a compiler runs.

    Attributes:
        source: the module's source.
        toolchain: the word of the toolchain that made the plan.
        options: the merged build options.
        tools: compilers and packages.
        env: (name, value or None) of the environment variables that matter.
        inputs: absolute paths of the files read so far; the source is among them.
        absent: absolute paths whose appearance would change the plan.
        folders: absolute paths of folders in which any change may change the plan, and what is in them.
        probes: like ``absent``, each looked at by itself: little else matters in their folders. A plan that has some is
            of a source that is not in the folder that the finder lists.
        settings: what the project says about builds.
    """

    source: Source
    toolchain: str
    options: Options
    tools: tuple[Tool, ...]
    env: tuple[tuple[str, str | None], ...]
    inputs: tuple[str, ...]
    settings: Settings
    absent: tuple[str, ...] = ()
    folders: tuple[tuple[str, tuple[str, ...]], ...] = ()
    probes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Built:
    """What a toolchain's build gives.

    Attributes:
        library: the file to publish, inside the work folder.
        inputs: absolute paths of further files that were read (headers, ``.pxd``).
        absent: absolute paths whose later appearance would change the result.
        log: what the tools said.
        warnings: the messages among it.
        extra: further files to keep beside the library (annotated page), name -> path inside the work folder.
        env: (name, value or None) of environment variables that turned out to matter.
        written: inputs that the tools themselves have written.
        package: file name -> path, inside the work folder, of the Python files that are the module together with the
            library; empty where the library is the module. ``__init__.py`` is among them.
    """

    library: str
    inputs: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    log: str = ""
    warnings: tuple[Diagnostic, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    env: tuple[tuple[str, str | None], ...] = ()
    written: tuple[str, ...] = ()
    package: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A library that can be loaded.

    Attributes:
        path: where it is.
        key: its key in the store; ``""`` for a private one.
        built: whether this call compiled it.
        seconds: what the build took when it ran.
    """

    path: str
    key: str
    built: bool
    seconds: float
