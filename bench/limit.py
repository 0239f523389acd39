"""How far an inference is from what the machine could do with its nonzeros, and where the rest goes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx
from edgesparse_runtime import StepTiming

import edgesparse
from bench.contenders import HERE, Result
from bench.rivals import peak
from edgesparse import frontend
from edgesparse.devices.local import LOCAL
from edgesparse.measure import Arrays, Latency
from edgesparse.numerics import F32
from edgesparse.package.manifest import of_plan

PROFILE_RUNS = 30
SPARSE, DENSE, DEPTHWISE, ATTENTION = "sparse layers", "dense layers", "depthwise", "attention matmuls"
JOINED = "layers with a depthwise"
GROUPS = (SPARSE, DENSE, JOINED, DEPTHWISE, ATTENTION)


@dataclass(frozen=True)
class Limit:
    """One artifact on one thread against the limit: `flops` at `peak_gflops`.

    `flops` are two for each nonzero weight and column, and those of matmuls of activations, which have no zeros.
    `group_us` is the time of the steps by group or, for what is no weighted layer, by operator.
    """

    model: str
    density: float
    pattern: str
    flops: int
    peak_gflops: float
    p10_us: float
    group_us: dict[str, float]

    @property
    def limit_us(self) -> float:
        """The time that the arithmetic alone takes at the peak."""
        return self.flops / self.peak_gflops / 1e3

    @property
    def times(self) -> float:
        """How many times the limit the inference takes."""
        return self.p10_us / self.limit_us

    def share(self, group: str) -> float:
        """Share of the time of all steps."""
        return self.group_us.get(group, 0.0) / max(sum(self.group_us.values()), 1e-9)


def peak_library(folder: Path) -> Path:
    """Compile `rivals/peak.c` for this machine."""
    cpu, output = edgesparse.load_target("host").cpu, folder / "peak.so"
    flags = ["-O3", "-march=native", "-ffp-contract=fast", "-fno-sanitize=all", "-shared", "-fPIC"]
    if cpu.isa == "x86_64":
        flags.append(f"-mprefer-vector-width={cpu.vector_bits}")  # compilers may halve vectors on their own
    command = [sys.executable, "-m", "ziglang", "cc", *flags, f"-DLANES={cpu.lanes(F32)}"]
    subprocess.run([*command, str(HERE / "peak.c"), "-o", str(output)], check=True)
    return output


def peak_gflops(latency: Latency) -> float:
    """What the multiply-adds of `rivals/peak.py` reached, in 1e9 operations a second."""
    lanes = edgesparse.load_target("host").cpu.lanes(F32)
    return 2 * lanes * peak.VECTORS * peak.REPEATS / latency.p10_us / 1e3


def flops(model: Path) -> int:
    """Operations that no runtime can leave out; see Limit.

    Raises: EdgesparseError: the model cannot be read.
    """
    summary = frontend.describe(frontend.read(model))
    return 2 * (summary.effective_macs or 0) + _activation_flops(onnx.load(str(model)))


def _activation_flops(model: onnx.ModelProto) -> int:
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    constants = {tensor.name for tensor in graph.initializer}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    products = [node for node in graph.node if node.op_type == "MatMul" and not constants & set(node.input)]
    return sum(2 * prod(shapes[node.output[0]]) * shapes[node.input[0]][-1] for node in products)


def limit(model: str, onnx_file: Path, result: Result, inputs: Arrays, gflops: float) -> Limit:
    """Profile the artifact of a measured result and hold it against the limit."""
    assert result.latency
    with LOCAL.open(result.contender.file) as artifact:
        steps = artifact.step_times(inputs, repeat=PROFILE_RUNS)
        layers = {layer["name"]: layer["kernel"] for layer in of_plan(artifact.manifest, artifact.plan)["layers"]}
    return Limit(
        model=model,
        density=result.contender.density,
        pattern=result.contender.pattern,
        flops=flops(onnx_file),
        peak_gflops=gflops,
        p10_us=result.latency.p10_us,
        group_us=grouped(steps, layers),
    )


def grouped(steps: Iterable[StepTiming], layers: Mapping[str, str]) -> dict[str, float]:
    """Time of the steps by group, the longest first; p10 over the runs, so that one interruption does not show.

    Args: layers: "sparse" or "dense" by the name of each weighted layer.
    """
    sums: dict[str, float] = defaultdict(float)
    for step in steps:
        sums[_group(step, layers)] += float(np.quantile(step.times_us, 0.1))
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def _group(step: StepTiming, layers: Mapping[str, str]) -> str:
    kinds = re.split(r"\W+", step.op)
    if step.name in layers:
        if kinds.count("Conv") > 1:
            return JOINED
        return SPARSE if layers[step.name] == "sparse" else DENSE
    if "Conv" in kinds:
        return DEPTHWISE
    return ATTENTION if "MatMul" in kinds else step.op


def others(limits: Sequence[Limit]) -> list[str]:
    """Operators outside GROUPS, the longest first."""
    sums: dict[str, float] = defaultdict(float)
    for each in limits:
        for group in each.group_us:
            sums[group] += each.share(group)
    return sorted((group for group in sums if group not in GROUPS), key=lambda group: -sums[group])
