"""PyTorch models arrive as ONNX: the same numbers, and readable names."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")
from torch import nn  # noqa: E402

from edgesparse.errors import FrontendError  # noqa: E402
from edgesparse.frontend import describe, read  # noqa: E402
from edgesparse.sparsity.weights import find_weights  # noqa: E402
from tests.models import assert_close, ort_run  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")


class Block(nn.Module):
    """A residual block as classifiers have it, and a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 5)

    def forward(self, image, scale):
        x = self.stem(image).relu()
        x = (self.body(x) + x).mean((2, 3))
        return {"scores": self.head(x) * scale, "features": x}


class Tied(nn.Module):
    """A table of words that is the last layer's weight too."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(40, 8)
        self.back = nn.Linear(8, 40, bias=False)
        self.back.weight = self.words.weight

    def forward(self, ids):
        return self.back(self.words(ids))


class Branching(nn.Module):
    """Goes one way or the other by a value."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


class Bessel(nn.Module):
    """Computes what ONNX has no operator for."""

    def forward(self, x):
        return torch.special.bessel_j0(x)


class Counting(nn.Module):
    """Keeps a sum from one inference to the next, and counts them."""

    def __init__(self, *, read):
        super().__init__()
        self.read = read
        self.register_buffer("sum", torch.zeros(2))

    def forward(self, x):
        self.sum += x
        return self.sum * 2 if self.read else x * 2


class Returning(nn.Module):
    """Returns what it is given, through what it is given."""

    def __init__(self, outputs):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([3.0, 5.0]))
        self.outputs = outputs

    def forward(self, x):
        return self.outputs(x, self.scale)


IMAGE, SCALE = torch.randn(1, 3, 9, 9, generator=torch.Generator().manual_seed(1)), torch.full((1, 1), 3.0)
EXAMPLES = {
    "tensors in order": (IMAGE, SCALE),
    "arrays in order": [IMAGE.numpy(), SCALE.numpy()],
    "by name": {"scale": SCALE, "image": IMAGE.numpy()},
}


def run(model, *arrays):
    """Outputs of `model` in ONNX Runtime by name."""
    feeds = {value.name: array for value, array in zip(model.graph.inputs, arrays, strict=True)}
    return dict(zip([value.name for value in model.graph.outputs], ort_run(model, feeds), strict=True))


def expected(module, *tensors):
    with torch.no_grad():
        return module.eval()(*tensors)


@pytest.fixture(scope="module")
def block():
    return read(Block(), (IMAGE, SCALE))


@pytest.mark.parametrize("examples", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_module_computes_the_same(examples):
    module = Block()

    model = read(module, examples)

    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    tensors = {"image": IMAGE.numpy(), "scale": SCALE.numpy()}
    outputs = run(model, *(tensors[value.name] for value in model.graph.inputs))
    for name, tensor in expected(module, IMAGE, SCALE).items():
        assert_close(outputs[name], tensor.numpy(), rtol=1e-5, atol=1e-6)


def test_names_are_those_of_the_module(block):
    nodes = [node.name for node in block.graph]

    assert [value.name for value in block.graph.inputs] == ["image", "scale"]
    assert [value.name for value in block.graph.outputs] == ["scores", "features"]
    assert nodes == ["stem", "Relu", "body.0", "body.1", "Add", "ReduceMean", "head", "Mul"]
    parameters = {name for name in block.graph.initializers if not name.startswith("val_")}
    assert parameters == set(Block().state_dict()) - {"body.1.num_batches_tracked"}


def test_layers_without_a_bias_get_none(block):
    layers = {node.name: node for node in block.graph}

    assert len(layers["stem"].inputs) == 3 and len(layers["body.0"].inputs) == 2


def test_tied_weight_is_stored_once_and_is_a_layer():
    model = read(Tied(), torch.zeros(1, 4, dtype=torch.int64))

    (ref,) = find_weights(model)
    assert ref.node == "back" and (ref.m, ref.k) == (40, 8)
    assert describe(model).parameters == 40 * 8


def test_unnamed_outputs_are_numbered():
    class Two(nn.Module):
        def forward(self, x):
            return x + 1, [x * 2, x * 3]

    model = read(Two(), torch.ones(2))

    assert [value.name for value in model.graph.outputs] == ["output_0", "output_1_0", "output_1_1"]
    np.testing.assert_array_equal(run(model, np.ones(2, np.float32))["output_1_1"], [3, 3])


def test_output_may_be_called_as_an_input():
    class Same(nn.Module):
        def forward(self, x):
            return {"x": x + 1}

    model = read(Same(), torch.ones(2))

    assert [value.name for value in model.graph.outputs] == ["x_output"]
    np.testing.assert_array_equal(run(model, np.ones(2, np.float32))["x_output"], [2, 2])


RETURNED = {
    "an input": (lambda x, scale: x, {"output": [1, 2]}),
    "a value twice": (lambda x, scale: [x + 1] * 2, {"output_0": [2, 3], "output_1": [2, 3]}),
    "an input twice": (lambda x, scale: (x, x), {"output_0": [1, 2], "output_1": [1, 2]}),
    "a weight by its name": (lambda x, scale: {"scale": scale, "y": x}, {"scale_output": [3, 5], "y": [1, 2]}),
    "None before it": (lambda x, scale: {"loss": None, "y": x * scale}, {"y": [3, 10]}),
}


@pytest.mark.parametrize(("outputs", "expected"), RETURNED.values(), ids=RETURNED.keys())
def test_outputs_are_told_apart_whatever_they_are(outputs, expected):
    model = read(Returning(outputs), torch.ones(2))

    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert [value.name for value in model.graph.inputs] == ["x"]
    actual = run(model, np.array([1, 2], np.float32))
    assert {name: array.tolist() for name, array in actual.items()} == expected


def test_state_that_nothing_reads_is_left_out():
    model = read(Counting(read=False), torch.ones(2))

    assert [node.op_type for node in model.graph] == ["Mul"]


def test_equal_modules_give_equal_bytes_that_tell_nothing_of_the_machine(block):
    again = read(Block(), (IMAGE, SCALE))

    first, second = (ir.to_proto(model).SerializeToString(deterministic=True) for model in (block, again))

    assert first == second
    assert b".py" not in first and b"torch.fx" not in first


def test_module_is_evaluated_and_not_changed():
    module = Block().train()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    model = read(module, (IMAGE, SCALE))

    assert "BatchNormalization" in describe(model).ops
    assert module.training and all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_floats_become_float32(dtype):
    module = nn.Sequential(nn.Linear(6, 4)).to(dtype)
    x = torch.linspace(-1, 1, 12).reshape(2, 6).to(dtype)

    model = read(module, x)

    assert describe(model).inputs[0].dtype == "float32"
    (actual,) = run(model, x.float().numpy()).values()
    np.testing.assert_allclose(actual, expected(module.float(), x.float()).numpy(), rtol=1e-5, atol=1e-6)


def test_recurrent_layer_computes_the_same():
    torch.manual_seed(0)
    module = nn.LSTM(6, 4, batch_first=True)
    x = torch.randn(2, 5, 6)

    (actual, *_) = run(read(module, x), x.numpy()).values()

    assert_close(actual, expected(module, x)[0].numpy(), rtol=1e-5, atol=1e-6)


def test_file_of_torch_export_computes_the_same(tmp_path):
    module = Block().eval()
    torch.export.save(torch.export.export(module, (IMAGE, SCALE)), tmp_path / "block.pt2")

    outputs = run(read(tmp_path / "block.pt2"), IMAGE.numpy(), SCALE.numpy())

    for name, tensor in expected(module, IMAGE, SCALE).items():
        assert_close(outputs[name], tensor.numpy(), rtol=1e-5, atol=1e-6)


def test_free_sizes_of_an_exported_program_stay_free():
    batch = torch.export.Dim("batch")
    program = torch.export.export(nn.Linear(6, 4), (torch.ones(3, 6),), dynamic_shapes=({0: batch},))

    (size, features) = describe(read(program)).inputs[0].shape

    assert isinstance(size, str) and features == 6


HERE = r"test_torch\.py:\d+"
REFUSED = {
    "no examples": (Block(), None, "Block: a module needs example inputs to be traced with; remedy: pass example_in"),
    "too few examples": (
        Block(),
        IMAGE,
        r"Block: example inputs do not fit: missing .*'scale'; expected those of forward\(image, scale\)$",
    ),
    "wrong shape": (
        nn.Sequential(nn.ReLU(), nn.Linear(4, 2)),
        torch.ones(1, 5),
        r"Sequential: torch.export cannot trace it \(layer '1'\): RuntimeError: .*reduction",
    ),
    "wrong shape outermost": (nn.Linear(4, 2), torch.ones(1, 5), "Linear: torch.export cannot trace it: RuntimeErr"),
    "raises": (
        Returning(lambda x, scale: x.no_such_method()),
        torch.ones(3),
        rf"Returning: torch.export cannot trace it \({HERE}\): AttributeError: .*no_such_method",
    ),
    "decides by data": (
        nn.Sequential(Branching()),
        torch.ones(3),
        rf"Sequential: torch.export cannot trace it \(layer '0', {HERE}\): what it computes depends on the values of "
        "a tensor, expected on shapes only; remedy: choose with torch.where, or leave",
    ),
    "unknown operator": (
        nn.Sequential(Bessel()),
        torch.ones(3),
        r"Sequential: torch.onnx cannot export it \(layer '0'\): ONNX has nothing for prims.bessel_j0; remedy: write",
    ),
    "number returned": (
        Returning(lambda x, scale: (x, len(x))),
        torch.ones(3),
        "Returning: output 'output_1' is 3, expected a tensor; remedy: return tensors only",
    ),
    "nothing returned": (Returning(lambda x, scale: None), torch.ones(3), "Returning: it returns nothing, expected a"),
    "state": (Counting(read=True), torch.ones(2), "Counting: buffer 'sum' changes from one inference to the next, exp"),
    "no model": (object(), None, "object: got object, expected a torch.nn.Module, an ExportedProgram or an ONNX model"),
    "a class": (Block, IMAGE, "type: got type, expected a torch.nn.Module"),
    "lazy": (
        nn.LazyLinear(3),
        torch.ones(1, 4),
        "LazyLinear: has lazy layers that know no shapes yet; remedy: run",
    ),
    "examples of a kind": (Block(), 3, "Block: example inputs: got int, expected a tensor, a list or tuple, or a dict"),
    "examples of words": (
        Block(),
        np.array(["a"]),
        "Block: example inputs: TypeError: can't convert np.ndarray",
    ),
    "ONNX": (onnx.ModelProto(), IMAGE, "ModelProto: is ONNX; example inputs are for PyTorch modules only"),
}


@pytest.mark.parametrize(("source", "examples", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_imported_is_one_line(capfd, source, examples, message):
    with pytest.raises(FrontendError, match=f"^{message}") as caught:
        read(source, examples)

    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_exported_program_takes_no_examples():
    program = torch.export.export(nn.Linear(6, 4), (torch.ones(3, 6),))

    with pytest.raises(FrontendError, match="^ExportedProgram: is exported already; example inputs are for modules"):
        read(program, torch.ones(3, 6))


def test_missing_file_says_so(tmp_path):
    with pytest.raises(FrontendError, match=r"absent\.pt2: cannot be read: there is no such file"):
        read(tmp_path / "absent.pt2")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18)], ids=["empty", "text", "empty zip"])
def test_file_that_is_no_program_is_one_line(tmp_path, content):
    (tmp_path / "bad.pt2").write_bytes(content)

    with pytest.raises(FrontendError, match=r"bad\.pt2: not a file by torch\.export\.save") as caught:
        read(tmp_path / "bad.pt2")

    assert "\n" not in str(caught.value)
