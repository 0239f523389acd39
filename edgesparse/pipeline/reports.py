"""What the pipeline tells about what it did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesparse.package.manifest import of_plan
from edgesparse.plan import LayerPlan
from edgesparse.tables import Note, Part, Report, Table, bytes_text, counts_text, shape_text, shown, signature_table

if TYPE_CHECKING:
    import numpy as np

    from edgesparse.measure.compare import Difference
    from edgesparse.prune import PruneReport


@dataclass(frozen=True)
class WitnessReport:
    """Whether the user's model, its normal form and the artifact agree on seeded inputs or samples.

    `imported` says "agrees", or "not judged: " and why, and so does `code` of the plans that run here; `max_error` is
    the largest of both.
    """

    imported: str
    code: str
    max_error: float
    seconds: float


@dataclass(frozen=True)
class CompiledPlan:
    """What an artifact holds for one target, besides the weights; sizes in bytes."""

    target: str
    code_bytes: int
    arena_bytes: int
    steps: int
    layers: tuple[LayerPlan, ...]

    def parts(self) -> Iterator[Part]:
        """How much runs sparse, and sizes."""
        sparse = sum(layer.kernel == "sparse" for layer in self.layers)
        joined = sum(bool(layer.joined) for layer in self.layers)
        within = f", {joined} in one kernel with a depthwise convolution" if joined else ""
        yield f"{self.target}: {sparse} of {len(self.layers)} weighted layers run sparse{within}"
        yield (
            f"{self.target}: code {bytes_text(self.code_bytes)}, arena {bytes_text(self.arena_bytes)}, "
            f"{self.steps} kernel calls"
        )


@dataclass(frozen=True, repr=False)
class CompileReport(Report):
    """A compiled artifact; sizes in bytes, `density` over all weights of the model, `seconds` of compile time.

    `plans` are those of its targets, the one that needs most of a CPU first; all use the same weights. `notes` are what
    its user should know of the model: sizes that were assumed, weights that are no numbers.
    """

    artifact: Path
    artifact_bytes: int
    weights_bytes: int
    density: float
    seconds: float
    plans: tuple[CompiledPlan, ...]
    pruning: PruneReport | None
    witness: WitnessReport | None
    notes: tuple[str, ...]

    def parts(self) -> Iterator[Part]:
        """Sizes, how much runs sparse, what pruning did, and whether ONNX Runtime agrees."""
        names = ", ".join(plan.target for plan in self.plans)
        yield f"{self.artifact}: {bytes_text(self.artifact_bytes)} for {names}, in {self.seconds:.1f} s"
        yield f"weights {bytes_text(self.weights_bytes)}, density {self.density:.3f}"
        for plan in self.plans:
            yield from plan.parts()
        if self.pruning is not None:
            yield from self.pruning.left()
            yield from self.pruning.judged()
        if self.witness is not None:
            seen = self.witness
            yield f"against ONNX Runtime: import {seen.imported}, code {seen.code} ({seen.seconds:.1f} s)"
        yield from map(Note, self.notes)


@dataclass(frozen=True)
class TensorSummary:
    """An input or output of an artifact; `picture` says what the pixels of an input mean, such as "rgb"."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    picture: str = ""


@dataclass(frozen=True, repr=False)
class ArtifactSummary(Report):
    """What an artifact holds; sizes in bytes. `manifest` says where it came from.

    `plans` are in the order of the artifact: the runtime takes the first that was tuned for its core, else the first
    that it can run.
    """

    file: str
    version: tuple[int, int]
    inputs: tuple[TensorSummary, ...]
    outputs: tuple[TensorSummary, ...]
    weights_bytes: int
    plans: tuple[PlanSummary, ...]
    manifest: dict[str, Any]
    labels: tuple[str, ...] = ()

    def parts(self) -> Iterator[Part]:
        """Where the artifact came from, what it takes and gives, and for each plan what runs it, and its layers."""
        manifest = self.manifest
        version = ".".join(map(str, self.version))
        model, producer = (shown(manifest.get(key, "?")) for key in ("model", "producer"))
        targets = ", ".join(plan.target for plan in self.plans)
        yield f"{self.file}: artifact version {version}, {model} for {targets}, by {producer}"
        yield signature_table(self.inputs, self.outputs)
        if self.labels:
            more = ", ..." if len(self.labels) > 3 else ""
            yield f"{len(self.labels)} labels: {', '.join(self.labels[:3])}{more}"
        yield f"weights {bytes_text(self.weights_bytes)}"
        for number, plan in enumerate(self.plans):
            yield from plan.parts(of_plan(manifest, number).get("layers"))


@dataclass(frozen=True)
class PlanSummary:
    """What an artifact holds for one target; sizes in bytes, `ops` the kernel calls by what they compute."""

    target: str
    isa: str
    cpu_features: tuple[str, ...]
    ops: dict[str, int]
    code_bytes: int
    arena_bytes: int
    scratch_bytes: int

    def parts(self, layers: object) -> Iterator[Part]:
        """What runs it, and its layers as the manifest lists them."""
        yield f"{self.target}: runs on {self.isa} with {', '.join(self.cpu_features) or 'any CPU'}"
        yield f"kernel calls: {shown(counts_text(self.ops))}"
        sizes = ("code", "arena", "scratch")
        yield ", ".join(f"{name} {bytes_text(getattr(self, f'{name}_bytes'))}" for name in sizes)
        rows = [
            (row.get("name", "?"), _kernel(row), row.get("density", "?"))
            for row in (layers if isinstance(layers, list) else ())
            if isinstance(row, dict)
        ]
        if rows:
            yield Table(("layer", "kernel", "density"), rows)


def _kernel(row: dict[str, Any]) -> str:
    """The kernel of a layer in a manifest, and the depthwise convolution that it computes too."""
    joined = row.get("joined")
    return f"{row.get('kernel', '?')}, with {joined}" if joined else str(row.get("kernel", "?"))


@dataclass(frozen=True)
class Score:
    """An element of an output, and the label that names it: its number, where the artifact has no labels."""

    label: str
    score: float


@dataclass(frozen=True, repr=False)
class Answer(Report):
    """What a run gave; `top` are its largest elements, `note` what was done to a picture so that it fits.

    `where` says on what the artifact was run where that was not this machine.
    """

    outputs: dict[str, np.ndarray]
    top: tuple[Score, ...]
    note: str | None = None
    where: str = ""

    def summaries(self) -> dict[str, dict[str, object]]:
        """Type, shape and range of each output."""
        return {name: _summary(array) for name, array in self.outputs.items()}

    def parts(self) -> Iterator[Part]:
        """The largest elements, or else the range of each output."""
        if self.note:
            yield Note(self.note)
        if self.where:
            yield Note(self.where)
        if self.top:
            yield Table(("score", "label"), [(f"{each.score:.6g}", each.label) for each in self.top])
            return
        rows = [(name, *summary.values()) for name, summary in self.summaries().items()]
        yield Table(("output", "type", "shape", "min", "mean", "max", "argmax"), rows)


def _summary(array: np.ndarray) -> dict[str, object]:
    numbers = (
        {"min": float(array.min()), "mean": float(array.mean()), "max": float(array.max())}
        if array.size
        else dict.fromkeys(("min", "mean", "max"))
    )
    rounded = {key: None if value is None else float(f"{value:.5g}") for key, value in numbers.items()}
    return {
        "dtype": str(array.dtype),
        "shape": shape_text(array.shape),
        **rounded,
        "argmax": int(array.argmax()) if array.size else None,
    }


@dataclass(frozen=True)
class VerifiedPlan:
    """Agreement of an artifact's plan for one target with ONNX Runtime.

    `layers` compares the values between the kernels, in order of execution, in an artifact compiled so that they
    can be seen; `first_divergence` names the first that does not agree. `where` says on what they were run where
    that was not this machine.
    """

    target: str
    outputs: tuple[Difference, ...]
    layers: tuple[Difference, ...]
    first_divergence: str | None
    where: str = ""

    @property
    def agrees(self) -> bool:
        """Whether all outputs agree."""
        return all(difference.agrees for difference in self.outputs)

    def parts(self) -> Iterator[Part]:
        """How far each output and layer is from ONNX Runtime's."""
        rows = [
            (kind, d.name, shape_text(d.shape), f"{d.max_error:.1e}", "agrees" if d.agrees else "DIFFERS", d.note)
            for kind, differences in (("output", self.outputs), ("layer", self.layers))
            for d in differences
        ]
        yield Table(("", "value", "shape", "max error", "", "note"), rows)
        if self.where:
            yield Note(self.where)
        if self.first_divergence:
            yield f"first layer that differs: {self.first_divergence}"
        yield f"{self.target}: the outputs {'agree' if self.agrees else 'DIFFER'}"


@dataclass(frozen=True, repr=False)
class VerifyReport(Report):
    """Agreement of an artifact with ONNX Runtime, plan by plan."""

    plans: tuple[VerifiedPlan, ...]
    notes: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether all outputs of all plans agree."""
        return all(plan.agrees for plan in self.plans)

    def parts(self) -> Iterator[Part]:
        """How far each output and layer is from ONNX Runtime's."""
        yield from map(Note, self.notes)
        for plan in self.plans:
            yield from plan.parts()
