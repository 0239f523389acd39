"""The call of an attention: in which order of their axes its operands are asked for."""

from __future__ import annotations

from edgesparse.backends.cpu.kernel import Call
from edgesparse.backends.cpu.kernels.attention import attention
from edgesparse.backends.cpu.scope import Scope
from edgesparse.graph.attention import Attention
from edgesparse.nodes import shape_of


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
