"""Train a small classifier, prune it, compile it for this machine, run it, and say what came of it.

    python examples/demo.py

Needs the `demo` extra; `make demo` installs it. Everything is written under build/demo.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from edgesparse_runtime import Model

import edgesparse

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from edgesparse.tables import Table, bytes_text, time_text  # noqa: E402
from models import digits  # noqa: E402

FOLDER = ROOT / "build" / "demo"
SPARSITY = 0.9
SAMPLES = 512


@dataclass(frozen=True)
class Row:
    """One classifier, dense or pruned: an ONNX file and the artifact compiled from it."""

    name: str
    model: Path
    artifact: Path
    density: float
    max_difference: float
    accuracy_onnxruntime: float
    accuracy_edgesparse: float
    onnxruntime_us: float
    edgesparse_us: float


def main() -> None:
    """Run the demonstration and print its table."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    _say("training on scikit-learn's digits (8x8 pixels, 1198 images to learn from, 599 held out)")
    digits.write(FOLDER)
    dense, sparse = FOLDER / "digits.onnx", FOLDER / "digits-sparse.onnx"
    images, *_ = digits.load_data()
    _say(f"pruning {SPARSITY:.0%} of the weights by {SAMPLES} images without labels")
    report = edgesparse.prune(dense, sparse, sparsity=SPARSITY, calibration={"image": images[:SAMPLES]})
    (scores,) = report.agreement
    _say(f"{scores.top1:.1%} of {scores.samples} images held out get the dense answer; training on with the zeros held")
    digits.finetune(sparse, sparse)
    _say("compiling both for this machine, and measuring each in turns with ONNX Runtime on the same file")
    rows = [_measure("dense", dense), _measure("pruned", sparse)]
    print()
    print(_table(rows))
    print(f"\nboth runtimes on one thread of this machine ({edgesparse.load_target('host').summary}), median latency")
    print(f"the files are in {FOLDER.relative_to(ROOT)}; look into one: edgesparse inspect {rows[1].artifact.name}")


def _say(text: str) -> None:
    print(f"- {text}", file=sys.stderr, flush=True)


def _measure(name: str, model: Path) -> Row:
    report = edgesparse.compile(model, "host", model.with_suffix(".esp"))
    heldout = np.load(FOLDER / "heldout.npz")
    images, labels = heldout["image"][:, None], heldout["label"]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    expected = np.concatenate([session.run(None, {"image": image})[0] for image in images])
    with Model(report.artifact) as compiled:
        actual = np.concatenate([compiled.run({"image": image})["scores"] for image in images])
    bench = edgesparse.bench(report.artifact, against=["onnxruntime"], model=model, seconds=2.0)
    ours, theirs = bench.contenders
    return Row(
        name=name,
        model=model,
        artifact=report.artifact,
        density=report.density,
        max_difference=float(np.abs(actual - expected).max() / np.abs(expected).max()),
        accuracy_onnxruntime=float((expected.argmax(axis=1) == labels).mean()),
        accuracy_edgesparse=float((actual.argmax(axis=1) == labels).mean()),
        onnxruntime_us=theirs.latency.median_us,
        edgesparse_us=ours.latency.median_us,
    )


def _table(rows: list[Row]) -> str:
    cells = [
        ("weights left", lambda row: f"{row.density:.1%}"),
        ("accuracy, ONNX Runtime", lambda row: f"{row.accuracy_onnxruntime:.2%}"),
        ("accuracy, edgesparse", lambda row: f"{row.accuracy_edgesparse:.2%}"),
        ("largest difference of scores", lambda row: f"{row.max_difference:.1e}"),
        ("ONNX file", lambda row: bytes_text(row.model.stat().st_size)),
        ("artifact, code included", lambda row: bytes_text(row.artifact.stat().st_size)),
        ("latency, ONNX Runtime", lambda row: time_text(row.onnxruntime_us)),
        ("latency, edgesparse", lambda row: time_text(row.edgesparse_us)),
        ("speed over ONNX Runtime", lambda row: f"{row.onnxruntime_us / row.edgesparse_us:.2f}x"),
    ]
    return Table(("", *(row.name for row in rows)), [(label, *map(show, rows)) for label, show in cells]).text()


if __name__ == "__main__":
    main()
