"""Prune: how, and a model file in and out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from edgesparse.errors import InternalError, PruneError
from edgesparse.pipeline.arguments import Examples, Progress, Source, silent
from edgesparse.pipeline.files import require_writable, written

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.prune import PruneReport


class PruningOptions(TypedDict, total=False):
    """The fields of `Pruning` as keyword arguments."""

    sparsity: float | None
    method: str
    allocation: str
    pattern: str
    skip: Sequence[str]


@dataclass(frozen=True)
class Pruning:
    """How to prune.

    Args:
        sparsity: share of the prunable weights to remove.
        method: which weights go first.
        allocation: how layers share the sparsity.
        pattern: block RxQ of weights that go together.
        skip: shell patterns on the names of layers that stay dense.
    """

    sparsity: float
    method: str = "magnitude"
    allocation: str = "uniform"
    pattern: str = "1x1"
    skip: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: PruningOptions) -> Pruning | None:
        """The pruning that keyword arguments ask for; None where there is no sparsity among them."""
        if options.get("sparsity") is None:
            return None
        return cls(**{**options, "skip": tuple(options.get("skip", ()))})  # type: ignore[arg-type]


def prune(
    model: Source,
    output: str | Path,
    *,
    example_inputs: Examples = None,
    progress: Progress = silent,
    **pruning: Unpack[PruningOptions],
) -> PruneReport:
    """Write a copy of a model with zeros among its weights, in ONNX.

    Args:
        model, example_inputs: as for `compile`.
        pruning: the options of `Pruning`; `sparsity` at least.

    Raises: EdgesparseError: the model or the options cannot be used, or the file cannot be written.
    """
    import onnx_ir as ir

    from edgesparse import frontend

    wanted = Pruning.of(pruning)
    if wanted is None:
        raise PruneError("nothing says how much to prune; give sparsity, such as 0.9")
    require_writable(Path(output))
    progress("reading the model")
    pruned, report = apply_pruning(frontend.read(model, example_inputs), wanted, progress)
    progress("writing the model")
    with written(Path(output)) as temporary:
        ir.save(pruned, temporary)
    assert report is not None
    return report


def apply_pruning(model: ir.Model, pruning: Pruning | None, progress: Progress) -> tuple[ir.Model, PruneReport | None]:
    """Prune a model, and check that the result is valid ONNX; without `pruning` return it as it is."""
    if pruning is None:
        return model, None
    from edgesparse.prune import prune as prune_weights

    progress("pruning")
    options = {key: value for key, value in vars(pruning).items() if key != "sparsity"}
    result = prune_weights(model, 1.0 - pruning.sparsity, **options)
    _check_onnx(result.model, "pruning")
    return result.model, result.report


def _check_onnx(model: ir.Model, stage: str) -> None:
    import onnx
    import onnx_ir as ir

    try:
        onnx.checker.check_model(ir.to_proto(model))
    except onnx.checker.ValidationError as err:
        raise InternalError(f"{stage} made an invalid ONNX model: {err}") from err
