"""Product of two activations: y[b, M, N] = a[b, M, K] @ b[b, K, N], as in attention.

Lanes run over N. A tile is a panel of some vectors of columns, for a range of rows; a block of rows by the
whole panel accumulates in registers over all of K. With one column, lanes run over K instead.

Source: Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import onnx_ir as ir
from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Call, Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.math import hold
from edgesparse.backends.cpu.kernels.operands import operand, padded
from edgesparse.backends.cpu.kernels.vectors import (
    add,
    chunk_bounds,
    chunk_count,
    each_step,
    fold_lanes,
    reduce_run,
    store_first,
)
from edgesparse.backends.cpu.tensors import tensor
from edgesparse.devices.cpu import Cpu
from edgesparse.devices.targets import Target
from edgesparse.forms.caches import SHARED
from edgesparse.numerics import TAKEN, Element

_TILES = 16  # at least so many, if there are rows enough
_PACKED_ROWS = 32  # a panel is copied together when at least so many rows read it
_TILE_ELEMENTS = 8192  # of a dot product kernel


@dataclass(frozen=True)
class Product:
    """Shape of a batched product; a stride of 0 repeats an operand along a batch axis."""

    m: int
    k: int
    n: int
    batch: tuple[tuple[int, int, int], ...]  # count, stride in a, stride in b: of each axis, outermost first
    element: Element

    @property
    def count(self) -> int:
        """Products in the batch."""
        return prod(axis[0] for axis in self.batch)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Elements of a, b and y."""
        a = self.m * self.k + sum((count - 1) * stride for count, stride, _ in self.batch)
        b = self.k * self.n + sum((count - 1) * stride for count, _, stride in self.batch)
        return a, b, self.count * self.m * self.n


def lower_matmul(node: ir.Node, target: Target) -> list[Call] | None:
    """Lower a MatMul of values that are both computed at run time; also of constants with batch axes.

    None for any other node.
    """
    if node.op_type != "MatMul":
        return None
    a, b, y = operand(node, 0), operand(node, 1), tensor(node.outputs[0])
    if a.element not in TAKEN or a.element != b.element or 0 in (a.size, b.size):
        return None
    product = product_of(a.shape, b.shape, a.element)
    reads = tuple(padded(value, target.cpu) for value in node.inputs[:2] if value is not None)
    return [Call(str(node.name), "MatMul", matmul(product, target), reads, (y,))]


def product_of(a: tuple[int, ...], b: tuple[int, ...], element: Element) -> Product:
    """The product that MatMul computes of two shapes, with as few batch axes as they allow."""
    a = (1, *a) if len(a) == 1 else a
    b = (*b, 1) if len(b) == 1 else b
    rank = max(len(a), len(b)) - 2
    (m, k), n = a[-2:], b[-1]
    a_batch, b_batch = ((1,) * (rank + 2 - len(shape)) + shape[:-2] for shape in (a, b))
    batch: list[tuple[int, int, int]] = []
    a_stride, b_stride = m * k, k * n
    for in_a, in_b in zip(reversed(a_batch), reversed(b_batch), strict=True):
        if max(in_a, in_b) == 1:
            continue
        here = (max(in_a, in_b), a_stride if in_a > 1 else 0, b_stride if in_b > 1 else 0)
        a_stride, b_stride = a_stride * in_a, b_stride * in_b
        if batch and all(outer == inner * batch[0][0] for outer, inner in zip(here[1:], batch[0][1:], strict=True)):
            batch[0] = (batch[0][0] * here[0], *batch[0][1:])
        else:
            batch.insert(0, here)
    if len(batch) == 1 and batch[0][1:] == (m * k, 0):
        m, batch = m * batch[0][0], []
    return Product(m, k, n, tuple(batch), element)


def matmul(product: Product, target: Target) -> Kernel:
    """Build the kernel. Reads: a, b; writes: y.

    Shapes: see `Product`. Over-read: a (N = 1) and b, below 64 bytes.
    Order: ascending k; with N = 1 in chains of lanes, then pairwise.
    """
    return _dots(product, target) if product.n == 1 else _panels(product, target)


def _operands(index: Expr, batch: Sequence[tuple[int, int, int]]) -> tuple[Expr | int, Expr | int]:
    """Offsets of a and b for a product of the batch."""
    a0: Expr | int = 0
    b0: Expr | int = 0
    for number, (count, a_stride, b_stride) in reversed(list(enumerate(batch))):
        here = T.bind(T.floormod(index, count)) if number else index
        index = T.bind(T.floordiv(index, count))
        a0, b0 = a0 + here * a_stride, b0 + here * b_stride
    return a0, b0


def _dots(product: Product, target: Target) -> Kernel:
    """One column: a dot product a row."""
    m, k = product.m, product.k
    lanes = Lanes(target.cpu.lanes(product.element), product.element).narrowed(k)
    rows = min(m, -(-_TILE_ELEMENTS // k))
    parts = -(-m // rows)

    def body(tile: Expr, a: Buffer, b: Buffer, y: Buffer) -> None:
        index, part = T.bind(T.floordiv(tile, parts)), T.bind(T.floormod(tile, parts))
        a0, b0 = _operands(index, product.batch)
        with T.serial(T.bind(part * rows), T.bind(T.min((part + 1) * rows, m))) as r:
            start = T.bind(a0 + r * k)
            total = reduce_run(k, lanes, lambda i, _: lanes.load(a, start + i) * lanes.load(b, b0 + i), add, 0.0)
            T.buffer_store(y, fold_lanes(total, add), [index * m + r])

    symbol = kernel_symbol("matmul", product.element, f"m{m}k{k}n1", target, product)
    return build_kernel(symbol, [Param(size, product.element) for size in product.sizes], product.count * parts, body)


@dataclass(frozen=True)
class _Panel:
    """Which columns a tile computes: `vectors` registers of them, the last with `tail` lanes."""

    vectors: int
    tail: int


@dataclass(frozen=True, eq=False)
class _Source:
    """Rows of b: row k begins at `start + k * pitch`."""

    buffer: Buffer
    start: Expr | int
    pitch: int


def _pack(product: Product, lanes: Lanes, shape: _Panel, b: _Source, area: Buffer, pitch: int) -> _Source:
    """Copy a panel of b together, so that its rows share pages and do not fall into the same cache sets."""
    with T.serial(0, product.k) as k:
        for u in range(0, shape.vectors * lanes.count, lanes.count):
            lanes.store(area, k * pitch + u, lanes.load(b.buffer, b.start + k * b.pitch + u))
    return _Source(area, 0, pitch)


def _panels(product: Product, target: Target) -> Kernel:
    """Lanes over columns."""
    m, k, n = product.m, product.k, product.n
    lanes = Lanes(target.cpu.lanes(product.element), product.element).narrowed(n)
    most = 4 if target.cpu.registers >= 32 else 2
    vectors = -(-n // lanes.count)
    panels = -(-vectors // most)
    wide, narrow = -(-vectors // panels), vectors // panels
    extra = vectors - narrow * panels  # panels of the wide kind, which come first
    kinds = [(0, _Panel(wide, lanes.count))] if extra else []
    kinds += [(extra, _Panel(narrow, lanes.count))] if extra < panels - 1 else []
    kinds.append((panels - 1, _Panel(narrow, n - (vectors - 1) * lanes.count)))
    height = block_rows(m, wide, target.cpu)
    parts = chunk_count(m, height, -(-_TILES // (product.count * panels)))
    large = product.element.size_bytes * k * n > int(SHARED * target.cpu.l1d_bytes)
    packed = panels > 1 and m // parts >= _PACKED_ROWS and large
    width = wide * lanes.count

    def body(tile: Expr, a: Buffer, b: Buffer, y: Buffer, *area: Buffer) -> None:
        part, rest = T.bind(T.floormod(tile, parts)), T.bind(T.floordiv(tile, parts))
        panel, index = T.bind(T.floormod(rest, panels)), T.bind(T.floordiv(rest, panels))
        a0, b0 = _operands(index, product.batch)
        column = T.bind((panel * narrow + T.min(panel, extra)) * lanes.count)
        begin, end = chunk_bounds(part, parts, m, height)

        def run(shape: _Panel) -> None:
            source = _Source(b, T.bind(b0 + column), n)
            if packed:
                source = _pack(product, lanes, shape, source, area[0], width)

            def block(row: Expr | int) -> None:
                goal = T.bind((index * m + row) * n + column)
                _block(product, lanes, shape, height, a, T.bind(a0 + row * k), source, y, goal)

            each_step(begin, end, height, block)

        _choose(panel, kinds, run)

    params = [Param(size, product.element) for size in product.sizes]
    scratch = Param(k * width, product.element) if packed else None
    symbol = kernel_symbol("matmul", product.element, f"m{m}k{k}n{n}", target, product)
    return build_kernel(symbol, params, product.count * panels * parts, body, scratch=scratch)


def block_rows(m: int, vectors: int, cpu: Cpu) -> int:
    """Rows of a register block: three quarters of the registers, and little done twice at the end."""
    most = max(1, cpu.registers * 3 // 4 // vectors)
    return min(range(min(most, m), max(most // 2, 1) - 1, -1) or [m], key=lambda rows: -(-m // rows) * rows)


def _choose(panel: Expr, kinds: Sequence[tuple[int, _Panel]], run: Callable[[_Panel], None]) -> None:
    """Run the kind that a panel is of; each begins at its number."""
    (_, shape), *others = kinds
    if not others:
        run(shape)
        return
    with T.If(panel < others[0][0]):
        with T.Then():
            run(shape)
        with T.Else():
            _choose(panel, others, run)


def _block(
    product: Product, lanes: Lanes, shape: _Panel, rows: int, a: Buffer, a0: Expr, b: _Source, y: Buffer, y0: Expr
) -> None:
    """Compute `rows` rows of a panel and store them."""
    accs = accumulate(
        (rows, product.k, shape.vectors),
        lanes,
        lambda r, k: a[a0 + r * product.k + k],
        lambda k, u: lanes.load(b.buffer, b.start + k * b.pitch + u),
    )
    columns = range(0, shape.vectors * lanes.count, lanes.count)
    for r, acc in enumerate(accs):
        for u in columns:
            valid = shape.tail if u == columns[-1] else lanes.count
            store_first(y, T.bind(y0 + (r * product.n + u)), hold(lanes.load(acc, u)), valid)


def accumulate(
    shape: tuple[int, int, int], lanes: Lanes, a: Callable[[int, Expr], Expr], b: Callable[[Expr, int], Expr]
) -> list[Buffer]:
    """Multiply a block in registers; returns the buffer of each row.

    Args:
        shape: rows, k, and vectors in a row.
        a: the scalar of a row at k.
        b: the vector at k of the column with a given offset.
    """
    rows, depth, vectors = shape
    columns = range(0, vectors * lanes.count, lanes.count)
    accs = [lanes.sums(vectors * lanes.count) for _ in range(rows)]
    for acc in accs:
        for u in columns:
            lanes.store(acc, u, lanes.splat(0.0))
    with T.serial(0, depth) as k:
        values = [T.bind(b(k, u)) for u in columns]
        for r, acc in enumerate(accs):
            factor = T.bind(lanes.splat(a(r, k)))
            for u, value in zip(columns, values, strict=True):
                lanes.store(acc, u, lanes.load(acc, u) + factor * value)
    return accs
