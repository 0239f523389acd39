"""Verdicts on quantized operators: how many stored integers differ from ONNX Runtime's, and by how many steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgesparse import frontend, reference
from edgesparse.errors import EdgesparseError, OnnxRuntimeError
from edgesparse.package.writer import serialize
from edgesparse.pipeline.arguments import silent
from edgesparse.pipeline.stages import lowered, normalised
from tests.sweeps.judge import Arrays, Machine, Verdict, here
from tests.sweeps.quantized import Case, model_of

PACK = 48  # networks to a model
FLOATS = 1e-5  # of the largest
DYNAMIC = {"com.microsoft.DynamicQuantizeLSTM": 0.02}
"""Operators that round to a range of the moment in ONNX Runtime, and what that may cost of the largest."""


@dataclass(frozen=True)
class Outcome:
    """The verdict on a case; of `size` integers `off` differ by `steps` at most."""

    case: Case
    verdict: Verdict
    reason: str = ""
    size: int = 0
    off: int = 0
    steps: int = 0


def judge(cases: Sequence[Case], machine: Machine | None = None) -> Iterator[Outcome]:
    """Compile and run `cases`, many in one model."""
    by_opset: dict[int, list[tuple[Case, np.ndarray]]] = {}
    for case in cases:
        try:
            right = reference.evaluate(case.model(), case.feeds)[case.output]
            by_opset.setdefault(case.opset, []).append((case, right))
        except OnnxRuntimeError as err:
            yield Outcome(case, Verdict.UNJUDGED, " ".join(str(err).split())[:200])
    for judged in by_opset.values():
        for start in range(0, len(judged), PACK):
            yield from _together(judged[start : start + PACK], machine or here())


def _together(judged: Sequence[tuple[Case, np.ndarray]], machine: Machine) -> Iterator[Outcome]:
    """Judge cases of one model; where it fails, each half by itself."""
    try:
        outputs = run([case for case, _ in judged], machine)
    except Exception as err:  # a traceback is a finding, whatever its type
        if len(judged) > 1:
            for part in (judged[: len(judged) // 2], judged[len(judged) // 2 :]):
                yield from _together(part, machine)
            return
        told = isinstance(err, EdgesparseError) and "\n" not in str(err)
        yield Outcome(judged[0][0], Verdict.REFUSED if told else Verdict.WRONG, f"{type(err).__name__}: {err}"[:300])
        return
    for case, right in judged:
        yield compared(case, outputs[case.output], right)


def run(cases: Sequence[Case], machine: Machine) -> Arrays:
    """The outputs of cases that are compiled as one model."""
    normal = normalised(frontend.read(model_of(cases)), None, silent)
    feeds: Mapping[str, np.ndarray] = {name: array for case in cases for name, array in case.feeds.items()}
    program, _ = lowered(normal, machine.target, silent)
    return machine.run(serialize([program], {}), {tensor.name: feeds[tensor.name] for tensor in program.inputs})


def compared(case: Case, got: np.ndarray, right: np.ndarray) -> Outcome:
    """Whether an output is that of ONNX Runtime, but for single steps."""
    if (got.dtype, got.shape) != (right.dtype, right.shape):
        return Outcome(case, Verdict.WRONG, f"got {got.dtype}{list(got.shape)}")
    if right.dtype.kind == "f":
        off = float(np.abs(got - right).max(initial=0.0) / max(np.abs(right).max(initial=0.0), 1e-3))
        fits = off <= DYNAMIC.get(case.operator, FLOATS)
        return Outcome(case, Verdict.RIGHT if fits else Verdict.WRONG, "" if fits else f"{off:.1e} of the largest")
    steps = np.abs(got.astype(np.int64) - right.astype(np.int64))
    most, off = int(steps.max(initial=0)), int(np.count_nonzero(steps))
    allowed = 0 if right.dtype.itemsize == 4 else 1
    verdict = Verdict.RIGHT if most <= allowed else Verdict.WRONG
    reason = f"{off} of {right.size} differ by up to {most} steps" if off else ""
    return Outcome(case, verdict, reason, right.size, off, most)
