"""Classes of instructions, loops, and the port model, on cases counted by hand."""

from __future__ import annotations

import pytest

from edgesparse.devices import targets
from edgesparse.devices.cpu import Core
from tools.boards.counts import Mix, classes, mix_of, split_loops
from tools.boards.emulate import Ran
from tools.boards.ports import bounds, kernel_cycles, loop_bounds


def core(board: str) -> Core:
    found = targets.load(board).cpu.core
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fmla v0.4s, v1.4s, v2.s[0]", {"fmas": 1}),
        ("fmadd s0, s1, s2, s0", {"scalar_fmas": 1}),
        ("fcmlt v0.4s, v1.4s, #0.0", {"vector": 1}),
        ("dup v0.4s, w8", {"vector": 1}),
        ("ldr q4, [x17, #0x60]", {"wide_loads": 1}),
        ("ldp q4, q5, [x17]", {"wide_loads": 2}),
        ("ldr s4, [x17]", {"narrow_loads": 1}),
        ("ldp s6, s7, [x16, #-4]", {"narrow_pairs": 1}),
        ("ld1r {v7.4s}, [x23], #4", {"broadcast_loads": 1}),
        ("ld1 {v7.s}[1], [x23]", {"broadcast_loads": 1}),
        ("ld1 {v7.4s, v8.4s}, [x23]", {"wide_loads": 2}),
        ("ldrh w24, [x22], #2", {"scalar_loads": 1}),
        ("ldp x1, x2, [sp]", {"scalar_pairs": 1}),
        ("prfm pldl1keep, [x3]", {"scalar_loads": 1}),
        ("str q0, [x19, #0x60]", {"store_bits": 128}),
        ("stp q0, q1, [x19]", {"store_bits": 256}),
        ("stp x24, x23, [sp, #-0x30]!", {"store_bits": 128}),
        ("str wzr, [x1]", {"store_bits": 32}),
        ("st1 {v0.s}[1], [x1]", {"store_bits": 32}),
        ("b.ne #0x4000001410", {"branches": 1}),
        ("cbz w3, #0x10", {"branches": 1}),
        ("ret ", {"branches": 1}),
        ("bic v6.16b, v6.16b, v7.16b", {"vector": 1}),
        ("bfi w1, w2, #1, #2", {"other": 1}),
        ("subs x21, x21, #1", {"other": 1}),
        ("add x24, x7, x24, lsl #2", {"other": 1}),
    ],
)
def test_an_instruction_has_its_class(text, expected):
    assert classes(text) == {"instructions": 1, **expected}


def run_of(*lines: tuple[int, str]) -> list[Ran]:
    return [Ran(4 * place, runs, 0, 0, text) for place, (runs, text) in enumerate(lines)]


NESTED = run_of(
    (2, "mov x1, xzr"),
    (6, "mov x2, xzr"),
    (60, "ldr q0, [x3], #16"),
    (60, "fmla v1.4s, v0.4s, v2.4s"),
    (60, "fmla v1.4s, v0.4s, v3.4s"),
    (60, "subs x2, x2, #1"),
    (60, "b.ne #0x8"),
    (6, "str q1, [x4], #16"),
    (6, "b.ne #0x4"),
    (2, "ret "),
)


def test_an_inner_loop_is_told_from_the_loop_around_it():
    loops, rest = split_loops(NESTED)

    (loop,) = loops
    assert [each.address for each in loop.body] == [8, 12, 16, 20, 24]
    assert (loop.runs, loop.entries, loop.longest_chain) == (60, 6, 2)
    assert [each.address for each in rest] == [0, 4, 28, 32, 36]
    assert mix_of(loop.body) == Mix(instructions=300, fmas=120, wide_loads=60, branches=60, other=60)


def test_the_busiest_resource_sets_the_cycles():
    """Chain: 2 multiply-adds of 3 cycles, 60 times; outside: 6 stores of 128 bits at 64 a cycle."""
    (loop,), rest = split_loops(NESTED)

    limits = loop_bounds(loop, core("rpi4"))

    assert (limits.issue, limits.loads, limits.vector, limits.latency) == (100, 60, 120, 360)
    assert limits.bound == "latency"
    assert bounds(mix_of(rest), core("rpi4")).cycles == 12
    assert kernel_cycles(NESTED, core("rpi4")) == 360 + 12 + 6 * 15


# Inner loops of hand-counted code for these cores, and cycles per multiply-add published for them: A72, A76, A53.
KNOWN = {
    "1x1, U=4, unrolled by 2": (
        Mix(instructions=21, fmas=8, wide_loads=8, narrow_pairs=1, scalar_loads=2, branches=1, other=5),
        (1.38, 0.75, 3.1),
    ),
    "1x1, U=7": (
        Mix(instructions=16, fmas=7, wide_loads=7, narrow_loads=1, scalar_loads=1, branches=1, other=2),
        (1.29, 0.64, 3.1),
    ),
    "1x1, U=7, quad": (
        Mix(instructions=57, fmas=28, wide_loads=29, scalar_loads=1, branches=1, other=10),
        (1.07, 0.54, 3.1),
    ),
    "2x1, U=7": (
        Mix(
            instructions=26,
            fmas=14,
            wide_loads=7,
            broadcast_loads=1,
            narrow_loads=1,
            scalar_loads=1,
            branches=1,
            other=5,
        ),
        (1.04, 0.54, 2.1),
    ),
    "4x1, U=4": (
        Mix(
            instructions=28,
            fmas=16,
            wide_loads=4,
            broadcast_loads=1,
            narrow_loads=1,
            narrow_pairs=1,
            scalar_loads=1,
            branches=1,
            other=6,
        ),
        (1.03, 0.53, 1.7),
    ),
}


@pytest.mark.parametrize("board", ["rpi4", "rpi5", "rpi3"])
@pytest.mark.parametrize("name", KNOWN)
def test_the_model_gives_the_known_cycles_of_known_loops(name, board):
    mix, known = KNOWN[name]
    expected = known[("rpi4", "rpi5", "rpi3").index(board)]

    assert bounds(mix, core(board)).cycles / mix.fmas == pytest.approx(expected, rel=0.04)
