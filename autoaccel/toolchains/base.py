"""What a toolchain is: two verbs behind one Protocol, and the exception by which a build fails."""

from __future__ import annotations

from typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..errors import BuildError
    from ..plan import Built, Plan
    from ..settings import Settings
    from ..sources import Source

__all__ = ["Failed", "Toolchain"]


class Failed(Exception):
    """A build failed by the user's source, not by ours.

    Attributes:
        error: what the user is told.
        log: everything that the tools said.
        inputs: files that were read, beyond the plan's.
        absent: missing files that may be the reason.
        env: environment variables that were read -> their values, beyond the plan's.
        complete: whether the failure depends on nothing but these; else it is believed for a few seconds only.
    """

    def __init__(
        self,
        error: BuildError,
        *,
        log: str,
        inputs: Sequence[str] = (),
        absent: Sequence[str] = (),
        env: Sequence[tuple[str, str | None]] = (),
        complete: bool = True,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.log = log
        self.inputs = tuple(inputs)
        self.absent = tuple(absent)
        self.env = tuple(env)
        self.complete = complete


class Toolchain(Protocol):
    """A module of this package; by PEP 544, ``self`` is left out when a module is the implementation."""

    def prepare(self) -> None:
        """A build is likely to follow: start what takes long to start, and don't wait for it."""

    def plan(self, source: Source, settings: Settings) -> Plan:
        """All that is known to decide the result; may ask tools, writes nothing.

        Raises:
            AccelError: the source can't be read, the settings are wrong, a tool is missing.
        """

    def build(self, plan: Plan, workdir: str) -> Built:
        """Run the compilers inside ``workdir``.

        Raises:
            Failed: the source does not compile.
        """
