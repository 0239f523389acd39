"""What the pipeline tells about what it did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesparse.plan import LayerPlan

if TYPE_CHECKING:
    import numpy as np

    from edgesparse.measure.compare import Difference
    from edgesparse.prune import PruneReport


@dataclass(frozen=True)
class WitnessReport:
    """Whether the user's model, its normal form and the artifact agree on seeded inputs or samples.

    `imported` and `code` say "agrees", or "not judged: " and why; `max_error` is the largest of both.
    """

    imported: str
    code: str
    max_error: float
    seconds: float


@dataclass(frozen=True)
class CompileReport:
    """A compiled artifact; sizes in bytes, `density` over all weights of the model, `seconds` of compile time.

    `notes` are what its user should know of the model: sizes that were assumed, weights that are no numbers.
    """

    artifact: Path
    target: str
    artifact_bytes: int
    code_bytes: int
    weights_bytes: int
    arena_bytes: int
    steps: int
    density: float
    seconds: float
    layers: tuple[LayerPlan, ...]
    pruning: PruneReport | None
    witness: WitnessReport | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class TensorSummary:
    """An input or output of an artifact; `picture` says what the pixels of an input mean, such as "rgb"."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    picture: str = ""


@dataclass(frozen=True)
class ArtifactSummary:
    """What an artifact holds; sizes in bytes. `manifest` says where it came from."""

    version: tuple[int, int]
    isa: str
    cpu_features: tuple[str, ...]
    inputs: tuple[TensorSummary, ...]
    outputs: tuple[TensorSummary, ...]
    ops: dict[str, int]  # kernel calls by what they compute
    code_bytes: int
    weights_bytes: int
    arena_bytes: int
    scratch_bytes: int
    manifest: dict[str, Any]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """An element of an output, and the label that names it: its number, where the artifact has no labels."""

    label: str
    score: float


@dataclass(frozen=True)
class Answer:
    """What a run gave; `top` are its largest elements, `note` what was done to a picture so that it fits."""

    outputs: dict[str, np.ndarray]
    top: tuple[Score, ...]
    note: str | None = None


@dataclass(frozen=True)
class VerifyReport:
    """Agreement of an artifact with ONNX Runtime.

    `layers` compares the values between the kernels, in order of execution, in an artifact compiled so that they
    can be seen; `first_divergence` names the first that does not agree.
    """

    outputs: tuple[Difference, ...]
    layers: tuple[Difference, ...]
    first_divergence: str | None
    note: str | None

    @property
    def agrees(self) -> bool:
        """Whether all outputs agree."""
        return all(difference.agrees for difference in self.outputs)
