"""What pruning did to each layer and to each group of channels, heads or neurons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgesparse.errors import first_few
from edgesparse.prune.agreement import Agreement
from edgesparse.tables import Note, Part, Report, Table, shape_text

NAMES_SHOWN = 4


@dataclass(frozen=True)
class LayerReport:
    """One weight before and after.

    `note` says why it was left, or what is special about it; `output_error` is the mean square of the change of the
    layer's outputs over that of the outputs, on the calibration samples, where they were looked at.
    """

    node: str
    op: str
    tensor: str
    shape: tuple[int, ...]
    size: int
    nnz_before: int
    nnz_after: int
    prunable: bool
    note: str | None = None
    output_error: float | None = None

    @property
    def density_before(self) -> float:
        """Share of nonzeros as the model came."""
        return self.nnz_before / self.size if self.size else 1.0

    @property
    def density_after(self) -> float:
        """Share of nonzeros as the model left."""
        return self.nnz_after / self.size if self.size else 1.0


@dataclass(frozen=True)
class GroupReport:
    """Units that go together, before and after; `note` says why all stay.

    `size` counts heads, channels or neurons. Parameters and MACs are those of `layers`: all with weights along it.
    """

    name: str
    kind: str
    layers: tuple[str, ...]
    size_before: int
    size_after: int
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int
    note: str | None


@dataclass(frozen=True, repr=False)
class ShrunkReport(Report):
    """What was asked for and what became of every group; parameters and MACs are of all weighted layers at batch 1."""

    asked: float
    importance: str
    multiple: int
    groups: tuple[GroupReport, ...]
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int

    @property
    def removed(self) -> float:
        """Share of the MACs that is gone."""
        return 1.0 - self.macs_after / max(1, self.macs_before)

    def parts(self) -> Iterator[Part]:
        """What was taken out of which groups."""
        rows = [
            (row.name, row.kind, f"{row.size_before} -> {row.size_after}", str(len(row.layers)), row.note or "")
            for row in self.groups
        ]
        yield Table(("group", "kind", "size", "layers", "note"), rows)
        yield (
            f"{self.macs_after:,} of {self.macs_before:,} multiply-accumulates are left ({self.removed:.1%} gone, "
            f"{self.asked:.1%} asked for), {self.parameters_after:,} of {self.parameters_before:,} weights"
        )


@dataclass(frozen=True, repr=False)
class PruneReport(Report):
    """All layers with weights, and what was asked for; `density` is None where it was asked for by layer.

    `others` are weights that no method prunes, such as recurrent ones, each with a note that says why.
    `agreement` is that of each output with the dense model's, on samples held out from pruning; `warning` says what
    nobody knows where there are none.

    `search` says how densities were found, where a budget of latency or accuracy was asked for.
    `shrunk` says what was taken out before; where nothing else was asked for, `layers` is empty. `output` is the file
    that was written, if any was.
    """

    density: float | None
    method: str
    allocation: str
    pattern: str
    layers: tuple[LayerReport, ...]
    search: Any = None
    shrunk: ShrunkReport | None = None
    others: tuple[LayerReport, ...] = ()
    agreement: tuple[Agreement, ...] = ()
    warning: str | None = None
    output: Path | None = None

    @property
    def prunable_density(self) -> float:
        """Density after pruning over the layers that could be pruned."""
        rows = [row for row in self.layers if row.prunable]
        return sum(row.nnz_after for row in rows) / max(1, sum(row.size for row in rows))

    @property
    def model_density(self) -> float:
        """Density after pruning over all weights, those that no method prunes included."""
        rows = (*self.layers, *self.others)
        return sum(row.nnz_after for row in rows) / max(1, sum(row.size for row in rows))

    def parts(self) -> Iterator[Part]:
        """What is left of which groups and layers, and how near the outputs are to the dense model's."""
        if self.shrunk is not None:
            yield from self.shrunk.parts()
        if self.layers or self.shrunk is None:
            yield from self._layers()
        if self.output is not None:
            yield f"written: {self.output}"
        yield from self.judged()

    def _layers(self) -> Iterator[Part]:
        rows = [
            (
                layer.node,
                layer.op,
                shape_text(layer.shape),
                f"{layer.density_after:.3f}",
                "" if layer.output_error is None else f"{layer.output_error:.1e}",
                layer.note or "",
            )
            for layer in (*self.layers, *self.others)
        ]
        yield Table(("layer", "op", "weight", "density", "error", "note"), rows)
        yield f"density {self.prunable_density:.3f} of the prunable layers, {self.model_density:.3f} of all"

    def judged(self) -> Iterator[Part]:
        """How densities were found, and how near the outputs are to the dense model's, or that nobody knows."""
        if self.search is not None:
            yield from self.search.parts()
        yield from map(str, self.agreement)
        yield from (Note(line, warning=True) for line in (self.warning or "").splitlines())

    def left(self) -> Iterator[Part]:
        """Which weights were not pruned, by the reason."""
        reasons: dict[str, list[str]] = defaultdict(list)
        for row in (*self.layers, *self.others):
            if not row.prunable:
                reasons[row.note or ""].append(row.node)
        for reason, nodes in reasons.items():
            yield f"not pruned: {first_few(nodes, NAMES_SHOWN)} ({reason})"


def with_notes(report: PruneReport, notes: Mapping[str, str]) -> PruneReport:
    """The report with more notes on layers, by node."""
    rows = [(row, [part for part in (row.note, notes.get(row.node)) if part]) for row in report.layers]
    return replace(report, layers=tuple(replace(row, note="; ".join(parts) or None) for row, parts in rows))


def merged(first: PruneReport | None, second: PruneReport) -> PruneReport:
    """One report of two calls on the same model: each layer as the call left it that pruned it."""
    if first is None:
        return second
    rows = zip(first.layers, second.layers, strict=True)
    return replace(first, layers=tuple(later if later.prunable else earlier for earlier, later in rows))
