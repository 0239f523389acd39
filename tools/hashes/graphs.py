"""Small networks that, pruned in several patterns, bring every kind of kernel into some artifact."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from edgesparse.pipeline.options import PruningOptions

OPSET = 20
IR_VERSION = 9

PATTERNS: dict[str, PruningOptions] = {
    "dense": {},
    "0.8": {"sparsity": 0.8},
    "0.9": {"sparsity": 0.9},
    "4x1": {"sparsity": 0.8, "pattern": "4x1"},
    "1x4": {"sparsity": 0.8, "pattern": "1x4"},
    "2:4": {"pattern": "2:4"},
}
"""Options of pruning by name."""


@dataclass(frozen=True)
class Graph:
    """A network in ONNX's text, and the names in PATTERNS that it is pruned by.

    `w3x8` in the text is a weight [3, 8] of its own for every place that names it, `b8` a bias [8].
    """

    text: str
    patterns: tuple[str, ...] = ("dense",)

    def write(self, path: Path) -> Path:
        """Write it with seeded random weights."""
        rng = np.random.default_rng(0)
        constants: list[onnx.TensorProto] = []

        def drawn(match: re.Match[str]) -> str:
            shape = [int(size) for size in match["shape"].split("x")]
            array = rng.standard_normal(shape).astype(np.float32)
            if match["kind"] == "w":
                array *= np.float32(np.sqrt(2 / max(1, int(np.prod(shape[1:])))))
            constants.append(onnx.numpy_helper.from_array(array, f"{match[0]}_{len(constants)}"))
            return str(constants[-1].name)

        text = re.sub(r"\b(?P<kind>[wb])(?P<shape>\d+(x\d+)*)\b", drawn, self.text)
        model = onnx.parser.parse_model(f'<ir_version: {IR_VERSION}, opset_import: ["" : {OPSET}]>\n{text}')
        model.graph.initializer.extend(constants)
        for number, node in enumerate(model.graph.node):
            node.name = f"{node.op_type.lower()}_{number}"
        onnx.checker.check_model(model, full_check=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, str(path))
        return path


GRAPHS = {
    "convolutions": Graph(
        """convolutions (float[1, 3, 40, 40] x) => (float[1, 10] y) {
            a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w32x3x3x3, b32)
            ra = Relu (a)
            b = Conv <pads = [1, 1, 1, 1]> (ra, w32x32x3x3, b32)
            rb = Relu (b)
            c = Conv <pads = [1, 1, 1, 1]> (rb, w32x32x3x3, b32)
            s = Add (c, ra)
            rs = Relu (s)
            d = Conv <pads = [2, 2, 2, 2], strides = [2, 2]> (rs, w48x32x5x5, b48)
            e = Conv <group = 4, pads = [1, 1, 1, 1]> (d, w48x12x3x3, b48)
            f = Conv <pads = [2, 2, 2, 2], dilations = [2, 2]> (e, w33x48x3x3)
            g = LeakyRelu <alpha = 0.1> (f)
            h = ConvTranspose <strides = [2, 2]> (g, w33x16x2x2, b16)
            m = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (h)
            n = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (m)
            o = Conv <pads = [1, 1, 1, 1]> (n, w256x16x3x3, b256)
            p = Conv <pads = [1, 1, 1, 1]> (o, w256x256x3x3, b256)
            q = GlobalAveragePool (p)
            r = Flatten (q)
            y = Gemm <transB = 1> (r, w10x256, b10)
        }""",
        tuple(PATTERNS),
    ),
    "separable": Graph(
        """separable (float[1, 3, 56, 56] x) => (float[1, 96, 7, 7] y) {
            a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w16x3x3x3, b16)
            ha = HardSwish (a)
            b = Conv <group = 16, pads = [1, 1, 1, 1]> (ha, w16x1x3x3, b16)
            rb = Relu (b)
            c = Conv (rb, w64x16x1x1, b64)
            rc = Clip (c, b1, b1)
            d = Conv <group = 64, pads = [1, 1, 1, 1], strides = [2, 2]> (rc, w64x1x3x3, b64)
            rd = Relu (d)
            g = GlobalAveragePool (rd)
            ga = Conv (g, w16x64x1x1, b16)
            gb = Relu (ga)
            gc = Conv (gb, w64x16x1x1, b64)
            gd = Sigmoid (gc)
            sd = Mul (rd, gd)
            e = Conv (sd, w64x64x1x1, b64)
            f = Conv (e, w96x64x1x1, b96)
            rf = Relu (f)
            k = Conv <group = 96, pads = [2, 2, 2, 2], strides = [2, 2]> (rf, w96x1x5x5, b96)
            l = Conv (k, w96x96x1x1, b96)
            m = Conv (l, w96x96x1x1, b96)
            y = Add (m, k)
        }""",
        ("dense", "0.8", "0.9", "4x1", "1x4"),
    ),
    "expanding": Graph(
        """expanding (float[1, 24, 56, 56] x) => (float[1, 24, 28, 28] y) {
            a = Conv (x, w384x24x1x1, b384)
            ra = Relu (a)
            d = Conv <group = 384, pads = [1, 1, 1, 1], strides = [2, 2]> (ra, w384x1x3x3, b384)
            rd = Relu (d)
            y = Conv (rd, w24x384x1x1, b24)
        }""",
        ("dense", "0.8"),
    ),
    "transformer": Graph(
        """transformer (int64[1, 33] t) => (float[1, 33, 64] y)
        <int64[4] split = {1, 33, 4, 16}, int64[3] join = {1, 33, 64}, float scale = {0.25}> {
            x = Gather (w100x64, t)
            n = LayerNormalization (x, b64, b64)
            qm = MatMul (n, w64x64)
            qb = Add (qm, b64)
            qr = Reshape (qb, split)
            q = Transpose <perm = [0, 2, 1, 3]> (qr)
            km = MatMul (n, w64x64)
            kb = Add (km, b64)
            kr = Reshape (kb, split)
            k = Transpose <perm = [0, 2, 3, 1]> (kr)
            vm = MatMul (n, w64x64)
            vb = Add (vm, b64)
            vr = Reshape (vb, split)
            v = Transpose <perm = [0, 2, 1, 3]> (vr)
            l = MatMul (q, k)
            ls = Mul (l, scale)
            p = Softmax <axis = -1> (ls)
            o = MatMul (p, v)
            ot = Transpose <perm = [0, 2, 1, 3]> (o)
            om = Reshape (ot, join)
            a = MatMul (om, w64x64)
            ab = Add (a, b64)
            r = Add (ab, x)
            m = LayerNormalization (r, b64, b64)
            f = MatMul (m, w64x256)
            fb = Add (f, b256)
            g = Gelu (fb)
            h = MatMul (g, w256x64)
            hb = Add (h, b64)
            y = Add (hb, r)
        }""",
        tuple(PATTERNS),
    ),
    "linear": Graph(
        """linear (float[1, 784] x, float[7, 200] z) => (float[1, 10] y, float[7, 33] u) {
            a = Gemm <transB = 1> (x, w512x784, b512)
            ra = Relu (a)
            b = Gemm <transB = 1> (ra, w100x512, b100)
            rb = Tanh (b)
            c = Gemm <transB = 1> (rb, w10x100, b10)
            y = Softmax (c)
            d = MatMul (z, w200x256)
            e = Sigmoid (d)
            u = MatMul (e, w256x33)
        }""",
        tuple(PATTERNS),
    ),
    "sound": Graph(
        """sound (float[1, 40, 101] x) => (float[1, 12] y, float[1, 24, 101] z)
        <int64[3] shape = {1, 24, 101}, int64[1] two = {2}> {
            a = Conv <pads = [1, 1]> (x, w64x40x3, b64)
            ra = Relu (a)
            b = Conv <pads = [4, 4], group = 64> (ra, w64x1x9, b64)
            c = Conv (b, w64x64x1, b64)
            d = InstanceNormalization (c, b64, b64)
            s = Transpose <perm = [2, 0, 1]> (d)
            h, last = GRU <hidden_size = 24> (s, w1x72x64, w1x72x24, b1x144)
            q = Squeeze (h)
            z1 = Transpose <perm = [1, 0]> (q)
            z = Reshape (z1, shape)
            m = ReduceMean <keepdims = 0> (z, two)
            y = Gemm <transB = 1> (m, w12x24, b12)
        }""",
        ("dense", "0.8"),
    ),
    "products": Graph(
        """products (float[2, 5, 33] x, float[2, 33, 9] z, int64[5, 1] i, float[1, 24] r) =>
        (float[2, 5, 9] a, float[2, 5, 5] b, float[2, 5, 33] c, float[9, 33] d, float[2, 5, 33] e, float[2, 5, 33] f,
         float[1, 24] g) <float scale = {0.1}, uint8 zero = {128}> {
            a = MatMul (x, z)
            t = Transpose <perm = [0, 2, 1]> (x)
            b = MatMul (x, t)
            c = Identity (x)
            d = ScatterND (b9x33, i, b5x33)
            e = Einsum <equation = "bij,jk->bik"> (x, w33x33)
            q = QuantizeLinear (x, scale, zero)
            f = DequantizeLinear (q, scale, zero)
            g = LpNormalization (r)
        }"""
    ),
    "others": Graph(
        """others (float[1, 6, 9, 9] x, int64[4] i, float[5, 4] roi, float[1, 7, 7, 2] grid) =>
        (float[1, 6, 18, 18] a, float[4, 6, 9, 9] b, float[1, 6, 9, 3] c, int64[1, 6, 9, 3] d, float[1, 6, 9, 9] e,
         float[5, 6, 3, 3] f, float[1, 6, 7, 7] g, float[1, 6, 9, 9] h, float[1, 9, 9, 6] k, int64[4] m, float[1, 6] n,
         float[1, 24, 4, 4] o, float[1, 6, 9, 9] p, int64[1, 6, 9] q, float[1, 6, 9, 9] r, float[1, 6, 9, 9] s)
        <float[4] scales = {1, 1, 2, 2}, int64[1] three = {3}, int64 axis = {2}, int64[5] zeros = {0, 0, 0, 0, 0},
         int64[2] across = {2, 3}, int64[1] two = {2}, int64[8] pads = {0, 0, 1, 1, 0, 0, 0, 1},
         int64[2] low = {0, 0}, int64[2] high = {8, 8}> {
            a = Resize <mode = "linear"> (x, , scales)
            xx = Concat <axis = 0> (x, x, x)
            b = Gather (xx, i)
            c, d = TopK (x, three)
            e = CumSum (x, axis)
            f = RoiAlign <output_height = 3, output_width = 3> (x, roi, zeros)
            g = GridSample (x, grid)
            h = LogSoftmax <axis = 1> (x)
            k = Transpose <perm = [0, 2, 3, 1]> (x)
            m = Mod (i, i)
            n = ReduceMax <keepdims = 0> (x, across)
            pa = Pad <mode = "reflect"> (x, pads)
            sl = Slice (pa, low, high, across)
            o = SpaceToDepth <blocksize = 2> (sl)
            p = Softmax <axis = 2> (x)
            q = ArgMax <axis = 3, keepdims = 0> (x)
            ss = ReduceSumSquare (x, two)
            r = Div (x, ss)
            s = LRN <size = 3> (x)
        }"""
    ),
}
