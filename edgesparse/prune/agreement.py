"""Agreement of a pruned model with the dense one, output by output, on samples that pruning did not see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgesparse import reference
from edgesparse.errors import OnnxRuntimeError, PruneError
from edgesparse.prune.samples import BATCH, check_samples


@dataclass(frozen=True)
class Agreement:
    """How near an output of the pruned model is to the dense one's, over a number of `samples`.

    `top1` is the share of rows whose largest element is the same, for outputs [rows, classes]; of elements that are
    equal, for integers; 0 where the shape is another. `cosine` is the mean over samples, `relative_error` the norm of
    the difference over that of the dense output, over all samples. Where only one of two is a number, the outputs have
    nothing in common: 0 and infinity.
    """

    output: str
    samples: int
    top1: float | None
    cosine: float | None
    relative_error: float | None

    def __str__(self) -> str:
        found = [
            "" if self.top1 is None else f"the same answer in {self.top1:.1%}",
            "" if self.cosine is None else f"cosine {self.cosine:.4f}",
            "" if self.relative_error is None else f"relative error {self.relative_error:.3f}",
        ]
        return f"{self.output} against dense, {self.samples} samples held out: {', '.join(filter(None, found))}"


def compare_outputs(
    dense: ir.Model,
    pruned: ir.Model,
    arrays: Mapping[str, np.ndarray],
    progress: Callable[[float], None] = lambda share: None,
) -> tuple[Agreement, ...]:
    """Compare all outputs of two models with the same inputs.

    Args:
        arrays: samples by input name, as `check_samples` wants them.
        progress: called with the share of the samples that are compared.

    Raises: PruneError: the samples do not fit, or ONNX Runtime cannot run a model on them.
    """
    samples = check_samples(dense, arrays)
    names = [str(value.name) for value in dense.graph.outputs]
    sums = {name: OutputSums() for name in names}
    done = 0
    try:
        with reference.Session(dense, names, threads=0) as one, reference.Session(pruned, names, threads=0) as other:
            for feeds in samples.feeds(BATCH):
                exact, found = one.run(feeds), other.run(feeds)
                count = len(next(iter(feeds.values()))) if samples.batchable else 1
                progress((done := done + count) / len(samples))
                for name in exact.keys() & found.keys():
                    sums[name].add(exact[name], found[name], count)
    except OnnxRuntimeError as err:
        raise PruneError(f"calibration: {err}") from err
    return tuple(total.of(name, len(samples)) for name, total in sums.items() if total.seen)


@dataclass
class OutputSums:
    """Sums over the samples, from which an `Agreement` is made."""

    seen: bool = False
    same: list[np.ndarray] = field(default_factory=list)
    cosines: list[np.ndarray] = field(default_factory=list)
    off: float = 0.0
    energy: float = 0.0

    def add(self, exact: np.ndarray, found: np.ndarray, samples: int) -> None:
        """Take in an output of as many samples; one without elements says nothing."""
        if exact.size == found.size == 0:
            return
        self.seen = True
        if exact.shape != found.shape:
            self.same.append(np.zeros(1, bool))
            return
        if exact.dtype.kind != "f":
            self.same.append((exact == found).reshape(-1))
            return
        if exact.ndim == 2 and exact.shape[1] > 1:
            self.same.append(exact.argmax(axis=1) == found.argmax(axis=1))
        by_sample = samples if exact.shape[:1] == (samples,) else 1
        one, other = (array.astype(np.float64).reshape(by_sample, -1) for array in (exact, found))
        equal = (one == other) | (np.isnan(one) & np.isnan(other))
        if not (equal | (np.isfinite(one) & np.isfinite(other))).all():
            self.cosines.append(np.zeros(by_sample))
            self.off = np.inf
            return
        one, other = (np.where(np.isfinite(array), array, 0.0) for array in (one, other))
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        dots = (one * other).sum(axis=1)
        self.cosines.append(np.divide(dots, norms, out=np.ones_like(dots), where=norms > 0))
        self.off += float(np.square(other - one).sum())
        self.energy += float(np.square(one).sum())

    @property
    def error(self) -> float:
        """Squared error over the squares of the output; of integers, the share that is another."""
        if not self.cosines:
            return 1.0 - float(np.concatenate(self.same).mean()) if self.same else 0.0
        return self.off if np.isinf(self.off) else self.off / (self.energy or self.off or 1.0)

    def of(self, output: str, samples: int) -> Agreement:
        """The agreement that the sums amount to."""
        top1 = float(np.concatenate(self.same).mean()) if self.same else None
        if not self.cosines:
            return Agreement(output, samples, top1, None, None)
        return Agreement(output, samples, top1, float(np.concatenate(self.cosines).mean()), self.error**0.5)
