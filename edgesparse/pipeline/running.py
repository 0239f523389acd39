"""Inspect, run and measure what has been compiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.pipeline.reports import ArtifactSummary, TensorSummary

if TYPE_CHECKING:
    import numpy as np

    from edgesparse.frontend import ModelSummary
    from edgesparse.measure import BenchReport, Given
    from edgesparse.program import TensorSpec


def inspect(file: str | Path) -> ModelSummary | ArtifactSummary:
    """Describe a model or an artifact, whichever `file` is.

    Raises: EdgesparseError: the file cannot be read or is neither.
    """
    from edgesparse import frontend

    if not _is_artifact(Path(file)):
        return frontend.describe(frontend.read(file))

    from edgesparse.package.reader import read

    artifact = read(Path(file))
    program = artifact.program
    return ArtifactSummary(
        version=artifact.version,
        isa=program.isa,
        cpu_features=program.cpu_features,
        inputs=_tensors(program.inputs),
        outputs=_tensors(program.outputs),
        ops=dict(Counter(step.op for step in program.steps).most_common()),
        code_bytes=len(program.code),
        weights_bytes=len(program.weights),
        arena_bytes=program.arena_bytes,
        scratch_bytes=program.scratch_bytes,
        manifest=artifact.manifest,
    )


def run(artifact: str | Path, inputs: Given = None, *, threads: int = 1) -> dict[str, np.ndarray]:
    """Run an artifact once on this machine; returns its outputs by name.

    Args:
        inputs: arrays by name or in order; seeded random ones by default.

    Raises: EdgesparseError: the artifact or the inputs cannot be used.
    """
    from edgesparse import measure

    with measure.open_artifact(artifact, threads) as model:
        outputs: dict[str, np.ndarray] = model.run(measure.feeds_for(model.inputs, inputs))
        return outputs


def bench(
    artifact: str | Path,
    *,
    threads: int = 1,
    against: Sequence[str] = (),
    model: str | Path | None = None,
    inputs: Given = None,
    seconds: float = 3.0,
    steps: bool = False,
) -> BenchReport:
    """Measure an artifact on this machine, in turns with the runtimes in `against` on the ONNX file `model`.

    Args:
        inputs: arrays by name or in order; seeded random ones by default.
        seconds: how long to measure all of them together.
        steps: also time every kernel call.

    Raises: EdgesparseError: something cannot be opened or run here.
    """
    from edgesparse import measure

    return measure.bench(
        Path(artifact),
        threads=threads,
        against=against,
        model=Path(model) if model else None,
        inputs=inputs,
        seconds=seconds,
        steps=steps,
    )


def _is_artifact(path: Path) -> bool:
    from edgesparse.package.layout import MAGIC

    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False  # reading it as a model says what is wrong


def _tensors(specs: Sequence[TensorSpec]) -> tuple[TensorSummary, ...]:
    return tuple(TensorSummary(spec.name, spec.dtype, spec.shape) for spec in specs)
