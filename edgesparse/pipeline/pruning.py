"""Prune: how, and a model file in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

from edgesparse.errors import InternalError, PruneError
from edgesparse.pipeline.arguments import Progress, Source, silent
from edgesparse.pipeline.files import require_writable, written

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.prune import PruneReport


Calibration: TypeAlias = str | Path | Mapping[str, Any] | None
"""Samples by input name, the .npz file that holds them, or none."""


class PruningOptions(TypedDict, total=False):
    """The fields of `Pruning` as keyword arguments."""

    sparsity: float | None
    method: str
    allocation: str
    pattern: str
    skip: Sequence[str]
    calibration: Calibration
    reconstruct: bool


@dataclass(frozen=True)
class Pruning:
    """How to prune.

    Args:
        sparsity: share of the prunable weights to remove; None where the pattern says it.
        method: which weights go first, and what becomes of the others.
        allocation: how layers share the sparsity.
        pattern: block RxQ of weights that go together, or N:M along the input channels.
        skip: shell patterns on the names of layers that stay dense.
        calibration: samples by input name, or the .npz file that holds them.
        reconstruct: choose the values of the weights that stay anew, so that outputs change least.
    """

    sparsity: float | None = None
    method: str = "magnitude"
    allocation: str = "uniform"
    pattern: str = "1x1"
    skip: tuple[str, ...] = ()
    calibration: Calibration = None
    reconstruct: bool = False

    @classmethod
    def of(cls, options: PruningOptions) -> Pruning | None:
        """The pruning that keyword arguments ask for; None where nothing among them says how much.

        Raises: PruneError: an unknown pattern.
        """
        from edgesparse.prune import pattern_called

        pruning = cls(**{**options, "skip": tuple(options.get("skip", ()))})  # type: ignore[arg-type]
        fixed = pattern_called(pruning.pattern).density is not None
        return pruning if pruning.sparsity is not None or fixed else None

    @classmethod
    def recorded(cls, record: Mapping[str, Any]) -> Pruning:
        """The pruning that `record` of an artifact describes."""
        return cls(**{**record, "skip": tuple(record["skip"])})

    @property
    def record(self) -> dict[str, Any]:
        """What an artifact keeps of it, so that another copy of the model can be pruned alike."""
        path = self.calibration if isinstance(self.calibration, str | Path) else None
        return {**vars(self), "skip": list(self.skip), "calibration": str(path) if path else None}


def prune(
    model: Source,
    output: str | Path,
    *,
    progress: Progress = silent,
    **pruning: Unpack[PruningOptions],
) -> PruneReport:
    """Write a copy of an ONNX model with zeros among its weights.

    Args:
        pruning: the options of `Pruning`; `sparsity` at least, or a pattern that fixes it.

    Raises: EdgesparseError: the model or the options cannot be used, or the file cannot be written.
    """
    import onnx_ir as ir

    from edgesparse import frontend

    wanted = Pruning.of(pruning)
    if wanted is None:
        raise PruneError("nothing says how much to prune; give sparsity, such as 0.9")
    require_writable(Path(output))
    progress("reading the model")
    pruned, report = apply_pruning(frontend.read(model), wanted, progress)
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
    options = {key: value for key, value in vars(pruning).items() if key not in ("sparsity", "calibration")}
    density = None if pruning.sparsity is None else 1.0 - pruning.sparsity
    result = prune_weights(model, density, calibration=samples(pruning.calibration), **options)
    _check_onnx(result.model, "pruning")
    return result.model, result.report


def samples(calibration: Calibration) -> Mapping[str, Any] | None:
    """Calibration samples by input name, from an .npz file where it is one.

    Raises: PruneError: the file cannot be read.
    """
    if calibration is None or isinstance(calibration, Mapping):
        return calibration
    import zipfile

    import numpy as np

    try:
        loaded = np.load(calibration, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise ValueError("an array without a name")
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as err:
        reason = err.strerror if isinstance(err, OSError) and err.strerror else "not an .npz file"
        raise PruneError(
            f"calibration: {calibration} cannot be read: {reason}; expected an .npz file with samples by input name"
        ) from err


def _check_onnx(model: ir.Model, stage: str) -> None:
    import onnx
    import onnx_ir as ir

    try:
        onnx.checker.check_model(ir.to_proto(model))
    except onnx.checker.ValidationError as err:
        raise InternalError(f"{stage} made an invalid ONNX model: {err}") from err
