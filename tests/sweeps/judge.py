"""Verdicts on the cases of a sweep: many nodes are compiled as one model, and each is judged by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import edgesparse_runtime
import numpy as np
from onnx.reference import ReferenceEvaluator

from edgesparse import frontend, reference, targets
from edgesparse.errors import EdgesparseError, OnnxRuntimeError
from edgesparse.package.writer import serialize
from edgesparse.pipeline.arguments import silent
from edgesparse.pipeline.compiling import lowered, normalised
from tests.sweeps.case import Case, info, model_of

PACK = 48  # nodes to a model


DOUBTFUL = ("Resize",)
"""Operators of which onnx's reference knows not all: no region, no exclude_outside with "linear"."""


class Verdict(StrEnum):
    """What became of a case."""

    RIGHT = "right"
    REFUSED = "refused"
    UNJUDGED = "not judged"
    WRONG = "wrong"


@dataclass(frozen=True)
class Outcome:
    """The verdict on a case; `reason` is one line where it is not right."""

    case: Case
    verdict: Verdict
    reason: str = ""


def judge(cases: Sequence[Case]) -> Iterator[Outcome]:
    """Compile and run `cases`, as many in one model as go together."""
    by_opset: dict[int, list[tuple[Case, list[np.ndarray]]]] = {}
    for case in cases:
        try:
            by_opset.setdefault(case.opset, []).append((case, expected(case)))
        except Exception as err:  # neither of the judges can run it
            yield Outcome(case, Verdict.UNJUDGED, _line(err))
    for judged in by_opset.values():
        for start in range(0, len(judged), PACK):
            yield from _together(judged[start : start + PACK])


def expected(case: Case) -> list[np.ndarray]:
    """The outputs by ONNX Runtime without optimizer; by onnx's reference where that cannot run the operator."""
    model = model_of([("", case)], {})
    try:
        found = reference.evaluate(model, case.feeds(), limit_s=20)
        return [found[name] for name in case.outputs()]
    except OnnxRuntimeError:
        if case.operator in DOUBTFUL:
            raise
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(None, case.feeds())
        return [np.asarray(array) for array in results]


def _together(judged: Sequence[tuple[Case, list[np.ndarray]]]) -> Iterator[Outcome]:
    """Judge cases of one opset; those that keep the model from compiling are told apart."""
    if not judged:
        return
    named = {f"c{number}": pair for number, pair in enumerate(judged)}
    try:
        outputs = _run(named)
    except EdgesparseError as err:
        reasons = _refusals(str(err), named)
        if "\n" in str(err) or not reasons:
            yield from _apart(judged, Verdict.WRONG if "\n" in str(err) else Verdict.REFUSED, err)
            return
        for name, reason in reasons.items():
            yield Outcome(named[name][0], Verdict.REFUSED, reason)
        yield from _together([pair for name, pair in named.items() if name not in reasons])
        return
    except Exception as err:  # a traceback is a finding, whatever its type
        yield from _apart(judged, Verdict.WRONG, err)
        return
    for name, (case, right) in named.items():
        difference = next(
            (
                text
                for key, array in zip(case.outputs(name), right, strict=True)
                if (text := _differs(outputs[key], array, case.node.slack))
            ),
            None,
        )
        yield Outcome(case, Verdict.WRONG, difference) if difference else Outcome(case, Verdict.RIGHT)


def _apart(judged: Sequence[tuple[Case, list[np.ndarray]]], verdict: Verdict, err: Exception) -> Iterator[Outcome]:
    if len(judged) == 1:
        text = str(err).replace("\n", " | ") if verdict == Verdict.REFUSED else f"{type(err).__name__}: {_line(err)}"
        yield Outcome(judged[0][0], verdict, text)
        return
    half = len(judged) // 2
    yield from _together(judged[:half])
    yield from _together(judged[half:])


def _run(named: Mapping[str, tuple[Case, list[np.ndarray]]]) -> dict[str, np.ndarray]:
    signature = {
        name: info(name, array)
        for prefix, (case, right) in named.items()
        for name, array in zip(case.outputs(prefix), right, strict=True)
    }
    model = model_of([(prefix, case) for prefix, (case, _) in named.items()], signature)
    normal = normalised(frontend.read(model), None, silent)
    program, _ = lowered(normal, targets.load(targets.HOST), silent)
    feeds = {name: array for prefix, (case, _) in named.items() for name, array in case.feeds(prefix).items()}
    with edgesparse_runtime.Model(serialize(program, {})) as compiled:
        return compiled.run({tensor.name: feeds[tensor.name] for tensor in compiled.inputs})


def _refusals(text: str, named: Mapping[str, object]) -> dict[str, str]:
    """The cases that a list of operators names, each with its reason; other errors need not name all."""
    listed, found = text.partition("operators that cannot be compiled: ")[2], {}
    for clause in listed.split("; "):
        reason, _, names = clause.rpartition(": ")
        found |= {name: reason for name in re.findall(r"\bc\d+", names) if name in named}
    return found


def _differs(got: np.ndarray, right: np.ndarray, slack: int) -> str | None:
    """How `got` differs from `right`, beyond what rounding explains; None where it does not."""
    if got.dtype != right.dtype or got.shape != right.shape:
        return f"got {got.dtype}{list(got.shape)}, expected {right.dtype}{list(right.shape)}"
    if right.dtype.kind != "f":
        off = np.abs(got.astype(np.int64) - right.astype(np.int64)) > slack if slack else got != right
        return f"{np.count_nonzero(off)} of {right.size}: {_examples(got, right, off)}" if off.any() else None
    rtol = {"float16": 4e-3, "float32": 2e-4, "float64": 2e-4}[right.dtype.name]
    finite = np.abs(right[np.isfinite(right)].astype(np.float64))
    close = np.isclose(got, right, rtol=rtol, atol=rtol / 10 * max(1.0, finite.max(initial=0.0)), equal_nan=True)
    return None if close.all() else f"{np.count_nonzero(~close)} of {right.size}: {_examples(got, right, ~close)}"


def _examples(got: np.ndarray, right: np.ndarray, where: np.ndarray) -> str:
    return f"got {got[where].ravel()[:3].tolist()}, expected {right[where].ravel()[:3].tolist()}"


def _line(err: BaseException) -> str:
    return (" ".join(str(err).split()) or type(err).__name__)[:300]
