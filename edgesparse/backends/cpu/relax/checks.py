"""What an operator follows of what it reads, and the checks before it: indices, lengths, divisors, coordinates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.backends.cpu.kernel import Call, Kernel, Param, Tensor
from edgesparse.backends.cpu.kernels import refusal
from edgesparse.backends.cpu.tensors import constant, tensor
from edgesparse.errors import LowerError
from edgesparse.program import Bound, Constant, IndexKind

_PROVED = ("uint16", "int32", "int64")  # element types of what the runtime proves
_PIXELS = 1 << 14  # coordinates of a region of interest, in elements of the feature map: it is sampled one by one
_REFLECTIONS = 1 << 16  # coordinates of a grid that is reflected, in images


@dataclass(frozen=True)
class Integers:
    """The columns of an operand lie in [lowest, highest], each column within limits of its own."""

    operand: int
    lowest: tuple[int, ...]
    highest: tuple[int, ...]

    def bound(self, dtype: str) -> Bound | None:
        """What the runtime can prove about a constant instead; None where the columns differ."""
        if len(set(zip(self.lowest, self.highest, strict=True))) > 1 or dtype not in _PROVED:
            return None
        return Bound(IndexKind.INDEX, dtype, self.highest[0] + 1, self.lowest[0])

    def kernel(self, values: Param) -> Kernel:
        """The check of `values`."""
        return refusal.bounded(values, self.lowest, self.highest)

    def wrong(self, array: np.ndarray) -> np.ndarray:
        """Which elements of a constant are not allowed, flat."""
        rows = array.reshape(-1, len(self.lowest))
        return np.asarray((rows < np.array(self.lowest)) | (rows > np.array(self.highest))).reshape(-1)

    def holds(self, known: tuple[int, int] | None) -> bool:
        """Whether a range of values is allowed in every column."""
        return known is not None and known[0] >= max(self.lowest) and known[1] <= min(self.highest)

    def expected(self, element: int) -> str:
        """The limits of an element, in words."""
        column = element % len(self.lowest)
        return f"{self.lowest[column]} to {self.highest[column]}"


@dataclass(frozen=True)
class Floats:
    """An operand lies in [lowest, highest] and is no NaN."""

    operand: int
    lowest: float
    highest: float

    def bound(self, _: str) -> None:
        """The runtime proves nothing about floats."""

    def kernel(self, values: Param) -> Kernel:
        """The check of `values`."""
        return refusal.within(values, self.lowest, self.highest)

    def wrong(self, array: np.ndarray) -> np.ndarray:
        """Which elements of a constant are not allowed, flat."""
        return ~np.asarray((array >= self.lowest) & (array <= self.highest)).reshape(-1)

    def expected(self, _: int) -> str:
        """The limits of an element, in words."""
        return f"{self.lowest} to {self.highest}"


@dataclass(frozen=True)
class Divisors:
    """An operand of integers is not 0."""

    operand: int

    def kernel(self, values: Param) -> Kernel:
        """The check of `values`."""
        return refusal.nonzero(values)

    def wrong(self, array: np.ndarray) -> np.ndarray:
        """Which elements of a constant are not allowed, flat."""
        return np.asarray(array == 0).reshape(-1)

    def expected(self, _: int) -> str:
        """The limits of an element, in words."""
        return "a divisor other than 0"


Rule = Integers | Floats | Divisors


def follows(node: ir.Node) -> list[Rule]:
    """What a step has to check before `node` follows it.

    Raises: LowerError: a constant holds what is not allowed.
    """
    return [rule for rule in _rules(node) if _is_open(node, rule)]


def checks(node: ir.Node) -> list[Call]:
    """The steps before those of `node`, which end a run that supplies what is not allowed."""
    calls = []
    for rule in follows(node):
        value = node.inputs[rule.operand]
        operand, array = tensor(value), constant(value)
        name, kernel = str(node.name or node.outputs[0].name), rule.kernel(Param(operand.size, operand.element))
        calls.append(Call(name, node.op_type, kernel, (operand if array is None else Constant(array),), ()))
    return calls


def proved(node: ir.Node) -> dict[int, Constant]:
    """The constants that `node` follows, by position, and what the runtime proves about them when it opens."""
    found = {}
    for rule in _rules(node):
        array = constant(node.inputs[rule.operand])
        bound = None if array is None or isinstance(rule, Divisors) else rule.bound(array.dtype.name)
        if bound is not None:
            found[rule.operand] = Constant(np.ascontiguousarray(array), bound)
    return found


def operand(node: ir.Node, position: int) -> Tensor | Constant:
    """An input as kernels of `node` read it; a constant that they follow is one that the runtime proves."""
    value = node.inputs[position]
    array = constant(value)
    if array is None:
        return tensor(value)
    return proved(node).get(position, Constant(np.ascontiguousarray(array)))


def _rules(node: ir.Node) -> list[Rule]:
    rules = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    return list(rules(node)) if rules is not None else []


def _is_open(node: ir.Node, rule: Rule) -> bool:
    """Whether only a run can say that the operand holds what is allowed."""
    value = node.inputs[rule.operand]
    array = constant(value)
    if array is None:
        return tensor(value).size > 0 and not (isinstance(rule, Integers) and rule.holds(_range(value)))
    wrong = rule.wrong(array)
    if wrong.any():
        element = int(wrong.argmax())
        assert value is not None
        raise LowerError(
            f"{node.op_type} {node.name!r}: element {element} of {value.name!r} is {array.reshape(-1)[element]}, "
            f"expected {rule.expected(element)}"
        )
    return not isinstance(rule, Divisors) and rule.bound(array.dtype.name) is None


def _range(value: ir.Value | None) -> tuple[int, int] | None:
    """The least and the greatest that an integer can be, whatever the inputs hold; None where nothing is known."""
    while value is not None and (node := value.producer()) is not None:
        match node.op_type:
            case "Flatten" | "Identity" | "Reshape" | "Squeeze" | "Transpose" | "Unsqueeze":
                value = node.inputs[0]
            case "ArgMax" | "ArgMin":
                shape = tensor(node.inputs[0]).shape
                return 0, shape[node.attributes.get_int("axis", 0) % len(shape)] - 1
            case "TopK" if value is node.outputs[1]:
                shape = tensor(node.inputs[0]).shape
                return 0, shape[node.attributes.get_int("axis", -1) % len(shape)] - 1
            case _:
                break
    return None


def _both_ends(operand: int, sizes: Sequence[int]) -> Integers:
    """Indices from the start, or negative ones from the end."""
    return Integers(operand, tuple(-size for size in sizes), tuple(size - 1 for size in sizes))


def _along_axis(node: ir.Node) -> Iterator[Rule]:
    shape = tensor(node.inputs[0]).shape
    yield _both_ends(1, [shape[node.attributes.get_int("axis", 0) % len(shape)]])


def _places(node: ir.Node) -> Iterator[Rule]:
    first, columns = node.attributes.get_int("batch_dims", 0), tensor(node.inputs[1]).shape[-1]
    if columns:
        yield _both_ends(1, tensor(node.inputs[0]).shape[first : first + columns])


def _lengths(node: ir.Node) -> Iterator[Rule]:
    yield Integers(1, (0,), (tensor(node.inputs[0]).shape[node.attributes.get_int("time_axis", 0)],))


def _divisors(node: ir.Node) -> Iterator[Rule]:
    if not tensor(node.inputs[1]).dtype.startswith("float"):
        yield Divisors(1)


def _held(node: ir.Node, operand: int, limit: float) -> float:
    """A limit that the type of an operand holds."""
    return min(limit, float(np.finfo(tensor(node.inputs[operand]).dtype).max))


def _regions(node: ir.Node) -> Iterator[Rule]:
    limit = _held(node, 1, _PIXELS / abs(node.attributes.get_float("spatial_scale", 1.0)))
    yield Floats(1, -limit, limit)
    yield Integers(2, (0,), (tensor(node.inputs[0]).shape[0] - 1,))


def _grid(node: ir.Node) -> Iterator[Rule]:
    limit = float("inf")
    if node.attributes.get_string("padding_mode", "zeros") == "reflection":
        limit = _held(node, 1, _REFLECTIONS)
    yield Floats(1, -limit, limit)


RULES: dict[str, Callable[[ir.Node], Iterator[Rule]]] = {
    "Div": _divisors,
    "Gather": _along_axis,
    "GatherElements": _along_axis,
    "GatherND": _places,
    "GridSample": _grid,
    "Mod": _divisors,
    "ReverseSequence": _lengths,
    "RoiAlign": _regions,
    "ScatterElements": _along_axis,
    "ScatterND": _places,
}
"""What each operator follows: the operands that a kernel uses as addresses, sizes or divisors."""
