"""Back ends: what turns a plan into a program for one kind of device, a package each."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.devices.targets import Target
    from edgesparse.plan import Plan
    from edgesparse.program import Program


class Backend(Protocol):
    """What every package here offers."""

    def supports(self, node: ir.Node) -> str | None:
        """Why a node in normal form cannot be lowered, or None where it can."""

    def require_known(self, target: Target) -> None:
        """Check that code can be generated for a target.

        Raises: TargetError: it cannot; with near names.
        """

    def lower(
        self,
        plan: Plan,
        target: Target,
        *,
        expose: bool = False,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Program:
        """Compile what was planned.

        Args:
            expose: make an output of every value that exists at run time, to compare layer by layer.
            progress: called with the share of the ops that are lowered.

        Raises: LowerError: an operator has no lowering.
        """


CPU = "cpu"


def backend(kind: str = CPU) -> Backend:
    """The back end of that name."""
    return cast(Backend, import_module(f"edgesparse.backends.{kind}"))
