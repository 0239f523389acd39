"""The decoder on bytes and the bench on it, with tiny settings."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")
pytest.importorskip("transformers", reason="transformers is not installed; the extra zoo has it")

from bench.pruning import decoder as bench  # noqa: E402
from edgesparse import frontend  # noqa: E402
from edgesparse.sparsity.weights import find_weights  # noqa: E402
from models import corpus, decoder  # noqa: E402

pytestmark = pytest.mark.slow(part="zoo")

TEXT = b"abcdefgh" * 100


def loss(module, tokens):
    """Mean negative log-likelihood of every byte but the first of each window."""
    with torch.inference_mode():
        logits = module.eval()(input_ids=torch.from_numpy(tokens)).logits
    flat = logits[:, :-1].flatten(0, 1)
    return float(torch.nn.functional.cross_entropy(flat, torch.from_numpy(tokens[:, 1:].flatten())))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    module = decoder.build(hidden=32, layers=1)
    before = loss(module, decoder.windows(TEXT, 4))
    decoder.train(module, TEXT, 60, progress=lambda line: None)
    return module, before, decoder.export(module, tmp_path_factory.mktemp("decoder") / "tiny.onnx")


def test_training_learns(trained):
    module, before, _ = trained

    assert before == pytest.approx(np.log(256), abs=0.2)
    assert loss(module, decoder.windows(TEXT, 4)) < before - 1


def test_perplexity_through_onnx_is_that_of_the_module(trained):
    module, _, path = trained
    tokens = decoder.windows(TEXT, 3, seed=7)

    assert bench.perplexity(path, tokens) == pytest.approx(np.exp(loss(module, tokens)), rel=1e-4)


def test_every_pattern_is_pruned_and_verified_but_for_the_last_layer(trained, tmp_path):
    _, _, path = trained
    runs = ["dense", "magnitude-50", "magnitude-2of4", "magnitude-80"]
    options = ["--model", path, "--windows", 2, "--calibration", 2, "-o", tmp_path / "out.json"]

    bench.main([*map(str, options), "--runs", ",".join(runs)])

    found = json.loads((tmp_path / "out.json").read_text())
    assert list(found) == runs and all(run["agrees"] for run in found.values())
    for name, share in zip(runs, (1, 0.5, 0.5, 0.2), strict=True):
        *layers, last = find_weights(frontend.read(tmp_path / "out" / f"{name}.onnx"))
        assert last.density == 1
        assert sum(ref.nnz for ref in layers) / sum(ref.size for ref in layers) == pytest.approx(share, abs=0.01)


def test_held_out_files_are_not_trained_on():
    seen, unseen = corpus.source()

    assert 5 < len(seen) / len(unseen) < 20
    start = len(unseen) // 2
    assert unseen[start : start + 2000] not in seen
