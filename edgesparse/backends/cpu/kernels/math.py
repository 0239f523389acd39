"""Elementary functions on float32 scalars and vectors, inline and free of branches and calls.

Each takes an expression of any number of lanes and returns one of the same type. NaN goes through; the
statements they emit land at the current place of the kernel under construction.

Source: range reduction of exp and log, polynomial of log: Moshier, Cephes 2.8, expf.c and logf.c; polynomial of
    exp: minimax in relative error (3e-9) on [-ln(2)/2, ln(2)/2], its first two terms fixed; rational tanh and erf:
    Eigen 3.4, MathFunctionsImpl.h and SpecialFunctionsImpl.h.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tvm.tirx import Expr, const
from tvm.tirx.script import builder as T

_LOG2_E = 1.44269504088896341
_LN2_HIGH = 0.693359375  # nine bits: its product with an exponent is exact
_LN2_LOW = -2.12194440e-4
_ROUND = 12582912.0  # 1.5 * 2**23: adding it leaves the nearest integer in the low bits of the mantissa
_EXP_RANGE = (-104.0, 89.0)  # beyond it exp is 0 or infinite
_EXP_ZERO = -88.0  # n is -127 here, whose exponent bits are those of 0
_EXP = (1.3814610251e-3, 8.3687111517e-3, 4.1668387494e-2, 1.6666520679e-1, 4.9999993451e-1, 1.0, 1.0)

_LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_SQRT_HALF_BITS = 0x3F3504F3
_SMALLEST_NORMAL = 1.17549435e-38

_TANH_LIMIT = 9.8  # the rational function is above 1 here
_TANH_IDENTITY = 4e-4  # below it tanh(x) rounds to x
_TANH_P = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
_TANH_Q = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)

_ERF_LIMIT = 4.0  # the rational function is above 1 here
_ERF_P = (
    0.00022905065861350646,
    0.0034082910107109506,
    0.050955695062380861,
    0.18520832239976145,
    1.128379143519084,
)
_ERF_Q = (
    -1.1791602954361697e-7,
    0.000023547966471313185,
    0.0010179625278914885,
    0.014070470171167667,
    0.11098505178285362,
    0.49746925110067538,
    1.0,
)


def lanes_of(x: Expr) -> int:
    """Number of elements of an expression."""
    return int(x.ty.dtype.lanes)


def kind_of(x: Expr) -> str:
    """The type of its elements."""
    return str(x.ty.dtype).partition("x")[0]


def splat(value: float | Expr, like: Expr) -> Expr:
    """A number in as many lanes as `like` has: of its type, or in float32 where that is one of integers."""
    kind = kind_of(like) if kind_of(like).startswith("float") else "float32"
    scalar = const(value, kind) if isinstance(value, int | float) else value
    return scalar if lanes_of(like) == 1 else T.broadcast(scalar, lanes_of(like))


def converted(value: Expr, kind: str) -> Expr:
    """The same number, or the nearest one, of another type, whose name is that of a scalar."""
    return value if kind_of(value) == kind else T.cast(value, _type(kind, value))


def hold(value: Expr) -> Expr:
    """Compute a value here, once. A `T.bind` alone does not: TVM copies its expression into every use."""
    lanes = lanes_of(value)
    place = T.alloc_buffer((lanes,), kind_of(value), scope="global")
    index = 0 if lanes == 1 else T.ramp(0, 1, lanes)
    T.buffer_store(place, value, [index])
    return T.bind(place[index])


def at_least(x: Expr, low: float | Expr) -> Expr:
    """max(x, low) that returns NaN for a NaN x."""
    return T.max(splat(low, x) if isinstance(low, int | float) else low, x)


def at_most(x: Expr, high: float | Expr) -> Expr:
    """min(x, high) that returns NaN for a NaN x."""
    return T.min(splat(high, x) if isinstance(high, int | float) else high, x)


def clamp(x: Expr, low: float, high: float) -> Expr:
    """x limited to [low, high]; NaN stays."""
    return at_most(at_least(x, low), high)


def to_float(x: Expr) -> Expr:
    """int32 numbers as float32, rounded to nearest even."""
    return T.cast(x, _type("float32", x))


def nearest(x: Expr) -> Expr:
    """x as int32, rounded to nearest even, for |x| < 2**22."""
    # Through integers: the simplifier of TVM cancels (a + c) - c.
    return hold(_as_int(hold(x + splat(_ROUND, x))) - int_splat(_float_bits(_ROUND), x))


def absolute(x: Expr) -> Expr:
    """|x|, by clearing the sign."""
    return _as_float(T.bitwise_and(_as_int(x), int_splat(0x7FFFFFFF, x)))


def exp(x: Expr) -> Expr:
    """e**x within 2 ulp, denormal results included; 0 and infinity beyond the range."""
    p, whole = _exp_parts(hold(clamp(x, *_EXP_RANGE)))
    # 2**n in two factors: n alone may exceed the exponents of normal numbers on either side.
    half = hold(T.shift_right(whole, int_splat(1, x)))
    return hold(p * _power_of_two(half) * _power_of_two(whole - half))


def exp_nonpositive(x: Expr) -> Expr:
    """e**x within 2 ulp for x <= 0, cheaper than `exp`; denormal results become 0."""
    p, whole = _exp_parts(hold(at_least(x, _EXP_ZERO)))
    return hold(p * _power_of_two(whole))


def _exp_parts(x: Expr) -> tuple[Expr, Expr]:
    """e**x as p * 2**n: p in [0.7, 1.5], and n as int32."""
    whole = nearest(x * splat(_LOG2_E, x))
    n = hold(T.cast(whole, _type("float32", x)))
    r = hold(x - n * splat(_LN2_HIGH, x))
    r = hold(r - n * splat(_LN2_LOW, x))
    return hold(_polynomial(_EXP, r)), whole


def log(x: Expr) -> Expr:
    """Natural logarithm within 2 ulp; -infinity at 0, NaN below."""
    x = hold(x)
    scaled = hold(T.Select(x < splat(_SMALLEST_NORMAL, x), x * splat(2.0**23, x), x))  # denormals
    extra = hold(T.Select(x < splat(_SMALLEST_NORMAL, x), splat(-23.0, x), splat(0.0, x)))
    bits = hold(_as_int(scaled) - int_splat(_SQRT_HALF_BITS, x))
    n = hold(T.cast(T.shift_right(bits, int_splat(23, x)), _type("float32", x)) + extra)
    mantissa = T.bitwise_and(bits, int_splat(0x007FFFFF, x)) + int_splat(_SQRT_HALF_BITS, x)
    r = hold(_as_float(mantissa) - splat(1.0, x))  # sqrt(1/2) - 1 to sqrt(2) - 1
    square = hold(r * r)
    tail = hold(_polynomial(_LOG, r) * (r * square) + n * splat(_LN2_LOW, x) - square * splat(0.5, x))
    value = hold(r + tail + n * splat(_LN2_HIGH, x))
    value = hold(T.Select(x == splat(float("inf"), x), x, value))
    value = hold(T.Select(x == splat(0.0, x), splat(float("-inf"), x), value))
    return hold(T.Select(x >= splat(0.0, x), value, splat(float("nan"), x)))


def sigmoid(x: Expr) -> Expr:
    """1 / (1 + e**-x)."""
    return hold(splat(1.0, x) / (splat(1.0, x) + exp(splat(0.0, x) - x)))


def tanh(x: Expr) -> Expr:
    """Hyperbolic tangent, relative error below 4e-7, exactly 1 in the limit."""
    x = hold(x)
    limited = hold(clamp(x, -_TANH_LIMIT, _TANH_LIMIT))
    square = hold(limited * limited)
    ratio = hold(limited * _polynomial(_TANH_P, square) / _polynomial(_TANH_Q, square))
    return hold(T.Select(absolute(x) < splat(_TANH_IDENTITY, x), x, clamp(ratio, -1.0, 1.0)))


def erf(x: Expr) -> Expr:
    """Error function, relative error below 4e-7, exactly 1 in the limit."""
    limited = hold(clamp(x, -_ERF_LIMIT, _ERF_LIMIT))
    square = hold(limited * limited)
    ratio = hold(limited * _polynomial(_ERF_P, square) / _polynomial(_ERF_Q, square))
    return hold(clamp(ratio, -1.0, 1.0))


def _polynomial(coefficients: Sequence[float], x: Expr) -> Expr:
    """Horner's rule, highest power first."""
    value = splat(coefficients[0], x)
    for coefficient in coefficients[1:]:
        value = value * x + splat(coefficient, x)
    return value


def _power_of_two(n: Expr) -> Expr:
    """2**n for int32 n in [-126, 127]; 0 for -127."""
    return _as_float(T.shift_left(n + int_splat(127, n), int_splat(23, n)))


def _float_bits(value: float) -> int:
    return int.from_bytes(struct.pack("<f", value), "little")


def _type(scalar: str, like: Expr) -> str:
    return scalar if lanes_of(like) == 1 else f"{scalar}x{lanes_of(like)}"


def _as_int(x: Expr) -> Expr:
    return T.reinterpret(_type("int32", x), x)


def _as_float(x: Expr) -> Expr:
    return T.reinterpret(_type("float32", x), x)


def int_splat(value: int, like: Expr) -> Expr:
    """An int32 number in every lane of as many as `like` has."""
    return T.int32(value) if lanes_of(like) == 1 else T.broadcast(T.int32(value), lanes_of(like))
