"""Commands that make something: prune, recover, compile, tune; and explain, which says what compile would make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgesparse import pipeline
from edgesparse.cli import parameters
from edgesparse.cli.command import Command
from edgesparse.cli.output import show
from edgesparse.cli.progress import progress


@click.command(
    "prune",
    cls=Command,
    short="Set weights of a model to zero, or remove them.",
    example="edgesparse prune model.onnx -o sparse.onnx --sparsity 0.8 --calibration samples.npz",
)
@click.argument("model", type=parameters.FILE)
@click.option("-o", "--output", required=True, type=parameters.FILE, help="The ONNX file to write.")
@parameters.target
@parameters.input_shapes
@parameters.bind
@parameters.pruning
@parameters.threads
@parameters.on
@parameters.as_json
def prune_command(model: Path, output: Path, as_json: bool, **chosen: Any) -> None:
    """Write a copy of MODEL with weights set to zero or removed; the copy is an ordinary ONNX file."""
    with progress() as stage:
        report = pipeline.prune(model, output, progress=stage, **chosen)
    show(report, as_json)


@click.command(
    "recover",
    cls=Command,
    short="Fit the weights of a pruned model to its dense original.",
    example="edgesparse recover sparse.onnx --teacher model.onnx --calibration samples.npz -o better.onnx",
)
@click.argument("model", type=parameters.FILE)
@click.option("--teacher", required=True, type=parameters.FILE, help="The model before pruning.")
@click.option(
    "--calibration", required=True, type=parameters.FILE, help="An .npz file with samples of every input, by name."
)
@click.option("-o", "--output", required=True, type=parameters.FILE, help="The ONNX file to write.")
@click.option("--time", default="2m", show_default=True, help="How long to fit, such as 90s or 2m.")
@parameters.of_pruning("augment")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed for the order in which samples are used.")
@parameters.as_json
def recover_command(model: Path, output: Path, as_json: bool, **chosen: Any) -> None:
    """Fit the weights and biases of MODEL, a pruned model, to what it computed before pruning; zeros stay zeros."""
    with progress() as stage:
        report = pipeline.recover(model, output, progress=stage, **chosen)
    show(report, as_json)


@click.command(
    "compile",
    cls=Command,
    short="Compile a model into one file for a device.",
    example="edgesparse compile model.onnx --target rpi4 --sparsity 0.8 --calibration samples.npz",
)
@click.argument("model", type=parameters.FILE)
@parameters.target_or_targets
@click.option("-o", "--output", type=parameters.FILE, help="The artifact to write; ./MODEL.TARGET.esp by default.")
@parameters.input_shapes
@parameters.bind
@parameters.preprocess
@parameters.labels
@parameters.pruning
@parameters.threads
@parameters.on
@parameters.dtype
@parameters.witness
@parameters.as_json
def compile_command(model: Path, target: str, output: Path | None, as_json: bool, **chosen: Any) -> None:
    """Compile MODEL into one file that the runtime executes; zero weights make it faster."""
    with progress() as stage:
        report = pipeline.compile(model, target, output, progress=stage, **chosen)
    show(report, as_json)


@click.command(
    "tune",
    cls=Command,
    short="Measure what kernels cost on a device.",
    example="edgesparse tune --target rpi4 -o tune.esp",
)
@parameters.target
@click.option(
    "-o",
    "--output",
    type=parameters.FILE,
    help="The .toml file for the cost table (by default in your cache), or an .esp file to measure on a device.",
)
@click.option(
    "--measured", type=parameters.FILE, help="Output of esrun --tune on the device; else this machine is measured."
)
@click.option(
    "--seconds", type=parameters.Amount("s", "30s", 0.0), default="30s", show_default=True, help="How long to measure."
)
@parameters.measured_on
@parameters.as_json
def tune_command(target: str, output: Path | None, as_json: bool, **chosen: Any) -> None:
    """Measure what kernels cost on a device, which is how compile chooses between dense and sparse."""
    with progress() as stage:
        report = pipeline.tune(target, output, progress=stage, **chosen)
    show(report, as_json)


@click.command(
    "explain",
    cls=Command,
    short="Show which layers run dense or sparse, and why.",
    example="edgesparse explain model.onnx --target rpi4 --sparsity 0.8",
)
@click.argument("model", type=parameters.FILE)
@parameters.target
@parameters.input_shapes
@parameters.bind
@parameters.preprocess
@parameters.pruning
@parameters.threads
@parameters.dtype
@click.option("--measured", is_flag=True, help="Also compile MODEL, and measure what each layer takes as chosen.")
@parameters.measured_on
@parameters.html
@parameters.as_json
def explain_command(model: Path, target: str, as_json: bool, **chosen: Any) -> None:
    """Show how each layer of MODEL would run, dense or sparse, the predicted time of both, and why."""
    for option, given in (("--cores", chosen["cores"]), ("--cool-down", chosen["cool_down"])):
        if given is not None and not chosen["measured"]:
            raise click.UsageError(f"{option} needs --measured")
    with progress() as stage:
        report = pipeline.explain(model, target, progress=stage, **chosen)
    show(report, as_json)


COMMANDS = (prune_command, recover_command, compile_command, explain_command, tune_command)
