"""Prune: how, and a model file in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from edgesparse import targets
from edgesparse.errors import InternalError, PruneError
from edgesparse.pipeline.arguments import InputShapes, Progress, Source, silent
from edgesparse.pipeline.files import require_writable, written
from edgesparse.targets import Target

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.prune import PruneReport


AMOUNTS = ("sparsity", "latency", "speedup", "max_accuracy_drop")
"""Fields of `Pruning` that say how much to prune; only one of them can."""


class LayerOptions(TypedDict, total=False):
    """What holds for the layers that a pattern names, in place of the options for all."""

    sparsity: float | None
    pattern: str
    skip: bool


class PruningOptions(TypedDict, total=False):
    """The fields of `Pruning` as keyword arguments."""

    sparsity: float | None
    method: str
    allocation: str
    pattern: str
    skip: Sequence[str]
    calibration: str | Path | Mapping[str, Any] | None
    layers: Mapping[str, LayerOptions]
    latency: str | None
    speedup: str | float | None
    max_accuracy_drop: str | float | None
    eval: str | None
    trials: int
    state: str | Path | None
    resume: bool
    ray: str | None


@dataclass(frozen=True)
class Pruning:
    """How to prune.

    Args:
        sparsity: share of the prunable weights to remove.
        method: which weights go first.
        allocation: how layers share the sparsity.
        pattern: block RxQ of weights that go together, or N:M.
        skip: shell patterns on the names of layers that stay dense.
        calibration: samples by input name, or the .npz file that holds them.
        layers: options for single layers, by shell pattern on their names; the first pattern that matches counts.
        latency: choose densities so that the compiled model takes so long, such as "8ms".
        speedup: choose densities so that it is so many times as fast as the dense model compiled.
        max_accuracy_drop: choose densities for the fastest model whose score drops by no more than this share.
        eval: "package.module:function" that gives the score of an ONNX file; higher is better.
        trials: profiles of densities whose calibration loss is measured, for one budget.
        state: folder for the partial results of a search; MODEL.search beside the output by default.
        resume: go on with what `state` holds.
        ray: address of a Ray cluster that shares the sweep over the layers.

    Raises: EdgesparseError: a value that no model could make sense of.
    """

    sparsity: float | None = None
    method: str = "magnitude"
    allocation: str = "uniform"
    pattern: str = "1x1"
    skip: tuple[str, ...] = ()
    calibration: str | Path | Mapping[str, Any] | None = None
    layers: Mapping[str, LayerOptions] = field(default_factory=dict)
    latency: str | None = None
    speedup: str | float | None = None
    max_accuracy_drop: str | float | None = None
    eval: str | None = None
    trials: int = 100
    state: str | Path | None = None
    resume: bool = False
    ray: str | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without a model, one field at a time."""
        from edgesparse.sparsity.patterns import parse_pattern

        shares = {"sparsity": self.sparsity}
        shares |= {f"layers: {name}: sparsity": options.get("sparsity") for name, options in self.layers.items()}
        for name, share in shares.items():
            if share is not None and not 0.0 <= share < 1.0:
                raise PruneError(f"{name}: got {share:g}, expected a share from 0 up to below 1")
        for pattern in (self.pattern, *(options.get("pattern", self.pattern) for options in self.layers.values())):
            if parse_pattern(pattern) is None:
                raise PruneError(
                    f"pattern {pattern!r} is unknown; expected a block RxQ such as 4x1 or 1x4, or N:M such as 2:4"
                )
        if self.trials < 1:
            raise PruneError(f"trials: got {self.trials}, expected 1 or more")
        self._check_budgets()

    def _check_budgets(self) -> None:
        if self.latency is None and self.speedup is None and self.max_accuracy_drop is None:
            return
        from edgesparse.search import parse_drop, parse_latency, parse_speedup

        for value, parse in (
            (self.latency, parse_latency),
            (self.speedup, parse_speedup),
            (self.max_accuracy_drop, parse_drop),
        ):
            if value is not None:
                parse(value)

    @classmethod
    def of(cls, options: PruningOptions) -> Pruning | None:
        """The pruning that keyword arguments ask for; None where nothing among them says how much.

        Raises: EdgesparseError: a value, or two that do not go together.
        """
        pruning = cls(**{**options, "skip": tuple(options.get("skip", ()))})  # type: ignore[arg-type]
        asked = [name for name in AMOUNTS if getattr(pruning, name) is not None]
        if len(asked) > 1:
            raise PruneError(f"{' and '.join(asked)} each say how much to prune; give one of them")
        if pruning.eval is not None and pruning.max_accuracy_drop is None:
            raise PruneError("eval is given without max_accuracy_drop; give both, such as 1%")
        if pruning.max_accuracy_drop is not None and pruning.eval is None:
            raise PruneError("max_accuracy_drop needs eval, a package.module:function that scores an ONNX file")
        is_fixed = pruning.pattern.count(":") == 1
        return pruning if asked or pruning.layers or is_fixed else None

    @classmethod
    def recorded(cls, record: Mapping[str, Any]) -> Pruning:
        """The pruning that `record` describes."""
        return cls(**{**record, "skip": tuple(record["skip"])})

    @property
    def record(self) -> dict[str, Any]:
        """What an artifact keeps of it, to prune another copy of the model alike."""
        kept = ("sparsity", "method", "allocation", "pattern", "layers")
        path = self.calibration if isinstance(self.calibration, str | Path) else None
        return {name: getattr(self, name) for name in kept} | {
            "skip": list(self.skip),
            "calibration": str(path) if path else None,
        }

    @property
    def searches(self) -> bool:
        """Whether densities are to be searched for."""
        return any(value is not None for value in (self.latency, self.speedup, self.max_accuracy_drop))


def prune(
    model: Source,
    output: str | Path,
    *,
    target: str | Target = targets.HOST,
    input_shapes: InputShapes | None = None,
    threads: int = 1,
    progress: Progress = silent,
    **pruning: Unpack[PruningOptions],
) -> PruneReport:
    """Write a copy of an ONNX model with zeros among its weights.

    Args:
        target, input_shapes, threads: what a budget of latency holds for, as for `compile`.
        pruning: the options of `Pruning`; `sparsity`, a budget or `layers` at least.

    Raises: EdgesparseError: the model or the options cannot be used, or the file cannot be written.
    """
    import onnx_ir as ir

    from edgesparse import frontend
    from edgesparse.pipeline.searching import Goal, settled

    wanted = Pruning.of(pruning)
    if wanted is None:
        raise PruneError("nothing says how much to prune; give sparsity, such as 0.9")
    device = target if isinstance(target, Target) else targets.load(target)
    require_writable(Path(output))
    progress("reading the model")
    source = frontend.read(model)
    goal = Goal(device, threads, input_shapes, default_state(model, Path(output).parent))
    chosen, found = settled(source, wanted, goal, progress)
    pruned, report = apply_pruning(source, chosen, progress)
    progress("writing the model")
    with written(Path(output)) as temporary:
        ir.save(pruned, temporary)
    assert report is not None
    return replace(report, search=found)


def default_state(model: Source, folder: Path) -> Path:
    """MODEL.search in the folder of what is written."""
    return folder / f"{Path(model).stem if isinstance(model, str | Path) else 'model'}.search"


def apply_pruning(model: ir.Model, pruning: Pruning | None, progress: Progress) -> tuple[ir.Model, PruneReport | None]:
    """Prune a model, and check that the result is valid ONNX; without `pruning` return it as it is.

    Args:
        pruning: without a budget; `searched` turns budgets into densities.
    """
    if pruning is None:
        return model, None
    from edgesparse.pipeline.overrides import by_node, densities_by_pattern, merged, names_of
    from edgesparse.prune import prune as prune_weights
    from edgesparse.sparsity.patterns import parse_pattern

    progress("pruning")
    options: dict[str, Any] = {"method": pruning.method, "calibration": samples(pruning.calibration)}
    own = by_node(model, pruning.layers)
    pruned, report = model, None
    shape = parse_pattern(pruning.pattern)
    if pruning.sparsity is not None or (shape is not None and shape.density is not None and not own):
        density = None if pruning.sparsity is None else 1.0 - pruning.sparsity
        skip = (*pruning.skip, *names_of(own))
        how = {"allocation": pruning.allocation, "pattern": pruning.pattern, "skip": skip}
        result = prune_weights(model, density, **how, **options)
        pruned, report = result.model, result.report
    for pattern, densities in densities_by_pattern(own, pruning).items():
        result = prune_weights(pruned, densities, pattern=pattern, **options)
        pruned, report = result.model, merged(report, result.report)
    if report is None:
        raise PruneError("layers: they only leave layers dense, and nothing says how much of the others to prune")
    _check_onnx(pruned, "pruning")
    return pruned, report


def samples(calibration: str | Path | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Calibration samples by input name, from an .npz file where it is one.

    Raises: PruneError: the file cannot be read.
    """
    if calibration is None or isinstance(calibration, Mapping):
        return calibration
    import numpy as np

    try:
        with np.load(calibration, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError) as err:
        reason = err.strerror if isinstance(err, OSError) and err.strerror else "not an .npz file"
        raise PruneError(
            f"calibration: {calibration} cannot be read: {reason}; expected an .npz with samples by input"
        ) from err


def _check_onnx(model: ir.Model, stage: str) -> None:
    import onnx
    import onnx_ir as ir

    try:
        onnx.checker.check_model(ir.to_proto(model))
    except onnx.checker.ValidationError as err:
        raise InternalError(f"{stage} made an invalid ONNX model: {err}") from err
