"""CPUs: kernels of ours, TVM for everything else, one image of machine code. The only room that knows TVM."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.devices.targets import Target
    from edgesparse.plan import Plan
    from edgesparse.program import Program


def supports(node: ir.Node) -> str | None:
    """See `Backend`."""
    from edgesparse.backends.cpu.relax.supported import refusal

    return refusal(node)


def require_known(target: Target) -> None:
    """See `Backend`."""
    from edgesparse.backends.cpu import llvm

    llvm.require_known(target)


def lower(
    plan: Plan, target: Target, *, expose: bool = False, progress: Callable[[float], None] = lambda share: None
) -> Program:
    """See `Backend`."""
    from edgesparse.backends.cpu.assemble import assemble
    from edgesparse.backends.cpu.silence import silenced
    from edgesparse.backends.cpu.walk import lower_ops

    with silenced():
        return assemble(lower_ops(plan, target, expose=expose, progress=progress), target)
