"""Measure edgesparse against ONNX Runtime on reference models, in turns, at several densities.

python -m bench.run --models resnet50,mobilenetv1,mobilenetv2,minilm --densities 1,0.2,0.1 --threads 1
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import edgesparse
from bench.machine import Machine, describe
from edgesparse.measure import BenchReport
from models import zoo

RIVAL = "onnxruntime"
MODELS = "resnet50,mobilenetv1,mobilenetv2,minilm"
QUICK = {"models": "mobilenetv1", "densities": "1,0.1", "seconds": 2.0}


@dataclass(frozen=True)
class Result:
    """One model at one density on some threads."""

    model: str
    density: float
    threads: int
    artifact_bytes: int
    compile_seconds: float
    sparse_layers: int
    weighted_layers: int
    report: BenchReport

    @property
    def row(self) -> tuple[str, ...]:
        """Cells of the Markdown table."""
        ours, theirs = self.report.contenders
        return (
            self.model,
            f"{self.density:g}",
            str(self.threads),
            _ms(ours.latency.p10_us, ours.latency.median_us),
            _ms(theirs.latency.p10_us, theirs.latency.median_us),
            f"{theirs.ratio_p10:.2f}x / {theirs.ratio:.2f}x",
            f"{self.artifact_bytes / 1e6:.1f}",
            f"{self.sparse_layers} of {self.weighted_layers}",
            f"{self.compile_seconds:.0f}",
        )


HEADERS = (
    "model",
    "density",
    "threads",
    "edgesparse, ms",
    "ONNX Runtime dense, ms",
    "speedup",
    "artifact, MB",
    "sparse layers",
    "compile, s",
)


def measure(
    models: Sequence[str], densities: Sequence[float], threads: int, seconds: float, folder: Path
) -> Iterator[Result]:
    """Compile and measure every model at every density, in turns with the rival on the dense model."""
    for name in models:
        dense = zoo.cached(name)
        for density in densities:
            artifact = folder / f"{name}-{density:g}.esp"
            sparsity = 1.0 - density if density < 1 else None
            compiled = edgesparse.compile(dense, "host", artifact, sparsity=sparsity)
            report = edgesparse.bench(
                artifact, threads=threads, against=[RIVAL], model=dense, seconds=seconds, steps=True
            )
            yield Result(
                model=name,
                density=density,
                threads=threads,
                artifact_bytes=compiled.artifact_bytes,
                compile_seconds=compiled.seconds,
                sparse_layers=sum(layer.kernel == "sparse" for layer in compiled.layers),
                weighted_layers=len(compiled.layers),
                report=report,
            )


def markdown(results: Sequence[Result], machine: Machine, command: str) -> str:
    """The table, and below it what it takes to judge it."""
    lines = ["| " + " | ".join(HEADERS) + " |", "|" + "---|" * len(HEADERS)]
    lines += ["| " + " | ".join(result.row) + " |" for result in results]
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    lines += [
        "",
        f"Measured by `{command}` on {machine.date}: {machine.cpu}, {machine.cores} cores, load {machine.load}; "
        f"{versions}. Batch 1, both runtimes in turns in one process; times and speedups are p10 / median. "
        "Speedup is over ONNX Runtime on the dense model.",
    ]
    return "\n".join(lines) + "\n"


def _ms(*times_us: float) -> str:
    return " / ".join(f"{us / 1000:.2f}" for us in times_us)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", default=MODELS, help=f"among {', '.join(zoo.ZOO)}")
    parser.add_argument("--densities", default="1,0.2,0.1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0, help="to measure each model at each density")
    parser.add_argument("--quick", action="store_true", help="a small model, briefly")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench"), help="folder for the results")
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    if options.quick:
        parser.set_defaults(**QUICK)
        options = parser.parse_args(given)
    options.output.mkdir(parents=True, exist_ok=True)
    machine, command = describe(), shlex.join(["python", "-m", "bench.run", *given])
    densities = [float(text) for text in options.densities.split(",")]
    results = []
    for result in measure(options.models.split(","), densities, options.threads, options.seconds, options.output):
        print(" ".join(result.row), file=sys.stderr, flush=True)
        results.append(result)
    text = markdown(results, machine, command)
    report = {"command": command, "machine": machine, "results": results}
    (options.output / "results.json").write_text(json.dumps(report, default=dataclasses.asdict, indent=2) + "\n")
    (options.output / "results.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
