"""The examples run, give what other judges give, and are what the page prints."""

from __future__ import annotations

import re
import subprocess

import numpy as np
import onnx
import pytest

import edgesparse
from examples import camera, keywords, similarity
from runtime import build
from tests.cli.models import classifier
from tests.conftest import ROOT
from tests.models import ort_run
from tests.pictures import prepared

LABELS = ("ant", "bee", "cat", "dog", "eel")
EXAMPLES = ("camera.py", "classify.c", "keywords.py", "similarity.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model and an artifact of it that takes frames."""
    folder = tmp_path_factory.mktemp("examples")
    model = classifier(folder / "model.onnx")
    text = "image=from=20x12,size=8x8,mean=127.5,std=127.5"
    edgesparse.compile(model, output=folder / "m.esp", preprocess=text, labels=LABELS, witness=False)
    return folder


def frames(count):
    """What `camera.fake` makes."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (12, 20, 3), np.uint8) for _ in range(count)]


def expected_lines(folder, given):
    """A score and a label for each frame, by ONNX Runtime and numpy."""
    fed = [prepared(frame, (8, 8), (127.5,), (127.5,)).astype(np.float32) for frame in given]
    scores = [ort_run(folder / "model.onnx", {"image": each})[0][0] for each in fed]
    return [f"{each.max():8.3f}  {LABELS[each.argmax()]}" for each in scores]


def test_a_camera_is_watched(folder, capsys):
    camera.main([str(folder / "m.esp"), "--fake", "--frames", "3", "--threads", "1"])

    assert capsys.readouterr().out.splitlines() == expected_lines(folder, frames(3))


def test_a_camera_for_an_artifact_without_frames_is_refused(folder):
    edgesparse.compile(folder / "model.onnx", output=folder / "plain.esp", witness=False)

    with pytest.raises(
        SystemExit, match=r"plain\.esp: takes no frames; compile the model with --preprocess image=uint8"
    ):
        camera.main([str(folder / "plain.esp"), "--fake"])


def test_a_c_program_reads_frames_from_a_pipe(folder):
    host = build.host_platform()
    flags = ["-target", build.PLATFORMS[host].library_triple, *build.STRICT, *build.INCLUDE]
    libraries = [build.static_library(host), "-pthread", "-o", folder / "classify"]
    subprocess.run([*build.zig(), "cc", *flags, ROOT / "examples" / "classify.c", *libraries], check=True)
    given = frames(4)

    done = subprocess.run(
        [folder / "classify", folder / "m.esp"], input=b"".join(map(np.ndarray.tobytes, given)), capture_output=True
    )
    refused = subprocess.run([folder / "classify", folder / "model.onnx"], capture_output=True, text=True)

    assert (done.returncode, done.stdout.decode().splitlines()) == (0, expected_lines(folder, given))
    assert refused.returncode == 1 and refused.stderr.startswith("classify: ") and refused.stderr.count("\n") == 1


def test_a_keyword_spotter_is_trained_pruned_and_hears_words(tmp_path, capsys):
    keywords.main(["--folder", str(tmp_path)])

    *_, last = capsys.readouterr().out.splitlines()
    heard = re.fullmatch(r"([\d.]+)% of 200 sounds are heard right", last)
    assert float(heard[1]) > 85
    sound, _ = keywords.sounds(1, seed=9)
    by_graph = ort_run(tmp_path / "keywords.onnx", {"sound": sound})[0]
    assert by_graph.shape == (1, 5) and by_graph.sum() == pytest.approx(1)


ENCODER = """<ir_version: 9, opset_import: ["" : 20]>
encoder (int64[1, 12] input_ids, int64[1, 12] attention_mask, int64[1, 12] token_type_ids)
=> (float[1, 12, 16] last_hidden_state) {
    words = Gather (word_table, input_ids)
    types = Gather (type_table, token_type_ids)
    placed = Add (words, positions)
    x = Add (placed, types)
    q = MatMul (x, wq)  k = MatMul (x, wk)  v = MatMul (x, wv)
    turned = Transpose <perm = [0, 2, 1]> (k)
    likeness = MatMul (q, turned)
    seen = Cast <to = 1> (attention_mask)
    missing = Sub (seen, one)
    penalty = Mul (missing, many)
    masked = Add (likeness, penalty)
    shares = Softmax <axis = -1> (masked)
    read = MatMul (shares, v)
    h = Add (x, read)
    last_hidden_state = LayerNormalization (h, gain)
}"""
VOCABULARY = """[PAD] [UNK] [CLS] [SEP] a the man play ##ing ##s guitar . , - ? who ##o m ##usic cafe is hot pan _ don '
t 19 ##84"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A sentence encoder with random weights, and its vocabulary."""
    folder = tmp_path_factory.mktemp("encoder")
    words = VOCABULARY.split()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    shapes = {"word_table": (len(words), 16), "type_table": (2, 16), "positions": (12, 16), "gain": (16,)}
    shapes |= dict.fromkeys(("wq", "wk", "wv"), (16, 16))
    constants = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    constants |= {"one": np.float32(1), "many": np.float32(1e4)}
    model = onnx.parser.parse_model(ENCODER)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    onnx.save(model, folder / "encoder.onnx")
    edgesparse.compile(folder / "encoder.onnx", output=folder / "encoder.esp", witness=False)
    return folder


def test_sentences_are_compared(encoder, capsys):
    similarity.main([str(encoder / "encoder.esp"), str(encoder / "vocab.txt"), "--threads", "1"])

    vocabulary = {word: number for number, word in enumerate(VOCABULARY.split())}

    def embedded(text):
        ids = similarity.tokens(text, vocabulary)
        ids = ids if len(ids) <= 12 else [*ids[:11], ids[-1]]
        row = np.zeros((1, 12), np.int64)
        row[0, : len(ids)] = ids
        feeds = {"input_ids": row, "attention_mask": (np.arange(12) < len(ids)).astype(np.int64)[None]}
        given = ort_run(encoder / "encoder.onnx", feeds | {"token_type_ids": np.zeros_like(row)})[0]
        mean = given[0, : len(ids)].astype(np.float64).mean(axis=0)
        return mean / np.linalg.norm(mean)

    asked = embedded("Who plays an instrument?")
    likeness = {text: asked @ embedded(text) for text in similarity.SENTENCES}
    printed = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [text for _, text in printed] == sorted(likeness, key=likeness.get)[::-1]
    np.testing.assert_allclose([float(score) for score, _ in printed], sorted(likeness.values())[::-1], atol=6e-4)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Who plays a guitar?", ["who", "play", "##s", "a", "guitar", "?"]),
        ("PLAYING,the  pan.", ["play", "##ing", ",", "the", "pan", "."]),
        ("Café-Music", ["cafe", "-", "m", "##usic"]),
        ("unknown guitars playful", ["[UNK]", "guitar", "##s", "[UNK]"]),
        ("don't 1984 a_the", ["don", "'", "t", "19", "##84", "a", "_", "the"]),
        ("", []),
    ],
)
def test_sentences_are_cut_into_pieces(text, pieces):
    words = VOCABULARY.split()
    vocabulary = {word: number for number, word in enumerate(words)}

    found = [words[number] for number in similarity.tokens(text, vocabulary)]

    assert found == ["[CLS]", *pieces, "[SEP]"]


def test_sentences_are_cut_as_the_tokenizers_library_cuts_them():
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {word: number for number, word in enumerate(VOCABULARY.split())}
    judge = tokenizers.BertWordPieceTokenizer(vocabulary, lowercase=True)

    for text in (*similarity.SENTENCES, "Café, CAFÉ; don't_play 1984's\tpans\n¿guitar?", "Ångström naïve 音楽 a"):
        assert similarity.tokens(text, vocabulary) == judge.encode(text).ids, text


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_prints_the_example(name):
    page = (ROOT / "docs" / "examples.md").read_text()
    kind = "c" if name.endswith(".c") else "python"

    printed = re.search(rf"<!-- examples/{re.escape(name)} -->\n```{kind}\n(.*?)```\n", page, re.DOTALL)

    assert printed[1] == (ROOT / "examples" / name).read_text(), "write the page again: python -m tests.examples.page"
