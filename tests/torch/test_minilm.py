"""The bench on MiniLM, on few sentences."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")
transformers = pytest.importorskip("transformers", reason="transformers is not installed; the extra zoo has it")

from bench.pruning import minilm as bench  # noqa: E402

there = importlib.util.find_spec(bench.PACKAGE) is not None
pytestmark = [
    pytest.mark.slow(part="zoo"),
    pytest.mark.skipif(not there, reason=f"{bench.PACKAGE} is not installed; see bench/pruning/minilm.py"),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return bench.export(tmp_path_factory.mktemp("minilm") / "minilm.onnx")


def test_embeddings_through_onnx_are_those_of_the_network_without_padding(exported):
    sentences = [
        "A cat sits on the mat.",
        "The kitten is sitting on a rug.",
        "Interest rates rose by half a point.",
    ]
    tokenizer = transformers.AutoTokenizer.from_pretrained(bench.folder(), local_files_only=True)
    module = transformers.BertModel.from_pretrained(bench.folder(), local_files_only=True).eval()
    expected = []
    for sentence in sentences:
        with torch.inference_mode():
            states = module(**tokenizer(sentence, return_tensors="pt")).last_hidden_state[0]
        expected.append(torch.nn.functional.normalize(states.mean(0), dim=0).numpy())

    found = bench.embeddings(exported, bench.encoded(sentences))

    np.testing.assert_allclose(found, np.stack(expected), atol=1e-4)
    near, far = found[0] @ found[1], found[0] @ found[2]
    assert near > 0.5 > 0.3 > far


def test_sentences_to_compare_on_are_not_calibrated_on():
    seen, unseen = bench.split(20, 30)

    assert (len(seen), len(unseen)) == (20, 30) and not set(seen) & set(unseen)


def test_pruned_models_are_scored_and_verified(exported, tmp_path):
    (tmp_path / "minilm.onnx").symlink_to(exported)
    options = ["--sentences", "4", "--calibration", "2", "--runs", "dense,magnitude-2of4"]

    bench.main([*options, "-o", str(tmp_path / "out.json")])

    runs = json.loads((tmp_path / "out.json").read_text())
    assert runs["dense"]["score"] == pytest.approx(1) and 0.3 < runs["magnitude-2of4"]["score"] < 0.999
    assert all(run["agrees"] for run in runs.values())


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(bench, "PACKAGE", "no_such_package")

    with pytest.raises(SystemExit, match="no_such_package is not installed; remedy: pip install .*no-such-package"):
        bench.folder()
