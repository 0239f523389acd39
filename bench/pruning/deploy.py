"""Compile a pruned model for this machine, and hold the artifact against ONNX Runtime."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import edgesparse
from edgesparse.measure import Arrays


@dataclass(frozen=True)
class Deployed:
    """An artifact: its size, the density of the whole model, and the largest error against ONNX Runtime."""

    artifact_bytes: int
    density: float
    agrees: bool
    max_error: float

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def deploy(model: Path, inputs: Arrays | None = None) -> Deployed:
    """Compile `model` to MODEL.esp next to it, and compare the outputs for `inputs`, random ones by default."""
    report = edgesparse.compile(model, "host", model.with_suffix(".esp"))
    outputs = edgesparse.verify(report.artifact, model, inputs=inputs, layers=False).plans[0].outputs
    return Deployed(
        artifact_bytes=report.artifact_bytes,
        density=report.density,
        agrees=all(each.agrees for each in outputs),
        max_error=max(each.max_error for each in outputs),
    )


def verdict(run: dict[str, Any]) -> str:
    """What `deploy` found, as a table shows it."""
    return f"{'yes' if run['agrees'] else 'NO'}, {run['max_error']:.0e}"
