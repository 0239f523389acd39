"""Verdicts on the cases of a sweep: many nodes are compiled as one model, and each is judged by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import edgesparse_runtime
import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes import common

from edgesparse import frontend, reference
from edgesparse.backends.cpu import supports
from edgesparse.devices import targets
from edgesparse.errors import EdgesparseError, OnnxRuntimeError
from edgesparse.package.writer import serialize
from edgesparse.pipeline.arguments import silent
from edgesparse.pipeline.stages import lowered
from tests.sweeps.case import Case, info, model_of

PACK = 96  # nodes to a model

Judged = tuple["Case", list[np.ndarray]]
"""A case and what its outputs should be."""

Arrays = dict[str, np.ndarray]

STASHED = ("GridSample", "GroupNormalization", "LayerNormalization", "RMSNormalization")
"""Operators with parts in float32: coordinates in ONNX Runtime, statistics as `stash_type` says."""

DOUBTFUL = ("GlobalMaxPool", "LRN", "LpPool", "Resize")
"""Operators that onnx's reference has wrong, or otherwise than ONNX Runtime, whom we follow.

Maxima over one axis of three, LRN of few samples, SAME padding of dilated windows, Resize of no region.
"""


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


@dataclass(frozen=True)
class Machine:
    """What cases are compiled for, and how an artifact runs there."""

    target: targets.Target
    run: Callable[[bytes, Arrays], Arrays]


@cache
def here() -> Machine:
    """This machine."""

    def run(artifact: bytes, feeds: Arrays) -> Arrays:
        with edgesparse_runtime.Model(artifact) as opened:
            return opened.run(feeds)

    return Machine(targets.load(targets.HOST), run)


def judge(cases: Sequence[Case], machine: Machine | None = None) -> Iterator[Outcome]:
    """Compile and run `cases`, as many in one model as go together; on this machine unless another is given."""
    machine = machine or here()
    by_opset: dict[int, list[Judged]] = {}
    for case in cases:
        try:
            by_opset.setdefault(case.opset, []).append((case, expected(case)))
        except Exception as err:  # neither of the judges can run it
            yield Outcome(case, Verdict.UNJUDGED, _line(err))
    for judged in by_opset.values():
        for start in range(0, len(judged), PACK):
            yield from _together(judged[start : start + PACK], machine)


def expected(case: Case) -> list[np.ndarray]:
    """The outputs by ONNX Runtime without optimizer; by onnx's reference where that cannot run the operator."""
    model = model_of([("", case)], {})
    try:
        found = reference.evaluate(model, case.feeds(), limit_s=20)
        arrays = [found[name] for name in case.outputs()]
        return _defined(model, case) if _is_mistaken(case, arrays) else arrays
    except OnnxRuntimeError:
        if case.operator in DOUBTFUL:
            raise
        return _defined(model, case)


def _is_mistaken(case: Case, arrays: Sequence[np.ndarray]) -> bool:
    """Whether ONNX Runtime is known to be wrong, and onnx's definition to judge.

    It divides 0 by 0 where all numbers are equal and the definition adds an epsilon, and takes int8 for uint8 where it
    resizes with antialias.
    """
    if case.operator == "Resize":
        return arrays[0].dtype == np.int8 and bool(case.node.attributes.get("antialias"))
    return case.operator == "MeanVarianceNormalization" and any(np.isnan(array).any() for array in arrays)


def _defined(model: onnx.ModelProto, case: Case) -> list[np.ndarray]:
    """The outputs by onnx's reference."""
    with np.errstate(all="ignore"):
        results = ReferenceEvaluator(model).run(None, case.feeds())
    values = onnx.shape_inference.infer_shapes(model).graph.output
    kinds = [helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in values]
    return [np.asarray(array, kind) for array, kind in zip(results, kinds, strict=True)]  # numpy widens integers


def _together(judged: Sequence[Judged], machine: Machine) -> Iterator[Outcome]:
    """Judge cases of one opset; those that keep the model from compiling are told apart."""
    if not judged:
        return
    named = {f"c{number}": pair for number, pair in enumerate(judged)}
    try:
        normal = _normalised(named)
    except Exception as err:  # a traceback is a finding, whatever its type
        yield from _apart(named, err, machine)
        return
    kept: list[str] = []
    for name, (case, _) in named.items():
        refused = next(filter(None, map(_why_not, _nodes_of(normal, case, name))), None)
        if refused:
            yield Outcome(case, Verdict.REFUSED, refused)
        else:
            kept.append(name)
    yield from _lowered({name: named[name] for name in kept}, normal, machine)


def _lowered(named: Mapping[str, Judged], normal: ir.Model, machine: Machine) -> Iterator[Outcome]:
    """Judge cases whose normal form stands in `normal`."""
    if not named:
        return
    try:
        outputs = _run(named, normal, machine)
    except Exception as err:
        text = f"{err}" if isinstance(err, EdgesparseError) else f"{type(err).__name__}: {_line(err)}"
        if len(named) == 1:
            verdict = Verdict.REFUSED if _is_told(err) else Verdict.WRONG
            yield Outcome(next(iter(named.values()))[0], verdict, _line(text))
            return
        told = sorted(_names(text, named))[:1] or list(named)[: len(named) // 2]
        for part in (set(told), set(named) - set(told)):
            yield from _lowered({name: pair for name, pair in named.items() if name in part}, normal, machine)
        return
    for name, (case, right) in named.items():
        compared = zip(case.outputs(name), right, strict=True)
        differences = (_differs(outputs[key], array, case) for key, array in compared)
        difference = next(filter(None, differences), None)
        yield Outcome(case, Verdict.WRONG, difference) if difference else Outcome(case, Verdict.RIGHT)


def _apart(named: Mapping[str, Judged], err: Exception, machine: Machine) -> Iterator[Outcome]:
    """Judge what keeps the others from being normalised by itself: the case that is named, or each half."""
    if len(named) == 1:
        verdict = Verdict.REFUSED if _is_told(err) else Verdict.WRONG
        yield Outcome(next(iter(named.values()))[0], verdict, f"{type(err).__name__}: {_line(err)}")
        return
    told = sorted(_names(str(err), named))[:1] or list(named)[: len(named) // 2]
    yield from _together([named[name] for name in told], machine)
    yield from _together([pair for name, pair in named.items() if name not in told], machine)


def _is_told(err: Exception) -> bool:
    """Whether an error is one line to the user."""
    return isinstance(err, EdgesparseError) and "\n" not in str(err)


def _names(text: str, named: Mapping[str, Judged]) -> set[str]:
    """The cases whose node or values `text` names."""
    return set(re.findall(r"\b(c\d+)(?:[xy]\d+)?\b", text)) & set(named)


def _normalised(named: Mapping[str, Judged]) -> ir.Model:
    signature = {
        name: info(name, array)
        for prefix, (case, right) in named.items()
        for name, array in zip(case.outputs(prefix), right, strict=True)
    }
    model = model_of([(prefix, case) for prefix, (case, _) in named.items()], signature)
    return frontend.load(frontend.read(model), supports=supports)


def _nodes_of(normal: ir.Model, case: Case, prefix: str) -> list[ir.Node]:
    """The nodes that a case has become."""
    waiting = [value.producer() for value in normal.graph.outputs if value.name in case.outputs(prefix)]
    found: dict[ir.Node, None] = {}
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found[node] = None
            waiting += [value.producer() for value in node.inputs if value is not None]
    return list(found)


def _why_not(node: ir.Node) -> str | None:
    reason = supports(node)
    return f"{node.op_type} ({reason})" if reason else None


def _run(named: Mapping[str, Judged], normal: ir.Model, machine: Machine) -> Arrays:
    """Compile and run these cases of `normal`."""
    model, wanted = normal.clone(), {key for prefix, (case, _) in named.items() for key in case.outputs(prefix)}
    feeds = {name: array for prefix, (case, _) in named.items() for name, array in case.feeds(prefix).items()}
    model.graph.outputs[:] = [value for value in model.graph.outputs if value.name in wanted]
    common.RemoveUnusedNodesPass()(model)
    model.graph.inputs[:] = [value for value in model.graph.inputs if value.name in feeds]
    program, _ = lowered(model, machine.target, silent)
    return machine.run(serialize([program], {}), {tensor.name: feeds[tensor.name] for tensor in program.inputs})


def _differs(got: np.ndarray, right: np.ndarray, case: Case) -> str | None:
    """How `got` differs from `right`, beyond what rounding explains; None where it does not."""
    if got.dtype != right.dtype or got.shape != right.shape:
        return f"got {got.dtype}{list(got.shape)}, expected {right.dtype}{list(right.shape)}"
    slack = case.node.slack
    if right.dtype.kind != "f":
        off = np.abs(got.astype(np.int64) - right.astype(np.int64)) > slack if slack else got != right
        return f"{np.count_nonzero(off)} of {right.size}: {_examples(got, right, off)}" if off.any() else None
    rtol = {"float16": 4e-3, "float32": 2e-4, "float64": 2e-4 if case.operator in STASHED else 1e-7}[right.dtype.name]
    finite = np.abs(right[np.isfinite(right)].astype(np.float64))
    close = np.isclose(got, right, rtol=rtol, atol=rtol / 10 * max(1.0, finite.max(initial=0.0)), equal_nan=True)
    return None if close.all() else f"{np.count_nonzero(~close)} of {right.size}: {_examples(got, right, ~close)}"


def _examples(got: np.ndarray, right: np.ndarray, where: np.ndarray) -> str:
    return f"got {got[where].ravel()[:3].tolist()}, expected {right[where].ravel()[:3].tolist()}"


def _line(err: BaseException) -> str:
    return (" ".join(str(err).split()) or type(err).__name__)[:300]
