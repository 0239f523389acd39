"""Prepend to a model the ONNX nodes that turn a camera's frame into the tensor that it takes.

A frame becomes numbers, then is resized (bilinear, half-pixel, without antialiasing, edges repeated; as OpenCV's
INTER_LINEAR, but not rounded to integers), then `(x - mean) / std` is taken by channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from edgesparse.frontend.fold import add_constant
from edgesparse.frontend.normalise import IR_VERSION
from edgesparse.frontend.opset import BROADCAST_OPSET, convert_opset
from edgesparse.frontend.picture import Frame, Picture, Preprocessing, pictures
from edgesparse.frontend.shapes import OPSET, InputShapes, give_sizes, named_dimensions
from edgesparse.frontend.support import name_nodes
from edgesparse.nodes import free_name, names_in

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)

RESIZES = 11
"""The first opset whose Resize takes pixels at their centres."""

INITIALIZERS_ALONE = 4
"""From this version of the file on initializers need not be inputs."""

BORDER = 114.0
"""The grey of a letterbox, which detectors are trained with."""


def preprocessed(
    model: ir.Model, preprocess: Preprocessing, input_shapes: InputShapes | None = None
) -> tuple[ir.Model, dict[str, Frame]]:
    """A copy of `model` that takes frames in place of inputs, and the frames by the names of these inputs.

    Shapes: a frame is [H, W, 3], or [3, H, W] for nchw; [H, W] where the model takes one channel.

    Args:
        input_shapes: shapes of the model's own inputs, where the file leaves sizes open.

    Raises: FrontendError: a text cannot be read, or the input that it names takes no such picture.
    """
    found, shapes = pictures(preprocess), input_shapes or {}
    model = model.clone()
    _make_ready(model, RESIZES if any(picture.frame for picture in found) else BROADCAST_OPSET)
    return model, {picture.name: _Input(model, picture, shapes.get(picture.name)).replaced() for picture in found}


def _make_ready(model: ir.Model, opset: int) -> None:
    """Let a model of an older version take nodes of `opset`, and constants that are no inputs, in place."""
    is_old = model.opset_imports.get("", OPSET) < opset
    if is_old or model.ir_version < INITIALIZERS_ALONE:
        model.ir_version = max(model.ir_version, IR_VERSION)
        common.RemoveInitializersFromInputsPass()(model)
    if is_old:
        name_nodes(model)
        convert_opset(model)


class _Input:
    """An input that takes pictures: [1, C, H, W], or [1, H, W, C] where `last` says so."""

    def __init__(self, model: ir.Model, picture: Picture, given: Sequence[int] | None) -> None:
        self._model, self._picture, self._nodes = model, picture, list[ir.Node]()
        graph = model.graph
        self._names = names_in(model)
        inputs = {str(value.name): value for value in graph.inputs if value.name not in graph.initializers}
        if picture.name not in inputs:
            raise picture.fail(f"the model has no such input; it has {', '.join(map(repr, inputs)) or 'none'}")
        self._value = value = inputs[picture.name]
        if value.dtype not in FLOATS:
            raise picture.fail(f"the model takes {value.dtype}, expected floats; leave preprocess out")
        if value.is_graph_output():
            raise picture.fail("is an output of the model, too; expected an input that is only read")
        if given is not None:
            named_dimensions(inputs, {picture.name: given})
        sizes = self._sizes(given)
        self.last = sizes[1] not in (1, 3)
        self.channels = sizes[3 if self.last else 1] or 0
        self.size = self._size(sizes[1:3] if self.last else sizes[2:4])
        self._require()
        (width, height), channels = self.size, self.channels
        self.shape = (1, height, width, channels) if self.last else (1, channels, height, width)
        others = [each for each in inputs.values() if each is not value]
        give_sizes(others, named_dimensions(inputs, {picture.name: self.shape}))

    def _sizes(self, given: Sequence[int] | None) -> list[int | None]:
        """The dimensions of the input, None where they are open; its channels are known."""
        shape = self._value.shape if given is None else given
        sizes: list[int | None] = [size if isinstance(size, int) else None for size in shape or ()]
        if len(sizes) == 4 and sizes[1] is None and sizes[3] not in (1, 3) and self._picture.order:
            sizes[1] = 3
        if len(sizes) != 4 or 0 in sizes or not (sizes[1] in (1, 3) or sizes[3] in (1, 3)):
            told = ", ".join(str(getattr(size, "value", size)) for size in shape or ())
            raise self._picture.fail(
                f"the model takes [{told}], which is no picture; expected 1 or 3 channels, such as [1, 3, 224, 224]"
            )
        if sizes[0] not in (None, 1):
            raise self._picture.fail(f"takes {sizes[0]} pictures, expected 1; export the model with a batch size of 1")
        return sizes

    def _size(self, sizes: Sequence[int | None]) -> tuple[int, int]:
        """Width and height of what the model takes."""
        height, width = sizes
        wanted = self._picture.size
        if wanted is None:
            if width is None or height is None:
                raise self._picture.fail("the model takes pictures of any size; say which with size=224x224")
            return width, height
        if width not in (None, wanted[0]) or height not in (None, wanted[1]):
            got, takes = (f"{each[0] or 'any'}x{each[1] or 'any'}" for each in (wanted, (width, height)))
            raise self._picture.fail(f"size: got {got}, expected {takes}, which the model takes; or leave it out")
        return wanted

    def _require(self) -> None:
        """Check what the text says against the channels that the model takes."""
        picture = self._picture
        words = [word for word in (picture.layout, picture.order) if word]
        if self.channels == 1 and words:
            raise picture.fail(
                f"the model takes grey pictures, of one channel, [H, W]; leave out {' and '.join(words)}"
            )
        for key, numbers in (("mean", picture.mean), ("std", picture.std)):
            if len(numbers) not in (1, self.channels):
                raise picture.fail(f"{key}: got {len(numbers)} numbers, expected 1 or {self.channels}, one a channel")
        if picture.letterbox and picture.frame is None:
            raise picture.fail("letterbox keeps the frame's shape where it is resized; say its size with from=640x480")

    def replaced(self) -> Frame:
        """Put the frame in the place of the input, and nodes between it and what read the input."""
        picture, graph = self._picture, self._model.graph
        width, height = picture.frame or self.size
        planes = picture.layout == "nchw"
        shape = (3, height, width) if planes else (height, width, 3) if self.channels == 3 else (height, width)
        dtype = ir.DataType.UINT8 if picture.dtype == "uint8" else ir.DataType.FLOAT
        frame = ir.Value(name=picture.name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        made = self._tensor(frame, height, width, planes=planes)
        graph.inputs[graph.inputs.index(self._value)] = frame
        made.type, made.shape = self._value.type, ir.Shape(self.shape)
        self._value.replace_all_uses_with(made)
        if len(graph):
            graph.insert_before(graph[0], self._nodes)
        else:
            graph.extend(self._nodes)
        kind = picture.kind if self.channels == 3 else "grey" if picture.dtype == "uint8" else ""
        return Frame(picture.text, kind, self.shape)

    def _tensor(self, frame: ir.Value, height: int, width: int, *, planes: bool) -> ir.Value:
        """What the model takes, made of the frame."""
        picture, channels = self._picture, self.channels
        value = frame if planes or channels == 1 else self._node("Transpose", frame, perm=[2, 0, 1])
        if picture.dtype != "float32":
            value = self._node("Cast", value, to=int(ir.DataType.FLOAT))
        value = self._node("Reshape", value, np.array([1, channels, height, width]))
        value = self._fitted(value, (width, height))
        if picture.order == "bgr":
            value = self._node("Gather", value, np.array([2, 1, 0]), axis=1)
        for op, numbers, neutral in (("Sub", picture.mean, 0.0), ("Div", picture.std, 1.0)):
            if any(number != neutral for number in numbers):
                value = self._node(op, value, np.array(numbers, np.float32).reshape(-1, 1, 1))
        if self._value.dtype != ir.DataType.FLOAT:
            value = self._node("Cast", value, to=int(self._value.dtype or 0))
        if self.last:
            value = self._node("Transpose", value, perm=[0, 2, 3, 1])
        return value

    def _fitted(self, value: ir.Value, frame: tuple[int, int]) -> ir.Value:
        """The picture in the size that the model takes."""
        inner = self.size
        if self._picture.letterbox:
            ratio = min(to / of for to, of in zip(self.size, frame, strict=True))
            inner = (max(1, round(frame[0] * ratio)), max(1, round(frame[1] * ratio)))
        if inner != frame:
            empty = np.zeros(0, np.float32) if self._model.opset_imports.get("", OPSET) < 13 else None
            sizes = np.array([1, self.channels, inner[1], inner[0]])
            how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
            value = self._node("Resize", value, empty, empty, sizes, **how)
        if inner != self.size:
            left, top = ((of - to) // 2 for of, to in zip(self.size, inner, strict=True))
            right, bottom = self.size[0] - inner[0] - left, self.size[1] - inner[1] - top
            value = self._node("Pad", value, np.array([0, 0, top, left, 0, 0, bottom, right]), np.float32(BORDER))
        return value

    def _node(
        self, op: str, value: ir.Value, *constants: np.ndarray | np.float32 | None, **attributes: object
    ) -> ir.Value:
        """The output of a new node."""
        name = free_name(f"{self._picture.name}_{op.lower()}", self._names)
        operands = [
            None
            if array is None
            else add_constant(self._model.graph, np.asarray(array), free_name(f"{name}_{place}", self._names))
            for place, array in enumerate(constants, 1)
        ]
        node = ir.node(op, [value, *operands], attributes=attributes, name=name)  # type: ignore[arg-type]
        node.outputs[0].name = name
        self._nodes.append(node)
        return node.outputs[0]
