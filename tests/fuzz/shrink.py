"""Make a failing model small: fewer outputs, nodes and attributes, values given instead of computed, small sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgesparse import reference
from edgesparse.errors import OnnxRuntimeError
from tests.fuzz.subject import Arrays

MOST_TRIES = 120


@dataclass(frozen=True, eq=False)
class Sample:
    """A model and its inputs."""

    model: onnx.ModelProto
    feeds: Arrays


Fails = Callable[[Sample], bool]


def shrink(sample: Sample, fails: Fails, *, resize: bool = True) -> Sample:
    """The smallest sample found that still fails in the same way; with `resize`, of other sizes too."""
    tries = 0
    steps = [_fewer_outputs, _given_values, _fewer_inputs, _fewer_attributes, _plain_form]
    if resize:
        steps.insert(4, _smaller_sizes)
    progress = True
    while progress:
        progress = False
        for step in steps:
            again = True
            while again:
                again = False
                for smaller in step(sample):
                    tries += 1
                    if tries > MOST_TRIES:
                        return sample
                    if fails(smaller):
                        sample, progress, again = smaller, step is not _plain_form, True
                        break
                if step is _plain_form:
                    break
    return sample


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def _tidy(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> Sample:
    """Without nodes, constants and inputs that no output needs."""
    graph = model.graph
    needed = {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    while True:
        more = [n for n in graph.node if n not in kept and any(o and o in needed for o in n.output)]
        if not more:
            break
        kept += more
        needed |= {name for node in more for name in node.input}
    nodes = [node for node in graph.node if node in kept]
    inputs = [value for value in graph.input if value.name in needed]
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    infos = [value for value in graph.value_info if value.name in needed]
    for field, items in (("node", nodes), ("input", inputs), ("initializer", constants), ("value_info", infos)):
        items = [type(item).FromString(item.SerializeToString()) for item in items]
        graph.ClearField(field)
        getattr(graph, field).extend(items)
    return Sample(model, {name: array for name, array in feeds.items() if name in {v.name for v in graph.input}})


def _fewer_outputs(sample: Sample) -> Iterator[Sample]:
    outputs = list(sample.model.graph.output)
    if len(outputs) < 2:
        return
    half = len(outputs) // 2
    for kept in (outputs[:half], outputs[half:], *([o for o in outputs if o is not out] for out in outputs)):
        model = _copy(sample.model)
        names = {value.name for value in kept}
        values = [value for value in list(model.graph.output) if value.name in names]
        model.graph.ClearField("output")
        model.graph.output.extend(values)
        yield _tidy(model, sample.feeds)


def _given_values(sample: Sample) -> Iterator[Sample]:
    """Values that nodes make become inputs, the latest first."""
    values = _all_values(sample)
    wanted = {value.name for value in sample.model.graph.output}
    for at in reversed(range(len(sample.model.graph.node))):
        node = sample.model.graph.node[at]
        if any(name in wanted for name in node.output) or not all(name in values for name in node.output if name):
            continue
        model = _copy(sample.model)
        made = {name: values[name] for name in node.output if name}
        del model.graph.node[at]
        for name, array in made.items():
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            model.graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
        yield _tidy(model, {**sample.feeds, **made})


def _all_values(sample: Sample) -> Arrays:
    model, known = _copy(sample.model), {value.name for value in sample.model.graph.output}
    made = [name for node in model.graph.node for name in node.output if name and name not in known]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in made)
    try:
        return reference.evaluate(model, sample.feeds, limit_s=60)
    except OnnxRuntimeError:
        return {}


def _fewer_inputs(sample: Sample) -> Iterator[Sample]:
    """Optional inputs go; inputs become constants."""
    for at, node in enumerate(sample.model.graph.node):
        if len(node.input) > 1:
            model = _copy(sample.model)
            del model.graph.node[at].input[-1]
            yield _tidy(model, sample.feeds)


def _fewer_attributes(sample: Sample) -> Iterator[Sample]:
    for at, node in enumerate(sample.model.graph.node):
        for which in range(len(node.attribute)):
            model = _copy(sample.model)
            del model.graph.node[at].attribute[which]
            yield Sample(model, sample.feeds)


def _smaller_sizes(sample: Sample) -> Iterator[Sample]:
    """All axes of one size are cut alike."""
    arrays = {**sample.feeds, **{t.name: numpy_helper.to_array(t) for t in sample.model.graph.initializer}}
    sizes = sorted({size for array in arrays.values() for size in array.shape if size > 1}, reverse=True)
    for size in sizes:
        for smaller in (1, 2, size // 2):
            if not 0 < smaller < size:
                continue
            cut = {
                name: array[tuple(slice(smaller if s == size else s) for s in array.shape)]
                for name, array in arrays.items()
            }
            yield _with_arrays(sample, cut)


def _with_arrays(sample: Sample, arrays: Arrays) -> Sample:
    model = _copy(sample.model)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(arrays[tensor.name]), tensor.name))
    for value in model.graph.input:
        array = arrays[value.name]
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        value.CopyFrom(helper.make_tensor_value_info(value.name, kind, array.shape))
    for value in model.graph.output:
        kind = value.type.tensor_type.elem_type
        if value.type.tensor_type.HasField("shape"):
            rank = len(value.type.tensor_type.shape.dim)
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind, [f"{value.name}_{i}" for i in range(rank)]))
    model.graph.ClearField("value_info")
    return Sample(model, {name: np.ascontiguousarray(arrays[name]) for name in sample.feeds})


def _plain_form(sample: Sample) -> Iterator[Sample]:
    """The standard domain's usual name, no shapes inside, plain names."""
    model = _copy(sample.model)
    for opset in model.opset_import:
        opset.domain = opset.domain.replace("ai.onnx", "")
    for node in model.graph.node:
        node.domain = ""
    model.graph.ClearField("value_info")
    yield Sample(model, sample.feeds)
    names: dict[str, str] = {"": ""}
    model = _copy(model)
    for value in [*model.graph.input, *model.graph.initializer]:
        names.setdefault(value.name, f"x{len(names)}")
    for at, node in enumerate(model.graph.node):
        node.name = f"n{at}"
        for name in node.output:
            names.setdefault(name, f"y{len(names)}")
    for value in [*model.graph.input, *model.graph.initializer, *model.graph.output]:
        value.name = names[value.name]
    for node in model.graph.node:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    yield Sample(model, {names[name]: array for name, array in sample.feeds.items()})
