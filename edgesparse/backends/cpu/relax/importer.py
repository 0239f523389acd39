"""ONNX nodes to TIR functions, by way of TVM's Relax: import, legalise, fuse.

The group becomes a small ONNX model whose values carry numbers for names, so that no name of the user's can clash
with one of Relax. What comes back is a straight line of TIR functions over named tensors.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import tvm
from tvm import relax

from edgesparse.backends.cpu.kernel import Tensor
from edgesparse.backends.cpu.relax.builder import Builder, names
from edgesparse.backends.cpu.relax.checks import proved
from edgesparse.backends.cpu.relax.converters import import_model
from edgesparse.backends.cpu.relax.rewrites import REWRITES
from edgesparse.backends.cpu.tensors import constant, tensor
from edgesparse.errors import LowerError
from edgesparse.nodes import told
from edgesparse.numerics import element
from edgesparse.program import Constant


@dataclass(frozen=True, eq=False)
class TirCall:
    """One scheduled-to-be function on named tensors; its buffers are the reads, then the writes."""

    func: tvm.tirx.PrimFunc
    reads: tuple[Tensor | Constant, ...]
    writes: tuple[Tensor, ...]


def import_group(nodes: Sequence[ir.Node], outputs: Sequence[ir.Value]) -> list[TirCall]:
    """The TIR functions that compute `outputs` from what `nodes` read.

    Raises: LowerError: Relax has no form of an operator that is compiled to plain code. TVM raises what it likes.
    """
    group = _Names(nodes, outputs)
    proto = group.model()
    where = told(nodes[-1])
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # the importer prints its failures
            warnings.simplefilter("ignore")
            module = _PASSES(import_model(proto, group.computed()))
    except LowerError as err:
        raise LowerError(f"{where}: {err}") from err
    return list(_calls(module, group, where))


_PASSES = tvm.transform.Sequential(
    [
        relax.transform.DecomposeOpsForInference(),
        relax.transform.LegalizeOps(),
        relax.transform.DeadCodeElimination(),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(),
    ]
)


class _Names:
    """The group as an ONNX model with numbered values, and the way back."""

    def __init__(self, nodes: Sequence[ir.Node], outputs: Sequence[ir.Value]) -> None:
        self.nodes, self.outputs = nodes, outputs
        produced = {value for node in nodes for value in node.outputs}
        read = dict.fromkeys(value for node in nodes for value in _read(node))
        outside = [value for value in read if value not in produced]
        self.constants = {value: array for value in outside if (array := constant(value)) is not None}
        self.inputs = [value for value in outside if value not in self.constants]
        self._followed: dict[str, Constant] = {}  # as inputs: what is proved about one holds for no other array
        every = [*outside, *(value for node in nodes for value in node.outputs)]
        self._numbers = {value: f"v{number}" for number, value in enumerate(every)}

    def model(self) -> onnx.ModelProto:
        """The group as a model of its own."""
        builder = Builder()
        for value, array in self.constants.items():
            builder.initializers.append(onnx.numpy_helper.from_array(array, self._numbers[value]))
        for node in self.nodes:
            self._emit(node, builder)
        graph = onnx.helper.make_graph(
            builder.nodes,
            "group",
            [*map(self._info, self.inputs), *(_info(name, held.data) for name, held in self._followed.items())],
            [self._info(value) for value in self.outputs],
            builder.initializers,
        )
        opsets = {node.domain: node.version or 0 for node in self.nodes}
        owner = self.nodes[0].graph
        opsets.update(owner.opset_imports if owner is not None else {})
        imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items() if version]
        return onnx.helper.make_model(graph, opset_imports=imports, ir_version=10)

    def computed(self) -> dict[str, Tensor]:
        """What the group's nodes compute, by the names in its model."""
        return {self._numbers[value]: tensor(value) for node in self.nodes for value in node.outputs if _used(value)}

    def memory(self) -> list[Tensor | Constant]:
        """The group's inputs in the order of the model's."""
        return [*(tensor(value) for value in self.inputs), *self._followed.values()]

    def output_tensors(self) -> list[Tensor]:
        """The group's outputs in the order of the model's."""
        return [tensor(value) for value in self.outputs]

    def _emit(self, node: ir.Node, builder: Builder) -> None:
        operands = _read(node) if node.op_type == "Concat" else node.inputs
        inputs = [self._operand(node, value, builder) for value in operands]
        for position, held in proved(node).items():
            inputs[position] = f"f{len(self._followed)}"
            self._followed[inputs[position]] = held
        count = max((number + 1 for number, value in enumerate(node.outputs) if _used(value)), default=0)
        if not count:
            return
        results = [self._numbers[value] for value in node.outputs[:count]]
        rewrite = REWRITES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rewrite is not None:
            for name, computed in zip(results, rewrite(node, inputs, builder), strict=False):
                if computed:  # nobody computes what has no elements
                    builder.nodes.append(onnx.helper.make_node("Identity", [computed], [name]))
            return
        half = node.op_type not in _KEEP_HALF
        proto: onnx.NodeProto = ir.to_proto(node)
        del proto.input[:], proto.output[:]
        for name, operand in zip(inputs, operands, strict=True):
            proto.input.append(builder.cast(name, np.float32) if half and _is_half(operand) else name)
        builder.nodes.append(proto)
        for name, result in zip(results, node.outputs, strict=False):
            if half and _is_half(result):
                proto.output.append(builder.fresh())
                to = onnx.TensorProto.FLOAT16
                builder.nodes.append(onnx.helper.make_node("Cast", [proto.output[-1]], [name], to=to))
            else:
                proto.output.append(name)

    def _operand(self, node: ir.Node, value: ir.Value | None, builder: Builder) -> str:
        """The name of an operand: 0 as a tensor, since TVM computes with scalars, and takes 0 * NaN for 0."""
        if value is None:
            return ""
        array = self.constants.get(value)
        spread = node.op_type in ("Div", "Mul") and tensor(node.outputs[0]).shape
        if spread and array is not None and array.dtype.kind == "f" and not array.shape and not array:
            return builder.constant(array.reshape(1))
        return self._numbers[value]

    def _info(self, value: ir.Value) -> onnx.ValueInfoProto:
        known = tensor(value)
        assert value.dtype is not None
        return onnx.helper.make_tensor_value_info(self._numbers[value], value.dtype.value, known.shape)


def _info(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _read(node: ir.Node) -> list[ir.Value]:
    """The inputs that are there; of Concat those that have elements: TVM takes a dimension of 0 for unknown."""
    there = [value for value in node.inputs if value is not None]
    return [value for value in there if tensor(value).size] or there[:1] if node.op_type == "Concat" else there


_KEEP_HALF = names(
    """
    Cast CastLike Concat ConstantOfShape DepthToSpace DequantizeLinear Flatten Identity
    Pad Reshape ScatterND Slice Squeeze Tile Transpose Trilu Unsqueeze Where
    """
)
"""Operators that compute nothing with float16, or convert it themselves; the others compute in float32."""


def _is_half(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == ir.DataType.FLOAT16


def _used(value: ir.Value) -> bool:
    return bool(value.name) and (bool(value.uses()) or value.is_graph_output())


def _calls(module: tvm.IRModule, group: _Names, where: str) -> Iterator[TirCall]:
    main = module["main"]
    body = main.body
    known: dict[relax.Var, object] = dict(zip(main.params, group.memory(), strict=True))
    bindings = [binding for block in body.blocks for binding in block.bindings]
    bound = {binding.var: binding.value for binding in bindings}
    returned = _fields(_unbound(body.body, bound))
    targets = _targets(bindings, returned, group.output_tensors())
    for number, binding in enumerate(bindings):
        value = binding.value
        if isinstance(value, relax.Call) and value.op == tvm.ir.Op.get("relax.call_tir"):
            call = _call(module, value, known, targets.get(binding.var, {}), number, group.output_tensors()[0])
            known[binding.var] = call.writes if isinstance(binding.var.ty, relax.TupleType) else call.writes[0]
            yield call
        else:
            known[binding.var] = _alias(value, known, where)
    for value, output in zip(returned, group.output_tensors(), strict=True):
        source = _resolve(value, known, where)
        if not (isinstance(source, Tensor) and source.memory == output.memory):
            yield TirCall(_copy(output), (source,), (output,))


def _targets(
    bindings: Sequence[relax.Binding], returned: Sequence[relax.Expr], outputs: Sequence[Tensor]
) -> Mapping[relax.Var, dict[int, Tensor]]:
    """Which call writes which output: by the variable it is bound to, then by position in its tuple."""
    origin: dict[relax.Var, tuple[relax.Var, int]] = {}
    for binding in bindings:
        if isinstance(binding.value, relax.TupleGetItem):
            origin[binding.var] = (binding.value.tuple_value, int(binding.value.index))
        elif isinstance(binding.value, relax.Var):
            origin[binding.var] = origin.get(binding.value, (binding.value, 0))
    targets: dict[relax.Var, dict[int, Tensor]] = {}
    for value, output in zip(returned, outputs, strict=True):
        if isinstance(value, relax.Var):
            var, field = origin.get(value, (value, 0))
            targets.setdefault(var, {}).setdefault(field, output)
    return targets


def _call(
    module: tvm.IRModule,
    call: relax.Call,
    known: Mapping[relax.Var, object],
    targets: dict[int, Tensor],
    number: int,
    first: Tensor,
) -> TirCall:
    types = _types(call.ty_args[0])
    writes = []
    for field, kind in enumerate(types):
        fresh = first.within(f"{number}.{field}", tuple(map(int, kind.shape)), element(str(kind.dtype)))
        writes.append(targets.get(field, fresh))
    reads = tuple(_resolve(value, known, first.name) for value in _fields(call.args[1]))
    return TirCall(module[call.args[0]], reads, tuple(writes))


def _types(kind: relax.Type) -> list[relax.TensorType]:
    return list(kind.fields) if isinstance(kind, relax.TupleType) else [kind]


def _unbound(value: relax.Expr, bound: Mapping[relax.Var, relax.Expr]) -> relax.Expr:
    """`value` with names for tuples and for other names looked through."""
    while isinstance(value, relax.Var) and isinstance(bound.get(value), relax.Tuple | relax.Var):
        value = bound[value]
    return value


def _fields(value: relax.Expr) -> list[relax.Expr]:
    return list(value.fields) if isinstance(value, relax.Tuple) else [value]


def _alias(value: relax.Expr, known: Mapping[relax.Var, object], where: str) -> object:
    """What a binding that computes nothing stands for."""
    if isinstance(value, relax.TupleGetItem):
        return known[value.tuple_value][int(value.index)]  # type: ignore[index]
    if isinstance(value, relax.Tuple):
        return tuple(_resolve(field, known, where) for field in value.fields)
    return _resolve(value, known, where)


def _resolve(value: relax.Expr, known: Mapping[relax.Var, object], where: str) -> Tensor | Constant:
    if isinstance(value, relax.Var):
        return known[value]  # type: ignore[return-value]
    if isinstance(value, tvm.ir.GenericConst):
        return Constant(np.ascontiguousarray(value.value.numpy()))
    raise LowerError(f"{where}: TVM leaves it to its runtime library")


def _copy(like: Tensor) -> tvm.tirx.PrimFunc:
    source = tvm.te.placeholder(like.shape, like.dtype, "source")
    copy = tvm.te.compute(like.shape, lambda *index: source(*index), "copy")
    return tvm.te.create_prim_func([source, copy])
