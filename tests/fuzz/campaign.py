"""Draw models, have them compiled and run, judge them, and keep what was found."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from tests.fuzz.broken import BROKEN
from tests.fuzz.component import Component, draw
from tests.fuzz.coverage import OLDEST, Coverage
from tests.fuzz.judge import disagreement, judge
from tests.fuzz.model import Model, random_form
from tests.fuzz.shrink import Sample, shrink
from tests.fuzz.subject import Arrays, Job, Result, Subject, can_emulate

COMPONENTS = 12
OTHER_WAYS = 0.15  # share of models that are also pruned, or emulated
PATTERNS = ("1x1", "4x1")
WITNESS = "this is our fault"
DENIALS = ("invalid ONNX", "cannot generate code", "TVM cannot compile", "TVM takes")
"""What must not be said of a model that ONNX Runtime runs."""


@dataclass(frozen=True)
class Way:
    """How a model is compiled: for which target, pruned with which pattern before, and with the compiler's witness."""

    target: str = "host"
    prune: str | None = None
    witness: bool = False

    @property
    def plain(self) -> bool:
        """Whether this is the first way that a model goes."""
        return self == Way(witness=self.witness)


@dataclass(frozen=True, eq=False)
class Finding:
    """A model that came out wrong.

    `kind` is "wrong", "failed", "crashed", "hung", "followed" (an index outside), "accepted" (an invalid
    model) or "denied" (a valid one).
    """

    kind: str
    text: str
    sample: Sample
    way: Way
    twins: tuple[tuple[str, np.ndarray], ...] = ()
    truths: Arrays = field(default_factory=dict)
    folder: Path | None = None

    def __str__(self) -> str:
        nodes = "+".join(node.op_type for node in self.sample.model.graph.node)
        return f"{self.kind}: {nodes or 'no nodes'} ({self.way.target}): {self.text}"


@dataclass
class Tally:
    """What a campaign did."""

    graphs: int = 0
    right: int = 0
    others: Counter[str] = field(default_factory=Counter)  # right in another way too: pruned, emulated
    refused: Counter[str] = field(default_factory=Counter)
    unjudged: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def line(self) -> str:
        """All counts."""
        return (
            f"{self.graphs} graphs: {self.right} right, {sum(self.refused.values())} refused, "
            f"{sum(self.unjudged.values())} not judged, {len(self.findings)} findings"
        )

    def counts(self) -> Counter[str]:
        """All counts by name."""
        found = Counter({"graphs": self.graphs, "right": self.right, "findings": len(self.findings)})
        named = {"also right": self.others, "refused": self.refused, "not judged": self.unjudged}
        return found + Counter({f"{name}: {key}": n for name, counts in named.items() for key, n in counts.items()})


class Campaign:
    """Fuzzing from one seed.

    Args:
        finds: the folder in which findings are written; None: they are only returned.
        fault: the name of a fault to put back, see `faults`.
        witness: how often models are compiled with the compiler's own witnesses, which leave little to find.
    """

    def __init__(
        self,
        seed: int,
        coverage: Coverage,
        *,
        finds: Path | None = None,
        fault: str | None = None,
        shrinks: bool = True,
        witness: float = 0.25,
    ) -> None:
        self.seed = seed
        self.coverage = coverage
        self.tally = Tally()
        self._finds = finds
        self._shrinks = shrinks
        self._witness = witness
        self._subject = Subject(fault)
        self._number = 0

    def close(self) -> None:
        """End the process under test."""
        self._subject.stop()

    def run(self, seconds: float | None = None, graphs: int | None = None) -> Iterator[Finding]:
        """Fuzz until the time is over or so many graphs were judged; yields what is found."""
        end = time.monotonic() + seconds if seconds is not None else None
        while (end is None or time.monotonic() < end) and (graphs is None or self.tally.graphs < graphs):
            yield from self.step()

    def step(self) -> list[Finding]:
        """One model of several graphs, in one or more ways."""
        rng = np.random.default_rng([self.seed, self._number])
        self._number += 1
        before = len(self.tally.findings)
        self._broken(rng)
        model = self._drawn(rng)
        if model.components:
            self.tally.graphs += len(model.components)
            judged = self._examine(model, Way(witness=bool(rng.random() < self._witness)))
            others = [Way(prune=str(rng.choice(PATTERNS)))] if rng.random() < OTHER_WAYS else []
            others += [Way("rpi4")] if rng.random() < OTHER_WAYS and can_emulate() else []
            for way in others:
                if judged:
                    self._examine(model.only(judged), way)
        return self.tally.findings[before:]

    def _drawn(self, rng: np.random.Generator) -> Model:
        opset = self.coverage.opset(rng)
        taken: set[str] = set()
        components = []
        for at in range(COMPONENTS):
            wish = self.coverage.wish(rng, opset)
            component = draw(rng, opset, wish, f"g{at}.", taken)
            for operator, why in component.denied if component else [(op, "nothing") for op, _ in wish.uses]:
                self.coverage.deny(operator, opset, wish.dtype, why)
            if component is not None:
                components.append(component)
        return Model(tuple(components), opset, random_form(rng))

    def _examine(self, model: Model, way: Way) -> list[Component]:
        """Judge a model; returns the components that are right."""
        proto = model.proto()
        judged = judge(proto, model.feeds)
        if judged.outputs is None and way.prune is None:
            if len(model.components) > 1:
                return self._split(model, way)
            self.tally.unjudged[judged.why[:120]] += way.plain
            return []
        result = self._subject.do(_job(proto, model.feeds, _twins(model), way))
        if result.status == "refused" and not _is_finding(result.text):
            return self._refused(model, way, result)
        found = _fault_in(result, judged.outputs or {}, proto, model.feeds, model.truths, _twins(model))
        if found is None:
            if way.plain:
                self.tally.right += len(model.components)
                for component in model.components:
                    self.coverage.record(component.cells)
            else:
                self.tally.others[way.prune or way.target] += len(model.components)
            return list(model.components)
        return self._isolate(model, way, found)

    def _refused(self, model: Model, way: Way, result: Result) -> list[Component]:
        """Put what is refused apart, and judge the others together."""
        if way.prune is not None:
            return []
        if len(model.components) == 1:
            if self._turns_on_form(model, way):
                text = f"only in this form: {result.text}"
                finding = Finding("denied", text, Sample(model.proto(), model.feeds), way)
                self._keep(finding, shrinks=False)
                return []
            self.tally.refused[_reason(result.text)] += way.plain
            if way.plain:
                self.coverage.record(model.components[0].cells)
            return []
        accepted, right = [], []
        for component in model.components:
            alone = model.only([component])
            if self._is_read(alone, way):
                accepted.append(component)
            else:
                right += self._examine(alone, way)
        if len(accepted) == len(model.components):
            return right + self._split(model, way)
        return right + (self._examine(model.only(accepted), way) if accepted else [])

    def _turns_on_form(self, model: Model, way: Way) -> bool:
        """Whether the same is accepted where the file says it plainly."""
        plain = replace(model, form=model.form.plain())
        return not self._is_read(model, way) and self._is_read(plain, way)

    def _is_read(self, model: Model, way: Way) -> bool:
        job = replace(_job(model.proto(), model.feeds, (), way), compiles=False)
        return self._subject.do(job).status == "ran"

    def _split(self, model: Model, way: Way) -> list[Component]:
        half = len(model.components) // 2
        parts = model.components[:half], model.components[half:]
        return [component for part in parts for component in self._examine(model.only(part), way)]

    def _isolate(self, model: Model, way: Way, found: tuple[str, str]) -> list[Component]:
        """Find the component at fault; where none is by itself, the model is."""
        if len(model.components) > 1 and self._shrinks:
            before = len(self.tally.findings)
            right = [c for component in model.components for c in self._examine(model.only([component]), way)]
            if len(self.tally.findings) > before:
                return right
        kind, text = found
        sample = Sample(model.proto(), model.feeds)
        self._keep(Finding(kind, text, sample, way, _twins(model), model.truths))
        return []

    def _broken(self, rng: np.random.Generator) -> None:
        """A model that no user should have: it must be refused by one line."""
        name = self.coverage.least(BROKEN)
        if name is None:
            return
        model = BROKEN[name](rng)
        result = self._subject.do(Job(model.SerializeToString(), {}, compiles=True))
        if result.status == "refused":
            self.tally.refused[f"broken: {name}"] += 1
        else:
            kind = "accepted" if result.status == "ran" or "got the names []" in result.text else result.status
            self._keep(Finding(kind, f"{name}: {result.text or 'compiled'}", Sample(model, {}), Way()), shrinks=False)

    def _keep(self, finding: Finding, shrinks: bool = True) -> None:
        if self._shrinks and shrinks and finding.way.prune is None:
            twin = tuple(t for t in finding.twins if finding.kind == "followed" and repr(t[0]) in finding.text)[:1]
            resize = not finding.truths and not twin
            small = shrink(finding.sample, lambda sample: self._fails(finding, sample, twin), resize=resize)
            text = self._again(finding, small, twin) or (finding.kind, finding.text)
            finding = replace(finding, sample=small, text=text[1], twins=twin)
        if self._finds is not None:
            finding = replace(finding, folder=_written(finding, self._finds, self.seed, self._number - 1))
        self.tally.findings.append(finding)

    def _fails(self, finding: Finding, sample: Sample, twins: Sequence[tuple[str, np.ndarray]]) -> bool:
        again = self._again(finding, sample, twins)
        return again is not None and again[0] == finding.kind and _signature(again[1]) == _signature(finding.text)

    def _again(
        self, finding: Finding, sample: Sample, twins: Sequence[tuple[str, np.ndarray]]
    ) -> tuple[str, str] | None:
        known = tuple(twin for twin in twins if twin[0] in sample.feeds)
        return examined(self._subject, sample, finding.way, known, finding.truths)


def examined(
    subject: Subject,
    sample: Sample,
    way: Way,
    twins: tuple[tuple[str, np.ndarray], ...] = (),
    truths: Arrays | None = None,
) -> tuple[str, str] | None:
    """What is wrong with a model, as kind and text; None where it is right, refused, or not judged."""
    try:
        judged = judge(sample.model, sample.feeds)
        if judged.outputs is None:
            return None
        result = subject.do(_job(sample.model, sample.feeds, twins, way))
    except ValueError:
        return None
    if result.status == "refused" and not _is_finding(result.text):
        return None
    return _fault_in(result, judged.outputs, sample.model, sample.feeds, truths or {}, twins)


def _is_finding(refusal: str) -> bool:
    return any(words in refusal for words in (WITNESS, *DENIALS))


def _job(proto: onnx.ModelProto, feeds: Arrays, twins: Sequence[tuple[str, np.ndarray]], way: Way) -> Job:
    sizes = {v.name: v.type.tensor_type.shape.dim for v in proto.graph.input if v.name in feeds}
    shapes = {name: feeds[name].shape for name, dims in sizes.items() if any(dim.dim_value < 1 for dim in dims)}
    return Job(
        proto.SerializeToString(),
        feeds,
        tuple(twins),
        target=way.target,
        prune=way.prune,
        witness=way.witness,
        input_shapes=shapes,
    )


def _twins(model: Model) -> tuple[tuple[str, np.ndarray], ...]:
    return tuple(twin for component in model.components for twin in component.twins)


def _fault_in(
    result: Result,
    expected: Arrays,
    proto: onnx.ModelProto,
    feeds: Arrays,
    truths: Arrays,
    twins: Sequence[tuple[str, np.ndarray]],
) -> tuple[str, str] | None:
    """What is wrong with a result, as kind and text."""
    if result.status == "refused":
        return ("wrong" if WITNESS in result.text else "denied"), result.text
    if result.status != "ran":
        return result.status, result.text
    if result.pruned is not None:
        proto = onnx.load_model_from_string(result.pruned)
        judged = judge(proto, feeds)
        if judged.outputs is None:
            return None
        expected = judged.outputs
    for actual in result.runs:
        text = disagreement(actual, expected, proto, feeds, truths)
        if text is not None:
            return "wrong", text
    for (name, array), outcome in zip(twins, result.twins, strict=False):
        text = _followed(name, array, outcome, proto, feeds, truths)
        if text is not None:
            return "followed", text
    return None


def _followed(
    name: str, array: np.ndarray, outcome: str | Arrays, proto: onnx.ModelProto, feeds: Arrays, truths: Arrays
) -> str | None:
    """What is wrong with a run of an index or divisor outside: it must end in an error, or be as ONNX Runtime's."""
    if isinstance(outcome, str):
        return None
    there = {**feeds, name: array}
    judged = judge(proto, there)
    if judged.outputs is None:
        return f"input {name!r} holds a value that cannot be used, and the run did not say so"
    text = disagreement(outcome, judged.outputs, proto, there, truths)
    return None if text is None else f"input {name!r} holds a value outside: {text}"


def _signature(text: str) -> str:
    """What two failures of one kind have in common: the exception and its place."""
    return text.split(": ")[0] if " at " in text.split(": ")[0] else ""


def _reason(text: str) -> str:
    """A refusal without the names in it."""
    head = text.split("cannot be compiled: ")[-1]
    operators = [part.split("): ")[0] + ")" for part in head.split("; ") if "): " in part]
    return "; ".join(sorted(set(operators))) if operators else head.split(":")[-1].strip()[:80]


def _written(finding: Finding, folder: Path, seed: int, number: int) -> Path:
    """Write a finding: the model, its inputs, and how to see it again."""
    operators = "-".join(node.op_type for node in finding.sample.model.graph.node[:3]) or "none"
    place = folder / f"{seed}-{number}-{finding.kind}-{operators}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "model.onnx").write_bytes(finding.sample.model.SerializeToString())
    np.savez(place / "inputs.npz", **finding.sample.feeds)
    for at, (name, array) in enumerate(finding.twins):
        np.savez(place / f"twin{at}.npz", **{name: array})
    if finding.truths:
        np.savez(place / "truths.npz", **finding.truths)
    again = f"python -m tests.fuzz --again {place}"
    about = {"finding": str(finding), "seed": seed, "model": number, "again": again, "target": finding.way.target}
    (place / "finding.json").write_text(json.dumps({**about, "prune": finding.way.prune}, indent=1, ensure_ascii=False))
    return place


def read_finding(place: Path) -> tuple[Sample, Way, tuple[tuple[str, np.ndarray], ...], Arrays]:
    """What `_written` wrote."""
    about = json.loads((place / "finding.json").read_text())
    twins = [(name, array) for file in sorted(place.glob("twin*.npz")) for name, array in np.load(file).items()]
    truths = dict(np.load(place / "truths.npz")) if (place / "truths.npz").exists() else {}
    sample = Sample(onnx.load(place / "model.onnx"), dict(np.load(place / "inputs.npz")))
    return sample, Way(about["target"], about["prune"]), tuple(twins), truths


def newest_opset() -> int:
    """The newest opset that ONNX Runtime opens without a doubt."""
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [x], [y])
    for opset in range(onnx.defs.onnx_opset_version(), OLDEST, -1):
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        if judge(model, {"x": np.ones(1, np.float32)}).outputs is not None:
            return opset
    return OLDEST
