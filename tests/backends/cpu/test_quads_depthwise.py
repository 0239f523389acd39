"""Depthwise convolution of quads against exact integers."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from edgesparse.backends.cpu.kernel import Call, Tensor
from edgesparse.backends.cpu.kernels.bytes import word_of
from edgesparse.backends.cpu.kernels.epilogue import Requantized
from edgesparse.backends.cpu.kernels.quads_depthwise import QuadsDepthwise, quads_depthwise
from edgesparse.devices.host import detect
from edgesparse.devices.targets import Target
from edgesparse.graph.layout import Quads
from edgesparse.graph.quantized import Requantization
from edgesparse.numerics import QUAD
from tests.backends.cpu.emulated import run_emulated
from tests.backends.cpu.executor import HOST, load_calls, run_image, with_cpu
from tests.backends.cpu.quads import Arrays, Case, arrays
from tests.backends.cpu.single import ARM, NARROW, WIDE


def depthwise(
    channels: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int] = (0, 0),
    dilations: tuple[int, int] = (1, 1),
    batch: int = 1,
) -> Case:
    return Case((batch, channels, *size), channels, kernel, channels, strides, dilations, pads)


CASES = {
    "3x3": depthwise(5, (14, 14), (3, 3), pads=(1, 1)),
    "3x3_images": depthwise(3, (9, 20), (3, 3), pads=(1, 1), batch=2),
    "3x3_stride_2": depthwise(8, (28, 56), (3, 3), (2, 2), (1, 1)),
    "3x3_stride_2_odd": depthwise(9, (33, 65), (3, 3), (2, 2), (1, 1)),
    "3x3_many": depthwise(33, (7, 7), (3, 3), pads=(1, 1)),
    "3x3_no_padding": depthwise(4, (9, 40), (3, 3)),
    "3x3_bands": depthwise(1, (113, 19), (3, 3), pads=(1, 1)),
    "5x5": depthwise(4, (28, 37), (5, 5), pads=(2, 2)),
    "5x5_stride_2": depthwise(4, (30, 41), (5, 5), (2, 2), (2, 2)),
    "7x7": depthwise(4, (19, 37), (7, 7), pads=(3, 3)),
    "17x13": depthwise(2, (21, 39), (17, 13), pads=(8, 6)),
    "dilated": depthwise(4, (20, 53), (3, 3), pads=(2, 3), dilations=(2, 3)),
    "dilated_stride_2": depthwise(4, (20, 53), (3, 3), (2, 2), (2, 2), (2, 2)),
    "stride_3": depthwise(4, (20, 75), (4, 5), (1, 3), (0, 3)),
    "stride_5": depthwise(4, (9, 113), (3, 3), (5, 5), (1, 1)),
    "stride_9_kernel_1": depthwise(4, (9, 163), (1, 1), (9, 9)),
    "row": depthwise(4, (1, 33), (1, 9), pads=(0, 4)),
    "column": depthwise(4, (33, 5), (9, 1), pads=(4, 0)),
    "wide_padding": depthwise(4, (3, 2), (5, 5), pads=(4, 9)),
    "1x1_output": depthwise(5, (7, 7), (7, 7)),
    **{f"width_{w}": depthwise(4, (4, w), (3, 3), pads=(1, 1)) for w in (1, 3, 4, 7, 9, 16, 17, 33)},
    **{f"width_{w}_stride_2": depthwise(4, (5, w), (3, 3), (2, 2), (1, 1)) for w in (1, 7, 16, 17, 33)},
}  # fmt: skip
TYPES = [("uint8", "uint8", {}), ("int8", "int8", {"low": -100, "high": 90}), ("uint8", "int8", {"zero": -128})]
DOTTED = replace(with_cpu(WIDE, features=(*WIDE.cpu.features, "+avx512vnni"), requires=("avx512vnni",)), name="vnni")


def targets() -> list[Target]:
    """Twins of all widths; the widest with the instruction itself where this machine has it."""
    features = detect().features
    if not {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= features:
        return [NARROW, HOST]
    return [NARROW, HOST, DOTTED if "avx512vnni" in features else WIDE]


def call_of(name: str, given: Arrays, target: Target) -> Call:
    """The call that computes a case."""
    window, words = given.case.window, given.quads()
    assert window is not None and isinstance(given.stored, Requantization)
    cut = replace(window, channels=words.shape[1])
    layer = QuadsDepthwise(cut, given.numerics, Requantized.to(given.stored), word_of(given.zero), target)
    reads = (Tensor(f"{name}x", words.shape, given.x_quad, Quads(1, False)),)
    y = Tensor(f"{name}y", (*words.shape[:2], window.out_height * window.out_width), given.y_quad, Quads(1, False))
    return Call(name, "Conv", quads_depthwise(layer), (*reads, *layer.pack(given.w, given.folded(), given.scale)), (y,))


def same(given: Arrays, got: np.ndarray) -> bool:
    batch, quads, n = got.shape
    assert isinstance(given.stored, Requantization)
    rows = got.view(given.stored.element.numpy).reshape(batch, quads, n, QUAD).transpose(0, 1, 3, 2)
    channels = rows.reshape(batch, quads * QUAD, n)
    stored = given.stored
    filling = np.clip(stored.zero, stored.low, stored.high)
    assert (channels[:, given.case.m :] == filling).all(), "bytes that mean nothing are not defined"
    return np.array_equal(channels[:, : given.case.m], given.expected())


@pytest.mark.parametrize("target", targets(), ids=lambda t: t.name)
def test_depthwise_of_quads_is_exact(target: Target) -> None:
    """Windows, strides, dilations and paddings of all kinds, borders and tails, either signedness."""
    first, step = {512: (0, 2), 256: (1, 4), 128: (3, 4)}[target.cpu.vector_bits]  # twins are slow to build
    few = list(CASES)[first::step]
    given = {}
    for name, (x, y, more) in zip(few, cycle(TYPES), strict=False):
        given[name] = arrays(CASES[name], x, y, **more)
    calls = {name: call_of(name, each, target) for name, each in given.items()}
    image = load_calls(calls.values(), target)

    for name, call in calls.items():
        (got,) = run_image(image, [call], {f"{name}x": given[name].quads()}).values()
        assert same(given[name], got), name


@pytest.mark.parametrize("target", ARM, ids=lambda t: t.name)
def test_depthwise_of_quads_is_the_same_on_arm(target: Target, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.getbasetemp()
    given = {name: arrays(CASES[name], "int8", "int8") for name in ("3x3", "3x3_stride_2_odd", "stride_3")}
    calls = [call_of(name, each, target) for name, each in given.items()]

    found = run_emulated(calls, {f"{name}x": each.quads() for name, each in given.items()}, target, folder)

    for call in calls:
        assert same(given[call.name], found[call.writes[0].memory]), call.name
