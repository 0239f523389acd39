"""The three sweeps: operator versions, element types, and shapes with 1, 0 and scalars.

Each is the same list of cases every time, under names that stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import onnx

from tests.sweeps import elementwise, moving, reducing, windows
from tests.sweeps.case import Case, Node, model_of
from tests.sweeps.operators import Choice, Levels, Operator
from tests.sweeps.pairs import Row, pairwise

OPERATORS: tuple[Operator, ...] = (*elementwise.OPERATORS, *reducing.OPERATORS, *moving.OPERATORS, *windows.OPERATORS)

SIZES = ("ones", "first 1", "second 1", "last 1", "first 0", "second 0", "last 0")

Sweep = Callable[[Collection[str] | None], Iterator[Case]]


def versions(only: Collection[str] | None = None) -> Iterator[Case]:
    """Every operator version from opset 7 on with every level of its attributes, pairwise; float32 and one integer."""
    for operator in _chosen(only):
        dtypes = operator.dtypes()
        integer = [name for name in ("int32", "int64", "uint8", "int8", "bool") if name in dtypes]
        kinds = [*(["float32"] if "float32" in dtypes else []), *integer[:1]]
        yield from _cases(operator, {"opset": operator.opsets(), "dtype": kinds, **operator.factors})


def types(only: Collection[str] | None = None) -> Iterator[Case]:
    """Every operator with every element type and every level of its attributes, pairwise, at one opset."""
    for operator in _chosen(only):
        ranks = {name: levels[:2] for name, levels in operator.factors.items() if name in ("rank", "constant")}
        opsets = [opset for opset in (operator.opsets()[0], *operator.opsets()) if opset <= 22][-1:]
        known = {"dtype": operator.dtypes(), "opset": opsets or operator.opsets()[:1]}
        yield from _cases(operator, {**operator.factors, **ranks, **known})


def sizes(only: Collection[str] | None = None) -> Iterator[Case]:
    """Every operator on axes of one and of no elements, and on scalars."""
    for operator in _chosen(only):
        dtypes = operator.dtypes()
        kinds = ["float32"] if "float32" in dtypes else dtypes[:1]
        opsets = [opset for opset in operator.opsets() if opset <= 22][-1:] or operator.opsets()[:1]
        yield from _cases(operator, {"opset": opsets, "dtype": kinds, "sizes": SIZES, **operator.factors})


SWEEPS: Mapping[str, Sweep] = {"versions": versions, "types": types, "sizes": sizes}


def shard(cases: Sequence[Case], part: str) -> Sequence[Case]:
    """The I-th of N runs of cases, for "I/N"."""
    number, parts = (int(text) for text in part.split("/"))
    return cases[len(cases) * (number - 1) // parts : len(cases) * number // parts]


def _chosen(only: Collection[str] | None) -> list[Operator]:
    return [operator for operator in OPERATORS if only is None or operator.name in only]


def _cases(operator: Operator, factors: Mapping[str, Levels]) -> Iterator[Case]:
    nodes: dict[str, Node] = {}

    def valid(row: Row) -> bool:
        node = operator.build(Choice(operator.name, row))
        if node is None or not _means_something(Case("", operator.name, row["opset"], node)):
            return False
        nodes[_name(row)] = node
        return True

    seen: set[object] = set()
    for row in pairwise(factors, valid, operator.name):
        case = Case(f"{operator.name}:{_name(row)}", operator.name, row["opset"], nodes[_name(row)])
        if case.form() not in seen:
            seen.add(case.form())
            yield case


def _name(row: Row) -> str:
    rest = ",".join(f"{name}={str(level).replace(' ', '')}" for name, level in sorted(row.items()) if name != "opset")
    return f"{row['opset']}:{rest}"


def _means_something(case: Case) -> bool:
    """Whether the standard allows the node: its operands, attributes and types fit its version of the operator."""
    schema = onnx.defs.get_schema(case.operator, case.opset)
    if not set(case.node.attributes) <= set(schema.attributes) or len(case.node.inputs) < schema.min_input:
        return False
    model = model_of([("", case)], {})
    try:
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except Exception:  # its exception types are not public
        return False
    return True
