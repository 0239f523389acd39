"""Lower a normalised, scheduled model to machine code and a plan; the only room that knows TVM."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from edgesparse.plan import LayerPlan
from edgesparse.program import Program
from edgesparse.targets import Target


def require_known(target: Target) -> None:
    """Check that LLVM knows the CPU and the features of a target.

    Raises: TargetError: it does not; with near names.
    """
    from edgesparse.lower import llvm

    llvm.require_known(target)


def lower(
    model: ir.Model,
    target: Target,
    plans: Mapping[str, LayerPlan],
    *,
    expose: bool = False,
    keep_tiles: bool = True,
    join_layers: bool = True,
    progress: Callable[[float], None] = lambda share: None,
) -> Program:
    """Compile a normalised model.

    Args:
        plans: what `schedule.plan` chose, by node name.
        expose: make an output of every value that exists at run time, to compare layer by layer.
        keep_tiles: let values stay in tiles between layers that cut them alike.
        join_layers: let layers that hand large values to a depthwise convolution run in one kernel with it.
        progress: called with the share of the nodes that are lowered.

    Raises: LowerError: an operator has no lowering.
    """
    from edgesparse.lower.assemble import assemble
    from edgesparse.lower.graph import lower_graph
    from edgesparse.lower.silence import silenced

    with silenced():
        lowered = lower_graph(
            model, target, plans, expose=expose, keep_tiles=keep_tiles, join_layers=join_layers, progress=progress
        )
        return assemble(lowered, target)
