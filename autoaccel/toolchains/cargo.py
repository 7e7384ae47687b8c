"""Crates: extension modules written in Rust, with PyO3, rust-cpython or on the C API, compiled by cargo."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, dataclass, replace

from .. import crates, errors, keys, process, processor, progress, settings
from ..plan import Built, Options, Plan, Tool
from . import builddirs, cargo_output, readonly, requests, rustc, rustimport
from .base import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..crates import Crate
    from ..settings import Settings
    from ..sources import Source
    from .requests import Request

__all__ = ["Job", "Run", "build", "compile_crate", "job_of", "plan", "plan_of", "prepare", "running"]

#: Environment variables that decide what cargo and rustc do, beside those that build scripts ask for.
ENV = (
    "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTC_WRAPPER", "CARGO_HOME", "CARGO_INCREMENTAL", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_BOOTSTRAP", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "CC", "CXX", "AR", "CFLAGS", "CXXFLAGS", "LDFLAGS",
    "PKG_CONFIG_PATH", "LIBCLANG_PATH", "SDKROOT", "MACOSX_DEPLOYMENT_TARGET", "PYO3_CONFIG_FILE", "PYO3_CROSS",
    "PYO3_USE_ABI3_FORWARD_COMPATIBILITY", "PYO3_USE_STABLE_ABI_FORWARD_COMPATIBILITY",
)  # fmt: skip
_ENV_FAMILIES = ("CARGO_PROFILE_", "CARGO_TARGET_")

#: Optimised as a release is, and quick to build again: link-time optimisation costs seconds with each edit.
PROFILE = {"INHERITS": "release", "INCREMENTAL": "true", "LTO": "off", "CODEGEN_UNITS": "16", "DEBUG": "0"}


@dataclass(frozen=True, slots=True)
class Job:
    """What cargo is to compile, and how.

    Attributes:
        crate: the crate.
        workspace: the Cargo.toml of its workspace.
        folder: where cargo runs, which decides the configuration and the toolchain.
        python: the interpreter that bindings are compiled for.
        request: what the project asks for.
        shown: a file of ours -> the user's file that it is a copy of.
        arguments: further arguments of rustc.
        rewritten: a file of the user's -> the text to compile in its place.
    """

    crate: Crate
    workspace: str
    folder: str
    python: str
    request: Request
    shown: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    rewritten: tuple[tuple[str, str], ...] = ()


def prepare() -> None:
    """Cargo starts as fast as it is asked."""


def plan(source: Source, how: Settings) -> Plan:
    """What is known of a crate before it is compiled."""
    if not os.path.isfile(source.path):
        raise errors.unreadable(source.name, source.path, "it is gone")
    return plan_of(source, how, job_of(source, source.path, how))


def plan_of(source: Source, how: Settings, job: Job) -> Plan:
    """The plan of a job: tools, manifests, configuration, environment."""
    rust = rustc.find(job.folder, source)
    local = crates.path_crates(job.crate, job.workspace)
    manifests = [one.manifest for one in local]
    _, missing = crates.workspace_of(job.crate)
    pins, no_pins = rustc.toolchain_files(job.folder)
    configs, no_configs = _configs(job.folder)
    scripts = [
        one.build_script or os.path.join(one.folder, "build.rs")
        for one in local
        if one.build_script or "build" not in one.table.get("package", {})
    ]
    maybe = (*job.request.files, *scripts)
    generated = tuple(ours for ours, _ in job.shown)
    inputs = [source.path, *manifests, job.workspace, *pins, *configs]
    return Plan(
        source=source,
        toolchain=source.toolchain,
        options=Options(),
        tools=(rust.tool(), Tool("python", job.python, keys.digest(job.python))),
        env=_environment(rust.host),
        inputs=tuple(
            path for path in dict.fromkeys((*inputs, *filter(os.path.exists, maybe))) if path not in generated
        ),
        settings=how,
        probes=tuple(
            dict.fromkeys(
                (*how.absent, *missing, *no_pins, *no_configs, *(one for one in maybe if not os.path.exists(one)))
            )
        ),
    )


def build(plan: Plan, workdir: str) -> Built:
    """Have cargo compile the crate."""
    return compile_crate(plan, job_of(plan.source, plan.source.path, plan.settings), workdir)


def job_of(source: Source, manifest: str, how: Settings) -> Job:
    """What cargo is to do for a module whose crate has this Cargo.toml."""
    crate = crates.read_crate(manifest)
    workspace, _ = crates.workspace_of(crate)
    request = requests.of_crate(source, crate, how)
    job = Job(crate, workspace, crate.folder, python_for(crate, workspace), request)
    text = _content(crate.library).decode("utf-8", "surrogateescape") if crate.library is not None else ""
    return _with_module(job, source, text) if rustimport.asked(text) else job


def _with_module(job: Job, source: Source, text: str) -> Job:
    """A job whose library gets its module, and whose manifest gets PyO3 where it has none."""
    crate = job.crate
    assert crate.library is not None
    written = ((crate.library, text + rustimport.module_for(source.name.rpartition(".")[2], text)),)
    if crates.dependency(crate, "pyo3", job.workspace) is not None:
        return replace(job, rewritten=written)
    table = {**crate.table, "dependencies": {**crates.table_of(crate.table, "dependencies"), "pyo3": rustimport.PYO3}}
    return replace(
        job,
        # What is asked of the crate, its dependencies among it, is asked of what is compiled.
        crate=replace(crate, table=table),
        rewritten=(*written, (crate.manifest, crates.to_toml(table))),
    )


def python_for(crate: Crate, workspace: str) -> str:
    """The interpreter to name to bindings.

    It is the one that virtual environments are made from, so that they share what is compiled; unless a build script of
    the user's may want to import what is installed.
    """
    for one in crates.path_crates(crate, workspace):
        if one.build_script and re.search(rb"PYO3_PYTHON|PYTHON_SYS_EXECUTABLE|Command", _content(one.build_script)):
            return sys.executable
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _environment(host: str) -> tuple[tuple[str, str | None], ...]:
    target = host.upper().replace("-", "_")
    names = [*ENV, f"CARGO_TARGET_{target}_LINKER", f"CARGO_TARGET_{target}_RUSTFLAGS"]
    names += sorted(name for name in os.environ if name.startswith(_ENV_FAMILIES))
    return tuple((name, os.environ.get(name)) for name in dict.fromkeys(names) if name != "CARGO_TARGET_DIR")


def _configs(folder: str) -> tuple[list[str], list[str]]:
    """Cargo's configuration files for a folder, and where they were looked for in vain."""
    found: list[str] = []
    absent: list[str] = []
    homes = [rustc.cargo_home()]
    here = folder
    while True:
        homes.insert(-1, os.path.join(here, ".cargo"))
        above = os.path.dirname(here)
        if above == here:
            break
        here = above
    for home in dict.fromkeys(homes):
        if not os.path.isdir(home):
            absent.append(home)
            continue
        for name in ("config.toml", "config"):
            path = os.path.join(home, name)
            if os.path.isfile(path):
                found.append(path)
                included = crates.read_toml(path).get("include", ())
                for one in [included] if isinstance(included, str | dict) else included:
                    told = one.get("path") if isinstance(one, dict) else one
                    other = os.path.normpath(os.path.join(home, str(told)))
                    (found if os.path.isfile(other) else absent).append(other)
            else:
                absent.append(path)
    return found, absent


# compiling


def compile_crate(plan: Plan, job: Job, workdir: str) -> Built:
    """Compile a crate in its workspace's build folder, and copy the library out of it.

    Raises:
        Failed: it does not compile.
    """
    with running(plan, job, workdir) as run:
        return run.result()


@contextmanager
def running(plan: Plan, job: Job, workdir: str) -> Iterator[Run]:
    """A build of a crate; its workspace's build folder is ours until the end.

    Raises:
        Failed: it can't be compiled at all.
    """
    _refuse(plan.source, job)
    bucket = os.path.dirname(os.path.dirname(workdir))
    kind = _kind(plan, job)
    folder = builddirs.folder_of(bucket, os.path.dirname(job.workspace), kind)
    patience = settings.lock_timeout()
    with ExitStack() as stack:
        if not stack.enter_context(builddirs.exclusive(bucket, folder, patience)):
            folder = os.path.join(workdir, "target")
        if not os.path.isdir(folder):
            wanted = _wanted(job)
            if wanted and not builddirs.seed(bucket, folder, kind, wanted, patience):
                # Who comes first compiles what all need; the others wait for it rather than do the same.
                first = stack.enter_context(ExitStack())
                first.enter_context(builddirs.exclusive(bucket, f"first for {kind}", patience))
                if builddirs.seed(bucket, folder, kind, wanted, patience):
                    first.close()
            os.makedirs(folder, mode=0o700, exist_ok=True)
        yield Run(plan, job, folder, workdir)


def _processor(plan: Plan, job: Job) -> tuple[str, ...]:
    """The processor, if flags, configuration, manifests or build scripts ask for code for it."""
    values = [f"{name}={value}" for name, value in plan.env if value is not None and "FLAGS" in name]
    words = [
        *values,
        *job.arguments,
        *job.request.flags,
        *job.request.arguments,
        *(_content(path).decode("utf-8", "replace") for path in plan.inputs),
    ]
    return processor.inputs(words)


def _kind(plan: Plan, job: Job) -> str:
    """What a build folder is for: cargo, which sees the same words, takes what another processor's run has left."""
    return " ".join((job.python, *(str(keys.file_digest(path)) for path in _processor(plan, job))))


def _wanted(job: Job) -> set[str]:
    """Names of the packages that the crate needs from elsewhere."""
    locked = crates.read_toml(_lock(job)).get("package", ())
    names = {str(one.get("name")) for one in locked if isinstance(one, dict) and "source" in one}
    return names or {name for one in crates.path_crates(job.crate, job.workspace) for name in crates.needs(one)}


def _lock(job: Job) -> str:
    return os.path.join(os.path.dirname(job.workspace), "Cargo.lock")


def _refuse(source: Source, job: Job) -> None:
    """Say at once what would fail late, or crash."""
    if crates.dependency(job.crate, "cpython", job.workspace) is not None and (
        sys.version_info >= (3, 14) or keys.config_var("Py_GIL_DISABLED")
    ):
        error = errors.no_rust_cpython(source.name, source.path)
        raise Failed(error, log=str(error))


class Run:
    """One build of one crate in a folder that nobody else builds in meanwhile."""

    def __init__(self, plan: Plan, job: Job, folder: str, workdir: str) -> None:
        self.plan = plan
        self.job = job
        self.workdir = workdir
        self.started = time.time_ns()
        self.rust = rustc.find(job.folder, plan.source)
        self.known = builddirs.open_dir(folder, _kind(plan, job))
        self.log: list[str] = []
        #: the folder with links to the crate, where its own can't be written, or is not what is compiled
        self.mirror = ""
        if job.rewritten:
            self.mirror = readonly.mirrored(self._mirror(), job.crate, job.workspace, dict(job.rewritten))
        self.lock = keys.file_digest(_lock(job))
        configs = [keys.file_digest(path) for path in plan.inputs if os.path.basename(path).startswith("config")]
        # What makes cargo keep results apart; a record of one says nothing about another.
        self.variant = keys.digest(plan.env, astuple(job.request), self.rust.identity, configs, job.arguments)

    def result(self) -> Built:
        """The library, and what it was made from."""
        started = self.started
        job, known = self.job, self.known
        contents = keys.Contents()
        builddirs.forget_packages(known.folder, known.outdated(self.variant, contents))
        vouched = known.vouched(self.variant, contents)
        name = job.crate.library_name
        if known.libraries.get(name, job.crate.manifest) != job.crate.manifest:
            # Libraries of one name replace each other, and are fresh all the same.
            builddirs.forget_packages(known.folder, [job.crate.package])
        said = self._cargo()
        doubtful = {one.package for one in said.units if one.local and one.fresh} - vouched
        if doubtful:
            # Compiled by a process that was killed before it could say from what.
            builddirs.forget_packages(known.folder, doubtful)
            said = self._cargo()
        unit = next(
            (
                one
                for one in said.units
                if one.library and os.path.realpath(one.manifest) == os.path.realpath(job.crate.manifest)
                and "proc-macro" not in one.kinds and "custom-build" not in one.kinds
            ),
            None,
        )  # fmt: skip
        if unit is None or unit.library is None:
            raise self._failed(errors.no_library(self.plan.source.name, self.plan.source.path), said)
        read = cargo_output.read_of(said, unit, os.path.dirname(job.workspace)).without(self.mirror)
        self._keep(said, read, started)
        library = f"{self.workdir}/{self.plan.source.name.rpartition('.')[2]}{keys.config_var('EXT_SUFFIX')}"
        shutil.copyfile(unit.library, library)
        shown = dict(job.shown)
        inputs = [path for path in (shown.get(one, one) for one in read.files) if not self._ours(path)]
        manifests = [one.manifest for one in said.units if one.local and not self._ours(one.manifest)]
        locks = [_lock(job)] if os.path.isfile(_lock(job)) and not self._ours(_lock(job)) else []
        return Built(
            library,
            inputs=tuple(dict.fromkeys((*inputs, *manifests, *locks, *_processor(self.plan, job)))),
            absent=read.absent,
            log="\n".join(self.log),
            warnings=tuple(one for one in said.diagnostics if one.level == "warning"),
            env=self._values(read.env),
            written=tuple(locks) if keys.file_digest(_lock(job)) != self.lock else (),
        )

    def _ours(self, path: str) -> bool:
        """Whether a file is in the cache."""
        bucket = os.path.dirname(os.path.dirname(self.workdir))
        return path.startswith(bucket + os.sep)

    def _keep(self, said: cargo_output.Said, read: cargo_output.Read | None, started: int) -> None:
        """Remember what was compiled from what."""
        known = self.known
        known.packages |= {one.package for one in said.units if not one.local}
        known.local |= {one.package for one in said.units if one.local}
        if read is not None:
            known.libraries[self.job.crate.library_name] = self.job.crate.manifest
            after = keys.Contents()
            records = known.builds.pop(self.variant, {})
            known.builds[self.variant] = records
            ended = time.time_ns()
            for package in {one.package for one in said.units if one.local}:
                files = [path for path, readers in read.files.items() if package in readers]
                # What changed meanwhile may have been compiled before or after.
                records[package] = (
                    ended,
                    {path: "" if after.changed_since(path, started) else after.digest(path) or "" for path in files},
                )
            while len(known.builds) > 8:
                del known.builds[next(iter(known.builds))]
        known.keep()

    # cargo

    def _cargo(self) -> cargo_output.Said:
        result = self.run(self._command())
        if result.status != 0 and not self.mirror and re.search(readonly.NO_LOCK, result.errors):
            with suppress(OSError):
                self.mirror = readonly.mirrored(self._mirror(), self.job.crate, self.job.workspace)
                result = self.run(self._command())
        if result.status != 0 and re.search(errors.UNREACHABLE, result.errors) and "--offline" not in self._command():
            # What was downloaded earlier may do.
            again = self.run([*self._command("--offline")])
            result = again if again.status == 0 else result
        said = cargo_output.parse(result.output, os.path.dirname(self.job.workspace))
        if result.status != 0:
            self._keep(said, None, 0)
            source, told = self.plan.source, result.errors
            for ours, users in self.job.shown:
                told = told.replace(ours, users)
                # cargo's places are in what was written for it; Windows has no relative path to another drive.
                with suppress(ValueError):
                    place = re.escape(os.path.relpath(ours, self.job.folder))
                    told = re.sub(rf"{place}:\d+:\d+", users.replace("\\", r"\\"), told)
            if self.job.shown:
                told = told.replace(self.job.crate.folder, source.path)
            # What is not the user's own file is a copy with other lines.
            copied = any(ours == self.job.crate.library != users for ours, users in self.job.shown)
            error = errors.cargo_failed(
                source.name, source.path, said.diagnostics, told, self.rust.release, copied=copied
            )
            raise self._failed(error, said)
        return said

    def run(self, command: list[str], env: dict[str, str] | None = None) -> process.Result:
        """Run cargo, or who runs cargo, and show how far it is."""
        builder = threading.get_ident()

        def heard(line: str) -> None:
            match = re.match(r"\s*(Compiling|Downloading|Downloaded|Updating|Blocking)\s+(.*)", line)
            if match is not None:
                progress.tell(f"cargo: {match[1].lower()} {match[2].partition(' (')[0]}", builder)

        result = process.run(command, cwd=self.job.folder, env=env or self.env(), apart=True, heard=heard)
        if self.mirror:
            result = process.Result(
                result.status, result.output.replace(self.mirror, ""), result.errors.replace(self.mirror, "")
            )
        self.log += [process.shown(command), result.errors]
        self.log += [one.rendered for one in cargo_output.parse(result.output, "").diagnostics]
        return result

    def _command(self, *more: str) -> list[str]:
        crate, request = self.job.crate, self.job.request
        command = [self.rust.cargo, "rustc", "--lib", "--manifest-path", self.mirror + crate.manifest]
        command += ["--message-format", "json"]
        command += ["--profile", request.profile or "autoaccel"]
        if crate.kinds != ("cdylib",):
            command += ["--crate-type", "cdylib"]
        features = (*request.features, *_missing_features(self.job))
        if features:
            command += ["--features", ",".join(features)]
        command += [*request.flags, *more]
        arguments = [*request.arguments, *self.job.arguments]
        if sys.platform == "darwin":
            arguments += ["-C", "link-arg=-undefined", "-C", "link-arg=dynamic_lookup"]
        return [*command, "--", *arguments] if arguments else command

    def command(self, *words: str) -> list[str]:
        """Arguments for a program that hands them on to cargo: the profile, the features and what else is asked for."""
        request = self.job.request
        features = (*request.features, *_missing_features(self.job))
        command = [*words, "--manifest-path", self.mirror + self.job.crate.manifest]
        command += ["--profile", request.profile or "autoaccel"]
        command += ["--features", ",".join(features)] if features else []
        return [*command, *request.flags, *(("--", *request.arguments) if request.arguments else ())]

    def _mirror(self) -> str:
        """Where links to the crate may be made: beside the build folder, for as long as the cache is kept."""
        bucket = os.path.dirname(os.path.dirname(self.workdir))
        return f"{bucket}/cargo/file-{keys.digest(self.known.folder)}"

    def _own_env(self) -> dict[str, str]:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        tag = f"{sys.implementation.name}-{version}-{64 if sys.maxsize > 2**32 else 32}bit"
        own = {
            "CARGO_TARGET_DIR": self.known.folder,
            "CARGO_BUILD_BUILD_DIR": self.known.folder,
            "PYO3_BUILD_EXTENSION_MODULE": "1",
            "PYO3_ENVIRONMENT_SIGNATURE": tag,
            "PYO3_PYTHON": self.job.python,
            "PYTHON_SYS_EXECUTABLE": self.job.python,
            "CARGO_TERM_COLOR": "never",
            **({"CARGO_BUILD_JOBS": str(settings.jobs())} if "AUTOACCEL_JOBS" in os.environ else {}),
            **self.rust.environment(),
        }
        for key, value in {**PROFILE, **_wishes(self.plan.settings)}.items():
            name = f"CARGO_PROFILE_AUTOACCEL_{key}"
            own[name] = os.environ.get(name, value)
        return own

    def env(self) -> dict[str, str]:
        """The environment of cargo."""
        env = process.environment(**self._own_env())
        if process.find_program("rustc") is None:
            # rustup was installed, and the shell not started anew: cargo is found beside $PATH, and needs rustc itself.
            env["PATH"] = env.get("PATH", os.defpath) + os.pathsep + os.path.dirname(self.rust.cargo)
        # The first two are of a cargo around us; a backtrace buries the sentence that matters.
        for name in ("CARGO", "CARGO_BUILD_TARGET_DIR", "RUST_BACKTRACE"):
            env.pop(name, None)
        return env

    def _failed(self, error: errors.BuildError, said: cargo_output.Said) -> Failed:
        """With what the failure depends on: all of the packages' files, and what rustc has noted down in this build."""
        job = self.job
        inputs = [*self.plan.inputs]
        local = crates.path_crates(job.crate, job.workspace)
        for one in local:
            for folder, folders, files in os.walk(one.folder):
                folders[:] = [name for name in folders if name not in ("target", ".git") and not name.startswith(".")]
                inputs += [os.path.join(folder, name) for name in files if name.endswith((".rs", ".toml"))]
                if any(name.endswith(".rs") for name in files):
                    # For its listing: a module that is missing may appear.
                    inputs.append(folder)
        if self.lock == keys.file_digest(_lock(job)):
            inputs.append(_lock(job))
        bases = dict.fromkeys((os.path.dirname(job.workspace), *(one.folder for one in local)))
        noted, env = cargo_output.noted_since(self.known.folder, self.started, bases)
        inputs += [path.removeprefix(self.mirror) for path in noted]
        missing = [path for one in said.diagnostics for path in cargo_output.missing_files(one)]
        absent = [os.path.normpath(os.path.join(base, path)) for path in missing for base in bases]
        known = {os.path.realpath(one) for one in inputs}
        errors_said = [one for one in said.diagnostics if one.level == "error"]
        # An error without a code is of a macro, which may have looked at anything, or of the parser; one at no place is
        # of the toolchain. That may get the crate that it lacks (E0463): `rustup target add` changes no file of ours.
        complete = (
            all(os.path.realpath(one.file) in known for one in errors_said if one.file)
            and any(one.code for one in errors_said)
            and all(bool(one.code) == bool(one.file) and one.code != "E0463" for one in errors_said)
            and not any(one.build_script for one in local)
        )
        return Failed(
            error,
            log="\n".join(self.log),
            inputs=[path for path in dict.fromkeys(inputs) if not self._ours(path)],
            absent=absent,
            env=self._values(env),
            complete=complete,
        )

    def _values(self, names: Iterable[str]) -> tuple[tuple[str, str | None], ...]:
        """The values of environment variables, without those that we set ourselves."""
        own = self._own_env()
        return tuple((name, os.environ.get(name)) for name in sorted(names) if name not in own)


def _wishes(how: Settings) -> dict[str, str]:
    """What the project's settings change in the profile."""
    found = {}
    if how.optimize is not None:
        found["OPT_LEVEL"] = "3" if how.optimize == "fast" else how.optimize
    if how.debug:
        found["DEBUG"] = "2"
    return found


def _missing_features(job: Job) -> list[str]:
    """Features without which a binding links Python's library: those that come with an environment variable now."""
    found = []
    for package, feature, since in (("pyo3", "extension-module", (0, 26)), ("cpython", "extension-module", (99,))):
        told = crates.dependency(job.crate, package, job.workspace)
        if told is None or told.get("optional") or feature in told.get("features", ()):
            continue
        version = crates.locked_version(_lock(job), package) or crates.version_numbers(str(told.get("version", "")))
        if version and version < since:
            found.append(f"{told['name']}/{feature}")
    return found
