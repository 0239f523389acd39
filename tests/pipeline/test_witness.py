"""The witness: on which inputs it looks, what it lets pass, and what it cannot judge."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import edgesparse
from edgesparse.errors import WitnessError
from edgesparse.frontend import load
from edgesparse.frontend.shapes import infer_shapes
from edgesparse.pipeline import preparing, witness
from edgesparse.pipeline.ranges import seeded_inputs
from edgesparse.pipeline.unsteady import is_rounding
from tests.frontend.graphs import floats, model
from tests.models import ort_run


@pytest.mark.parametrize(
    ("declared", "body", "low", "high"),
    [
        ("int64[99] i", "y = Gather (t, i)", 0, 6),
        ("int32[99] i", "y = Gather <axis = 1> (t, i)", 0, 4),
        ("int64[99] i", "r = Reshape (i, column) c = Cast <to = 6> (r) y = Gather (t, c)", 0, 6),
        ("int64[99] i", "s = Add (i, two) y = Gather (t, s)", -2, 4),
        ("int64[99] i", "s = Sub (two, i) y = Gather (t, s)", -4, 2),
        ("int64[99] i", "s = Mul (i, two) y = Gather (t, s)", 0, 3),
        ("float[99] i", "s = Cast <to = 7> (i) y = Gather (t, s)", 0, 6),
        ("int64[99] i", "a = Gather (t, i) b = Gather <axis = 1> (t, i) c = ReduceSum (a) y = Mul (b, c)", 0, 4),
        ("int64[99, 2] i", "y = GatherND (t, i)", 0, 4),
        ("int64[1, 5] i", "y = GatherElements (t, i)", 0, 6),
        ("int64[99] i", "y = OneHot (i, depth, onoff)", 0, 3),
        ("int32[99] i", "s = Cast <to = 6> (two) y = Div (s, i)", 1, 3),
        ("int64[99] i", "y = Mod (i, i)", 1, 3),
        ("uint8[999] i", "c = Cast <to = 1> (i) y = Relu (c)", 0, 255),
        ("int8[999] i", "c = Cast <to = 1> (i) y = Relu (c)", -128, 127),
        ("bool[99] i", "y = Not (i)", False, True),
        ("int64[999] i", "y = Pow (i, forty)", -2, 2),
        ("int64[999] i", "s = Pow (i, forty) y = Pow (s, two)", -1, 1),
        ("int32[999] i", "y = ReduceProd (i)", 0, 1),
        ("uint8[999] i", "c = Cast <to = 6> (i) y = Pow (c, forty)", 0, 1),
    ],
)
def test_inputs_cover_the_range_that_their_uses_allow(declared, body, low, high):
    constants = {
        "t": floats(7, 5),
        "two": np.array([2]),
        "forty": np.array([40]),
        "column": np.array([99, 1]),
        "depth": np.array(4),
        "onoff": np.float32([0, 1]),
    }
    source = model(f"g ({declared}) => (y) {{ {body} }}", **{k: v for k, v in constants.items() if k in body})

    feeds = seeded_inputs(load(source))

    assert np.floor(feeds["i"]).min() >= low and feeds["i"].max() <= high
    if feeds["i"].size > 90:
        assert {low, high} <= set(np.round(feeds["i"]).ravel().tolist())
    ort_run(source, feeds)


def test_ranges_reach_inputs_through_any_number_of_nodes():
    steps = [f"v{at + 1} = Identity (v{at})" for at in range(3000)]
    text = f"g (int64[64] v0) => (float[64] y) {{ {' '.join(steps)} y = Gather (w, v3000) }}"

    found = seeded_inputs(infer_shapes(model(text, w=floats(5))))["v0"]

    assert found.min() == 0
    assert found.max() == 4


def test_what_is_random_or_unknown_to_onnx_runtime_is_not_judged_and_not_refused(tmp_path):
    source = model("g (float[4] x) => (float[4] y) { y = Swish <alpha = 1.0> (x) }", opset=24)

    seen = edgesparse.compile(source, output=tmp_path / "out.esp").witness

    assert (tmp_path / "out.esp").exists()
    if not seen.imported.startswith("agrees"):
        assert seen.imported.startswith("not judged: ONNX Runtime cannot open")


@pytest.mark.parametrize("made", ["x", "h"])
def test_numbers_that_a_type_does_not_hold_are_not_judged(made, tmp_path):
    """ONNX Runtime makes of a negative number what the processor makes of it, we make 0."""
    source = model(
        f"g (float[64] x) => (float[64] h, uint8[64] y) {{ h = Mul (x, x) n = Neg ({made}) y = Cast <to = 2> (n) }}"
    )

    seen = edgesparse.compile(source, output=tmp_path / "out.esp").witness

    assert seen.imported == "agrees"
    assert seen.code == "not judged: Cast 'y' casts numbers that uint8 does not hold"


def test_constants_that_a_type_does_not_hold_are_not_judged(tmp_path):
    source = model(
        "g (uint16[4] x) => (uint16[3] y, uint16[4] z) { y = CastLike (c, x) z = Add (x, x) }",
        c=np.float64([-1.5, 2.5, 70000]),
    )

    seen = edgesparse.compile(source, output=tmp_path / "out.esp").witness

    assert seen.imported in ("agrees", "not judged: CastLike that computes 'y' casts numbers that uint16 does not hold")


def test_powers_that_a_type_does_not_hold_are_not_judged(tmp_path):
    """ONNX Runtime computes them in float64; ours wrap, as products do."""
    body = "m = Mul (x, x) y = Pow (m, forty)"
    source = model(f"g (int32[64] x) => (int32[64] y) {{ {body} }}", forty=np.int32([40]))

    seen = edgesparse.compile(source, output=tmp_path / "out.esp").witness

    assert seen.imported == "agrees"
    assert seen.code == "not judged: Pow 'y' gives numbers that int32 does not hold"


def test_a_choice_among_numbers_and_nan_is_not_judged(tmp_path):
    """ONNX Runtime takes another NaN, or none, with another shape of the same numbers."""
    source = model("g (float[400] x) => (float[400] y, int64[1] z) { y = Sqrt (x) z = ArgMax (y) }")

    seen = edgesparse.compile(source, output=tmp_path / "out.esp").witness

    assert seen.code in ("agrees", "not judged: ArgMax 'z' chooses among numbers and NaN")


def test_a_model_that_fills_the_memory_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(witness, "MOST_BYTES", 100)

    seen = edgesparse.compile(model("g (float[99] x) => (float[99] y) { y = Neg (x) }"), output=tmp_path / "o.esp")

    assert seen.witness.imported == seen.witness.code
    assert seen.witness.code.startswith("not judged: its values take ")


def test_code_for_another_machine_is_judged_by_its_normal_form(tmp_path):
    source = model("g (float[4] x) => (float[4] y) { y = Neg (x) }")

    seen = edgesparse.compile(source, "rpi4", tmp_path / "out.esp").witness

    assert seen.imported == "agrees"
    assert seen.code.startswith("not judged: built for aarch64")


def test_no_witness_looks_when_none_is_wanted(tmp_path, command):
    import onnx_ir as ir

    ir.save(model("g (float[4] x) => (float[4] y) { y = Neg (x) }"), tmp_path / "m.onnx")
    (tmp_path / "recipe.yaml").write_text("witness: false\n")

    assert edgesparse.compile(tmp_path / "m.onnx", output=tmp_path / "a.esp", witness=False).witness is None
    assert "against ONNX Runtime" not in command("compile", "m.onnx", "--no-witness").stdout
    assert "against ONNX Runtime" not in command("compile", "m.onnx", "--recipe", "recipe.yaml").stdout
    assert "against ONNX Runtime: import agrees, code agrees" in command("compile", "m.onnx").stdout


def lossy(scale):
    """`normalised` with an output that is wrong by a share of itself."""

    def wrong(source, input_shapes, progress, normalised=preparing.normalised):
        normal = normalised(source, input_shapes, progress)
        last = normal.graph.outputs[0].producer()
        last.inputs[1].const_value.numpy()
        import onnx_ir as ir

        array = last.inputs[1].const_value.numpy() * np.float32(1 + scale)
        last.inputs[1].const_value = ir.tensor(array, name=last.inputs[1].name)
        return normal

    return wrong


def test_errors_beyond_the_tolerance_of_verify_end_the_compilation(tmp_path, monkeypatch):
    source = model("g (float[8, 4] x) => (float[8, 4] y) { y = MatMul (x, w) }", w=floats(4, 4))
    monkeypatch.setattr(preparing, "normalised", lossy(0.01))

    with pytest.raises(WitnessError, match=r"import changed output 'y' \(max error 0.01.*\): this is our fault"):
        edgesparse.compile(source, output=tmp_path / "out.esp")

    assert not (tmp_path / "out.esp").exists()


def test_outputs_that_an_ulp_moves_further_are_let_pass(tmp_path):
    """The sine of what is large turns the last bits of a product into anything; an input is a number."""
    text = """g (float[64, 4] x, float k) => (float[64, 8] y) {
        m = MatMul (x, w) s = Mul (m, big) t = Add (s, k) y = Sin (t)
    }"""

    source = model(text, w=floats(4, 8), big=np.float32([3e5]))
    seen = edgesparse.compile(source, output=tmp_path / "o.esp").witness

    assert seen.imported == seen.code == "agrees"
    normal, x = load(source), {"x": floats(64, 4, seed=1), "k": np.array(1, np.float32)}
    assert abs(ort_run(normal, x)[0] - ort_run(source, x)[0]).max() > 1e-3  # verify would not tolerate it


def test_halves_that_onnx_runtime_keeps_in_float32_are_let_pass(tmp_path):
    """Sums above 2,048 that are rounded before their sine is taken; no number in the model is a half."""
    text = """g (int8[16, 300] x) => (float16[16] y) {
        c = Cast <to = 10> (x) a = Abs (c) s = ReduceSum <keepdims = 0> (a, axis) y = Sin (s)
    }"""
    ir.save(model(text, axis=np.array([1])), tmp_path / "m.onnx")

    seen = edgesparse.compile(tmp_path / "m.onnx", output=tmp_path / "o.esp").witness

    assert seen.imported == seen.code == "agrees"
    assert edgesparse.verify(tmp_path / "o.esp", tmp_path / "m.onnx").agrees


@pytest.mark.parametrize(
    "text",
    [
        """g (uint8[1,16,56,56] x) => (uint8[1,32,56,56] y) {
            d = DequantizeLinear(x, s, z) a = Conv<pads=[1,1,1,1]>(d, w) y = QuantizeLinear(a, t, z) }""",
        """g (float[1,16,56,56] x) => (uint8[1,32,56,56] y) {
            a = Conv<pads=[1,1,1,1]>(x, w) y = QuantizeLinear(a, t, z) }""",
    ],
)
def test_integers_that_another_rounding_moves_are_let_pass_by_the_witness_and_by_verify(text, tmp_path):
    """Some of 100,352 numbers lie between two steps; integers as inputs cannot be moved, so that the weights are."""
    numbers = {"s": np.float32(0.0173), "t": np.float32(0.31), "z": np.uint8(128), "w": floats(32, 16, 3, 3)}
    ir.save(model(text, **{key: numbers[key] for key in numbers if f" {key}" in text}), tmp_path / "m.onnx")

    seen = edgesparse.compile(tmp_path / "m.onnx", output=tmp_path / "o.esp").witness

    assert (seen.imported, seen.code) == ("agrees", "agrees")
    inputs = {"x": np.random.default_rng(0).standard_normal((1, 16, 56, 56)).astype(np.float32)}
    if "uint8[1,16" in text:
        inputs = {"x": np.random.default_rng(0).integers(0, 256, (1, 16, 56, 56)).astype(np.uint8)}
    report = edgesparse.verify(tmp_path / "o.esp", tmp_path / "m.onnx", inputs=inputs)
    assert report.agrees and report.plans[0].first_divergence is None


def test_many_integers_off_by_one_are_not_let_pass():
    expected, moved = np.zeros(1000, np.uint8), np.zeros(1000, np.uint8)
    moved[7] = 1

    assert is_rounding(moved[::-1].copy(), expected, [moved])
    assert not is_rounding(np.ones(1000, np.uint8), expected, [moved])
    assert not is_rounding(2 * moved, expected, [moved])


def test_the_first_of_the_samples_is_looked_at(tmp_path):
    """The samples are the only inputs that fit: made-up ones would be indices beyond the table."""
    text = "g (int64[1, 4] ids) => (float[1, 4, 8] y) { s = Mul (ids, ids) e = Gather (t, s) y = MatMul (e, w) }"
    samples = {"ids": np.random.default_rng(0).integers(0, 3, (8, 4))}

    source = model(text, t=floats(5, 8), w=floats(8, 8))
    seen = edgesparse.compile(source, output=tmp_path / "o.esp", sparsity=0.5, calibration=samples).witness

    assert (seen.imported, seen.code) == ("agrees", "agrees")
