"""Micro-kernels keep their vectors and their registers: counted in LLVM's assembly, for every target on any machine.

A change is reviewed: refresh the counts with `pytest tests/tools --update-golden`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from edgesparse.devices import targets
from edgesparse.forms import FORMS
from edgesparse.forms.sparse import SparseTile
from edgesparse.forms.tiled import TiledTile
from tools.mixes import Mix, micro_kernel, mixes, name_of, tiles

GOLDEN = Path(__file__).with_name("mixes.json")
QUICK = ("rpi4", "rpi4-32bit", "x86-64-v4")
TARGETS = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow(part="boards"))
    for name in targets.names()
    if name != targets.HOST
]


@pytest.mark.parametrize("name", TARGETS)
def test_micro_kernels_are_as_they_were_reviewed(name, update_golden):
    target = targets.load(name)

    found = mixes(target)

    for tile, graph in tiles(target):
        if isinstance(tile, TiledTile):
            mix, depth = found[name_of(tile, graph)], 1
            if isinstance(tile, SparseTile):
                depth = tile.block[1] * tile.chunk
            assert mix.fmas > 0 and mix.fmas % (tile.vectors * tile.rows * depth) == 0 and not mix.other_fmas, tile
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    counts = {tile: asdict(mix) for tile, mix in found.items()}
    if update_golden:
        GOLDEN.write_text(json.dumps(golden | {name: counts}, indent=1, sort_keys=True) + "\n")
        return
    assert counts == golden[name]


def test_every_form_has_a_micro_kernel_that_is_counted():
    counted = {key.split()[-2] for kernels in json.loads(GOLDEN.read_text()).values() for key in kernels}

    assert counted == {form.form for form in FORMS}


SPILLS = """
.LBB0_1:
 vbroadcastss (%rsi,%rax), %zmm2
 vfmadd231ps (%rdx), %zmm2, %zmm0
 vmovups %zmm0, 64(%rsp)
 vfmadd231ps %ymm1, %ymm2, %ymm3
 incq %rax
 jne .LBB0_1
 .LBB0_2:
 vmovups (%rdi), %zmm0
 jne .LBB0_2
 jmp .LBB0_9
"""


def test_a_loop_by_hand_is_counted():
    """Of two loops the one that multiplies: three that touch memory, one of them on the stack; half a vector apart."""
    lines = [line.strip() for line in SPILLS.strip().splitlines()]

    found = micro_kernel(lines, targets.load("x86-64-v4"))

    assert found == Mix(instructions=6, fmas=1, other_fmas=1, loads=2, stores=1, stack=1)
