"""Predicted times: the arithmetic by hand, and a small model from end to end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from edgesparse.backends.cpu.kernel import Call, Param, Tensor, build_kernel
from edgesparse.devices import targets
from edgesparse.errors import TargetError
from edgesparse.numerics import F32
from tools.boards.emulate import EmulatorError, tools
from tools.boards.layer import Shape, model_of
from tools.boards.predict import predict, step_cost


def call_of(tiles: int) -> Call:
    kernel = build_kernel("es_tiled_nothing", [Param(4, F32)] * 2, tiles, lambda _tile, _x, _y: None)
    return Call("layer", "Conv", kernel, (Tensor("x", (4,), F32),), (Tensor("y", (4,), F32),))


def test_misses_and_cycles_become_time():
    """1.5 GHz; L2 costs 21 cycles, four at once; memory gives a third of 12.8 GB/s; 4 threads run 5 tiles twice."""
    cost = step_cost(call_of(5), 15_000.0, l1_misses=1_200, l2_misses=200, target=targets.load("rpi4"))

    assert cost.weighted
    assert cost.core_us == pytest.approx((15_000 + 1_000 * 21 / 4) / 1_500)
    assert cost.memory_us == pytest.approx(200 * 64 / (12_800 / 3))
    assert cost.time_us(1) == pytest.approx(cost.core_us + cost.memory_us)
    assert cost.time_us(4) == pytest.approx(cost.core_us * 2 / 5 + cost.memory_us)


def test_a_board_without_a_clock_is_refused():
    board = targets.load("rpi4")
    target = replace(board, cpu=replace(board.cpu, clock_hz=None))

    with pytest.raises(TargetError, match="rpi4: cpu.clock_hz or memory.bandwidth_bytes_per_s: missing"):
        step_cost(call_of(1), 1.0, 0, 0, target)


def test_a_sparser_layer_is_predicted_to_be_faster(tmp_path):
    try:
        tools()
    except EmulatorError as err:
        pytest.skip(str(err))
    times = {}
    for density in (1.0, 0.1):
        path = tmp_path / f"{density}.onnx"
        onnx.save(model_of(Shape(64, 256, 14, density)), path)
        times[density] = sum(step.time_us(1) for step in predict(path, 1.0, targets.load("rpi4")))

    assert np.isfinite(list(times.values())).all()
    assert 0 < times[0.1] < times[1.0] / 2
