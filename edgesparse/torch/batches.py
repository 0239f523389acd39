"""Calibration samples as feeds of torch tensors: some to fit to, in random order, and some held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
import torch

from edgesparse.prune.samples import Samples, check_samples
from edgesparse.torch.augment import Augment

BATCH = 32
SINGLES = 8  # inferences of a step where the model takes no batches
HELD_OUT = 8  # one sample in this many is held out, where the caller holds none out

Feeds = dict[str, torch.Tensor]


class Batches:
    """Batches of the samples `seen`, and of those held `out`, which never change."""

    def __init__(self, seen: Samples, out: Samples, seed: int, augment: Sequence[Augment]) -> None:
        self._seen, self._out, self._augment = seen, out, augment
        self._rng, self._generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        self._order: list[int] = []

    def step(self) -> Iterator[Feeds]:
        """The feeds of one step: each sample once before any comes again."""
        size = min(BATCH if self._seen.batchable else SINGLES, len(self._seen))
        if len(self._order) < size:
            self._order = self._rng.permutation(len(self._seen)).tolist()
        chosen, self._order = self._order[:size], self._order[size:]
        for feeds in _feeds(self._seen, np.array(chosen)):
            for function in self._augment:
                feeds |= {name: function(x, self._generator) for name, x in feeds.items() if x.dim() == 4}
            yield feeds

    def held_out(self) -> Iterator[Feeds]:
        """Feeds with all samples held out."""
        return _feeds(self._out, np.arange(len(self._out)))


def parted(
    model: ir.Model, calibration: Mapping[str, np.ndarray], held_out: Mapping[str, np.ndarray] | None
) -> tuple[Samples, Samples]:
    """The samples to fit to, and those held out: of `calibration` itself where the caller gives none.

    Raises: PruneError: they do not fit the model.
    """
    samples = check_samples(model, calibration)
    if held_out is not None:
        return samples, check_samples(model, held_out)
    out = np.arange(len(samples)) % HELD_OUT == HELD_OUT // 2
    if not out.any():
        return samples, samples
    seen, others = ({name: array[of] for name, array in samples.arrays.items()} for of in (~out, out))
    return check_samples(model, seen), check_samples(model, others)


def _feeds(samples: Samples, chosen: np.ndarray) -> Iterator[Feeds]:
    size = BATCH if samples.batchable else 1
    for start in range(0, len(chosen), size):
        at = chosen[start : start + size]
        yield {
            name: torch.from_numpy(np.array(array[at[0]] if samples.stacked[name] else array[at]))
            for name, array in samples.arrays.items()
        }
