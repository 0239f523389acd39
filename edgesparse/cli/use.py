"""Commands that look at, run or judge something: targets, inspect, run, bench and verify; and runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgesparse import pipeline, targets
from edgesparse.cli import options
from edgesparse.cli.command import Command
from edgesparse.cli.output import bytes_text, print_json, shape_text, table, tell, time_text
from edgesparse.cli.progress import progress

if TYPE_CHECKING:
    import numpy as np

    from edgesparse.frontend import ModelSummary

MODEL = click.option("--model", type=options.FILE, help="The model that the artifact was compiled from.")
INPUTS = click.option(
    "--input",
    "inputs",
    type=options.InputArrays(),
    multiple=True,
    help="An .npz with all inputs, or an .npy an input; seeded random values by default.",
)


@click.group("targets", invoke_without_command=True)
@options.as_json
@click.pass_context
def targets_command(context: click.Context, as_json: bool) -> None:
    """List the devices that models can be compiled for."""
    if context.invoked_subcommand:
        return
    known = [targets.load(name) for name in targets.names()]
    if as_json:
        print_json({"targets": known})
        return
    rows = [(target.name, target.isa, target.vector_bits, target.cores, target.summary) for target in known]
    click.echo(table(("name", "isa", "vector bits", "cores", "device"), rows))


@targets_command.command(
    "show", cls=Command, short="Say what is known of a device.", example="edgesparse targets show rpi4"
)
@click.argument("name")
@options.as_json
def show_command(name: str, as_json: bool) -> None:
    """Print what is known of the target NAME (or of a TOML file), and where from."""
    target = targets.load(name)
    if as_json:
        print_json(target)
        return
    known = {key: "unknown" if value is None else value for key, value in vars(target).items()}
    if target.calibration:
        known["calibration"] = f"{target.calibration.origin}: {target.calibration.source}"
    rows = [(key, ", ".join(value) if isinstance(value, tuple) else value) for key, value in known.items()]
    click.echo(table(("fact", "value"), rows))


@click.command(
    "inspect",
    cls=Command,
    short="Describe a model or an artifact.",
    example="edgesparse inspect model.onnx",
)
@click.argument("file", type=options.FILE)
@options.as_json
def inspect_command(file: Path, as_json: bool) -> None:
    """Describe FILE, a model or an artifact: operators, shapes, parameters, density a layer."""
    summary = pipeline.inspect(file)
    if as_json:
        print_json(summary)
    elif isinstance(summary, pipeline.ArtifactSummary):
        _show_artifact(file, summary)
    else:
        _show_model(file, summary)


def _show_model(file: Path, summary: ModelSummary) -> None:
    density = summary.nonzeros / max(1, summary.parameters)
    macs = "?" if summary.macs is None else f"{summary.macs / 1e6:.1f} M"
    click.echo(
        f"{file}: ONNX opset {summary.opset}, {summary.parameters} parameters, density {density:.3f}, {macs} MACs"
    )
    click.echo("operators: " + ", ".join(f"{count} {op}" for op, count in summary.ops.items()))
    _show_signature(summary.inputs, summary.outputs)
    rows = [
        (layer.node, layer.op, shape_text(layer.shape), layer.size, f"{layer.density:.3f}") for layer in summary.layers
    ]
    if rows:
        click.echo(table(("layer", "op", "weight", "parameters", "density"), rows))


def _show_artifact(file: Path, summary: pipeline.ArtifactSummary) -> None:
    manifest = summary.manifest
    version = ".".join(map(str, summary.version))
    made_of = f"{manifest.get('model', '?')} for {manifest.get('target', '?')}"
    click.echo(f"{file}: artifact version {version}, {made_of}, by {manifest.get('producer', '?')}")
    click.echo(f"runs on {summary.isa} with {', '.join(summary.cpu_features) or 'any CPU'}")
    click.echo("kernel calls: " + ", ".join(f"{count} {op}" for op, count in summary.ops.items()))
    _show_signature(summary.inputs, summary.outputs)
    if summary.labels:
        more = ", ..." if len(summary.labels) > 3 else ""
        click.echo(f"{len(summary.labels)} labels: {', '.join(summary.labels[:3])}{more}")
    sizes = ("code", "weights", "arena", "scratch")
    click.echo(", ".join(f"{name} {bytes_text(getattr(summary, f'{name}_bytes'))}" for name in sizes))
    layers = manifest.get("layers", ())
    rows = [
        (row.get("name", "?"), row.get("kernel", "?"), row.get("density", "?"))
        for row in (layers if isinstance(layers, list) else ())
        if isinstance(row, dict)
    ]
    if rows:
        click.echo(table(("layer", "kernel", "density"), rows))


def _show_signature(inputs: Any, outputs: Any) -> None:
    rows = [
        (kind, t.name, f"{t.dtype} {getattr(t, 'picture', '')}".strip(), shape_text(t.shape))
        for kind, tensors in (("in", inputs), ("out", outputs))
        for t in tensors
    ]
    click.echo(table(("", "tensor", "type", "shape"), rows))


@click.command(
    "run",
    cls=Command,
    short="Run an artifact once on this machine.",
    example="edgesparse run model.esp --image cat.jpg",
)
@click.argument("artifact", type=options.FILE)
@INPUTS
@click.option("--image", type=options.FILE, help="A picture for the input that takes frames; needs Pillow.")
@click.option(
    "--top", type=click.IntRange(0), help="Print so many of the largest elements, with labels; 5 with --image."
)
@click.option("--output", type=options.FILE, help="An .npz for all outputs, or an .npy for the only one.")
@options.threads
@options.as_json
def run_command(
    artifact: Path, inputs: Any, image: Path | None, top: int | None, output: Path | None, threads: int, as_json: bool
) -> None:
    """Run ARTIFACT once on this machine."""
    count = (5 if image and not output else 0) if top is None else top
    answer = pipeline.classify(artifact, options.merged(inputs), image=image, top=count, threads=threads)
    if output:
        read = (artifact, image, *(file.path for file in inputs))
        pipeline.save_arrays(output, answer.outputs, read)
    summaries = {name: _array_summary(array) for name, array in answer.outputs.items()}
    if as_json:
        print_json({"outputs": summaries, "top": answer.top, "file": output, "note": answer.note})
        return
    if answer.note:
        tell(answer.note)
    if answer.top:
        click.echo(table(("score", "label"), [(f"{each.score:.6g}", each.label) for each in answer.top]))
        return
    rows = [(name, *summary.values()) for name, summary in summaries.items()]
    click.echo(table(("output", "type", "shape", "min", "mean", "max", "argmax"), rows))


def _array_summary(array: np.ndarray) -> dict[str, object]:
    numbers = (
        {"min": float(array.min()), "mean": float(array.mean()), "max": float(array.max())}
        if array.size
        else dict.fromkeys(("min", "mean", "max"))
    )
    rounded = {key: None if value is None else float(f"{value:.5g}") for key, value in numbers.items()}
    return {
        "dtype": str(array.dtype),
        "shape": shape_text(array.shape),
        **rounded,
        "argmax": int(array.argmax()) if array.size else None,
    }


@click.command(
    "bench",
    cls=Command,
    short="Measure latency and memory of an artifact.",
    example="edgesparse bench model.esp --against onnxruntime --model model.onnx",
)
@click.argument("artifact", type=options.FILE)
@options.threads
@click.option("--against", default="", help="Runtimes to measure in turns with it, such as onnxruntime.")
@MODEL
@click.option("--seconds", type=click.FloatRange(0.1, 1e6), default=3.0, show_default=True, help="How long to measure.")
@click.option("--steps", is_flag=True, help="Also time every kernel call.")
@click.option(
    "--baseline",
    type=options.FILE,
    metavar="ENVIRONMENT",
    help="Measure against the edgesparse installed there.",
)
@options.as_json
def bench_command(
    artifact: Path,
    threads: int,
    against: str,
    model: Path | None,
    seconds: float,
    steps: bool,
    baseline: Path | None,
    as_json: bool,
) -> None:
    """Measure latency and memory of ARTIFACT on this machine."""
    names = [name.strip() for name in against.split(",") if name.strip()]
    if (names or baseline) and model is None:
        raise click.UsageError(f"{'--against' if names else '--baseline'} needs --model MODEL.onnx")
    if baseline and (names or steps):
        raise click.UsageError("--baseline compares two builds alone: leave out --against and --steps")
    if baseline and model:
        _bench_builds(artifact, model, baseline, threads, seconds, as_json=as_json)
        return
    report = pipeline.bench(artifact, threads=threads, against=names, model=model, seconds=seconds, steps=steps)
    if as_json:
        print_json(report)
        return
    rows = [
        (
            contender.runtime,
            time_text(contender.latency.median_us),
            time_text(contender.latency.p10_us),
            time_text(contender.latency.p90_us),
            f"{contender.ratio:.2f}x",
            bytes_text(contender.memory.peak.value),
            contender.latency.runs,
        )
        for contender in report.contenders
    ]
    click.echo(table(("runtime", "median", "p10", "p90", "over ours", "peak memory", "runs"), rows))
    for contender in report.contenders[1:]:
        click.echo(
            f"edgesparse is {contender.ratio:.2f}x as fast as {contender.runtime} "
            f"(median; p10: {contender.ratio_p10:.2f}x)"
        )
    if report.steps:
        click.echo(
            table(
                ("step", "op", "kernel", "us"), [(s.name, s.op, s.kernel, f"{s.median_us:.1f}") for s in report.steps]
            )
        )
    click.echo(f"{threads} thread(s); memory: {report.contenders[0].memory.peak.how}")


def _bench_builds(artifact: Path, model: Path, baseline: Path, threads: int, seconds: float, *, as_json: bool) -> None:
    with progress() as stage:
        report = pipeline.bench_builds(artifact, model, baseline, threads=threads, seconds=seconds, progress=stage)
    if as_json:
        print_json(report)
        return
    rows = [
        (name, time_text(side.latency.median_us), time_text(side.latency.p10_us), side.latency.runs, side.build)
        for name, side in (("this", report.ours), ("baseline", report.baseline))
    ]
    click.echo(table(("", "median", "p10", "runs", "build"), rows))
    click.echo(f"this build is {report.ratio:.3f}x as fast as the baseline (median; p10: {report.ratio_p10:.3f}x)")
    click.echo(f"{threads} thread(s); their outputs {'agree' if report.agree else 'DIFFER'}")


@click.command(
    "verify",
    cls=Command,
    short="Compare an artifact with ONNX Runtime.",
    example="edgesparse verify model.esp --model model.onnx",
)
@click.argument("artifact", type=options.FILE)
@click.option("--model", type=options.FILE, required=True, help="The model that the artifact was compiled from.")
@INPUTS
@click.option("--calibration", type=options.FILE, help="The .npz that the model was pruned with; an input, too.")
@click.option("--layers/--no-layers", default=True, show_default=True, help="Also compare layer by layer.")
@options.as_json
def verify_command(
    artifact: Path, model: Path, inputs: Any, calibration: Path | None, layers: bool, as_json: bool
) -> None:
    """Compare ARTIFACT with ONNX Runtime on the model it was compiled from; exit code 1 if they disagree."""
    with progress() as stage:
        report = pipeline.verify(
            artifact, model, inputs=options.merged(inputs), calibration=calibration, layers=layers, progress=stage
        )
    if as_json:
        print_json(report)
    else:
        _show_differences(report)
    if not report.agrees:
        raise click.exceptions.Exit(1)


def _show_differences(report: pipeline.VerifyReport) -> None:
    groups = (("output", report.outputs), ("layer", report.layers))
    rows = [
        (kind, d.name, shape_text(d.shape), f"{d.max_error:.1e}", "agrees" if d.agrees else "DIFFERS", d.note)
        for kind, differences in groups
        for d in differences
    ]
    click.echo(table(("", "value", "shape", "max error", "", "note"), rows))
    if report.note:
        tell(report.note)
    if report.first_divergence:
        click.echo(f"first layer that differs: {report.first_divergence}")
    click.echo("the outputs agree" if report.agrees else "the outputs DIFFER")


@click.command(
    "runtime",
    cls=Command,
    short="Put what a board needs into a folder.",
    example="edgesparse runtime --target rpi4 -o board",
)
@options.target
@click.option("-o", "--output", type=options.FILE, required=True, help="The folder to make.")
@options.as_json
def runtime_command(target: str, output: Path, as_json: bool) -> None:
    """Put all that a board needs to run artifacts into a folder: the program esrun, the Python package, libraries."""
    with progress() as stage:
        report = pipeline.runtime(target, output, progress=stage)
    if as_json:
        print_json(report)
        return
    click.echo(table(("file", "size", ""), [(f.name, bytes_text(f.size_bytes), f.purpose) for f in report.files]))
    click.echo(f"{report.folder}: for {report.target}, Linux on {report.platform}")


COMMANDS = (targets_command, inspect_command, run_command, runtime_command, bench_command, verify_command)
