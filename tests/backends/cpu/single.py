"""Models of one node or a few that a kernel lowers, and ONNX Runtime as the judge of their result."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import tvm
from elftools.elf.elffile import ELFFile
from onnx import helper, numpy_helper

from edgesparse.backends.cpu.codegen import llvm_target
from edgesparse.backends.cpu.kernel import Call, Kernel
from edgesparse.backends.cpu.walk import Lowered
from edgesparse.devices.host import detect
from edgesparse.devices.targets import Target
from tests.backends.cpu.executor import HOST, key, load_calls, run_calls, run_image, with_cpu
from tests.backends.cpu.planned import lowered_without_layers

WIDE = replace(
    with_cpu(HOST, llvm_name="x86-64-v4", features=("-prefer-256-bit",), vector_bits=512, registers=32),
    name="test-wide",
)
"""A target of 512-bit vectors."""

NARROW = replace(with_cpu(HOST, vector_bits=128), name="test-narrow")
"""A target of 128-bit vectors, as wide as NEON."""

ARM = (
    replace(
        with_cpu(HOST, isa="aarch64", triple="aarch64-linux-gnu", llvm_name="cortex-a72", vector_bits=128),
        name="test-aarch64",
    ),
    replace(
        with_cpu(
            HOST,
            isa="armv7",
            triple="armv7-linux-gnueabihf",
            llvm_name="cortex-a15",
            features=("+neon", "+vfp4"),
            vector_bits=128,
        ),
        name="test-armv7",
    ),
)
"""Targets that kernels must compile for without help from a library."""


def undefined_symbols(kernels: Sequence[Kernel], target: Target) -> set[str]:
    """What the object code of some kernels wants from elsewhere; ARM's unwinder, which nobody calls, aside."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.o"
        module = tvm.IRModule({kernel.symbol: kernel.func for kernel in kernels})
        tvm.tirx.build(module, llvm_target(target.cpu)).write_to_file(str(path))
        with path.open("rb") as file:
            symbols = list(ELFFile(file).get_section_by_name(".symtab").iter_symbols())
    wanted = (s for s in symbols if s["st_shndx"] == "SHN_UNDEF" and s["st_info"]["bind"] == "STB_GLOBAL")
    return {symbol.name for symbol in wanted} - {"__aeabi_unwind_cpp_pr0"}


def runnable_targets() -> list[Target]:
    """The vector widths that this machine runs."""
    wide = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= detect().features
    return [NARROW, HOST, WIDE] if wide else [NARROW, HOST]


@dataclass(frozen=True, eq=False)
class Single:
    """A model, and values for its inputs."""

    model: onnx.ModelProto
    inputs: Mapping[str, np.ndarray]

    @property
    def node(self) -> ir.Node:
        """The first node, with static shapes on its values."""
        graph = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(self.model, strict_mode=True)).graph
        return next(iter(graph))

    def lowered(self, target: Target = HOST) -> Lowered:
        """What the graph makes of the model; no layer of it may need a plan."""
        inferred = onnx.shape_inference.infer_shapes(self.model, strict_mode=True)
        return lowered_without_layers(ir.serde.deserialize_model(inferred), target)

    def run(self, target: Target = HOST, *, inplace: bool = False) -> np.ndarray:
        """The first output, computed by those calls."""
        lowered = self.lowered(target)
        values = run_calls(lowered.calls, self.inputs, target, inplace=inplace)
        y = lowered.outputs[self.model.graph.output[0].name]
        return {**self.inputs, **values}[key(y)].reshape(y.shape)

    def judge(self) -> np.ndarray:
        """The first output according to ONNX Runtime."""
        session = onnxruntime.InferenceSession(self.model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, dict(self.inputs))[0]


def outputs_of(
    cases: Mapping[str, Single],
    target: Target = HOST,
    lower: Callable[[ir.Node, Target], Sequence[Call] | None] | None = None,
    *,
    inplace: Sequence[bool] = (False,),
) -> Iterator[tuple[str, Single, np.ndarray]]:
    """Each case and its first output, by kernels that are compiled together.

    Args:
        lower: makes the calls of the case's node, and must not decline it; the whole graph is lowered by default.
        inplace: the ways of `run_calls` to lie in memory, each of which gives an output.
    """
    lowered = {}
    for name, case in cases.items():
        if lower is None:
            graph = case.lowered(target)
            lowered[name] = graph.calls, graph.outputs[case.model.graph.output[0].name]
        else:
            calls = lower(case.node, target)
            assert calls, f"{name}: declined"
            lowered[name] = calls, next(tensor for call in calls for tensor in call.writes if tensor.name == "y")
    image = load_calls((call for calls, _ in lowered.values() for call in calls), target)
    for name, (calls, y) in lowered.items():
        for way in inplace:
            values = run_image(image, calls, cases[name].inputs, inplace=way)
            yield name, cases[name], {**cases[name].inputs, **values}[key(y)].reshape(y.shape)


def single(
    op: str,
    inputs: Sequence[np.ndarray],
    *,
    constants: Sequence[np.ndarray] = (),
    opset: int = 20,
    shape: Sequence[int] | None = None,
    **attributes: Any,
) -> Single:
    """A model y = op(x0, x1, ..., c0, c1, ...); `shape` of y where ONNX cannot infer it."""
    names = [f"x{i}" for i in range(len(inputs))]
    held = [f"c{i}" for i in range(len(constants))]
    node = helper.make_node(op, [*names, *held], ["y"], name="node", **attributes)
    feeds = dict(zip(names, inputs, strict=True))
    return several([node], feeds, dict(zip(held, constants, strict=True)), opset=opset, shape=shape)


def several(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, np.ndarray],
    constants: Mapping[str, np.ndarray],
    *,
    opset: int = 20,
    shape: Sequence[int] | None = None,
) -> Single:
    """A model of some nodes; its output is `y`, of the first input's type."""
    types = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in inputs.items()}
    feeds = [helper.make_tensor_value_info(name, types[name], array.shape) for name, array in inputs.items()]
    output = helper.make_tensor_value_info("y", next(iter(types.values())), shape)
    weights = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(list(nodes), "single", feeds, [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return Single(model, dict(inputs))


def random(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(tuple(shape)).astype(np.float32)
