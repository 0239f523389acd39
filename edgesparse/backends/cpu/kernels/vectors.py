"""Small vector idioms that several kernels share: tails, masks, sums over lanes, shuffles, loops over a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Lanes, vector_width
from edgesparse.backends.cpu.kernels.math import hold, int_splat, lanes_of, splat
from edgesparse.numerics import element

Fold = Callable[[Expr, Expr], Expr]


QUAD = 4  # numbers that are worth a load of their own
VECTOR_BITS = 128  # of vectors that are multiplied by an element of another; wider ones by a number in all their lanes
LINE = 16  # elements of a line of the caches


def prefetch(buffer: Buffer, offset: Expr) -> None:
    """Ask for the line that holds an element to be fetched into the L2 cache; the element need not exist."""
    read, near, data = T.int32(0), T.int32(2), T.int32(1)
    T.evaluate(T.call_llvm_intrin("void", "llvm.prefetch", T.address_of(buffer[offset]), read, near, data))


def loaded(buffer: Buffer, offset: Expr, count: int, lanes: Lanes) -> list[Expr]:
    """So many numbers, a multiple of QUAD, as elements of the vectors that they are loaded in."""
    held = T.alloc_buffer((count,), buffer.dtype, scope="global")
    several = lanes if count % lanes.count == 0 else lanes.narrowed(QUAD)
    for i in range(0, count, several.count):
        several.store(held, i, several.load(buffer, offset + i))
    return [held[i] for i in range(count)]


def add(a: Expr, b: Expr) -> Expr:
    """a + b."""
    return a + b


def maximum(a: Expr, b: Expr) -> Expr:
    """max(a, b)."""
    return T.max(a, b)


def pick(vectors: Sequence[Expr], places: Sequence[int]) -> Expr:
    """A vector of the elements at `places` of the concatenated `vectors`; a scalar for one place."""
    if len(vectors) == 1 and list(places) == list(range(lanes_of(vectors[0]))):
        return vectors[0]
    return hold(T.Shuffle(list(vectors), [T.int32(place) for place in places]))


def transposed(rows: Sequence[Expr]) -> list[Expr]:
    """The columns of some vectors of equal width, as many as there are lanes, in vectors of a power of two of lanes.

    The first lanes of each hold its elements, one of every row; there are no more rows than lanes. Pairs of rows
    exchange ever larger blocks.
    """
    width = lanes_of(rows[0])
    height = vector_width(len(rows), width)
    rows = [*rows, *[rows[0]] * (height - len(rows))]
    step = 1
    while step < height:
        low = [i if not i & step else width + i - step for i in range(width)]
        high = [i + step if not i & step else width + i for i in range(width)]
        for i in (i for i in range(height) if not i & step):
            a, b = rows[i], rows[i + step]
            rows[i], rows[i + step] = pick([a, b], low), pick([a, b], high)
        step *= 2
    return [pick([rows[i % height]], range(i - i % height, i - i % height + height)) for i in range(width)]


def keep_first(value: Expr, count: int, fill: float) -> Expr:
    """`value` with `fill` in the lanes from `count` on."""
    lanes = lanes_of(value)
    if count >= lanes:
        return value
    inside = T.ramp(T.int32(0), 1, lanes) < T.broadcast(T.int32(count), lanes)
    filling = int_splat(int(fill), value) if str(value.ty.dtype).startswith("int32") else splat(fill, value)
    return hold(T.Select(inside, value, filling))


def store_first(buffer: Buffer, offset: Expr | int, value: Expr, count: int) -> None:
    """Store the first `count` lanes and nothing behind them: one store, or two that overlap."""
    for lanes, start, part in _first(buffer, value, count):
        lanes.store(buffer, offset + start, part)


def merge_first(buffer: Buffer, offset: Expr | int, value: Expr, count: int) -> None:
    """Set the bits of the first `count` lanes in integers that are stored already."""
    for lanes, start, part in _first(buffer, value, count):
        lanes.store(buffer, offset + start, T.bitwise_or(lanes.load(buffer, offset + start), part))


def _first(buffer: Buffer, value: Expr, count: int) -> Iterator[tuple[Lanes, int, Expr]]:
    width = 1 << (min(count, lanes_of(value)).bit_length() - 1)
    for start in dict.fromkeys((0, max(count - width, 0))):
        yield Lanes(width, element(str(buffer.dtype))), start, pick([value], range(start, start + width))


def fold_lanes(value: Expr, fold: Fold) -> Expr:
    """One scalar from all lanes, folded pairwise."""
    width = lanes_of(value)
    while width > 1:
        width //= 2
        value = hold(fold(pick([value], range(width)), pick([value], range(width, 2 * width))))
    return value


def fold_all(values: Sequence[Expr], fold: Fold) -> Expr:
    """One value from several, folded pairwise."""
    values = list(values)
    while len(values) > 1:
        pairs = [hold(fold(a, b)) for a, b in zip(values[::2], values[1::2], strict=False)]
        values = pairs + values[len(values) - len(values) % 2 :]
    return values[0]


def each_vector(count: int, lanes: Lanes, action: Callable[[Expr | int, int], None], unroll: int = 4) -> None:
    """Emit `action(offset, valid)` for vectors that cover [0, count): `valid` < lanes only for the last.

    `unroll` vectors stand in the body of the loop; few of them stand without a loop.
    """
    full, tail = divmod(count, lanes.count)
    steps = full // unroll
    if steps > 1:
        with T.serial(0, steps) as step:
            for u in range(unroll):
                action((step * unroll + u) * lanes.count, lanes.count)
    else:
        steps = 0
    for i in range(steps * unroll, full):
        action(i * lanes.count, lanes.count)
    if tail:
        action(full * lanes.count, tail)


def reduce_run(
    count: int, lanes: Lanes, value: Callable[[Expr | int, int], Expr], fold: Fold, start: float, chains: int = 4
) -> Expr:
    """Fold `value(offset, valid)` over the vectors of a run into one vector; lanes behind the run give `start`."""
    chains = min(chains, -(-count // lanes.count))
    accs = [lanes.sums() for _ in range(chains)]
    for acc in accs:
        lanes.store(acc, 0, lanes.splat(start))
    turn = 0

    def step(offset: Expr | int, valid: int) -> None:
        nonlocal turn
        acc = accs[turn % chains]
        turn += 1
        lanes.store(acc, 0, fold(lanes.load(acc, 0), keep_first(hold(value(offset, valid)), valid, start)))

    each_vector(count, lanes, step, unroll=chains)
    return fold_all([T.bind(lanes.load(acc, 0)) for acc in accs], fold)


def chunk_count(count: int, step: int, most: int) -> int:
    """How many parts to cut an axis into, for threads to share: each holds at least one step."""
    return max(1, min(count // step, most))


def chunk_bounds(number: Expr, chunks: int, count: int, step: int) -> tuple[Expr | int, Expr | int]:
    """Begin and end of a part; all but the last hold the same multiple of `step`."""
    if chunks == 1:
        return 0, count
    size = count // chunks // step * step
    return T.bind(number * size), T.bind(T.Select(number == chunks - 1, T.int32(count), (number + 1) * size))


def each_step(begin: Expr | int, end: Expr | int, step: int, action: Callable[[Expr | int], None]) -> None:
    """Emit `action(start)` for steps that cover [begin, end); the last overlaps the one before where it must."""
    if isinstance(end, int) and end <= step:
        action(0)
        return
    with T.serial(0, T.floordiv(end - begin + (step - 1), step)) as number:
        action(T.bind(T.min(begin + number * step, end - step)))
