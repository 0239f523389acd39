"""The experiments of a cost table as one model, with a step for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgesparse.plan import LayerPlan

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import onnx_ir as ir

    from edgesparse.forms.tile import Experiment

SCALE = 2.0**-6
"""Of all integers: none is too large for its type, and how many are limited takes no time."""


def experiment_model(experiments: Sequence[Experiment]) -> ir.Model:
    """A model with a node for each experiment; those of a chain follow each other."""
    import numpy as np
    import onnx
    import onnx_ir as ir
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    constants = [numpy_helper.from_array(np.float32(SCALE), "scale")]
    nodes: list[onnx.NodeProto] = []
    inputs, ends = [], {}
    for number, experiment in enumerate(experiments):
        constants.append(numpy_helper.from_array(_weight(experiment, rng), f"w{number}"))
        kind = onnx.TensorProto.DataType.Value(experiment.numerics.x.onnx)
        if experiment.chain not in ends:
            shape = _input_shape(experiment)
            inputs.append(helper.make_tensor_value_info(f"x{number}", kind, shape))
            ends[experiment.chain] = (f"x{number}", kind)
        y = _nodes(experiment, number, ends[experiment.chain][0], nodes)
        ends[experiment.chain] = (y, kind)
    outputs = [helper.make_tensor_value_info(end, kind, None) for end, kind in ends.values()]
    graph = helper.make_graph(nodes, "experiments", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 21)]
    model: ir.Model = ir.from_proto(onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets)))
    return model


def _nodes(experiment: Experiment, number: int, x: str, nodes: list[onnx.NodeProto]) -> str:
    """Add the nodes of an experiment; returns what they give."""
    from onnx import TensorProto, helper

    w, y = f"w{number}", f"y{number}"
    is_stored = experiment.numerics.is_dotted
    if is_stored:
        nodes += [helper.make_node("DequantizeLinear", [of, "scale"], [f"{of}_{number}"]) for of in (x, w)]
        x, w, y = f"{x}_{number}", f"{w}_{number}", f"s{number}"
    if experiment.window == 0:
        nodes.append(helper.make_node("MatMul", [x, w], [y], name=experiment.name))
    else:
        pads = [experiment.window // 2] * 4
        nodes.append(helper.make_node("Conv", [x, w], [y], name=experiment.name, pads=pads))
    if is_stored:
        kind = TensorProto.DataType.Value(experiment.numerics.y.onnx)
        nodes.append(helper.make_node("QuantizeLinear", [y, "scale"], [f"y{number}"], output_dtype=kind))
        return f"y{number}"
    if experiment.activation:
        nodes.append(helper.make_node(experiment.activation, [y], [f"a{number}"]))
        return f"a{number}"
    return y


def _input_shape(experiment: Experiment) -> tuple[int, ...]:
    if experiment.window == 0:
        return (1, experiment.channels)
    height = experiment.size if experiment.window > 1 else 1
    return (1, experiment.channels, height, experiment.size)


def _weight(experiment: Experiment, rng: np.random.Generator) -> np.ndarray:
    """Random, as dense as asked for, in blocks, and scaled so that a chain neither grows nor vanishes."""
    import numpy as np

    m, channels, window = experiment.m, experiment.channels, max(1, experiment.window)
    k, (r, q), quad = channels * window**2, experiment.tile.zeros, experiment.numerics.w.channels
    kept = rng.random((-(-m // r), -(-k // (q * quad)))) < experiment.density
    mask = np.repeat(np.repeat(kept, r, axis=0), q * quad, axis=1)[:m, :k]
    if experiment.numerics.is_dotted:  # quads are channels of one tap: K is ordered (tap, channel)
        by_tap = (rng.integers(1, 128, (m, k)) * mask).astype(np.int8).reshape(m, window**2, channels)
        w = by_tap.transpose(0, 2, 1).reshape(m, k)
    else:
        w = (rng.standard_normal((m, k)) * mask / np.sqrt(k * experiment.density)).astype(experiment.numerics.w.numpy)
    if experiment.window == 0:
        return np.ascontiguousarray(w.T)
    shaped: np.ndarray = w.reshape(m, channels, window, window)
    return shaped


def experiment_plans(experiments: Sequence[Experiment]) -> dict[str, LayerPlan]:
    """The candidates of the experiments as plans, by node name."""
    return {
        e.name: LayerPlan(
            layer=e.name,
            op="",
            m=e.m,
            k=e.channels,
            n=e.size,
            numerics=e.numerics,
            density=e.density,
            tile=e.tile,
            break_even=1.0,
            reason="an experiment",
        )
        for e in experiments
    }
