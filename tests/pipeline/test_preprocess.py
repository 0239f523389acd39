"""Artifacts that take frames of a camera: what they compute, and what judges them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from edgesparse_runtime import Model

import edgesparse
from edgesparse.errors import FrontendError, PruneError
from edgesparse.frontend import preprocessed
from tests.cli.models import classifier
from tests.models import assert_close, ort_run
from tests.pictures import prepared

MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
NORMAL = "mean=123.7:116.3:103.5,std=58.4:57.1:57.4"


@dataclass(frozen=True)
class Case:
    """An input, what is said of its frames, and the same by hand."""

    text: str
    frame: tuple[int, ...]
    size: tuple[int, int]
    shape: str = "1, 3, h, w"
    kind: str = "float"
    by_hand: dict = field(default_factory=dict)


CASES = {
    "as_it_is": Case("", (8, 9, 3), (9, 8), "1, 3, 8, 9"),
    "numbers": Case(f"uint8,nhwc,rgb,{NORMAL}", (7, 8, 3), (8, 7), "1, 3, 7, 8", by_hand={"mean": MEAN, "std": STD}),
    "smaller": Case(f"from=33x47,size=9x7,{NORMAL}", (47, 33, 3), (9, 7), by_hand={"mean": MEAN, "std": STD}),
    "larger": Case("from=7x9,size=33x8,std=255", (9, 7, 3), (33, 8), by_hand={"std": (255.0,)}),
    "one_pixel": Case("from=1x1,size=8x7,mean=1", (1, 1, 3), (8, 7), by_hand={"mean": (1.0,)}),
    "to_one_pixel": Case("from=8x33,size=1x1", (33, 8, 3), (1, 1)),
    "blue_first": Case(
        f"bgr,from=9x8,size=7x7,{NORMAL}", (8, 9, 3), (7, 7), by_hand={"mean": MEAN, "std": STD, "flip": True}
    ),
    "planes": Case(f"nchw,from=9x8,{NORMAL}", (3, 8, 9), (7, 7), "N, 3, 7, 7", by_hand={"mean": MEAN, "std": STD}),
    "blue_planes": Case("nchw,bgr", (3, 8, 9), (9, 8), "N, 3, 8, 9", by_hand={"flip": True}),
    "wide": Case(
        f"from=33x9,size=16x16,letterbox,{NORMAL}",
        (9, 33, 3),
        (16, 16),
        by_hand={"mean": MEAN, "std": STD, "letterbox": True},
    ),
    "tall": Case("bgr,from=7x32,size=17x16,letterbox", (32, 7, 3), (17, 16), by_hand={"flip": True, "letterbox": True}),
    "numbers_already": Case(
        "float32,from=8x8,size=5x9,mean=0.5,std=0.25", (8, 8, 3), (5, 9), by_hand={"mean": (0.5,), "std": (0.25,)}
    ),
    "grey": Case(
        "from=9x7,size=8x8,mean=33.3,std=78.6", (7, 9), (8, 8), "1, 1, h, w", by_hand={"mean": (33.3,), "std": (78.6,)}
    ),
    "channels_last": Case(f"from=9x8,{NORMAL}", (8, 9, 3), (7, 5), "1, 5, 7, 3", by_hand={"mean": MEAN, "std": STD}),
    "half": Case(f"from=9x8,size=4x4,{NORMAL}", (8, 9, 3), (4, 4), kind="float16", by_hand={"mean": MEAN, "std": STD}),
    "double": Case(f"from=9x8,size=4x4,{NORMAL}", (8, 9, 3), (4, 4), kind="double", by_hand={"mean": MEAN, "std": STD}),
    "channels_open": Case("rgb,from=9x8,size=4x4", (8, 9, 3), (4, 4), shape="a, b, c, d"),
}
TEXTS = {name: f"{name}={case.text}" for name, case in CASES.items()}
KINDS = {"float": np.float32, "float16": np.float16, "double": np.float64}


COMPILED = ("smaller", "larger", "blue_planes", "wide", "grey", "channels_last", "half")
"""What is compiled too; the others are the same kernels."""


def negation(opset: int = 20, names: Sequence[str] = tuple(CASES)) -> onnx.ModelProto:
    """A model that gives the negative of each of its inputs."""

    def named(name: str, case: Case) -> str:
        return f"{case.kind}[{case.shape.replace('h', f'{name}_h').replace('w', f'{name}_w')}] {name}"

    chosen = {name: CASES[name] for name in names}
    inputs = ", ".join(named(name, case) for name, case in chosen.items())
    outputs = ", ".join(named(name, case) + "_y" for name, case in chosen.items())
    nodes = " ".join(f"{name}_y = Neg ({name})" for name in chosen)
    return onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : {opset}]> g ({inputs}) => ({outputs}) {{ {nodes} }}'
    )


def frames(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.random(case.frame).astype(np.float32)
        if case.text.startswith("float32")
        else rng.integers(0, 256, case.frame).astype(np.uint8)
        for name, case in CASES.items()
    }


def by_hand(name: str, frame: np.ndarray) -> np.ndarray:
    """What the user's model is to be fed for a frame."""
    case = CASES[name]
    pixels = frame.transpose(1, 2, 0) if "nchw" in case.text else frame
    tensor = prepared(pixels, case.size, **case.by_hand)
    tensor = tensor.transpose(0, 2, 3, 1) if name == "channels_last" else tensor
    return tensor.astype(KINDS[case.kind])


def assert_by_hand(outputs, given, source):
    """The outputs are those of the user's model in ONNX Runtime, fed by hand."""
    fed = {name: by_hand(name, frame) for name, frame in given.items()}
    for name, actual, expected in zip(given, outputs, ort_run(source, fed), strict=True):
        tolerance = 2e-3 if CASES[name].kind == "float16" else 1e-5
        assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def test_frames_become_what_numpy_makes_of_them(tmp_path):
    source = negation(names=COMPILED)

    report = edgesparse.compile(source, output=tmp_path / "m.esp", preprocess=[TEXTS[name] for name in COMPILED])

    given = {name: frame for name, frame in frames(0).items() if name in COMPILED}
    with Model(report.artifact) as model:
        assert {tensor.name: tensor.shape for tensor in model.inputs} == {n: CASES[n].frame for n in COMPILED}
        assert_by_hand(model.run(given).values(), given, source)
    assert report.witness.code == "agrees"


@pytest.mark.parametrize("opset", [7, 10, 11, 12, 13, 18, 21])
def test_frames_become_the_same_whatever_opset_the_model_has(opset):
    source = ir.from_proto(negation(opset))
    source.ir_version = 3 if opset < 13 else 9  # the first of which wants constants to be inputs, too

    framed, _ = preprocessed(source, list(TEXTS.values()))

    given = frames(opset)
    assert_by_hand(ort_run(framed, given), given, source)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("model") / "model.onnx")


TEXT = f"image=bgr,from=20x12,{NORMAL}"


def expected_scores(model, frame):
    return ort_run(model, {"image": prepared(frame, (8, 8), MEAN, STD, flip=True).astype(np.float32)})[0]


def test_verify_bench_and_explain_take_the_frames_that_the_artifact_takes(model, tmp_path):
    report = edgesparse.compile(model, output=tmp_path / "m.esp", preprocess=TEXT)
    frame = np.random.default_rng(3).integers(0, 256, (12, 20, 3)).astype(np.uint8)

    checked = edgesparse.verify(report.artifact, model, inputs={"image": frame})
    measured = edgesparse.bench(report.artifact, against=["onnxruntime"], model=model, seconds=0.1)
    explained = edgesparse.explain(model, preprocess=TEXT)

    assert_close(edgesparse.run(report.artifact, [frame])["scores"], expected_scores(model, frame))
    assert checked.agrees and len(checked.plans[0].layers) >= 6
    assert edgesparse.verify(report.artifact, model, layers=False).agrees
    assert [contender.runtime for contender in measured.contenders] == ["edgesparse", "onnxruntime"]
    assert explained.other_ops["Resize"] == 1


def test_frames_are_the_samples_that_pruning_goes_by(model, tmp_path):
    images = np.random.default_rng(4).integers(0, 256, (70, 12, 20, 3)).astype(np.uint8)

    report = edgesparse.compile(
        model, output=tmp_path / "m.esp", preprocess=TEXT, sparsity=0.5, calibration={"image": images}
    )

    assert report.pruning.agreement[0].samples == 32
    assert edgesparse.verify(report.artifact, model, calibration={"image": images}, layers=False).agrees
    with pytest.raises(PruneError, match=r"image: got float32 samples, expected uint8"):
        edgesparse.compile(
            model,
            output=tmp_path / "m.esp",
            preprocess=TEXT,
            sparsity=0.5,
            calibration={"image": np.zeros((70, 3, 8, 8), np.float32)},
        )


def test_a_size_that_the_file_leaves_open_may_be_given_as_a_shape(tmp_path):
    text = """<ir_version: 9, opset_import: ["" : 20]> g (float[n,3,h,w] x, float[n] z) => (float[n] y) {
        a = ReduceMean <keepdims = 0> (x, axes) y = Add (a, z)
    }"""
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 2, 3]), "axes"))
    onnx.save(proto, tmp_path / "m.onnx")

    report = edgesparse.compile(
        tmp_path / "m.onnx", output=tmp_path / "m.esp", preprocess="x=std=255", input_shapes={"x": (1, 3, 4, 5)}
    )

    assert [tensor.shape for tensor in edgesparse.inspect(report.artifact).inputs] == [(4, 5, 3), (1,)]
    with pytest.raises(FrontendError, match="x: the model takes pictures of any size; say which with size=224x224"):
        edgesparse.compile(tmp_path / "m.onnx", output=tmp_path / "m.esp", preprocess="x=std=255")


def test_a_recipe_says_it_too_and_errors_are_one_line(command, model, tmp_path):
    (tmp_path / "r.yaml").write_text(f"preprocess: '{TEXT}'\nlabels: names.txt\n")
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\ne\n")

    done = command("compile", model, "-o", "m.esp", "--recipe", "r.yaml")
    wrong = command("compile", model, "-o", "n.esp", "--preprocess", "image=uint8,nwhc")

    assert done.returncode == 0, done.stderr
    assert edgesparse.inspect(tmp_path / "m.esp").inputs[0].shape == (12, 20, 3)
    assert edgesparse.inspect(tmp_path / "m.esp").labels == tuple("abcde")
    assert wrong.returncode == 1 and not (tmp_path / "n.esp").exists()
    assert wrong.error == "edgesparse: preprocess: image: unknown part 'nwhc'; did you mean 'nhwc'?"
