"""Lower a weighted layer: pack its weight for the planned kernel and call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from edgesparse.forms.cut import Narrow, tile_count, tile_width
from edgesparse.graph.absorb import Fusion
from edgesparse.graph.geometry import Plane, Window
from edgesparse.graph.layers import Layer
from edgesparse.graph.layout import Planes, Tiles
from edgesparse.graph.ops import Depthwise, Weighted
from edgesparse.lower.kernel import Call, Constant, Kernel, Tensor
from edgesparse.lower.kernels.dense import tiled_dense
from edgesparse.lower.kernels.depthwise import DepthwiseKernel, depthwise
from edgesparse.lower.kernels.epilogue import Epilogue
from edgesparse.lower.kernels.narrow import narrow_dense
from edgesparse.lower.kernels.planes import planes
from edgesparse.lower.kernels.sparse import tiled_sparse
from edgesparse.lower.kernels.tiles import Tiled
from edgesparse.lower.kernels.vector import CHAINS, panel_rows, vector_dense, vector_sparse
from edgesparse.lower.kernels.winograd import transform_weight, winograd
from edgesparse.lower.scope import Scope
from edgesparse.numerics import element
from edgesparse.plan import LayerPlan
from edgesparse.program import Bound, IndexKind
from edgesparse.sparsity.formats import Csr, GroupedRows, Grouping, pack_chained, pack_groups, pack_panels
from edgesparse.targets import Target


def lower_layer(
    op: Weighted, plan: LayerPlan, joined: Depthwise | None, tiled: Mapping[ir.Value, Tiles], scope: Scope
) -> None:
    """Emit the calls of one layer with everything it absorbed.

    Args:
        joined: a depthwise convolution that its kernel computes too.
        tiled: the values that lie in tiles.
    """
    layer, fusion = op.layer, op.fusion
    if layer.is_vector:
        _lower_vector(layer, plan, fusion, scope)
        return

    def stored(value: ir.Value, channels: int, how: Callable[[ir.Value], Tensor | Constant]) -> Tensor | Constant:
        if value not in tiled:
            return how(value)
        cut = layer.plane, plan.tile, scope.target.lanes(plan.numerics.x)
        shape = tile_count(*cut), channels, tile_width(*cut)
        return Tensor(str(value.name), shape, plan.numerics.y, tiled[value])

    x_value, output = layer.node.inputs[0], op.output if joined is None else joined.output
    assert x_value is not None
    read, write = (scope.columns, scope.write_columns) if layer.is_linear else (scope.rows, scope.write_rows)
    x = stored(x_value, layer.plane.k, read)
    y = stored(output, layer.plane.m, write)
    assert isinstance(y, Tensor)
    residual = () if fusion.residual is None else (stored(fusion.residual, layer.plane.m, read),)
    if plan.tile.square > 1 and layer.window is not None:
        weight = transform_weight(layer.weight.reshape(layer.plane.m, -1, 3, 3), plan.tile.rows)
        kernel = winograd(layer.window, layer.plane, plan.tile, plan.numerics, Epilogue.of(fusion), scope.target)
        reads: tuple[Tensor | Constant, ...] = (x, Constant(weight), Constant(fusion.bias), *residual)
        scope.emit_stored(Call(layer.name, fusion.op, kernel, reads, (y,)))
        return
    if layer.window is not None:
        x = _lay_out(layer, layer.window, x, scope)
    lies = Tiled(x_value in tiled, fusion.residual in tiled, fusion.output in tiled)
    kernel, weights = _pack(op, plan, joined, scope.target, lies)
    offsets = () if lies.x else (_offsets(layer),)
    reads = (x, *offsets, *weights, *residual, *(_constants(joined) if joined else ()))
    name = fusion.op if joined is None else f"{fusion.op}+{joined.fusion.op}"
    scope.emit_stored(Call(layer.name, name, kernel, reads, (y,)))


def _pack(
    op: Weighted, plan: LayerPlan, joined: Depthwise | None, target: Target, tiled: Tiled
) -> tuple[Kernel, tuple[Constant, ...]]:
    """The kernel of a plan for a layer of several columns, and weight and bias in its format."""
    layer, epilogue, bias = op.layer, Epilogue.of(op.fusion), op.fusion.bias
    plane, tile, numerics = layer.plane, plan.tile, plan.numerics
    lanes = target.lanes(numerics.x)
    behind = _kernel_of(joined, target) if joined else None
    groups = layer.weight.reshape(plane.groups, plane.m, plane.k)
    if plan.kernel == "sparse":
        grouping = Grouping(tile.rows, tile.block, tile.splits, tile.k_block, tile.chunk)
        packed = pack_groups(groups, grouping, tile_width(plane, tile, lanes))
        kernel = tiled_sparse(plane, tile, packed, numerics, epilogue, target, tiled, behind)
        return kernel, (*_grouped_constants(packed), Constant(bias))
    if tile.columns:
        cut = Narrow(plane, tile, lanes)
        panels = np.stack([pack_panels(w, plane.k, cut.rows).values for w in groups])
        bias = np.pad(bias.reshape(plane.groups, plane.m), ((0, 0), (0, cut.panels * cut.rows - plane.m)))
        return narrow_dense(plane, tile, numerics, epilogue, target), (Constant(panels), Constant(bias))
    panels = np.stack([pack_panels(w, tile.k_block, tile.rows).values for w in groups])
    kernel = tiled_dense(plane, tile, numerics, epilogue, target, tiled, behind)
    return kernel, (Constant(panels), Constant(bias))


def _grouped_constants(packed: GroupedRows) -> tuple[Constant, ...]:
    """Grouped rows, and what their kernel relies on: where the last block of K begins, and that it may be shorter."""
    last = len(packed.indptr) - 1 - packed.last_groups
    step = int(packed.indptr[last])
    entry = step * packed.entries
    return (
        _indices(packed.indptr, IndexKind.INDPTR, int(packed.indptr[-1]), part=last, part_limit=step),
        _indices(packed.indices, IndexKind.INDEX, packed.index_limit, part=entry, part_limit=packed.last_limit),
        Constant(packed.values),
        _indices(packed.order, IndexKind.ORDER, packed.order_limit, part=packed.order_part),
    )


def _csr_constants(packed: Csr) -> tuple[Constant, ...]:
    return (
        _indices(packed.indptr, IndexKind.INDPTR, int(packed.indptr[-1])),
        _indices(packed.indices, IndexKind.INDEX, packed.index_limit),
        Constant(packed.values),
    )


def _indices(array: np.ndarray, kind: IndexKind, limit: int, *, part: int = 0, part_limit: int = 0) -> Constant:
    return Constant(array, Bound(kind, array.dtype.name, limit, part=part, part_limit=part_limit))


def _offsets(layer: Layer) -> Constant:
    """Where x holds row k: checked like every index, since the kernel trusts it."""
    plane: Plane = layer.plane
    if layer.window is None:
        offsets = (np.arange(plane.k) * plane.n).astype(np.int32)
    else:
        offsets = layer.window.offsets(layer.window.channels // plane.groups)
    return _indices(offsets, IndexKind.INDEX, int(offsets.max()) + 1)


def _lay_out(layer: Layer, window: Window, x: Tensor | Constant, scope: Scope) -> Tensor:
    """The padded phase planes of x; layers that read the same x through the same window share them."""
    assert isinstance(x, Tensor)
    slack = layer.plane.width  # a tile may read, and ignore, as much as a row behind the last
    written = Tensor(x.name, (layer.plane.x_size + slack,), x.element, Planes(window))
    if not scope.is_written(written):
        call = Call(f"{layer.name}/planes", "Pad", planes(window, x.element, scope.target), (x,), (written,))
        scope.emit_stored(call)
    return written


def _lower_vector(layer: Layer, plan: LayerPlan, fusion: Fusion, scope: Scope) -> None:
    x_value = layer.node.inputs[0]
    assert x_value is not None
    m, k, numerics, target = layer.plane.m, layer.plane.k, plan.numerics, scope.target
    weights: tuple[Constant, ...]
    if plan.kernel == "sparse":
        packed = pack_chained(layer.weight, CHAINS)
        kernel = vector_sparse(
            m, k, packed.values.size, element(packed.indices.dtype), numerics, Epilogue.of(fusion), target
        )
        weights = _csr_constants(packed)
        bias = fusion.bias
    else:
        kernel = vector_dense(m, k, numerics, Epilogue.of(fusion), target)
        rows = panel_rows(m, target.lanes(numerics.x))
        weights = (Constant(pack_panels(layer.weight, k, rows).values),)
        bias = np.pad(fusion.bias, (0, -m % rows))
    residual = () if fusion.residual is None else (scope.rows(fusion.residual),)
    reads = (scope.rows(x_value), *weights, Constant(bias), *residual)
    scope.emit_stored(Call(layer.name, fusion.op, kernel, reads, (scope.write_rows(fusion.output),)))


def lower_depthwise(op: Depthwise, scope: Scope) -> None:
    """Emit the call of a depthwise convolution with everything it absorbed."""
    x, residual = op.nodes[0].inputs[0], op.fusion.residual
    assert x is not None
    reads = (scope.rows(x), *_constants(op), *(() if residual is None else (scope.rows(residual),)))
    kernel = depthwise(_kernel_of(op, scope.target))
    scope.emit_stored(Call(op.name, op.fusion.op, kernel, reads, (scope.write_rows(op.output),)))


def _constants(op: Depthwise) -> tuple[Constant, Constant]:
    """Weight and bias."""
    return Constant(op.weight), Constant(op.fusion.bias)


def _kernel_of(op: Depthwise, target: Target) -> DepthwiseKernel:
    return DepthwiseKernel(op.window, op.multiplier, op.numerics, Epilogue.of(op.fusion), target)
