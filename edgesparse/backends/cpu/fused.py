"""Call the kernels of ops that absorb nodes: weighted layers, depthwise convolutions, attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from edgesparse.backends.cpu.integers import epilogue_of, fill_of
from edgesparse.backends.cpu.kernel import Call, Tensor
from edgesparse.backends.cpu.kernels.attention import attention
from edgesparse.backends.cpu.kernels.depthwise import DepthwiseKernel, depthwise
from edgesparse.backends.cpu.kernels.epilogue import Epilogue
from edgesparse.backends.cpu.kernels.layer import LayerCall, Tiled, kernel_of
from edgesparse.backends.cpu.kernels.planes import planes
from edgesparse.backends.cpu.scope import Scope
from edgesparse.devices.targets import Target
from edgesparse.forms.cut import tile_count, tile_width
from edgesparse.forms.tile import Tile
from edgesparse.graph.attention import Attention
from edgesparse.graph.geometry import Window
from edgesparse.graph.integer_layers import Sums
from edgesparse.graph.layers import Layer
from edgesparse.graph.layout import Planes, Tiles
from edgesparse.graph.ops import Depthwise, Weighted
from edgesparse.nodes import shape_of
from edgesparse.plan import LayerPlan
from edgesparse.program import Bound, Constant, IndexKind


def lower_layer(
    op: Weighted, plan: LayerPlan, joined: Depthwise | None, tiled: Mapping[ir.Value, Tiles], scope: Scope
) -> None:
    """Emit the calls of one layer with everything it absorbed.

    Args:
        joined: a depthwise convolution that its kernel computes too.
        tiled: the values that lie in tiles.
    """
    layer, fusion, tile, target = op.layer, op.fusion, plan.tile, scope.target
    if op.sums is not None:
        _lower_sums(op, op.sums, tile, scope)
        return
    x_value, output = op.x, op.output if joined is None else joined.output

    def stored(value: ir.Value, channels: int, how: Callable[[ir.Value], Tensor | Constant]) -> Tensor | Constant:
        if value not in tiled:
            return how(value)
        cut = layer.plane, tile.vectors, target.cpu.lanes(layer.numerics.x)
        shape = tile_count(*cut), channels, tile_width(*cut)
        return Tensor(str(value.name), shape, layer.numerics.y, tiled[value])

    read, write = (scope.columns, scope.write_columns) if layer.is_linear else (scope.rows, scope.write_rows)
    x, y = stored(x_value, layer.plane.k, read), stored(output, layer.plane.m, write)
    assert isinstance(y, Tensor)
    residual = () if fusion.residual is None else (stored(fusion.residual, layer.plane.m, read),)
    lies = Tiled(x_value in tiled, fusion.residual in tiled, fusion.output in tiled)
    if tile.reads_window and layer.window is not None:
        x = _lay_out(layer, layer.window, x, scope)
    offsets = (_offsets(layer),) if tile.reads_window and not lies.x else ()
    weights = tile.pack(layer, fusion.bias.astype(layer.numerics.acc.numpy), target.cpu)
    behind = None if joined is None else _kernel_of(joined, target)
    kernel = kernel_of(LayerCall(layer, tile, weights, Epilogue.of(fusion), target, lies, behind))
    reads = (x, *offsets, *weights, *residual, *(_constants(joined) if joined else ()))
    name = fusion.op if joined is None else f"{fusion.op}+{joined.fusion.op}"
    scope.emit_stored(Call(layer.name, name, kernel, reads, (y,)))


def _lower_sums(op: Weighted, sums: Sums, tile: Tile, scope: Scope) -> None:
    """Emit the calls of a layer of bytes."""
    layer, axis = op.layer, len(shape_of(op.x)) - 1 if op.layer.is_linear else 1
    x, (epilogue, numbers) = scope.quads(op.x, axis), epilogue_of(sums, scope)
    if tile.reads_window and layer.window is not None:
        x = _lay_out(layer, layer.window, x, scope, fill_of(sums, scope))
    offsets = (_offsets(layer),) if tile.reads_window else ()
    weights = tile.pack(layer, op.fusion.bias, scope.target.cpu)
    scales = tile.per_channel(layer, numbers, scope.target.cpu)
    kernel = kernel_of(LayerCall(layer, tile, weights, epilogue, scope.target, Tiled(), None))
    if sums.result.by is not None:
        y = scope.write_quads(op.output, axis)
    else:
        y = scope.write_columns(op.output) if layer.is_linear else scope.write_rows(op.output)
    scope.emit_stored(Call(layer.name, sums.op, kernel, (x, *offsets, *weights, scales), (y,)))


def _offsets(layer: Layer) -> Constant:
    """Where x holds row k: checked like every index, since the kernel trusts it."""
    offsets = layer.offsets
    return Constant(offsets, Bound(IndexKind.INDEX, offsets.dtype.name, int(offsets.max()) + 1))


def _lay_out(layer: Layer, window: Window, x: Tensor | Constant, scope: Scope, fill: int = 0) -> Tensor:
    """The padded phase planes of x; layers that read the same x through the same window share them."""
    assert isinstance(x, Tensor)
    slack = layer.plane.width  # a tile may read, and ignore, as much as a row behind the last
    written = Tensor(x.name, (layer.plane.x_size + slack,), x.element, Planes(window))
    if not scope.is_written(written):
        call = Call(f"{layer.name}/planes", "Pad", planes(window, x.element, scope.target, fill), (x,), (written,))
        scope.emit_stored(call)
    return written


def lower_depthwise(op: Depthwise, scope: Scope) -> None:
    """Emit the call of a depthwise convolution with everything it absorbed."""
    x, residual = op.nodes[0].inputs[0], op.fusion.residual
    assert x is not None
    reads = (scope.rows(x), *_constants(op), *(() if residual is None else (scope.rows(residual),)))
    kernel = depthwise(_kernel_of(op, scope.target))
    scope.emit_stored(Call(op.name, op.fusion.op, kernel, reads, (scope.write_rows(op.output),)))


def _constants(op: Depthwise) -> tuple[Constant, Constant]:
    """Weight and bias."""
    return Constant(op.weight), Constant(op.fusion.bias.astype(op.numerics.acc.numpy))


def _kernel_of(op: Depthwise, target: Target) -> DepthwiseKernel:
    return DepthwiseKernel(op.window, op.multiplier, op.numerics, Epilogue.of(op.fusion), target)


def lower_attention(fusion: Attention, scope: Scope) -> None:
    """Emit the call; heads and features go before batch and tokens, as linear layers store them."""
    rank = len(shape_of(fusion.output))
    heads, batch, row, column = rank - 3, tuple(range(rank - 3)), rank - 2, rank - 1
    q, k, v, *mask = fusion.inputs
    reads = [
        scope.ordered(q, (heads, column, *batch, row)),
        scope.ordered(k, (heads, row, *batch, column)),
        scope.ordered(v, (heads, column, *batch, row)),
    ]
    for value in mask:
        axes = list(range(len(shape_of(value))))
        reads.append(scope.ordered(value, (*axes[:-2], *reversed(axes[-2:]))))
    y = scope.write_ordered(fusion.output, (heads, column, *batch, row))
    op = "+".join(node.op_type for node in fusion.nodes)
    name = str(fusion.nodes[-1].name)
    scope.emit_stored(Call(name, op, attention(fusion.shape, scope.target), tuple(reads), (y,)))
