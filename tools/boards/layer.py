"""One 1x1 convolution as a kernel call for an Arm target: built, emulated and judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from edgesparse import schedule
from edgesparse.backends.cpu.codegen import compile_kernels
from edgesparse.backends.cpu.walk import lower_ops
from edgesparse.devices.targets import Target
from edgesparse.errors import InternalError
from edgesparse.forms.tile import Tile
from edgesparse.graph.layout import ROWS
from edgesparse.graph.ops import graph_of
from edgesparse.plan import LayerPlan
from edgesparse.sparsity.patterns import Block
from tools.boards.emulate import Ran, emulate

TOLERANCE = 1e-5  # of the largest output; sums of up to a few hundred products in float32


@dataclass(frozen=True)
class Shape:
    """y[M, N] = relu(w[M, K] @ x[K, N] + bias), with `density` of the blocks of w left; N is a square map."""

    m: int
    k: int
    side: int
    density: float
    block: Block = Block()  # noqa: RUF009

    def needed_fmas(self, lanes: int) -> float:
        """Multiply-adds of `lanes` that the kept weights need, without any padding."""
        return np.count_nonzero(self.weight()) * self.side**2 / lanes

    def weight(self) -> np.ndarray:
        """Seeded: the same every time."""
        generator = np.random.default_rng(0)
        kept = generator.random((self.m // self.block.rows, self.k // self.block.columns)) < self.density
        w = generator.standard_normal((self.m, self.k)).astype(np.float32)
        return np.asarray(w * self.block.expand(kept), np.float32)


def model_of(shape: Shape) -> onnx.ModelProto:
    """The layer as a model."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["z"], name="conv"),
        helper.make_node("Relu", ["z"], ["y"], name="relu"),
    ]
    bias = np.linspace(-1.0, 1.0, shape.m, dtype=np.float32)
    constants = [("w", shape.weight()[:, :, None, None]), ("b", bias)]
    n = [shape.side, shape.side]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, shape.k, *n])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, shape.m, *n])],
        [numpy_helper.from_array(array, name) for name, array in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def run_layer(shape: Shape, tile: Tile, target: Target) -> list[Ran]:
    """Emulate the layer with the given tile; what its instructions did.

    Raises: InternalError: the output is not what numpy computes in float64. EmulatorError: QEMU is missing.
    """
    model = ir.from_proto(model_of(shape))
    graph = graph_of(model)
    layer = graph.weighted[0].layer
    sizes = (shape.m, shape.k, shape.side**2)
    plan = LayerPlan(layer.name, "Conv", *sizes, layer.numerics, layer.density, tile, 1.0, "given")
    (call,) = lower_ops(schedule.arrange(graph, {layer.name: plan}, target.cpu), target).calls
    x = np.random.default_rng(1).standard_normal((1, shape.k, shape.side, shape.side)).astype(np.float32)
    ran, (y,) = emulate(compile_kernels([call.kernel], target), call, {("x", ROWS): x}, target)
    w, bias = shape.weight().astype(np.float64), np.linspace(-1.0, 1.0, shape.m, dtype=np.float32)
    expected = np.maximum(w @ x.reshape(shape.k, -1).astype(np.float64) + bias[:, None], 0.0)
    error = float(np.abs(y.reshape(expected.shape) - expected).max())
    if not error <= TOLERANCE * float(np.abs(expected).max()):
        raise InternalError(f"{call.kernel.symbol}: differs from numpy by {error}")
    return ran
