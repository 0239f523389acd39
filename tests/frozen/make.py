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
from tests.e2e.test_integers import convolutions
from tests.models import ort_run

HERE = Path(__file__).parent
TARGETS = {
    "classifier": ("x86-64-v3", "rpi5", "rpi3", "rpi4-32bit"),
    "lookup": ("x86-64-v3", "rpi5", "rpi3", "rpi4-32bit"),
    "integers": ("x86-64-v4-vnni", "x86-64-v3-vnni", "rpi5"),
}
"""Of what is kept; the last since version 2.1, which promises its bits."""


def folder(version: tuple[int, int]) -> Path:
    """Where artifacts of a version are."""
    return HERE / ".".join(map(str, version))


def _keep(model: Path, inputs: dict[str, np.ndarray], judged: dict[str, np.ndarray], **options: Any) -> None:
    """An artifact for all targets, and what it computes.

    Args: judged: what ONNX Runtime takes for `inputs`.
    """
    artifact = model.with_suffix(".esp")
    edgesparse.compile(model, TARGETS[model.stem], artifact, **options)
    outputs = dict(zip(_names(model), ort_run(model, judged), strict=True))
    np.savez(artifact.with_suffix(".inputs.npz"), **inputs)
    np.savez(artifact.with_suffix(".outputs.npz"), **outputs)
    model.unlink()


def _names(model: Path) -> Sequence[str]:
    return [value.name for value in onnx.load(model).graph.output]


def main() -> None:
    """Make what is to be kept of this version: what those before it had not."""
    kept = folder((records.MAJOR, records.MINOR))
    kept.mkdir()
    onnx.save(convolutions("uint8"), kept / "integers.onnx")
    x = {"x": np.random.default_rng(0).normal(size=(1, 3, 17, 19)).astype(np.float32)}
    _keep(kept / "integers.onnx", x, x)


if __name__ == "__main__":
    main()
