"""Prune a small Llama-style decoder in one shot, and compare its perplexity on held-out text.

    python -m bench.pruning.decoder                         trains one first
    python -m bench.pruning.decoder --model decoder.onnx    takes one that models/decoder.py wrote

Perplexity is by byte, on windows of files that training has not seen, by ONNX Runtime. The layer that gives the
probabilities stays dense. A run that is in the output already, with the same settings, is not done again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.pruning import sweep
from bench.pruning.results import Results
from edgesparse import frontend, reference
from edgesparse.sparsity.weights import find_weights
from models import corpus, decoder

PATTERNS = ("50", "2of4", "80")


def perplexity(model: Path, tokens: np.ndarray) -> float:
    """exp of the mean negative log-likelihood of each byte but the first of every window; `tokens` [N, CONTEXT]."""
    session = reference.Session(model, optimised=True)
    losses = []
    for window in tokens:
        logits = session.run({"input_ids": window[None]})["logits"][0, :-1].astype(np.float64)
        top = logits.max(axis=1)
        losses.append(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - logits[np.arange(len(top)), window[1:]])
    return float(np.exp(np.mean(losses)))


def trained(path: Path, steps: int) -> Path:
    """A decoder trained so long, unless it is there."""
    if path.exists():
        return path
    module = decoder.build()
    decoder.train(module, corpus.source()[0], steps)
    return decoder.export(module, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs that the command line asks for and the output does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, metavar="FILE", help="trained before; else one is trained")
    parser.add_argument("--steps", type=int, default=2000, help="of training")
    parser.add_argument("--windows", type=int, default=256, help="of held-out text")
    options = sweep.parsed(parser, PATTERNS, Path("build/pruning/decoder.json"), arguments)
    model = options.model or trained(options.output.with_name(f"decoder-{options.steps}.onnx"), options.steps)
    settings = {"model": model.name, "windows": options.windows, "calibration": options.calibration}
    results = Results(options.output, settings)
    seen, unseen = corpus.source()
    tokens = decoder.windows(unseen, options.windows)
    sweep.sweep(
        model,
        options.runs,
        results,
        score=lambda path: perplexity(path, tokens),
        calibration={"input_ids": decoder.windows(seen, options.calibration)},
        inputs={"input_ids": tokens[:1]},
        skip=[find_weights(frontend.read(model))[-1].node],
    )
    words = (
        f"Perplexity by byte on {options.windows} windows of {decoder.CONTEXT} bytes of held-out source code; "
        f"calibrated on {options.calibration} windows of what it was trained on. The last layer stays dense."
    )
    results.write_table(sweep.columns("perplexity", lambda score: f"{score:.3f}"), words)
    print(results.path.with_suffix(".md").read_text())


if __name__ == "__main__":
    main()
