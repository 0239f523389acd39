"""Measure edgesparse against other runtimes on reference models, all in turns, at several densities.

    python -m bench.run --models resnet50,minilm --densities 1,0.2,0.1 --patterns 1x1,4x1 --threads 1,2

Rivals are installed on first use, each into an environment of its own under build/rivals; one that cannot be
installed or cannot run a model is reported as unavailable.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

import edgesparse
from bench import limit, table
from bench.contenders import EDGESPARSE, PEAK, RIVALS, Contender, Result, Runtime
from bench.machine import describe
from bench.rounds import measure
from edgesparse import reference
from edgesparse.errors import EdgesparseError
from edgesparse.pipeline import CompileReport
from models import small, zoo
from models.variants import Variants

ALL = ",".join(rival.name for rival in RIVALS)
FULL = {"models": "resnet50,mobilenetv1,mobilenetv2,minilm", "densities": "1,0.2,0.1", "patterns": "1x1,4x1"}
FULL |= {"int8": "1x4", "threads": "1,2", "rivals": ALL, "seconds": "30"}
SWEEP = {"densities": "1,0.7,0.5,0.35,0.2,0.1,0.05"}
QUICK = {"models": ",".join(small.SMALL), "rivals": "onnxruntime", "seconds": "5", "patterns": "1x1", "int8": ""}


class Bench:
    """The contenders for each model, made in `folder`."""

    def __init__(
        self,
        folder: Path,
        rivals: Sequence[Runtime],
        densities: Sequence[float],
        patterns: Mapping[str, Sequence[str]],  # by precision
    ):
        self._folder = folder
        self._rivals = rivals
        every = [(kind, d, p) for kind, some in patterns.items() for d in densities for p in some]
        self._zeros = list(dict.fromkeys((k, d, p if d < 1 else patterns[k][0]) for k, d, p in every))
        (folder / "logs").mkdir(parents=True, exist_ok=True)

    def cases(self, models: Sequence[str], threads: Sequence[int], seconds: float) -> Iterator[table.Case]:
        """Measure every model on every number of threads; the limits go with one thread."""
        for model in models:
            forms = Variants(model, self._folder / "models")
            say(f"{model}: preparing")
            prepared, failed = self._contenders(forms)
            inputs = forms.inputs()
            expected = functools.cache(lambda path, inputs=inputs: reference.evaluate(path, inputs))
            for count in threads:
                say(f"{model}: measuring, threads {count}")
                probes = [Contender(PEAK, limit.peak_library(self._folder), None)] if count == 1 else []
                results = measure([*probes, *prepared], count, inputs, expected, seconds, self._folder / "logs")
                rest = results[len(probes) :]
                limits = _limits(forms, results[0], rest, inputs) if probes else ()
                yield table.Case(model, count, (*rest, *failed), limits)

    def _contenders(self, forms: Variants) -> tuple[list[Contender], list[Result]]:
        """Who takes part, and edgesparse's failures to compile."""
        found, failed = [], []
        dense = forms.dense()
        for precision, density, pattern in self._zeros:
            is_plain = precision == "f32"
            pruned = forms.pruned(density, pattern) if is_plain else forms.int8(density, pattern)
            artifact = self._folder / f"{forms.name}-{precision}-{density:g}-{pattern}.esp"
            contender = Contender(EDGESPARSE, artifact, pruned, precision, density, pattern)
            try:
                compiled = edgesparse.compile(pruned, "host", artifact)
                found.append(dataclasses.replace(contender, facts=_facts(compiled)))
            except EdgesparseError as err:
                failed.append(Result(contender, unavailable=str(err)))
            if is_plain and (pattern == "1x1" or density == 1):
                sparse = [rival for rival in self._rivals if "pruned" in rival.forms]
                found += [Contender(rival, forms.older(pruned), pruned, density=density) for rival in sparse]
        for rival in self._rivals:
            if "dense" in rival.forms:
                found.append(Contender(rival, forms.older(dense), dense))
            if "int8" in rival.forms:
                found.append(Contender(rival, forms.int8(), dense, precision="int8"))
        return found, failed


def _limits(
    forms: Variants, probe: Result, results: Sequence[Result], inputs: Mapping[str, np.ndarray]
) -> tuple[limit.Limit, ...]:
    if not probe.latency:
        return ()
    gflops = limit.peak_gflops(probe.latency)
    ours = [result for result in results if result.contender.runtime == EDGESPARSE and result.latency]
    ours = [result for result in ours if result.contender.precision == "f32"]
    return tuple(
        limit.limit(forms.name, result.contender.reference or forms.dense(), result, dict(inputs), gflops)
        for result in ours
    )


def _facts(compiled: CompileReport) -> dict[str, float]:
    return {
        "artifact_bytes": compiled.artifact_bytes,
        "compile_seconds": compiled.seconds,
        "sparse_layers": sum(layer.kernel == "sparse" for layer in compiled.plans[0].layers),
        "weighted_layers": len(compiled.plans[0].layers),
    }


def say(words: str) -> None:
    """Report progress on stderr."""
    print(words, file=sys.stderr, flush=True)


def options(given: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for; exits if it asks for something unknown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", help=f"among {', '.join((*zoo.ZOO, *small.SMALL))}")
    parser.add_argument("--densities", help="shares of the weights that are left")
    parser.add_argument("--patterns", help="of zeros: 1x1 is unstructured, 4x1 is blocks of 4 output channels")
    parser.add_argument("--int8", help="patterns of zeros in models of 8 bits; none leaves these out")
    parser.add_argument("--threads", help="numbers of threads")
    parser.add_argument("--rivals", help=f"among {ALL}")
    parser.add_argument("--seconds", help="to measure each model on each number of threads", type=float)
    parser.add_argument("--sweep", action="store_true", help=f"densities {SWEEP['densities']}, for the plot")
    parser.add_argument("--quick", action="store_true", help="small models, briefly, against what is installed anyway")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench"), help="folder for the results")
    parser.set_defaults(**FULL)
    chosen = parser.parse_args(given)
    parser.set_defaults(**(QUICK if chosen.quick else {}), **(SWEEP if chosen.sweep else {}))
    chosen = parser.parse_args(given)
    for key, kind, known in (
        ("models", str, {*zoo.ZOO, *small.SMALL}),
        ("rivals", str, set(ALL.split(","))),
        ("patterns", str, None),
        ("int8", str, None),
        ("densities", float, None),
        ("threads", int, None),
    ):
        try:
            values = [kind(word) for word in getattr(chosen, key).split(",") if word]
        except ValueError as err:
            parser.error(f"--{key}: {err}")
        unknown = [value for value in values if known is not None and value not in known]
        if unknown:
            parser.error(f"--{key}: got {unknown[0]!r}, expected among {', '.join(sorted(known or ()))}")
        setattr(chosen, key, values)
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark that the command line asks for, and write the JSON, the tables and the plot."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    chosen = options(given)
    folder: Path = chosen.output
    folder.mkdir(parents=True, exist_ok=True)
    rivals = [rival for rival in RIVALS if rival.name in chosen.rivals]
    patterns = {kind: some for kind, some in (("f32", chosen.patterns), ("int8", chosen.int8)) if some}
    bench = Bench(folder, rivals, chosen.densities, patterns)
    report = table.Report(shlex.join(["python", "-m", "bench.run", *given]), describe())
    for case in bench.cases(chosen.models, chosen.threads, chosen.seconds):
        report = dataclasses.replace(report, cases=(*report.cases, case))
        _write(report, folder)
    print(table.markdown(report), end="")


def _write(report: table.Report, folder: Path) -> None:
    """Write what there is so far: a long run that is interrupted has not been for nothing."""
    text = json.dumps(dataclasses.asdict(report), default=str, indent=2)
    (folder / "results.json").write_text(text + "\n")
    (folder / "results.md").write_text(table.markdown(report))
    try:
        from bench import plot

        plot.draw(report.cases, folder / "speedup.svg")
    except ImportError:
        say("no plot without matplotlib; remedy: pip install matplotlib")


if __name__ == "__main__":
    main()
