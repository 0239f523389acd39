"""Recovery comes nearer to the dense outputs, keeps the zeros, and needs no labels."""

from __future__ import annotations

from functools import partial
from itertools import count

import numpy as np
import onnx_ir as ir
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")

import edgesparse  # noqa: E402
from edgesparse.errors import EdgesparseError, PruneError  # noqa: E402
from edgesparse.prune import prune, shrink  # noqa: E402
from edgesparse.torch import recover  # noqa: E402
from edgesparse.torch.augment import SHIFT, flip, shift  # noqa: E402
from edgesparse.torch.channels import left  # noqa: E402
from tests.cli.test_commands import result  # noqa: E402
from tests.frontend.graphs import floats, model  # noqa: E402
from tests.models import ort_run  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")

RESIDUAL = """g (float[n, 4, 6, 6] x) => (float[n, 5] y) {
    [stem] a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    r = Relu (a)
    [in] b = Conv <pads = [1, 1, 1, 1]> (r, w2, b2)
    s = Relu (b)
    [out] c = Conv <pads = [1, 1, 1, 1]> (s, w3)
    t = Add (c, r)
    u = Relu (t)
    [deep] d = Conv <pads = [1, 1, 1, 1]> (u, w4)
    v = Add (d, u)
    p = GlobalAveragePool (v)
    f = Flatten (p)
    [head] y = MatMul (f, w5)
}"""
ATTENTION = """g (float[n, 6, 16] x) => (float[n, 6, 16] y) {
    [query] q = MatMul (x, w1)
    [key] k = MatMul (x, w2)
    [value] v = MatMul (x, w3)
    t = Transpose <perm = [0, 2, 1]> (k)
    a = MatMul (q, t)
    s = Softmax (a)
    c = MatMul (s, v)
    [out] o = MatMul (c, w4)
    r = Add (x, o)
    n1 = LayerNormalization (r, scale)
    [up] u = MatMul (n1, w5)
    g1 = Relu (u)
    [down] d = MatMul (g1, w6)
    y = Add (d, r)
}"""
RECURRENT = """g (float[7, 1, 8] x) => (float[1, 6] y) {
    [in] e = MatMul (x, w1)
    all, last = LSTM <hidden_size = 10> (e, w2, w3, b)
    axes = Constant <value = int64[1] {0}> ()
    h = Squeeze (last, axes)
    [head] y = MatMul (h, w4)
}"""
NETWORKS = {
    "residual": (
        RESIDUAL,
        (4, 6, 6),
        {
            "w1": (8, 4, 3, 3),
            "b1": (8,),
            "w2": (9, 8, 3, 3),
            "b2": (9,),
            "w3": (8, 9, 3, 3),
            "w4": (8, 8, 3, 3),
            "w5": (8, 5),
        },
    ),
    "attention": (
        ATTENTION,
        (6, 16),
        {
            "w1": (16, 16),
            "w2": (16, 16),
            "w3": (16, 16),
            "w4": (16, 16),
            "scale": (16,),
            "w5": (16, 24),
            "w6": (24, 16),
        },
    ),
    "recurrent": (
        RECURRENT,
        (7, 1, 8),
        {"w1": (8, 8), "w2": (1, 40, 8), "w3": (1, 40, 10), "b": (1, 80), "w4": (10, 6)},
    ),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small gain nothing by more."""
    held = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(held)


def network(name):
    text, shape, sizes = NETWORKS[name]
    arrays = {key: floats(*size, seed=seed) / size[0] ** 0.5 for seed, (key, size) in enumerate(sizes.items())}
    return model(text, opset=17, **arrays), floats(160, *shape, seed=20), floats(24, *shape, seed=21)


def ticks():
    """A clock on which every step takes a second."""
    return partial(next, count())


def outputs(net, name, x):
    if name == "recurrent":
        return np.concatenate([ort_run(net, {"x": each})[0] for each in x])
    return ort_run(net, {"x": x})[0]


@pytest.mark.parametrize(("name", "left"), [("residual", 0.5), ("attention", 0.9), ("recurrent", 0.96)])
def test_recovery_comes_nearer_to_the_dense_outputs_and_keeps_the_zeros(name, left):
    dense, x, test = network(name)
    sparse = prune(dense, 0.4).model
    before = ir.to_proto(sparse).SerializeToString()

    found = recover(sparse, dense, {"x": x}, seconds=100, clock=ticks())

    exact, pruned, recovered = (outputs(net, name, test) for net in (dense, sparse, found.model))
    assert np.linalg.norm(recovered - exact) < left * np.linalg.norm(pruned - exact)
    assert found.error_after < found.error_before and found.steps == 99
    assert ir.to_proto(sparse).SerializeToString() == before
    for key, value in found.model.graph.initializers.items():
        array, old = value.const_value.numpy(), sparse.graph.initializers[key].const_value.numpy()
        if array.ndim > 1:
            np.testing.assert_array_equal(array != 0, old != 0)


def test_a_network_without_some_channels_recovers():
    dense, x, test = network("residual")
    smaller = shrink(dense, 0.3, multiple=1).model

    found = recover(smaller, dense, {"x": x}, seconds=100, clock=ticks(), augment=["flip", "shift"])

    exact, taken, recovered = (ort_run(net, {"x": test})[0] for net in (dense, smaller, found.model))
    assert np.linalg.norm(recovered - exact) < 0.9 * np.linalg.norm(taken - exact)


def test_channels_that_are_left_are_found_by_what_they_hold():
    generator = torch.Generator().manual_seed(0)
    for kept in ([0, 2, 3, 8], [1], list(range(9)), [8]):
        large = torch.randn(5, 9, 4, generator=generator)
        small = large[:, kept] + 0.3 * torch.randn(5, len(kept), 4, generator=generator)

        found = left(large, small)

        if len(kept) == 9:
            assert found is None  # nothing is gone
        else:
            assert torch.equal(found.of(large), large[:, kept])
    assert left(torch.zeros(5, 9, 4), torch.zeros(5, 3, 2)) is None and left(torch.zeros(5), torch.zeros(5, 1)) is None


def test_steps_are_the_same_whenever_the_seed_is():
    dense, x, _ = network("residual")
    sparse = prune(dense, 0.4).model

    def recovered(seed):
        return recover(sparse, dense, {"x": x}, seconds=20, seed=seed, clock=ticks(), augment=["shift"])

    first, second, other = (recovered(seed) for seed in (0, 0, 1))

    assert first.steps == 19 and first.error_after == second.error_after != other.error_after


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1)])
def test_images_are_mirrored_and_moved(order):
    images = torch.arange(1, 1 + 4 * 2 * 9 * 12, dtype=torch.float32).reshape(4, 2, 9, 12)
    around = torch.nn.functional.pad(images, (SHIFT,) * 4)
    places = [around[..., down : down + 9, right : right + 12] for down in range(9) for right in range(9)]
    generator = torch.Generator().manual_seed(0)
    back = np.argsort(order).tolist()

    mirrored = flip(images.permute(order), generator).permute(back)
    moved = [shift(images.permute(order), generator).permute(back) for _ in range(20)]

    whole = [torch.equal(one, other) for one, other in zip(mirrored, images, strict=True)]
    turned = [torch.equal(one, other.flip(-1)) for one, other in zip(mirrored, images, strict=True)]
    assert [one != other for one, other in zip(whole, turned, strict=True)] == [True] * 4 and 0 < sum(whole) < 4
    found = [next(at for at, place in enumerate(places) if torch.equal(one, place)) for one in moved]
    assert len(set(found)) > 10


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A dense model, and samples for it, in the working directory."""
    monkeypatch.chdir(tmp_path)
    dense, x, _ = network("residual")
    ir.save(dense, "dense.onnx")
    np.savez("samples.npz", x=x)


def test_the_command_writes_a_model_that_agrees_more(files, command):
    result(command("prune", "dense.onnx", "-o", "sparse.onnx", "--sparsity", "0.6", "--json"))

    told = result(
        command(
            *("recover", "sparse.onnx", "--teacher", "dense.onnx", "--calibration", "samples.npz"),
            *("-o", "out.onnx", "--time", "2s", "--json"),
        )
    )

    assert told["error_after"] < told["error_before"]
    assert told["after"][0]["relative_error"] < told["before"][0]["relative_error"]
    assert told["after"][0]["samples"] == 32


def test_pruning_can_end_in_recovery(files, command):
    options = ("--sparsity", "0.6", "--calibration", "samples.npz", "--json")

    plain = result(command("prune", "dense.onnx", "-o", "sparse.onnx", *options))
    found = result(command("prune", "dense.onnx", "-o", "better.onnx", *options, "--recover", "3s"))

    assert found["agreement"][0]["relative_error"] < plain["agreement"][0]["relative_error"]
    assert [row["nnz_after"] for row in found["layers"]] == [row["nnz_after"] for row in plain["layers"]]
    artifact = edgesparse.compile("dense.onnx", output="a.esp", sparsity=0.6, calibration="samples.npz", recover="1s")
    with pytest.raises(EdgesparseError, match="weights were recovered for 1s"):
        edgesparse.verify(artifact.artifact, "dense.onnx")


CONSTANTS = """g (float[n, 6] x) => (float[n, 4] y) {
    [held] w = Constant <value = float[4, 6] {1.0, -2.0, 0.0, 1.5, 0.5, -1.0, 0.5, 0.0, 1.0, -1.0, 2.0, 0.5,
                                             0.0, 1.0, 1.0, -0.5, 1.5, -2.0, 1.0, 0.5, -1.0, 2.0, 0.0, 1.0}> ()
    t = Transpose (w)
    m = MatMul (x, t)
    one = Constant <value_floats = [0.5]> ()
    y = Add (m, one)
}"""


def test_weights_of_constant_nodes_are_fitted_through_what_moves_them_and_single_numbers_stay():
    dense, x = model(CONSTANTS, opset=17), floats(80, 6)
    sparse = prune(dense, 0.5).model

    found = recover(sparse, dense, {"x": x}, seconds=100, clock=ticks()).model

    weight, shift = (
        node.attributes[name].value for node, name in zip(_constants(found), ("value", "value_floats"), strict=True)
    )
    before = _constants(sparse)[0].attributes["value"].value.numpy()
    np.testing.assert_array_equal(weight.numpy() != 0, before != 0)
    assert (weight.numpy() != before).any() and list(shift) == [0.5]
    exact, pruned, recovered = (ort_run(net, {"x": x})[0] for net in (dense, sparse, found))
    assert np.linalg.norm(recovered - exact) < np.linalg.norm(pruned - exact)


def _constants(net):
    return [node for node in net.graph if node.op_type == "Constant"]


OTHERS = {
    "expected the outputs of the pruned model, y and not z": "(float[n, 5] z) { z = MatMul (x, w) }",
    "teacher: y has shape \\[32, 7\\], expected \\[32, 5\\] as in": "(float[n, 7] y) { y = MatMul (x, v) }",
}


@pytest.mark.parametrize("message", OTHERS)
def test_another_network_is_no_teacher(message):
    text = "g (float[n, 6] x) => "
    sparse = model(text + "(float[n, 5] y) { y = MatMul (x, w) }", w=floats(6, 5))
    held = {
        name: array for name, array in {"w": floats(6, 5), "v": floats(6, 7)}.items() if f"{name})" in OTHERS[message]
    }
    teacher = model(text + OTHERS[message], **held)

    with pytest.raises(PruneError, match=message):
        recover(sparse, teacher, {"x": floats(320, 6)}, seconds=2, clock=ticks())


def test_a_network_that_gives_integers_is_judged_by_its_blocks():
    text = """g (float[n, 6] x) => (int64[n, 1] y) {
        h = MatMul (x, w)
        r = Relu (h)
        scores = MatMul (r, v)
        y = ArgMax <axis = 1> (scores)
    }"""
    dense, x = model(text, w=floats(6, 9), v=floats(9, 5, seed=1)), floats(160, 6)

    found = recover(prune(dense, 0.5).model, dense, {"x": x}, seconds=40, clock=ticks())

    assert found.error_after < found.error_before


def test_what_torch_computes_otherwise_is_not_fitted():
    text = """g (float[n, 3, 4] x) => (float[n, 3, 4] y) {
        b, mean, variance = BatchNormalization <training_mode = 1> (x, s, s, s, s)
        y = MatMul (b, w)
    }"""
    net = model(text, opset=17, s=np.ones(3, np.float32), w=floats(4, 4))

    with pytest.raises(PruneError, match="torch gives something else than ONNX Runtime up to y; prune without it"):
        recover(net, net, {"x": floats(40, 3, 4)}, seconds=2, clock=ticks())


def test_a_network_without_weights_is_not_fitted():
    net = model("g (float[n, 4] x) => (float[n, 4] y) { y = Relu (x) }")

    with pytest.raises(PruneError, match="no float32 weights that can be fitted"):
        recover(net, net, {"x": floats(40, 4)}, seconds=2, clock=ticks())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment": ["rain"]}, "augment 'rain' is unknown; expected one of flip, shift"),
        ({"calibration": None}, "recover needs calibration: about five hundred samples of every input"),
        ({"sparsity": None}, "calibration and recover say how to prune, and nothing says how much"),
    ],
)
def test_what_recovery_needs_is_said(files, options, message):
    given = {"sparsity": 0.5, "calibration": "samples.npz", "recover": "1s", **options}

    with pytest.raises(PruneError, match=message):
        edgesparse.prune("dense.onnx", "o.onnx", **given)
