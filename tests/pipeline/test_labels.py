"""From a picture in a file to the name of a class, by the command line and in Python."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import edgesparse
from edgesparse.errors import MeasureError, PackageError
from edgesparse.pipeline.labels import read_labels
from tests.cli.models import classifier
from tests.models import ort_run
from tests.pictures import prepared

LABELS = ("ant", "bee", "Käfer", "dog, puppy", "eel")
PIXELS = np.random.default_rng(1).integers(0, 256, (12, 20, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, its labels, an artifact that takes blue first, and pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    model = classifier(folder / "model.onnx")
    (folder / "labels.txt").write_text("\ufeff" + "\r\n".join(LABELS) + "\n\n", encoding="utf-8")
    text = "image=bgr,from=20x12,mean=127.5,std=127.5"
    report = edgesparse.compile(
        model, output=folder / "m.esp", preprocess=text, labels=folder / "labels.txt", witness=False
    )
    assert edgesparse.inspect(report.artifact).labels == LABELS
    Image.fromarray(PIXELS).save(folder / "frame.png")
    Image.fromarray(PIXELS).resize((60, 20)).save(folder / "wide.png")
    return folder


def scores_by_hand(folder, pixels):
    """What the user's model gives for red, green, blue."""
    fed = prepared(pixels, (8, 8), (127.5,), (127.5,))
    return ort_run(folder / "model.onnx", {"image": fed.astype(np.float32)})[0][0]


def test_a_picture_becomes_a_label(folder):
    answer = edgesparse.classify(folder / "m.esp", image=folder / "frame.png", top=3)

    scores = scores_by_hand(folder, PIXELS)
    assert [each.label for each in answer.top] == [LABELS[at] for at in np.argsort(-scores)[:3]]
    np.testing.assert_allclose([each.score for each in answer.top], np.sort(scores)[::-1][:3], rtol=1e-3, atol=1e-4)
    assert answer.note is None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("palette.png", lambda picture: picture.quantize(256)),
        ("alpha.png", lambda picture: picture.convert("RGBA")),
        ("lossless.webp", lambda picture: picture),
        ("grey.png", lambda picture: picture.convert("L")),
    ],
)
def test_whatever_kind_of_picture_becomes_a_frame(folder, name, change):
    picture = change(Image.fromarray(PIXELS))
    picture.save(folder / name, lossless=True)

    outputs = edgesparse.run(folder / "m.esp", image=folder / name)

    expected = scores_by_hand(folder, np.asarray(picture.convert("RGB")))
    np.testing.assert_allclose(outputs["scores"][0], expected, rtol=1e-3, atol=1e-3)


def test_a_picture_lying_on_its_side_is_turned_upright(folder):
    turned = Image.fromarray(np.rot90(PIXELS).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture must be turned clockwise
    turned.save(folder / "turned.png", exif=exif)

    answer = edgesparse.classify(folder / "m.esp", image=folder / "turned.png")

    assert answer.note is None
    np.testing.assert_allclose(answer.outputs["scores"][0], scores_by_hand(folder, PIXELS), rtol=1e-3, atol=1e-4)


def test_the_command_prints_labels_and_says_what_it_did_to_the_picture(command, folder):
    done = command("run", folder / "m.esp", "--image", folder / "wide.png", "--top", "2")
    as_json = command("run", folder / "m.esp", "--image", folder / "wide.png", "--json")

    answers = json.loads(as_json.stdout)
    note, _, *rows = done.stdout.splitlines()
    assert note == f"note: {folder}/wide.png: 60x20 pixels, scaled and cut to 20x12"
    assert [row.split(maxsplit=1)[1].strip() for row in rows] == [each["label"] for each in answers["top"][:2]]
    assert len(answers["top"]) == 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.png", None, "missing.png: cannot be read: No such file"),
        ("text.png", b"no picture", "text.png: is not a picture that Pillow reads; give a picture such as cat.jpg"),
        ("cut.png", "frame.png", "cut.png: cannot be read: .*; give a picture"),
        ("m.esp", None, "m.esp: is an edgesparse artifact, expected a picture; remedy: give a picture such as cat.jpg"),
    ],
)
def test_a_file_that_is_no_picture_is_refused(folder, name, content, message):
    if content is not None:
        (folder / name).write_bytes((folder / content).read_bytes()[:300] if isinstance(content, str) else content)

    with pytest.raises(MeasureError, match=message):
        edgesparse.classify(folder / "m.esp", image=folder / name)


def test_a_picture_of_16_bits_is_refused(folder):
    Image.fromarray(np.full((12, 20), 40000, np.uint16)).save(folder / "deep.png")

    with pytest.raises(MeasureError, match=r"deep\.png: has more than 8 bits a channel, expected 8"):
        edgesparse.classify(folder / "m.esp", image=folder / "deep.png")


def test_an_artifact_that_takes_no_picture_says_how_it_would(folder):
    edgesparse.compile(folder / "model.onnx", output=folder / "plain.esp", witness=False)

    with pytest.raises(MeasureError, match=r"takes no picture; compile the model with --preprocess image=uint8"):
        edgesparse.classify(folder / "plain.esp", image=folder / "frame.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ant\nbee\n", "labels: got 2, expected as many as an output has elements: 5"),
        (b"a\nb\n\nd\ne\n", r"l\.txt:3: is empty, expected a label"),
        (b"", r"l\.txt:1: is empty, expected a label"),
        ("ä\nb\nc\nd\ne".encode("latin-1"), r"l\.txt: is not UTF-8 text, expected a text file with one label per line"),
        (b"a\nb\nc\nd\ne\x1b[31m", r"label 4: 'e\\x1b\[31m' holds what is no text"),
        (b"a" * 1025 + b"\nb\nc\nd\ne", "label 0: has 1025 bytes, expected at most 1024"),
        (None, r"l\.txt: cannot be read: No such file"),
    ],
)
def test_labels_that_do_not_fit_are_refused(folder, tmp_path, content, message):
    if content is not None:
        (tmp_path / "l.txt").write_bytes(content)

    with pytest.raises(PackageError, match=message):
        edgesparse.compile(folder / "model.onnx", output=tmp_path / "m.esp", labels=tmp_path / "l.txt", witness=False)

    assert not (tmp_path / "m.esp").exists()


def test_labels_may_be_given_as_texts(folder):
    assert read_labels(LABELS) == LABELS
    with pytest.raises(PackageError, match=r"labels: got 3, expected texts, or the text file that holds one a line"):
        read_labels([*LABELS, 3])
