"""Lower a weighted layer: pack its weight for the planned kernel and call it."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import onnx_ir as ir

from edgesparse.geometry import Narrow, Plane, Window, tile_count, tile_width
from edgesparse.graph.layout import Planes, Tiles
from edgesparse.layers import Layer
from edgesparse.lower.fuse import Fusion
from edgesparse.lower.kernel import Call, Constant, Kernel, Tensor
from edgesparse.lower.kernels.dense import tiled_dense
from edgesparse.lower.kernels.depthwise import Depthwise, depthwise
from edgesparse.lower.kernels.narrow import narrow_dense
from edgesparse.lower.kernels.operands import TAKEN
from edgesparse.lower.kernels.planes import planes
from edgesparse.lower.kernels.sparse import tiled_sparse
from edgesparse.lower.kernels.stencil import fits
from edgesparse.lower.kernels.tiles import Tiled
from edgesparse.lower.kernels.vector import CHAINS, panel_rows, vector_dense, vector_sparse
from edgesparse.lower.kernels.winograd import transform_weight, winograd
from edgesparse.lower.nodes import constant
from edgesparse.lower.planned import Convolved, Planned
from edgesparse.lower.scope import Scope
from edgesparse.numerics import ELEMENTS, Numerics, element
from edgesparse.plan import LayerPlan
from edgesparse.program import Bound, IndexKind
from edgesparse.sparsity.formats import Csr, GroupedRows, Grouping, pack_chained, pack_groups, pack_panels
from edgesparse.targets import Target
from edgesparse.windows import window_of


def lower_layer(each: Planned, tiled: Set[ir.Value], scope: Scope) -> None:
    """Emit the calls of one layer with everything it absorbed; values in `tiled` lie in tiles."""
    layer, plan, fusion = each.layer, each.plan, each.fusion
    if layer.is_vector:
        _lower_vector(layer, plan, fusion, scope)
        return
    x_value = layer.node.inputs[0]
    assert x_value is not None
    lies = Tiled(x_value in tiled, fusion.residual in tiled, fusion.output in tiled)
    read, write = (scope.columns, scope.write_columns) if layer.is_linear else (scope.rows, scope.write_rows)
    x = _in_tiles(x_value, layer.plane.k, each, scope) if lies.x else read(x_value)
    y = _in_tiles(fusion.output, layer.plane.m, each, scope) if lies.y else write(each.output)
    residual: tuple[Tensor | Constant, ...] = ()
    if fusion.residual is not None:
        in_tiles = lies.residual
        residual = (_in_tiles(fusion.residual, layer.plane.m, each, scope) if in_tiles else read(fusion.residual),)
    if plan.tile.square > 1 and layer.window is not None:
        weight = transform_weight(layer.weight.reshape(layer.plane.m, -1, 3, 3), plan.tile.rows)
        kernel = winograd(layer.window, layer.plane, plan.tile, plan.numerics, fusion.epilogue, scope.target)
        reads: tuple[Tensor | Constant, ...] = (x, Constant(weight), Constant(fusion.bias), *residual)
        scope.emit_stored(Call(layer.name, fusion.op, kernel, reads, (y,)))
        return
    if layer.window is not None:
        x = _lay_out(layer, layer.window, x, scope)
    kernel, weights = _pack(each, scope.target, lies)
    offsets = () if lies.x else (_offsets(layer),)
    reads = (x, *offsets, *weights, *residual, *(each.joined.constants if each.joined else ()))
    scope.emit_stored(Call(layer.name, each.op, kernel, reads, (y,)))


def _in_tiles(value: ir.Value, channels: int, each: Planned, scope: Scope) -> Tensor:
    """The tensor of a value that lies in tiles."""
    numerics = each.plan.numerics
    cut = each.layer.plane, each.plan.tile, scope.target.lanes(numerics.x)
    return Tensor(str(value.name), (tile_count(*cut), channels, tile_width(*cut)), numerics.y, Tiles())


def _pack(each: Planned, target: Target, tiled: Tiled) -> tuple[Kernel, tuple[Constant, ...]]:
    """The kernel of a plan for a layer of several columns, and weight and bias in its format."""
    layer, plan, fusion = each.layer, each.plan, each.fusion
    plane, tile, numerics, bias = layer.plane, plan.tile, plan.numerics, fusion.bias
    lanes = target.lanes(numerics.x)
    joined = _depthwise(each.joined, target) if each.joined else None
    groups = layer.weight.reshape(plane.groups, plane.m, plane.k)
    if plan.kernel == "sparse":
        grouping = Grouping(tile.rows, tile.block, tile.splits, tile.k_block, tile.chunk)
        packed = pack_groups(groups, grouping, tile_width(plane, tile, lanes))
        kernel = tiled_sparse(plane, tile, packed, numerics, fusion.epilogue, target, tiled, joined)
        return kernel, (*_grouped_constants(packed), Constant(bias))
    if tile.columns:
        cut = Narrow(plane, tile, lanes)
        panels = np.stack([pack_panels(w, plane.k, cut.rows).values for w in groups])
        bias = np.pad(bias.reshape(plane.groups, plane.m), ((0, 0), (0, cut.panels * cut.rows - plane.m)))
        return narrow_dense(plane, tile, numerics, fusion.epilogue, target), (Constant(panels), Constant(bias))
    panels = np.stack([pack_panels(w, tile.k_block, tile.rows).values for w in groups])
    kernel = tiled_dense(plane, tile, numerics, fusion.epilogue, target, tiled, joined)
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
            m, k, packed.values.size, element(packed.indices.dtype), numerics, fusion.epilogue, target
        )
        weights = _csr_constants(packed)
        bias = fusion.bias
    else:
        kernel = vector_dense(m, k, numerics, fusion.epilogue, target)
        rows = panel_rows(m, target.lanes(numerics.x))
        weights = (Constant(pack_panels(layer.weight, k, rows).values),)
        bias = np.pad(fusion.bias, (0, -m % rows))
    residual = () if fusion.residual is None else (scope.rows(fusion.residual),)
    reads = (scope.rows(x_value), *weights, Constant(bias), *residual)
    scope.emit_stored(Call(layer.name, fusion.op, kernel, reads, (scope.write_rows(fusion.output),)))


def depthwise_window(node: ir.Node) -> Window | None:
    """The window of a Conv whose every group is one input channel; None for any other node."""
    weight = constant(node.inputs[1]) if node.op_type == "Conv" else None
    if weight is None or ELEMENTS.get(weight.dtype.name) not in TAKEN or weight.shape[1] != 1:
        return None
    window = window_of(node, weight.shape[2:])
    return window if window is not None and window.channels > 1 and fits(window) else None


def lower_depthwise(convolved: Convolved, scope: Scope) -> None:
    """Emit the call of a depthwise convolution with everything it absorbed."""
    fusion = convolved.fusion
    node = fusion.nodes[0]
    assert node.inputs[0] is not None
    residual = () if fusion.residual is None else (scope.rows(fusion.residual),)
    reads = (scope.rows(node.inputs[0]), *convolved.constants, *residual)
    kernel = depthwise(_depthwise(convolved, scope.target))
    scope.emit_stored(Call(str(node.name), fusion.op, kernel, reads, (scope.write_rows(fusion.output),)))


def _depthwise(convolved: Convolved, target: Target) -> Depthwise:
    numerics = Numerics.plain(element(convolved.constants[0].data.dtype))
    return Depthwise(convolved.window, convolved.multiplier, numerics, convolved.fusion.epilogue, target)
