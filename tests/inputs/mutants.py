"""Broken ONNX models: valid small ones with one to three things in them changed at random."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, helper

from tests.frontend.graphs import floats

TEXTS = {
    "network": (
        """g (float["N", 3, 8, 8] x) => (float["N", 5] y) {
            [stem] a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [1, 1]> (x, w, b)
            n = BatchNormalization (a, scale, shift, mean, var)
            r = Relu (n)
            p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
            f = Flatten (p)
            [head] y = Gemm <transB = 1> (f, h, c)
        }""",
        {
            "w": floats(4, 3, 3, 3),
            "b": floats(4),
            "scale": floats(4),
            "shift": floats(4),
            "mean": floats(4),
            "var": floats(4) ** 2,
            "h": floats(5, 64),
            "c": floats(5),
        },
    ),
    "tokens": (
        """g (int64[1, 6] ids, float[1, 6, 8] x) => (float[1, 6, 8] y, int64[1, 6] top) {
            e = Gather <axis = 0> (table, ids)
            s = Add (e, x)
            q = MatMul (s, wq)
            t = Transpose <perm = [0, 2, 1]> (q)
            m = MatMul (q, t)
            p = Softmax <axis = -1> (m)
            v = MatMul (p, q)
            h = Reshape (v, shape)
            left, right = Split <axis = 2, num_outputs = 2> (h)
            both = Concat <axis = 2> (left, right)
            part = Slice (both, starts, ends, axes)
            y = LayerNormalization <axis = -1> (part, gain)
            top = ArgMax <axis = 2, keepdims = 0> (y)
        }""",
        {
            "table": floats(10, 8),
            "wq": floats(8, 8),
            "shape": np.array([1, 6, 8]),
            "starts": np.array([0]),
            "ends": np.array([8]),
            "axes": np.array([2]),
            "gain": floats(8),
        },
    ),
    "branches": (
        """g (float[2, 4] x) => (float[2, 4] y) {
            k = Mul (x, two)
            z = If (flag) <
                then_branch = a () => (float[2, 4] t) { t = Add (k, one) },
                else_branch = b () => (float[2, 4] e) { e = Identity (k) }
            >
            y = Pad <mode = "constant"> (z, pads)
        }""",
        {
            "two": np.array(2, np.float32),
            "one": floats(2, 4),
            "flag": np.array(True),
            "pads": np.array([0, 0, 0, 0]),
        },
    ),
    "recurrent": (
        """g (float[5, 1, 3] x) => (float[5, 1, 1, 2] y) {
            y, last, cell = LSTM <hidden_size = 2> (x, w, r, b)
        }""",
        {"w": floats(1, 8, 3), "r": floats(1, 8, 2), "b": floats(1, 16)},
    ),
    "quantized": (
        """g (float[1, 4, 5, 5] x) => (float[1, 4, 3, 3] y) {
            q = QuantizeLinear (x, s, zero)
            d = DequantizeLinear (q, s, zero)
            k = DequantizeLinear <axis = 0> (w, sw)
            c = Conv <group = 2> (d, k)
            y = Clip (c, low, high)
        }""",
        {
            "s": np.array(0.1, np.float32),
            "zero": np.array(3, np.uint8),
            "w": np.arange(72, dtype=np.int8).reshape(4, 2, 3, 3),
            "sw": np.full(4, 0.1, np.float32),
            "low": np.array(-1, np.float32),
            "high": np.array(1, np.float32),
        },
    ),
}

NUMBERS = (-(1 << 63), -(1 << 31), -7, -1, 0, 1, 2, 3, 5, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1)
DTYPES = (0, *range(1, 24), 99)
OPERATORS = re.split(
    r"\s+",
    """Relu Add MatMul Conv Gemm Reshape Transpose Concat Split Slice Gather ReduceMean Resize TopK Expand Tile Range
    ConvTranspose MaxPool LSTM Loop Scan If SequenceConstruct SplitToSequence Optional NonZero Unique StringNormalizer
    TfIdfVectorizer RandomNormal ConstantOfShape Einsum OneHot NonMaxSuppression Attention Identity Cast Shape Where
    Nonsense""",
)

Mutation = Callable[[random.Random, ModelProto], None]


def bases() -> dict[str, ModelProto]:
    """Valid models, by name."""
    models = {}
    for name, (text, constants) in TEXTS.items():
        proto = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
        proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in constants.items())
        models[name] = onnx.shape_inference.infer_shapes(proto)
    return models


def mutants(seed: int) -> Iterator[tuple[str, bytes]]:
    """Endless broken files, with what was done to each."""
    rng = random.Random(seed)
    originals = bases()
    while True:
        name = rng.choice(sorted(originals))
        proto = ModelProto()
        proto.CopyFrom(originals[name])
        done = rng.choices(MUTATIONS, k=rng.choice((1, 1, 1, 2, 3)))
        for mutation in done:
            mutation(rng, proto)
        data = proto.SerializeToString()
        words = "+".join(mutation.__name__.strip("_") for mutation in done)
        if rng.random() < 0.08:
            data, words = _damaged(rng, data), words + "+bytes"
        yield f"{name}: {words}", data


def _damaged(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    match rng.randrange(3):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
        case _:
            return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]


def _graphs(proto: ModelProto) -> list[GraphProto]:
    inner = [a.g for node in proto.graph.node for a in node.attribute if a.type == AttributeProto.GRAPH]
    return [proto.graph, *inner]


def _node(rng: random.Random, proto: ModelProto) -> NodeProto:
    nodes = [node for graph in _graphs(proto) for node in graph.node]
    return rng.choice(nodes) if nodes else proto.graph.node.add(op_type="Relu")


def _name(rng: random.Random, proto: ModelProto) -> str:
    graph = rng.choice(_graphs(proto))
    known = [n for node in graph.node for n in (*node.input, *node.output)]
    known += [v.name for v in (*graph.input, *graph.output, *graph.initializer)]
    return rng.choice([*known, "", "nowhere", "a name\nof two lines", "\u00e4"])


def attribute_value(rng: random.Random, proto: ModelProto) -> None:
    node = _node(rng, proto)
    if not node.attribute:
        return
    attribute = rng.choice(node.attribute)
    if attribute.type == AttributeProto.INTS and rng.random() < 0.8:
        values = list(attribute.ints)
        match rng.randrange(4):
            case 0:
                values = values[:-1]
            case 1:
                values += [rng.choice(NUMBERS)]
            case 2:
                values = values * rng.choice((2, 1000))
            case _:
                values[rng.randrange(len(values))] = rng.choice(NUMBERS)
        attribute.CopyFrom(helper.make_attribute(attribute.name, values, attr_type=AttributeProto.INTS))
    elif attribute.type == AttributeProto.INT and rng.random() < 0.8:
        attribute.i = rng.choice(NUMBERS)
    else:
        values = (1, 0.5, float("nan"), "text", [1, 2], [0.5], ["a", "b"], onnx.numpy_helper.from_array(floats(2), "t"))
        attribute.CopyFrom(helper.make_attribute(attribute.name, rng.choice(values)))


def attribute_name(rng: random.Random, proto: ModelProto) -> None:
    node = _node(rng, proto)
    name = rng.choice(("axis", "axes", "group", "perm", "to", "auto_pad", "pads", "dilations", "kernel_shape", "value"))
    match rng.randrange(3):
        case 0 if node.attribute:
            rng.choice(node.attribute).name = name
        case 1 if node.attribute:
            del node.attribute[rng.randrange(len(node.attribute))]
        case _:
            value = rng.choice((rng.choice(NUMBERS), [rng.choice(NUMBERS)] * 3, "SAME_UPPER", 1.5))
            node.attribute.append(helper.make_attribute(name, value))


def node_inputs(rng: random.Random, proto: ModelProto) -> None:
    node = _node(rng, proto)
    match rng.randrange(4):
        case 0 if node.input:
            node.input[rng.randrange(len(node.input))] = _name(rng, proto)
        case 1 if node.input:
            del node.input[-1]
        case 2:
            node.input.extend([_name(rng, proto)] * rng.choice((1, 2, 300)))
        case _:
            node.input[:] = list(node.output)[:1] or ["nowhere"]


def node_outputs(rng: random.Random, proto: ModelProto) -> None:
    node = _node(rng, proto)
    match rng.randrange(3):
        case 0:
            node.output.append(_name(rng, proto))
        case 1 if node.output:
            node.output[rng.randrange(len(node.output))] = _name(rng, proto)
        case _ if node.output:
            del node.output[-1]


def node_operator(rng: random.Random, proto: ModelProto) -> None:
    node = _node(rng, proto)
    if rng.random() < 0.8:
        node.op_type = rng.choice(OPERATORS)
    else:
        node.domain = rng.choice(("ai.onnx", "ai.onnx.ml", "com.microsoft", "made.up", "\n"))


def node_list(rng: random.Random, proto: ModelProto) -> None:
    graph = rng.choice(_graphs(proto))
    if not graph.node:
        return
    at = rng.randrange(len(graph.node))
    match rng.randrange(4):
        case 0:
            del graph.node[at]
        case 1:
            graph.node.append(graph.node[at])
        case 2:
            nodes = list(graph.node)
            rng.shuffle(nodes)
            del graph.node[:]
            graph.node.extend(nodes)
        case _:
            del graph.node[:]


def tensor_form(rng: random.Random, proto: ModelProto) -> None:
    if not proto.graph.initializer:
        return
    tensor = rng.choice(proto.graph.initializer)
    match rng.randrange(6):
        case 0 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
        case 1:
            tensor.dims.append(rng.choice(NUMBERS))
        case 2:
            tensor.data_type = rng.choice(DTYPES)
        case 3:
            tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
        case 4:
            tensor.name = _name(rng, proto)
        case _:
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            places = ("weights.bin", "/etc/hostname", "../weights.bin", "", ".", "link.bin", "short.bin", "w\0.bin")
            entries = {"location": rng.choice(places), "offset": str(rng.choice(NUMBERS)), "length": "40"}
            for key in rng.sample(sorted(entries), rng.randrange(4)):
                tensor.external_data.add(key=key, value=entries[key])


def tensor_values(rng: random.Random, proto: ModelProto) -> None:
    if not proto.graph.initializer:
        return
    tensor = rng.choice(proto.graph.initializer)
    try:
        array = onnx.numpy_helper.to_array(tensor).copy()
    except Exception:  # broken before
        return
    if array.dtype.kind == "f":
        values: tuple[float, ...] = (0.0, float("nan"), float("inf"), 1e30, -1.0)
    else:
        values = NUMBERS
    filled = rng.choice(values)
    with np.errstate(all="ignore"):
        array = np.array(np.clip(filled, *_limits(array.dtype)) if array.dtype.kind in "iu" else filled)
        array = np.broadcast_to(array, tuple(tensor.dims)).astype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


def _limits(dtype: np.dtype) -> tuple[int, int]:
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def _value(rng: random.Random, proto: ModelProto) -> ValueInfoProto:
    graph = proto.graph
    return rng.choice([*graph.input, *graph.output, *graph.value_info] or [graph.input.add(name="x")])


def value_type(rng: random.Random, proto: ModelProto) -> None:
    value = _value(rng, proto)
    tensor = value.type.tensor_type
    match rng.randrange(6):
        case 0:
            value.ClearField("type")
        case 1:
            tensor.ClearField("shape")
        case 2:
            tensor.elem_type = rng.choice(DTYPES)
        case 3:
            value.type.CopyFrom(helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [2])))
        case 4:
            value.type.CopyFrom(helper.make_optional_type_proto(helper.make_tensor_type_proto(1, [2])))
        case _:
            value.type.CopyFrom(TypeProto(map_type=TypeProto.Map(key_type=7)))


def value_shape(rng: random.Random, proto: ModelProto) -> None:
    value = _value(rng, proto)
    if not value.type.HasField("tensor_type"):
        return
    dims = value.type.tensor_type.shape.dim
    match rng.randrange(5):
        case 0 if dims:
            dims[rng.randrange(len(dims))].dim_value = rng.choice(NUMBERS)
        case 1 if dims:
            dims[rng.randrange(len(dims))].dim_param = rng.choice(("N", "h", "-1", "N*2", "a\nb"))
        case 2 if dims:
            dims[rng.randrange(len(dims))].Clear()
        case 3 if dims:
            del dims[-1]
        case _:
            dims.add(dim_value=rng.choice(NUMBERS))


def value_list(rng: random.Random, proto: ModelProto) -> None:
    values = rng.choice((proto.graph.input, proto.graph.output))
    match rng.randrange(4):
        case 0:
            values.append(_value(rng, proto))
        case 1 if values:
            rng.choice(values).name = _name(rng, proto)
        case 2 if values:
            del values[-1]
        case _:
            values.append(helper.make_tensor_value_info(_name(rng, proto), rng.choice((1, 7)), [2, "k"]))


def versions(rng: random.Random, proto: ModelProto) -> None:
    match rng.randrange(4):
        case 0:
            proto.opset_import[0].version = rng.choice((0, -1, 1, 5, 8, 11, 13, 27, 28, 999))
        case 1:
            proto.opset_import.append(helper.make_opsetid(rng.choice(("", "ai.onnx", "made.up")), rng.choice((1, 13))))
        case 2:
            del proto.opset_import[:]
        case _:
            proto.ir_version = rng.choice((0, 1, 2, 3, 99))


def functions(rng: random.Random, proto: ModelProto) -> None:
    inner = rng.choice(("Twice", "Relu", "Absent"))
    body = [helper.make_node(inner, ["a"], ["b"], domain="local" if inner != "Relu" else "")]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)][: rng.randrange(3)]
    proto.functions.append(helper.make_function("local", "Twice", ["a"], ["b"], body, opsets))
    node = _node(rng, proto)
    node.op_type, node.domain = "Twice", "local"
    del node.attribute[:]
    if rng.random() < 0.8:
        proto.opset_import.append(helper.make_opsetid("local", 1))


MUTATIONS: tuple[Mutation, ...] = (
    attribute_value,
    attribute_value,
    attribute_name,
    node_inputs,
    node_outputs,
    node_operator,
    node_list,
    tensor_form,
    tensor_form,
    tensor_values,
    value_type,
    value_shape,
    value_list,
    versions,
    functions,
)
