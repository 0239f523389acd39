"""How many instructions whole models execute on boards: counted under QEMU, exactly, so that a worse plan is seen.

A change is reviewed: refresh the counts with `pytest tests/tools --update-golden -m slow`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgesparse import frontend, schedule
from edgesparse.backends.cpu import supports
from edgesparse.devices import targets
from edgesparse.graph.ops import graph_of
from edgesparse.prune import prune
from models import zoo
from tools.boards.emulate import EmulatorError, tools
from tools.boards.predict import instructions
from tools.hashes.graphs import Graph

GOLDEN = Path(__file__).with_name("instructions.json")
BOARDS = ("rpi4", "rpi5")
DENSITIES = (1.0, 0.1)
LAYER = Graph(
    """layer (float[1, 128, 384] x) => (float[1, 128, 384] y)
    <int64[4] split = {1, 128, 12, 32}, int64[3] join = {1, 128, 384}, float scale = {0.176776695}> {
        qm = MatMul (x, w384x384) qb = Add (qm, b384) qr = Reshape (qb, split)
        q = Transpose <perm = [0, 2, 1, 3]> (qr)
        km = MatMul (x, w384x384) kb = Add (km, b384) kr = Reshape (kb, split)
        k = Transpose <perm = [0, 2, 3, 1]> (kr)
        vm = MatMul (x, w384x384) vb = Add (vm, b384) vr = Reshape (vb, split)
        v = Transpose <perm = [0, 2, 1, 3]> (vr)
        l = MatMul (q, k) ls = Mul (l, scale) p = Softmax <axis = -1> (ls) o = MatMul (p, v)
        ot = Transpose <perm = [0, 2, 1, 3]> (o) om = Reshape (ot, join)
        a = MatMul (om, w384x384) ab = Add (a, b384) r = Add (ab, x) n = LayerNormalization (r, b384, b384)
        f = MatMul (n, w384x1536) fb = Add (f, b1536) g = Gelu (fb)
        h = MatMul (g, w1536x384) hb = Add (h, b384) s = Add (hb, n) y = LayerNormalization (s, b384, b384)
    }"""
)
"""A layer of MiniLM on 128 tokens."""


def model(name: str, folder: Path) -> Path:
    return LAYER.write(folder / "layer.onnx") if name == "minilm-layer" else zoo.cached(name)


@pytest.mark.slow(part="boards")
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", ["mobilenetv1", "minilm-layer"])
def test_models_execute_as_many_instructions_as_were_reviewed(name, board, density, update_golden, tmp_path):
    try:
        tools()
    except EmulatorError as err:
        pytest.skip(str(err))
    target = targets.load(board)
    source = frontend.read(model(name, tmp_path))
    pruned = prune(source, density).model if density < 1 else source
    plan = schedule.plan(graph_of(frontend.load(pruned, None, supports=supports)), target)

    count = instructions(plan, target)

    key = f"{name} {density:g} {board}"
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if update_golden:
        GOLDEN.write_text(json.dumps(golden | {key: count}, indent=1, sort_keys=True) + "\n")
        return
    assert count == golden[key]
