"""Prune: a model file in and out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from edgesparse.devices import targets
from edgesparse.devices.targets import Target
from edgesparse.errors import PruneError
from edgesparse.outputs import written
from edgesparse.pipeline.arguments import Bindings, InputShapes, Progress, read, silent
from edgesparse.pipeline.budgets import Goal, settled
from edgesparse.pipeline.files import require_writable
from edgesparse.pipeline.options import PruningOptions
from edgesparse.pipeline.settings import Pruning
from edgesparse.pipeline.stages import apply_pruning, judged
from edgesparse.signatures import ONNX

if TYPE_CHECKING:
    from edgesparse.frontend import Examples, Source
    from edgesparse.prune import PruneReport


def prune(
    model: Source,
    output: str | Path,
    *,
    target: str | Target = targets.HOST,
    example_inputs: Examples = None,
    input_shapes: InputShapes | None = None,
    bind: Bindings | None = None,
    threads: int = 1,
    on: str | None = None,
    progress: Progress = silent,
    **pruning: Unpack[PruningOptions],
) -> PruneReport:
    """Write a copy of a model with zeros among its weights, or with fewer of them, in ONNX.

    Args:
        model, example_inputs, bind: as for `compile`.
        target, input_shapes, threads, on: what a budget of latency holds for and is measured on, as for `compile`.
        pruning: the options in `options.PruningOptions`; at least one that says how much, such as `sparsity`.

    Raises: EdgesparseError: the model or the options cannot be used, or the file cannot be written.
    """
    import onnx_ir as ir

    wanted = Pruning.of(pruning)
    if wanted is None:
        raise PruneError("nothing says how much to prune; give sparsity or structured, such as 0.9")
    require_writable(Path(output), ONNX, (model, target, pruning.get("calibration")))
    progress("reading the model")
    source = read(model, example_inputs, input_shapes, bind)
    found = None
    if wanted.searches:
        device = target if isinstance(target, Target) else targets.load(target)
        goal = Goal.beside(Path(output).parent, model, device, threads, input_shapes, on)
        wanted, found = settled(source, wanted, goal, progress)
    pruned, report = apply_pruning(source, wanted, progress)
    progress("writing the model")
    with written(Path(output)) as temporary:
        ir.save(pruned, temporary)
    told = judged(report, source, pruned, wanted, progress)
    assert told is not None
    return replace(told, search=found, output=Path(output))
