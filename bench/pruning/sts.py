"""Prune MiniLM-L6 in one shot and recover it, and judge it by the STS benchmark, which it was not trained for.

    python -m bench.pruning.sts --data DIR
    taskset -c 0 env OMP_NUM_THREADS=1 python -m bench.pruning.sts --data DIR --runs admm-80,recovered-80

DIR holds sts-train.csv and sts-test.csv of the STS benchmark (Cer et al. 2017, arXiv:1708.00055), as they are
published. The score is Spearman's correlation, times 100, of the cosines of 1,379 pairs of sentences with what people
think of them. Sentences of the training set, without their scores, are all that pruning sees: at least TOKENS
tokens long, cut to that, so that none is padded. The tokens' embeddings stay dense. Seconds are those of the CPU. The
network is that of `bench/pruning/minilm.py`, which says what to install. A run that is in the output already, with the
same settings, is not done again.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
from scipy.stats import spearmanr

from bench.pruning import minilm
from bench.pruning.cifar import DENSE, say
from bench.pruning.oneshot import Samples, cpu_seconds, recovered
from bench.pruning.results import Results, points_lost, some_of
from edgesparse import frontend
from edgesparse.measure import Arrays
from edgesparse.prune import prune

TOKENS = 14  # the mean of the sentences of the test
DENSITIES = {"50": 0.5, "70": 0.3, "80": 0.2}
METHODS = {
    "magnitude": "the largest weights",
    "sparsegpt": "SparseGPT, fitted to the dense network's outputs",
    "admm": "ADMM, the default with samples",
    "recovered": "and recovered by gradients (`--recover`)",
}


def pairs(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """First sentences, second sentences, and the scores of people."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row[4:7] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    return [row[1] for row in rows], [row[2] for row in rows], np.array([float(row[0]) for row in rows])


def samples(path: Path, count: int) -> Arrays:
    """Tokens [count, TOKENS] of different sentences, drawn at random but always the same."""
    first, second, _ = pairs(path)
    tokens = minilm.encoded(sorted({*first, *second}), TOKENS)
    whole = np.flatnonzero(tokens["attention_mask"].all(axis=1))
    chosen = np.random.default_rng(0).permutation(whole)[:count]
    return {name: array[chosen] for name, array in tokens.items()}


def score(model: Path, path: Path) -> float:
    """Spearman's correlation, times 100, over the pairs of a file."""
    first, second, people = pairs(path)
    a, b = (minilm.embeddings(model, minilm.encoded(sentences)) for sentences in (first, second))
    return 100 * float(spearmanr((a * b).sum(axis=1), people).statistic)


def made(model: ir.Model, name: str, seen: Samples, seconds: float) -> ir.Model:
    """The pruned model of a run."""
    method, _, percent = name.rpartition("-")
    density = DENSITIES[percent]
    if method == "magnitude":
        return prune(model, density, method=method, allocation="lamp").model
    if method != "recovered":
        return prune(model, density, method=method, allocation="uniform", calibration=seen).model
    return recovered(model, partial(made, model, f"admm-{percent}", seconds=seconds), seen, seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs that the command line asks for and the output does not have yet."""
    names = [f"{method}-{percent}" for method in METHODS for percent in DENSITIES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder of sts-test.csv")
    parser.add_argument("--runs", default=",".join(names), help="some of %(default)s")
    parser.add_argument("--calibration", type=int, default=2048, help="sentences")
    parser.add_argument("--recovery", type=float, default=180.0, metavar="SECONDS", help="of the CPU")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/pruning/sts.json"))
    options = parser.parse_args(arguments)
    chosen = some_of(parser, options.runs, names)
    results = Results(options.output, {"calibration": options.calibration, "tokens": TOKENS})
    path = options.output.with_name("minilm-any.onnx")
    if not path.exists():
        minilm.export(path, any_size=True)
    model, test = frontend.read(path), options.data / "sts-test.csv"
    seen = samples(options.data / "sts-train.csv", options.calibration)
    if not results.done(DENSE):
        results.add(DENSE, {"score": score(path, test)})
    for name in chosen:
        if not results.done(name):
            say(name)
            started = cpu_seconds()
            pruned = made(model, name, seen, options.recovery)
            spent = cpu_seconds() - started
            ir.save(pruned, partial := options.output.with_suffix(".onnx"))
            results.add(name, {"score": score(partial, test), "cpu_seconds": spent})
        write(results)
    print(results.path.with_suffix(".md").read_text())


def write(results: Results) -> None:
    """Write the table of all runs next to the JSON: points of correlation lost, one row per method."""
    dense = results.runs[DENSE]
    lines = points_lost(dense, results.runs, METHODS, [*DENSITIES], lambda run: run["score"])
    seen = results.settings["calibration"]
    words = (
        f"Spearman's correlation of the dense network {dense['score']:.1f}; {seen} sentences of the training set, "
        f"of {TOKENS} tokens each, without scores; one seed."
    )
    results.path.with_suffix(".md").write_text(f"{lines}\n\n{words}\n")


if __name__ == "__main__":
    main()
