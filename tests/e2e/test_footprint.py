"""What an artifact costs beyond its inferences: time to load, and memory."""

from __future__ import annotations

import time

import pytest
from edgesparse_runtime import Model

import edgesparse
from edgesparse.measure import Origin
from tests.e2e.flow import feeds_of
from tests.models import ONNX_DATA

LOAD_MS = 20.0
SLACK_BYTES = 1 << 20
ATTEMPTS = 5  # other programs disturb; the best attempt counts


def milliseconds(function) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def first_and_warm_ms(artifact, feeds) -> tuple[float, float]:
    with Model(artifact):
        pass  # the file is in the page cache
    start = time.perf_counter()
    with Model(artifact) as model:
        model.run(feeds)
        first = (time.perf_counter() - start) * 1e3
        return first, min(milliseconds(lambda: model.run(feeds)) for _ in range(10))


def check_load_time(artifact):
    feeds = feeds_of(artifact)

    extra = [first - warm for first, warm in (first_and_warm_ms(artifact, feeds) for _ in range(ATTEMPTS))]

    assert min(extra) < LOAD_MS


def check_memory(artifact):
    memory = edgesparse.bench(artifact, seconds=0.0).contenders[0].memory
    if memory.peak.origin is not Origin.MEASURED:
        pytest.skip(memory.peak.how)
    summary = edgesparse.inspect(artifact)

    (plan,) = summary.plans
    planned = summary.weights_bytes + plan.arena_bytes + plan.scratch_bytes + plan.code_bytes

    assert memory.peak.value <= planned + SLACK_BYTES


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory):
    output = tmp_path_factory.mktemp("footprint") / "squeezenet.esp"
    return edgesparse.compile(ONNX_DATA / "light" / "light_squeezenet.onnx", "host", output, sparsity=0.9)


def test_loading_and_first_inference_are_quick(squeezenet):
    check_load_time(squeezenet.artifact)


def test_memory_is_weights_and_arena(squeezenet):
    check_memory(squeezenet.artifact)
