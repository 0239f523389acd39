"""Commands that look at, run or judge something: targets, inspect, run, bench and verify; and runtime."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edgesparse import pipeline
from edgesparse.cli import parameters
from edgesparse.cli.command import Command
from edgesparse.cli.output import print_json, say, show
from edgesparse.cli.progress import progress
from edgesparse.devices import targets
from edgesparse.tables import Table

MODEL = click.option("--model", type=parameters.FILE, help="The model that the artifact was compiled from.")
INPUTS = click.option(
    "--input",
    "inputs",
    type=parameters.InputArrays(),
    multiple=True,
    help="An .npz with all inputs, or one .npy per input; seeded random values by default.",
)


@click.group("targets", invoke_without_command=True)
@parameters.as_json
@click.pass_context
def targets_command(context: click.Context, as_json: bool) -> None:
    """List the devices that models can be compiled for."""
    if context.invoked_subcommand:
        return
    known = [targets.load(name) for name in targets.names()]
    if as_json:
        print_json({"targets": [targets.flat(target) for target in known]})
        return
    rows = [(each.name, each.cpu.isa, each.cpu.vector_bits, each.cpu.cores, each.summary) for each in known]
    say(Table(("name", "isa", "vector bits", "cores", "device"), rows))


@targets_command.command(
    "show", cls=Command, short="Show what is known about a device.", example="edgesparse targets show rpi4"
)
@click.argument("name")
@parameters.as_json
def show_command(name: str, as_json: bool) -> None:
    """Print what is known about a target (NAME, or a TOML file) and where each fact comes from."""
    target = targets.load(name)
    if as_json:
        print_json(targets.flat(target))
        return
    table = target.cost_table
    told = {**targets.flat(target), "cost_table": f"{table.origin}: {table.source}" if table else None}
    if target.cpu.midr is not None:
        told["midr"] = f"{target.cpu.midr:#x}"
    known: dict[str, Any] = {key: "unknown" if value is None else value for key, value in told.items()}
    core = known.pop("core")
    known |= {"core": core} if isinstance(core, str) else {f"core.{key}": each for key, each in asdict(core).items()}
    rows = [(key, ", ".join(value) if isinstance(value, tuple) else value) for key, value in known.items()]
    say(Table(("fact", "value"), rows))


@targets_command.command(
    "detect",
    cls=Command,
    short="Say what a device is, and which target is for it.",
    example="edgesparse targets detect --on pi@board",
)
@parameters.on
@parameters.as_json
def detect_command(on: str | None, as_json: bool) -> None:
    """Ask a device, or this machine, what it is: model, cores, clocks, temperature; and which target is for it."""
    show(pipeline.detect(on), as_json)


@targets_command.command(
    "add",
    cls=Command,
    short="Write the target of a board from what it says of itself.",
    example="edgesparse targets add myboard --on pi@board",
)
@click.argument("name")
@click.option("-o", "--output", type=parameters.FILE, help="The .toml file to write; NAME.toml by default.")
@click.option(
    "--cores",
    metavar="big|little|4-7",
    help="That the target is of, all of one kind; the big ones by default where there are several kinds.",
)
@parameters.on
@parameters.as_json
def add_command(name: str, output: Path | None, cores: str | None, on: str | None, as_json: bool) -> None:
    """Ask a device what it is, measure its memory, and write NAME.toml, a file for --target."""
    if on is None:
        raise click.UsageError("add needs --on DEVICE")
    with progress() as stage:
        report = pipeline.add_target(name, on, output, cores=cores, progress=stage)
    show(report, as_json)


@click.command(
    "inspect",
    cls=Command,
    short="Describe a model or an artifact.",
    example="edgesparse inspect model.onnx",
)
@click.argument("file", type=parameters.FILE)
@click.option(
    "--code", type=parameters.FILE, help="Write an artifact's machine code and its symbols to this new folder."
)
@parameters.as_json
def inspect_command(file: Path, code: Path | None, as_json: bool) -> None:
    """Describe FILE, a model or an artifact: operators, shapes, parameters, density per layer."""
    show(pipeline.inspect(file, code=code), as_json)


@click.command(
    "run",
    cls=Command,
    short="Run an artifact once.",
    example="edgesparse run model.esp --image cat.jpg",
)
@click.argument("artifact", type=parameters.FILE)
@INPUTS
@click.option("--image", type=parameters.FILE, help="A picture, if compiled with --preprocess; needs Pillow.")
@click.option(
    "--top", type=click.IntRange(0), help="Print this many of the largest output elements, with labels; 5 with --image."
)
@click.option(
    "-o", "--output", type=parameters.FILE, help="An .npz file for all outputs, or an .npy file for a single one."
)
@parameters.threads
@parameters.measured_on
@parameters.as_json
def run_command(
    artifact: Path,
    inputs: Any,
    image: Path | None,
    top: int | None,
    output: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Run ARTIFACT once on this machine; one built for another CPU is emulated if QEMU is installed."""
    count = (5 if image and not output else 0) if top is None else top
    with progress() as stage:
        answer = pipeline.classify(
            artifact, parameters.merged(inputs), image=image, top=count, progress=stage, **chosen
        )
    if output:
        read = (artifact, image, *(file.path for file in inputs))
        pipeline.save_arrays(output, answer.outputs, read)
    if as_json:
        print_json(
            {
                "outputs": answer.summaries(),
                "top": answer.top,
                "file": output,
                "note": answer.note,
                "where": answer.where,
            }
        )
    else:
        show(answer, as_json)


@click.command(
    "bench",
    cls=Command,
    short="Measure latency and memory of an artifact.",
    example="edgesparse bench model.esp --against onnxruntime --model model.onnx",
)
@click.argument("artifact", type=parameters.FILE)
@parameters.threads
@click.option("--against", default="", help="Other runtimes to measure, separated by commas, such as onnxruntime.")
@MODEL
@click.option(
    "--seconds", type=parameters.Amount("s", "3s", 0.1), default="3s", show_default=True, help="How long to measure."
)
@click.option("--steps", is_flag=True, help="Also time every kernel call.")
@parameters.html
@parameters.measured_on
@click.option(
    "--baseline",
    type=parameters.FILE,
    metavar="ENVIRONMENT",
    help="Compare with the build of edgesparse that this virtual environment holds.",
)
@parameters.as_json
def bench_command(
    artifact: Path, against: str, model: Path | None, baseline: Path | None, as_json: bool, **chosen: Any
) -> None:
    """Measure latency and memory of ARTIFACT."""
    names = [name.strip() for name in against.split(",") if name.strip()]
    if (names or baseline) and model is None:
        raise click.UsageError(f"{'--against' if names else '--baseline'} needs --model MODEL.onnx")
    if baseline and (names or chosen["steps"] or chosen["on"] or chosen["html"]):
        raise click.UsageError("--baseline compares two builds alone: leave out --against, --steps, --html and --on")
    if baseline and model:
        _bench_builds(artifact, model, baseline, chosen["threads"], chosen["seconds"], as_json=as_json)
        return
    with progress() as stage:
        report = pipeline.bench(artifact, against=names, model=model, progress=stage, **chosen)
    show(report, as_json)


def _bench_builds(artifact: Path, model: Path, baseline: Path, threads: int, seconds: float, *, as_json: bool) -> None:
    with progress() as stage:
        report = pipeline.bench_builds(artifact, model, baseline, threads=threads, seconds=seconds, progress=stage)
    show(report, as_json)


@click.command(
    "profile",
    cls=Command,
    short="Run an artifact for a while: latency, memory, energy.",
    example="edgesparse profile model.esp --on pi@board --seconds 60 --battery 18.5Wh",
)
@click.argument("artifacts", type=parameters.FILE, nargs=-1, required=True)
@INPUTS
@parameters.threads
@click.option(
    "--seconds",
    type=parameters.Amount("s", "60s"),
    default="10s",
    show_default=True,
    help="How long each artifact runs; energy needs 60 s.",
)
@click.option(
    "--rate",
    "rate_hz",
    type=parameters.Amount("/s", "10/s"),
    help="How often an inference is due; without pause if not given.",
)
@click.option(
    "--meter",
    metavar="NAME",
    default="auto",
    show_default=True,
    help="What measures power: auto, none, pmic, jetson, hwmon, hwmon:DEVICE, rapl, battery, android, or a .csv.",
)
@click.option(
    "--battery",
    "battery_wh",
    type=parameters.Amount("Wh", "18.5Wh"),
    help="Say how long a battery of this energy lasts.",
)
@click.option("--eval", metavar="package.module:function", help="Score each artifact: a function that takes its path.")
@parameters.html
@parameters.measured_on
@parameters.as_json
def profile_command(artifacts: tuple[Path, ...], inputs: Any, as_json: bool, **chosen: Any) -> None:
    """Run ARTIFACTS one after the other, each for a while, and tell latency, memory, energy and temperature."""
    with progress() as stage:
        report = pipeline.profile(artifacts, parameters.merged(inputs), progress=stage, **chosen)
    show(report, as_json)


@click.command(
    "verify",
    cls=Command,
    short="Compare an artifact with ONNX Runtime, or with what it promises.",
    example="edgesparse verify model.esp --model model.onnx",
)
@click.argument("artifact", type=parameters.FILE)
@click.option("--model", type=parameters.FILE, help="The model that the artifact was compiled from.")
@INPUTS
@click.option("--calibration", type=parameters.FILE, help="Samples used for pruning (.npz); the first is the input.")
@click.option("--layers/--no-layers", default=True, show_default=True, help="Also compare layer by layer.")
@parameters.on
@parameters.as_json
def verify_command(artifact: Path, model: Path | None, inputs: Any, as_json: bool, **chosen: Any) -> None:
    """Compare ARTIFACT with ONNX Runtime on the model it was compiled from; exit code 1 if they disagree.

    Without --model, compare outputs of small integers with the bits that ARTIFACT promises.
    """
    with progress() as stage:
        report = pipeline.verify(artifact, model, inputs=parameters.merged(inputs), progress=stage, **chosen)
    show(report, as_json)
    if not report.agrees:
        raise click.exceptions.Exit(1)


@click.command(
    "runtime",
    cls=Command,
    short="Make a folder with all that a board needs.",
    example="edgesparse runtime --target rpi4 -o board",
)
@parameters.target
@click.option("-o", "--output", type=parameters.FILE, required=True, help="The folder to make.")
@parameters.as_json
def runtime_command(target: str, output: Path, as_json: bool) -> None:
    """Make a folder with all a board needs to run artifacts: the program esrun, the Python package and libraries."""
    with progress() as stage:
        report = pipeline.runtime(target, output, progress=stage)
    show(report, as_json)


COMMANDS = (
    targets_command,
    inspect_command,
    run_command,
    runtime_command,
    bench_command,
    profile_command,
    verify_command,
)
