"""The forms of a reference model that are compared: dense, older ONNX, dense int8, and pruned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

import edgesparse
from edgesparse import frontend
from edgesparse.measure import Arrays, random_feeds
from edgesparse.pipeline import TensorSummary
from models import int8, older, small, zoo

CALIBRATION = 4  # batches


@dataclass(frozen=True)
class Variants:
    """The forms of the model `name`, a name of `zoo.ZOO` or `small.SMALL`, as files in `folder`.

    What is dense is made once; pruned copies are made again by whoever asks, with the pruning of now.
    """

    name: str
    folder: Path

    def dense(self) -> Path:
        """The model as exported."""
        if self.name in small.SMALL:
            return small.build(self.name, self._path("dense"))
        return zoo.cached(self.name)

    def pruned(self, density: float, pattern: str) -> Path:
        """Pruned by magnitude, every layer to the same density; the dense model if that is 1."""
        if density == 1:
            return self.dense()
        path = self._path(f"{density:g}-{pattern}")
        edgesparse.prune(self.dense(), path, sparsity=1 - density, allocation="uniform", pattern=pattern)
        return path

    def older(self, model: Path) -> Path:
        """A form of this model in ONNX that every runtime reads; rivals are as fast on it, or faster."""
        path = self._path(f"{model.stem.removeprefix(self.name).strip('-') or 'dense'}-older")
        if not path.exists() or path.stat().st_mtime < model.stat().st_mtime:
            onnx.save(older.older(onnx.load(str(model))), str(path))
        return path

    def inputs(self, seed: int = 0) -> Arrays:
        """Random inputs."""
        given = frontend.describe(frontend.read(self.dense())).inputs
        specs = [TensorSummary(each.name, each.dtype, tuple(int(size) for size in each.shape or ())) for each in given]
        return random_feeds(specs, seed)

    def int8(self, density: float = 1, pattern: str = "1x1") -> Path:
        """Statically quantised, after it was `pruned`: scales are of what is left, and zeros stay zeros."""
        path = self._path("int8" if density == 1 else f"int8-{density:g}-{pattern}")
        if density < 1 or not path.exists():
            batches = [self.inputs(seed) for seed in range(1, 1 + CALIBRATION)]
            int8.int8(self.older(self.pruned(density, pattern)), path, batches)
        return path

    def _path(self, form: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{self.name}-{form}.onnx"
