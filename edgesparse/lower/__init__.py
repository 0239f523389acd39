"""Lower what was planned to machine code; the only room that knows TVM."""

from __future__ import annotations

from collections.abc import Callable

from edgesparse.plan import Plan
from edgesparse.program import Program
from edgesparse.targets import Target


def require_known(target: Target) -> None:
    """Check that LLVM knows the CPU and the features of a target.

    Raises: TargetError: it does not; with near names.
    """
    from edgesparse.lower import llvm

    llvm.require_known(target)


def lower(
    plan: Plan, target: Target, *, expose: bool = False, progress: Callable[[float], None] = lambda share: None
) -> Program:
    """Compile what was planned.

    Args:
        expose: make an output of every value that exists at run time, to compare layer by layer.
        progress: called with the share of the ops that are lowered.

    Raises: LowerError: an operator has no lowering.
    """
    from edgesparse.lower.assemble import assemble
    from edgesparse.lower.silence import silenced
    from edgesparse.lower.walk import lower_ops

    with silenced():
        return assemble(lower_ops(plan, target, expose=expose, progress=progress), target)
