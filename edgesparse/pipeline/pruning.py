"""Prune: how, and a model file in and out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from edgesparse import targets
from edgesparse.errors import PruneError, nearest
from edgesparse.pipeline.applying import apply_pruning, judged
from edgesparse.pipeline.arguments import Bindings, Examples, InputShapes, Progress, Source, read, silent
from edgesparse.pipeline.files import require_writable, written
from edgesparse.pipeline.recovering import check_recover
from edgesparse.pipeline.samples import Calibration
from edgesparse.signatures import ONNX
from edgesparse.targets import Target

if TYPE_CHECKING:
    from edgesparse.prune import PruneReport


BUDGETS = ("latency", "speedup", "max_accuracy_drop")
"""Fields of `Pruning` from which a search makes densities."""

AMOUNTS = ("sparsity", *BUDGETS)
"""Fields of `Pruning` that say how much to prune; only one of them can."""

IDLE = ("calibration", "skip", "method", "reconstruct", "ray", "resume", "recover")
"""Options that do nothing where nothing says how much to prune."""

OTHER_OPTIONS = (
    *("target", "output", "example_inputs", "input_shapes", "bind", "preprocess", "labels"),
    *("threads", "witness", "html", "progress"),
)
"""What the functions that take the options of `Pruning` take besides."""

NOT_RECORDED = (*BUDGETS, "eval", "resume", "ray")

STRUCTURE = ("structured", "importance", "kinds", "multiple")
"""Fields of `Pruning` that mean nothing without the first."""

LISTS = ("skip", "kinds", "augment")
"""Fields of `Pruning` that are tuples, and lists in files."""

TYPES: dict[tuple[type | UnionType, str], tuple[str, ...]] = {
    (str, "a text"): ("method", "allocation", "match", "latency", "eval", "ray", "importance"),
    (Sequence, "a text or several"): LISTS,
    (int, "a whole number"): ("multiple",),
    (int | float, "a number"): ("speedup",),
    (bool, "True or False"): ("reconstruct", "permute", "resume"),
    (Mapping, "options by the names of layers"): ("layers",),
}
"""What values of fields of `Pruning` are, in Python and in words; of the others the values themselves are checked."""

KINDS = ("channels", "heads", "neurons")
"""What can be taken out whole."""

MULTIPLE = 8
"""What dimensions are rounded to where no target says it."""


class LayerOptions(TypedDict, total=False):
    """What holds for the layers that a shell pattern names, in place of the options for all."""

    sparsity: float
    pattern: str
    skip: bool


class PruningOptions(TypedDict, total=False):
    """The fields of `Pruning` as keyword arguments."""

    sparsity: float | None
    method: str
    allocation: str
    pattern: str
    skip: Sequence[str]
    calibration: Calibration
    reconstruct: bool
    match: str
    permute: bool
    layers: Mapping[str, LayerOptions]
    latency: str | None
    speedup: float | None
    max_accuracy_drop: str | float | None
    eval: str | None
    resume: bool
    ray: str | None
    structured: float | None
    importance: str
    kinds: Sequence[str]
    multiple: int
    recover: str | None
    augment: Sequence[str]


@dataclass(frozen=True)
class Pruning:
    """How to prune.

    Args:
        sparsity: share of the prunable weights to remove; None where each layer or the pattern says it.
        method: which weights go first, and what becomes of the others; where none is given, admm with calibration.
        allocation: how layers share the sparsity; where none is given, uniform for admm, else lamp.
        pattern: block RxQ of weights that go together, or N:M along the input channels.
        skip: shell patterns on the names of layers that stay dense.
        calibration: samples by input name, the .npz file that holds them, or "synthetic": pictures that are made up.
        reconstruct: choose the values of the weights that stay anew, so that outputs change least.
        match: where weights that stay change, what a layer's outputs should be on the samples: those of the "dense"
            network, or what its "own" dense weights give on what the network pruned so far brings.
        permute: for N:M, reorder channels before, where no output changes by it, so that more magnitude stays.
        layers: options for single layers, by shell pattern on their names; the first pattern that matches counts.
        latency: choose densities so that the compiled model takes so long, such as "8ms".
        speedup: choose densities so that it is so many times as fast as the dense model compiled.
        max_accuracy_drop: choose densities for the fastest model whose score drops by no more than this share of the
            dense model's, such as "1%" or 0.01.
        eval: "package.module:function" that returns the score of the ONNX file whose path it gets; higher is better.
        resume: go on with the partial results of a search that was interrupted.
        ray: address of a Ray cluster that shares the sweep over layers and densities.
        structured: share of the multiply-accumulates to take away before as whole channels, heads and neurons.
        importance: which of those go first; where none is given, output with calibration, else l2.
        kinds: of channels, heads and neurons, those that may go.
        multiple: what is left of a dimension is a multiple of this.
        recover: how long to fit what is left to the dense network's outputs by gradients, such as "2m"; needs PyTorch.
        augment: what is done to images meanwhile, so that few go further: "flip", "shift".

    Raises: EdgesparseError: a value that fits no model.
    """

    sparsity: float | None = None
    method: str = "magnitude"
    allocation: str = "uniform"
    pattern: str = "1x1"
    skip: tuple[str, ...] = ()
    calibration: Calibration = None
    reconstruct: bool = False
    match: str = "dense"
    permute: bool = False
    layers: Mapping[str, LayerOptions] = field(default_factory=dict)
    latency: str | None = None
    speedup: float | None = None
    max_accuracy_drop: str | float | None = None
    eval: str | None = None
    resume: bool = False
    ray: str | None = None
    structured: float | None = None
    importance: str = "l2"
    kinds: tuple[str, ...] = KINDS
    multiple: int = MULTIPLE
    recover: str | None = None
    augment: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        from edgesparse.prune import ALLOCATIONS, MATCHES, METHODS, check_shrink, named, pattern_called

        named(METHODS, self.method, "method")
        named(ALLOCATIONS, self.allocation, "allocation")
        named(dict.fromkeys(MATCHES), self.match, "match")
        _check_share(self.sparsity, "sparsity")
        _check_share(self.structured, "structured")
        pattern_called(self.pattern)
        for name, own in self.layers.items():
            _check_share(own.get("sparsity"), f"layers: {name}: sparsity")
            pattern_called(own.get("pattern", self.pattern))
        if self.latency is not None:
            from edgesparse.search import parse_latency

            parse_latency(self.latency)
        if self.max_accuracy_drop is not None:
            from edgesparse.search import parse_drop

            parse_drop(self.max_accuracy_drop)
        if self.speedup is not None and not 1 < self.speedup < math.inf:
            raise PruneError(f"speedup: got {self.speedup:g}, expected a number above 1 such as 3")
        check_shrink(self.structured or 0.0, self.importance, self.kinds, self.multiple)
        if self.recover is not None:
            check_recover(self.recover, self.augment)

    @classmethod
    def of(cls, options: PruningOptions, lanes: int = MULTIPLE) -> Pruning | None:
        """The pruning that keyword arguments ask for; None where nothing among them says how much.

        Args: lanes: the multiple where none is given.

        Raises: EdgesparseError: a value that fits no model, two that say how much, or `permute` without N:M.
        """
        from edgesparse.prune import METHODS, check_permute, named

        _require_known(options)
        given: dict[str, Any] = dict(options)
        given |= {name: (text,) for name in LISTS if isinstance(text := given.get(name), str)}
        for name, value in given.items():
            _check_type(name, value)
        if given.get("multiple") is None:
            given["multiple"] = lanes
        if given.get("method") is None:
            given["method"] = "magnitude" if given.get("calibration") is None else "admm"
        if given.get("importance") is None:
            given["importance"] = "l2" if given.get("calibration") is None else "output"
        if given.get("allocation") is None:
            given["allocation"] = named(METHODS, given["method"], "method").allocation
        pruning = cls.recorded(given)
        asked = [name for name in AMOUNTS if getattr(pruning, name) is not None]
        if len(asked) > 1:
            raise PruneError(f"{' and '.join(asked)} each say how much to prune; give one of them")
        if (pruning.max_accuracy_drop is None) != (pruning.eval is None):
            raise PruneError(
                "max_accuracy_drop and eval need each other: how far the score may drop, and what gives it"
            )
        if pruning.permute:
            check_permute([pruning.pattern, *(own["pattern"] for own in pruning.layers.values() if "pattern" in own)])
        if pruning.recover is not None and pruning.calibration is None:
            raise PruneError("recover needs calibration: samples of every input, such as five hundred, without labels")
        if pruning.augment and pruning.recover is None:
            raise PruneError("augment says how to recover, and nothing says for how long; give recover, such as 2m")
        if pruning.makes_zeros or pruning.structured is not None:
            return pruning
        idle = [name for name in IDLE if dict[str, Any](options).get(name)]
        if idle:
            words = f"{' and '.join(idle)} {'say' if len(idle) > 1 else 'says'} how to prune"
            raise PruneError(f"{words}, and nothing says how much; give sparsity, such as 0.9")
        return None

    @classmethod
    def recorded(cls, record: Mapping[str, Any]) -> Pruning:
        """The pruning that `record` of an artifact describes."""
        fields: dict[str, Any] = {name: tuple(value) if name in LISTS else value for name, value in record.items()}
        return cls(**fields)

    @property
    def makes_zeros(self) -> bool:
        """Whether single weights are to become zero."""
        from edgesparse.prune import pattern_called

        asked = any(getattr(self, name) is not None for name in AMOUNTS)
        return asked or bool(self.layers) or pattern_called(self.pattern).density is not None

    @property
    def record(self) -> dict[str, Any]:
        """What an artifact keeps of it, so that another copy of the model can be pruned alike."""
        path = self.calibration if isinstance(self.calibration, str | Path) else None
        dropped = NOT_RECORDED if self.structured is not None else (*NOT_RECORDED, *STRUCTURE)
        kept = {name: value for name, value in vars(self).items() if name not in dropped}
        lists = {name: list(kept[name]) for name in LISTS if name in kept}
        return {**kept, **lists, "calibration": str(path) if path else None}

    @property
    def searches(self) -> bool:
        """Whether a search is to choose the densities."""
        return any(getattr(self, name) is not None for name in BUDGETS)


def _check_type(name: str, value: object) -> None:
    """Check the type of an option whose value nothing else looks at first.

    Raises: PruneError: it is another.
    """
    expected: tuple[type | UnionType, str] | None = next((kind for kind, names in TYPES.items() if name in names), None)
    if value is not None and expected is not None and not isinstance(value, expected[0]):
        raise PruneError(f"{name}: got {value!r}, expected {expected[1]}")


def _check_share(share: object, where: str) -> None:
    number = isinstance(share, int | float) and not isinstance(share, bool)
    if share is not None and not (number and 0.0 <= share < 1.0):  # type: ignore[operator]
        raise PruneError(f"{where}: {no_share(share)}")


def no_share(value: object) -> str:
    """What is wrong with `value` as a share, and what may be meant by it: 0.9 by 90 and by 90%."""
    got = repr(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
    percent = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", str(value).strip())
    meant = float(percent[1]) / 100 if percent else 1.0
    likely = percent is not None and meant < 1.0 and (percent[2] or meant > 0.01)
    return f"got {got}, expected a share from 0 up to below 1" + (f"; did you mean {meant:g}?" if likely else "")


def _require_known(options: Mapping[str, object]) -> None:
    """Check the names of keyword arguments.

    Raises: PruneError: one is unknown; with the nearest that is known.
    """
    for name in options:
        if name in OTHER_OPTIONS:
            raise PruneError(f"{name!r} is no option here; it is one of compile or explain")
        if name not in PruningOptions.__annotations__:
            guess = nearest(name, PruningOptions.__annotations__, OTHER_OPTIONS)
            raise PruneError(f"unknown option {name!r}{guess}")


def prune(
    model: Source,
    output: str | Path,
    *,
    target: str | Target = targets.HOST,
    example_inputs: Examples = None,
    input_shapes: InputShapes | None = None,
    bind: Bindings | None = None,
    threads: int = 1,
    progress: Progress = silent,
    **pruning: Unpack[PruningOptions],
) -> PruneReport:
    """Write a copy of a model with zeros among its weights, or with fewer of them, in ONNX.

    Args:
        model, example_inputs, bind: as for `compile`.
        target, input_shapes, threads: what a budget of latency holds for, as for `compile`.
        pruning: the options of `Pruning`; something that says how much, such as `sparsity` or `structured`, at least.

    Raises: EdgesparseError: the model or the options cannot be used, or the file cannot be written.
    """
    import onnx_ir as ir

    from edgesparse.pipeline.searching import Goal, settled

    wanted = Pruning.of(pruning)
    if wanted is None:
        raise PruneError("nothing says how much to prune; give sparsity or structured, such as 0.9")
    require_writable(Path(output), ONNX, (model, target, pruning.get("calibration")))
    progress("reading the model")
    source = read(model, example_inputs, input_shapes, bind)
    found = None
    if wanted.searches:
        device = target if isinstance(target, Target) else targets.load(target)
        goal = Goal.beside(Path(output).parent, model, device, threads, input_shapes)
        wanted, found = settled(source, wanted, goal, progress)
    pruned, report = apply_pruning(source, wanted, progress)
    progress("writing the model")
    with written(Path(output)) as temporary:
        ir.save(pruned, temporary)
    told = judged(report, source, pruned, wanted, progress)
    assert told is not None
    return replace(told, search=found, output=Path(output))
