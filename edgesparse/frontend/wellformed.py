"""Check that an ONNX file says one thing: what onnx's own checker leaves out, and its findings in one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from graphlib import CycleError, TopologicalSorter
from math import prod

import onnx
import onnx_ir as ir
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto

from edgesparse.errors import FrontendError
from edgesparse.frontend.functions import require_calls, require_few_nodes
from edgesparse.frontend.repair import lacks_shape
from edgesparse.frontend.scopes import all_graphs, given, inner_graphs, reads
from edgesparse.inputs import said
from edgesparse.nodes import called

STANDARD = ("", "ai.onnx")
NAMES_SHOWN = 5

_CONTEXT = re.compile(r"Name: (?P<name>.*) OpType: (?P<op>\w+)")


def require_wellformed(proto: ModelProto, where: str) -> None:
    """Check a model whose weights are all in memory.

    Raises: FrontendError: it is not valid ONNX, its inputs and outputs are not tensors, or a node reads what nothing
        computes.
    """
    _require_versions(proto, where)
    _require_signature(proto.graph, where)
    for graph in all_graphs(proto.graph):
        for tensor in _tensors(graph):
            _require_whole(tensor, where)
        for node in graph.node:
            _require_parts(node, where)
    _require_producers(proto.graph, frozenset(), where)
    require_calls(proto, where)
    try:
        with _typed(proto.graph.output):
            onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError, UnicodeDecodeError) as err:
        raise FrontendError(f"{where}: invalid ONNX: {_finding(err)}") from err
    require_few_nodes(proto, where)


@contextmanager
def _typed(outputs: Iterable[ValueInfoProto]) -> Iterator[None]:
    """Give outputs without a shape a stand-in while the checker, which demands one, looks."""
    bare = [(value, TypeProto.FromString(value.type.SerializeToString())) for value in outputs if lacks_shape(value)]
    for value, _ in bare:
        value.type.tensor_type.elem_type = value.type.tensor_type.elem_type or TensorProto.FLOAT
        value.type.tensor_type.shape.SetInParent()
    try:
        yield
    finally:
        for value, before in bare:
            value.type.CopyFrom(before)


def _told(node: NodeProto) -> str:
    return called(node.op_type, node.name, node.output)


def _require_versions(proto: ModelProto, where: str) -> None:
    if not proto.graph.output or not proto.opset_import:
        raise FrontendError(f"{where}: not an ONNX model: it has no graph with outputs and operator versions")
    versions: dict[str, int] = {}
    newest = onnx.defs.onnx_opset_version()
    for entry in proto.opset_import:
        domain = "" if entry.domain in STANDARD else entry.domain
        if versions.setdefault(domain, entry.version) != entry.version:
            raise FrontendError(
                f"{where}: operators of {domain or 'ai.onnx'} are imported in two versions, {versions[domain]} and "
                f"{entry.version}; expected one"
            )
    if not 1 <= versions.get("", 1) <= newest:
        raise FrontendError(f"{where}: opset {versions['']} is not supported; expected 1 to {newest}")


def _require_signature(graph: GraphProto, where: str) -> None:
    """Inputs have names of their own, outputs a name, and all are tensors."""
    for kind, values in (("input", graph.input), ("output", graph.output)):
        seen: set[str] = set()
        for value in values:
            if not value.name or (value.name in seen and kind == "input"):
                problem = "another has the same name" if value.name else "it has no name"
                raise FrontendError(f"{where}: {kind} {value.name!r}: {problem}; expected names of their own")
            seen.add(value.name)
            got = _not_tensor(value.type)
            if got is not None:
                remedy = _without(graph, value) if kind == "output" else "leave it out of the model"
                raise FrontendError(f"{where}: {kind} {value.name!r}: got {got}, expected a tensor; remedy: {remedy}")
            if kind == "input" and not value.type.tensor_type.HasField("shape"):
                expected = "as many dimensions as it has, named or numbers, such as [batch, 3, 224, 224]"
                raise FrontendError(f"{where}: input {value.name!r}: got no shape, expected {expected}")


def _not_tensor(kind: TypeProto) -> str | None:
    """What a value is that is no tensor of numbers; None where it is one, or where the file does not tell."""
    match kind.WhichOneof("value"):
        case "sequence_type":
            of_maps = kind.sequence_type.elem_type.WhichOneof("value") == "map_type"
            return "a sequence of maps" if of_maps else "a sequence"
        case "map_type":
            return "a map"
        case "optional_type":
            return "an optional value"
        case "sparse_tensor_type":
            return "a sparse tensor"
        case "tensor_type":
            return "text" if kind.tensor_type.elem_type == TensorProto.STRING else None
        case _:
            return None


def _without(graph: GraphProto, output: ValueInfoProto) -> str:
    """How a model comes to be without an output that is no tensor."""
    maker = next((node.op_type for node in graph.node if output.name in node.output), "")
    if maker == "ZipMap":
        return "export without ZipMap (skl2onnx: options={'zipmap': False})"
    if "Sequence" in maker:
        return "export the tensors in it as outputs of their own"
    return "export the model without it"


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t


def _require_whole(tensor: TensorProto, where: str) -> None:
    """A tensor has exactly the bytes that its shape and type need."""
    name = f"{where}: tensor {tensor.name!r}"
    if any(size < 0 for size in tensor.dims):
        raise FrontendError(f"{name}: got the shape {list(tensor.dims)}, expected sizes of 0 and above")
    try:
        dtype = ir.DataType(tensor.data_type)
    except ValueError as err:
        raise FrontendError(f"{name}: its element type {tensor.data_type} is unknown") from err
    if dtype in (ir.DataType.UNDEFINED, ir.DataType.STRING) or not tensor.HasField("raw_data"):
        return
    needed = -(-prod(tensor.dims) * dtype.bitwidth // 8)
    if len(tensor.raw_data) != needed:
        raise FrontendError(
            f"{name}: got {len(tensor.raw_data)} bytes, expected {needed} for {dtype.name}{list(tensor.dims)}; "
            "export or copy the file again"
        )


def _require_parts(node: NodeProto, where: str) -> None:
    """A Split has as many outputs as it says; onnx 1.23 ends the process where it has more."""
    held = {attribute.name: attribute for attribute in node.attribute if node.op_type == "Split"}
    count = held.get("num_outputs")
    if count is not None and count.i != len(node.output):
        raise FrontendError(f"{where}: {_told(node)}: num_outputs is {count.i}, and it has {len(node.output)} outputs")


def _require_producers(graph: GraphProto, outer: frozenset[str], where: str) -> None:
    """Every value is computed once, before it is read in some order of the nodes."""
    supplied = given(graph)
    makers: dict[str, NodeProto] = {}
    for node in graph.node:
        for name in filter(None, node.output):
            if name in makers or name in supplied:
                other = _told(makers[name]) if name in makers else "an input or a constant"
                raise FrontendError(
                    f"{where}: {_told(node)} computes {name!r}, which {other} is too; rename one of them"
                )
            makers[name] = node
    known = outer | supplied | makers.keys()
    for node in graph.node:
        for name in filter(None, node.input):
            if name not in known:
                raise FrontendError(f"{where}: {_told(node)} reads {name!r}, which nothing computes")
        for inner in inner_graphs(node):
            _require_producers(inner, known, where)
    for output in graph.output:
        if output.name not in known:
            raise FrontendError(f"{where}: no node computes output {output.name!r}")
    try:
        TopologicalSorter({name: reads(node) & makers.keys() for name, node in makers.items()}).prepare()
    except CycleError as err:
        cycle = " <- ".join(_told(makers[name]) for name in err.args[1][:NAMES_SHOWN])
        raise FrontendError(f"{where}: nodes wait for each other: {cycle}") from err


def _finding(err: Exception) -> str:
    """What onnx's checker has found, and at which node."""
    context = _CONTEXT.search(str(err))
    node = f" ({context['op']} {context['name'].strip()!r})" if context and context["name"].strip() else ""
    return f"{said(err)}{node}"
