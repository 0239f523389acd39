"""What `compile` and `explain` begin with: a model is read, pruned within its budget, and normalised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.devices.targets import Target
from edgesparse.numerics import Element
from edgesparse.pipeline.arguments import Bindings, InputShapes, Preprocessing, Progress, framed, read
from edgesparse.pipeline.budgets import Goal, SearchReport, settled
from edgesparse.pipeline.settings import Pruning
from edgesparse.pipeline.stages import apply_pruning, judged, normalised

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.frontend import Examples, Frame, Source
    from edgesparse.prune import PruneReport


@dataclass(frozen=True, eq=False)
class Request:
    """The arguments of `compile` and `explain` (see there); `pruning` may hold a budget, which is settled first."""

    model: Source
    target: Target
    pruning: Pruning | None
    example_inputs: Examples
    input_shapes: InputShapes | None
    bind: Bindings | None
    preprocess: Preprocessing
    threads: int
    on: str | None = None
    dtype: Element | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """A model on its way: as it was read, pruned, and in its normal form."""

    asked: Request
    source: ir.Model
    frames: Mapping[str, Frame]
    input_shapes: InputShapes | None
    pruning: Pruning | None  # with what a search has settled
    search: SearchReport | None
    pruned: ir.Model
    report: PruneReport | None
    normal: ir.Model

    @property
    def told(self) -> PruneReport | None:
        """What pruning did, and the search before it."""
        return replace(self.report, search=self.search) if self.report else None


def prepared(asked: Request, folder: Path, progress: Progress) -> Prepared:
    """Read, prune and normalise a model.

    Args: folder: where partial results of a search are kept.
    """
    progress("reading the model")
    source = read(asked.model, asked.example_inputs, asked.input_shapes, asked.bind)
    source, frames, input_shapes = framed(source, asked.preprocess, asked.input_shapes)
    goal = Goal.beside(folder, asked.model, asked.target, asked.threads, input_shapes, asked.on)
    chosen, found = settled(source, asked.pruning, goal, progress)
    pruned, report = apply_pruning(source, chosen, progress)
    report = judged(report, source, pruned, chosen, progress)
    normal = normalised(pruned, input_shapes, progress)
    return Prepared(asked, source, frames, input_shapes, chosen, found, pruned, report, normal)
