"""The arena holds every value for as long as somebody reads it."""

from __future__ import annotations

import itertools

import pytest

from edgesparse.backends.cpu.arena import plan_arena
from edgesparse.backends.cpu.kernel import ALIGNMENT_BYTES, Call, Kernel, Tensor
from edgesparse.errors import InternalError
from edgesparse.graph.layout import ROWS
from edgesparse.numerics import F32
from edgesparse.program import OVERREAD_BYTES


def call(name: str, reads: list[Tensor], write: Tensor, *, inplace: bool = False) -> Call:
    pairs = ((0, len(reads)),) if inplace else ()
    return Call(name, "Test", Kernel(name, None, 1, 0, pairs), tuple(reads), (write,))  # type: ignore[arg-type]


def chain(count: int, *, inplace: bool) -> tuple[list[Tensor], list[Call]]:
    values = [Tensor(f"v{i}", (100,), F32) for i in range(count)]
    calls = [call(f"c{i}", [a], b, inplace=inplace) for i, (a, b) in enumerate(itertools.pairwise(values))]
    return values, calls


def test_a_chain_needs_two_buffers_however_long():
    values, calls = chain(10, inplace=False)

    plan = plan_arena(calls, values[:1], values[-1:])

    assert plan.size_bytes == 2 * 448 + OVERREAD_BYTES  # 400 bytes rounded up to a multiple of 64


def test_in_place_calls_share_one_buffer():
    values, calls = chain(10, inplace=True)

    plan = plan_arena(calls, values[:1], values[-1:])

    assert len(set(plan.offsets.values())) == 1


def test_a_value_read_later_is_not_written_over():
    a, b, c = (Tensor(name, (100,), F32) for name in "abc")
    calls = [call("first", [a], b, inplace=True), call("second", [b, a], c)]

    plan = plan_arena(calls, [a], [c])

    assert plan.offsets["a", ROWS] != plan.offsets["b", ROWS]


def test_a_value_read_twice_by_the_call_is_not_written_over():
    a, b = Tensor("a", (100,), F32), Tensor("b", (100,), F32)

    plan = plan_arena([call("square", [a, a], b, inplace=True)], [a], [b])

    assert plan.offsets["a", ROWS] != plan.offsets["b", ROWS]


def test_an_output_is_not_written_over_by_a_later_call():
    a, b, c = (Tensor(name, (100,), F32) for name in "abc")
    calls = [call("first", [a], b), call("second", [b], c, inplace=True)]

    plan = plan_arena(calls, [a], [b, c])

    assert plan.offsets["b", ROWS] != plan.offsets["c", ROWS]


@pytest.mark.parametrize("inplace", [False, True])
def test_no_two_living_values_overlap(inplace):
    """A ladder of residual adds with odd sizes; every pair alive at one call is apart, unless written in place."""
    calls, values = [], [Tensor("x", (33,), F32)]
    for i in range(12):
        wide = Tensor(f"wide{i}", (33 * (i % 3 + 1),), F32)
        narrow = Tensor(f"narrow{i}", (33,), F32)
        calls += [call(f"w{i}", [values[-1]], wide), call(f"n{i}", [values[-1], wide], narrow, inplace=inplace)]
        values.append(narrow)

    plan = plan_arena(calls, values[:1], values[-1:])

    sizes = {t.memory: t.size_bytes for c in calls for t in [*c.reads, *c.writes]}  # type: ignore[union-attr]
    for i, c in enumerate(calls):
        later = {t.memory for d in calls[i + 1 :] for t in d.reads} | {values[-1].memory}  # type: ignore[union-attr]
        written = {w.memory for d in calls[: i + 1] for w in d.writes} | {("x", ROWS)}
        alive = (later & written) | {c.writes[0].memory}
        if not inplace:
            alive |= {t.memory for t in c.reads}  # type: ignore[union-attr]
        for one, other in itertools.combinations(alive, 2):
            low, high = sorted((one, other), key=lambda memory: plan.offsets[memory])
            assert plan.offsets[low] + sizes[low] <= plan.offsets[high], (c.name, one, other)
    assert all(offset % ALIGNMENT_BYTES == 0 for offset in plan.offsets.values())


def test_reading_what_nobody_writes_is_a_bug():
    with pytest.raises(InternalError, match="reads 'ghost' before it is written"):
        plan_arena([call("c", [Tensor("ghost", (1,), F32)], Tensor("y", (1,), F32))], [], [])


def test_writing_twice_is_a_bug():
    y = Tensor("y", (1,), F32)

    with pytest.raises(InternalError, match="'y' is written twice"):
        plan_arena([call("a", [], y), call("b", [], y)], [], [y])
