"""Turn a budget into densities: give `edgesparse.search` what it needs from the other stages, and say what it found."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from glob import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesparse.devices.local import LOCAL
from edgesparse.devices.session import Device
from edgesparse.devices.targets import Target
from edgesparse.errors import SearchError
from edgesparse.pipeline.arguments import InputShapes, Progress, silent
from edgesparse.pipeline.options import LayerOptions, those_that
from edgesparse.pipeline.overrides import by_node
from edgesparse.pipeline.sample_files import parted, samples
from edgesparse.pipeline.settings import Pruning
from edgesparse.pipeline.stages import apply_pruning, lowered, normalised, serialized, without_units
from edgesparse.tables import Part, Report, time_text

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.frontend import Source
    from edgesparse.prune.samples import Samples
    from edgesparse.search import Candidate, Found, Measured, Problem, Setting

SAMPLES = 128  # that the calibration loss is measured on, of those that are given
BATCH = 64  # samples of an inference, where the model allows it
SECONDS = 3.0  # how long a candidate is measured, the dense model with it
MOST_THREADS = 64  # of a session of the runtime
RUNS = 50  # that its kernel calls are timed in


@dataclass(frozen=True)
class Goal:
    """What a budget holds for, and where the files of the search go: partial results, and the candidates' scores."""

    target: Target
    threads: int
    input_shapes: InputShapes | None
    state: Path
    pareto: Path
    on: str | None = None

    @classmethod
    def beside(
        cls,
        folder: Path,
        model: Source,
        target: Target,
        threads: int,
        input_shapes: InputShapes | None,
        on: str | None = None,
    ) -> Goal:
        """Files go to MODEL.search and MODEL.pareto.json in `folder`.

        Args: on: the device to measure on; this machine where it is the target.

        Raises: SearchError: threads beyond what a session has.
        """
        if not isinstance(threads, int) or not 1 <= threads <= MOST_THREADS:
            raise SearchError(f"threads: got {threads!r}, expected 1 to {MOST_THREADS}")
        name = Path(model).stem if isinstance(model, str | Path) else "model"
        return cls(target, threads, input_shapes, folder / f"{name}.search", folder / f"{name}.pareto.json", on)

    @property
    def device(self) -> Device | None:
        """What latencies are measured on; None where they are predicted."""
        from edgesparse.devices.remote import Remote

        if self.on is not None:
            return Remote(self.on)
        return None if LOCAL.why_not(self.target.cpu.isa, self.target.cpu.requires) else LOCAL


@dataclass(frozen=True, repr=False)
class SearchReport(Report):
    """Densities by node that a search chose, and why; latencies in microseconds, for `threads`.

    Latencies are "measured" on the device or "estimated". `loss` is that of the "outputs" on calibration samples, or
    without any that of the "weights", as `judged_by` says. `candidates` are the models that `eval` scored, the dense
    one first; `files` show them.
    """

    target: str
    threads: int
    origin: str
    dense_us: float
    latency_us: float
    budget_us: float | None
    judged_by: str
    loss: float
    densities: dict[str, float]
    candidates: tuple[Candidate, ...]
    files: tuple[Path, ...]

    @property
    def speedup(self) -> float:
        """Over the dense model, compiled alike."""
        return self.dense_us / self.latency_us

    def parts(self) -> Iterator[Part]:
        """The latency that was reached, the score where one was asked for, and what densities go by."""
        asked = f", asked for {time_text(self.budget_us)}" if self.budget_us else ""
        yield (
            f"{self.origin} latency {time_text(self.latency_us)} with {self.threads} thread(s){asked}; "
            f"dense {time_text(self.dense_us)} ({self.speedup:.2f}x)"
        )
        if self.candidates:
            score = next(each.score for each in self.candidates if each.densities == self.densities)
            yield f"score {score:.6g}, dense {self.candidates[0].score:.6g}; {', '.join(map(str, self.files))}"
        if self.judged_by == "weights":
            yield "without calibration samples, densities go by the error of the weights alone"


def settled(
    model: ir.Model, pruning: Pruning | None, goal: Goal, progress: Progress
) -> tuple[Pruning | None, SearchReport | None]:
    """`pruning` with densities in place of its budget, and how they were found; as it is where it has no budget.

    Where channels are to go, densities are searched for the smaller model, and what is dense is that.

    Raises: EdgesparseError: the budget cannot be met, or the search cannot be made.
    """
    if pruning is None or not pruning.searches:
        return pruning, None
    from edgesparse import search

    name = pruning.options["eval"]
    judge = None if name is None else search.load_judge(name)
    smaller, _ = without_units(model, pruning, progress)
    problem = search.prepare(
        _setting(smaller, pruning.but(structured=None, permute=False, recover=None), goal, progress)
    )
    if judge is None:
        budget_us = _budget_us(pruning, problem.latency_us(problem.dense))
        found = search.within_latency(problem, budget_us)
        report = _report(problem, goal, found, budget_us)
    else:
        assert pruning.options["max_accuracy_drop"] is not None
        found, judged = search.within_drop(problem, search.parse_drop(pruning.options["max_accuracy_drop"]), judge)
        report = _report(problem, goal, found, None, judged)
    return _with_densities(pruning, found.densities), report


def _report(
    problem: Problem, goal: Goal, found: Found, budget_us: float | None, judged: tuple[Candidate, ...] = ()
) -> SearchReport:
    from edgesparse import search

    axis = f"{'measured' if found.measured else 'predicted'} latency on {goal.target.name}"
    return SearchReport(
        target=goal.target.name,
        threads=goal.threads,
        origin="measured" if found.measured else "estimated",
        dense_us=problem.latency_us(problem.dense),
        latency_us=found.latency_us,
        budget_us=budget_us,
        judged_by="outputs" if problem.setting.samples else "weights",
        loss=found.loss,
        densities=found.densities,
        candidates=judged,
        files=search.write_pareto(judged, goal.pareto, axis) if judged else (),
    )


def _budget_us(pruning: Pruning, dense_us: float) -> float:
    from edgesparse import search

    if pruning.options["latency"] is not None:
        return search.parse_latency(pruning.options["latency"])
    assert pruning.options["speedup"] is not None
    return dense_us / pruning.options["speedup"]


def _with_densities(pruning: Pruning, densities: Mapping[str, float]) -> Pruning:
    """The same pruning without a budget: every layer that was searched over has a sparsity of its own."""
    found: dict[str, LayerOptions] = {escape(node): {"sparsity": 1.0 - share} for node, share in densities.items()}
    met: dict[str, Any] = dict.fromkeys(those_that("budget"))
    return pruning.but(layers={**pruning.options["layers"], **found}, **met)


def _setting(model: ir.Model, pruning: Pruning, goal: Goal, progress: Progress) -> Setting:
    from edgesparse import search
    from edgesparse.prune import check_samples, prune_alone

    own = by_node(model, pruning.options["layers"])
    layers, levels = search.searchable(model, pruning.options["pattern"], (*pruning.options["skip"], *map(escape, own)))
    pruning = pruning.but(calibration=samples(pruning.options["calibration"], model))  # once for all that are tried
    arrays, _ = parted(samples(pruning.options["calibration"]))
    given = None if arrays is None else check_samples(model, arrays)
    feeds = given.feeds(BATCH) if given else ()

    def prune(densities: Mapping[str, float]) -> ir.Model:
        return apply_pruning(model, _with_densities(pruning, densities), silent)[0]

    device = goal.device
    return search.Setting(
        model=model,
        layers=layers,
        prune=prune,
        prune_alone=lambda: prune_alone(
            model,
            levels,
            layers.values(),
            method=pruning.options["method"],
            pattern=pruning.options["pattern"],
            calibration=arrays,
            reconstruct=pruning.options["reconstruct"],
        ),
        pattern=pruning.options["pattern"],
        levels=levels,
        samples=tuple(islice(feeds, SAMPLES // BATCH if given and given.batchable else SAMPLES)),
        normalise=lambda pruned: normalised(pruned, goal.input_shapes, silent),
        target=goal.target,
        threads=goal.threads,
        state=search.State(goal.state, _identity(model, pruning, goal, given), resume=pruning.options["resume"]),
        progress=progress,
        measure=_measure(goal, device, lambda: prune(dict.fromkeys(layers, 1.0))) if device else None,
        ray=pruning.options["ray"] if given else None,
    )


def _identity(model: ir.Model, pruning: Pruning, goal: Goal, given: Samples | None) -> dict[str, Any]:
    """What partial results depend on; budgets are no part of it."""
    digest = hashlib.sha256()
    for name, array in sorted(given.arrays.items()) if given else ():
        digest.update(repr((name, array.dtype.str, array.shape)).encode() + array.tobytes())
    return {
        "model": hashlib.sha256(serialized(model)).hexdigest(),
        **pruning.record,
        "calibration": digest.hexdigest() if given else None,
        "target": goal.target.name,
        "facts": hashlib.sha256(repr(goal.target).encode()).hexdigest(),
        "threads": goal.threads,
        "on": goal.on,
        "input_shapes": {name: list(shape) for name, shape in (goal.input_shapes or {}).items()},
    }


def _measure(goal: Goal, device: Device, dense: Callable[[], ir.Model]) -> Callable[[ir.Model], Measured]:
    """Compile a model, and time it on the device in turns with the dense one: whole runs, and its kernel calls; p10.

    What disturbs the device disturbs both, so that their ratio hardly changes.
    """

    @cache
    def reference() -> Path:
        return _compiled(dense(), goal, "dense")

    def measure(model: ir.Model) -> Measured:
        import numpy as np

        from edgesparse import measure as measuring
        from edgesparse import search

        candidate = _compiled(model, goal, "candidate")
        with (
            device.open(reference(), goal.threads) as first,
            device.open(candidate, goal.threads) as second,
        ):
            feeds = measuring.random_feeds(second.inputs)
            timed = measuring.take_turns({"dense": first, "candidate": second}, feeds, SECONDS)
            steps: dict[str, float] = defaultdict(float)
            for step in second.step_times(feeds, repeat=RUNS):
                steps[step.name] += float(np.percentile(step.times_us, 10))
        return search.Measured(timed["candidate"].p10_us, timed["dense"].p10_us, steps)

    return measure


def _compiled(model: ir.Model, goal: Goal, name: str) -> Path:
    """The artifact of a model, among the files of the search."""
    from edgesparse.package.writer import write

    program, _ = lowered(normalised(model, goal.input_shapes, silent), goal.target, silent)
    path = goal.state / f"{name}.esp"
    write([program], {}, path)
    return path
