"""Keep artifacts of this version of the format, with inputs and what ONNX Runtime computes for them.

    python -m tests.frozen.make

writes the folder of the version, once: what is kept must open and run with every runtime since, so it never changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import edgesparse
from edgesparse.package import records
from tests.cli.models import classifier
from tests.models import ort_run

HERE = Path(__file__).parent
TARGETS = ("x86-64-v3", "rpi5", "rpi3", "rpi4-32bit")

LOOKUP = """
<ir_version: 9, opset_import: ["" : 20]>
lookup (int64[3, 5] ids, int32[7] shift) => (float[3, 5, 4] rows, int32[7] shifted) {
    rows = Gather (table, ids)
    shifted = Add (shift, shift)
}
"""
"""Fails where an id is outside the table."""


def folder(version: tuple[int, int]) -> Path:
    """Where artifacts of a version are."""
    return HERE / ".".join(map(str, version))


def _lookup(path: Path) -> Path:
    model = onnx.parser.parse_model(LOOKUP)
    table = np.random.default_rng(1).standard_normal((9, 4)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
    onnx.save(model, path)
    return path


def _keep(model: Path, inputs: dict[str, np.ndarray], judged: dict[str, np.ndarray], **options: Any) -> None:
    """An artifact for all targets, and what it computes.

    Args: judged: what ONNX Runtime takes for `inputs`.
    """
    artifact = model.with_suffix(".esp")
    edgesparse.compile(model, TARGETS, artifact, **options)
    outputs = dict(zip(_names(model), ort_run(model, judged), strict=True))
    np.savez(artifact.with_suffix(".inputs.npz"), **inputs)
    np.savez(artifact.with_suffix(".outputs.npz"), **outputs)
    model.unlink()


def _names(model: Path) -> Sequence[str]:
    return [value.name for value in onnx.load(model).graph.output]


def main() -> None:
    """Make what is to be kept."""
    kept = folder((records.MAJOR, records.MINOR))
    kept.mkdir()
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (8, 8, 3), np.uint8)
    planes = frame.transpose(2, 0, 1)[None].astype(np.float32) / 255
    dense = classifier(kept / "dense.onnx")
    sparse = edgesparse.prune(dense, kept / "classifier.onnx", sparsity=0.7).output
    dense.unlink()
    picture = "image=uint8,nhwc,rgb,from=8x8,std=255"
    _keep(sparse, {"image": frame}, {"image": planes}, preprocess=picture, labels=list("äbcde"))
    ids = {"ids": rng.integers(-9, 9, (3, 5)), "shift": np.arange(7, dtype=np.int32)}
    _keep(_lookup(kept / "lookup.onnx"), ids, ids)


if __name__ == "__main__":
    main()
