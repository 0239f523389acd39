"""Commands that make something: prune, compile and tune; and explain, which says what compile would make."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgesparse import pipeline
from edgesparse.cli import options
from edgesparse.cli.command import Command
from edgesparse.cli.output import bytes_text, print_json, shape_text, table, tell, time_text, warn
from edgesparse.cli.progress import progress
from edgesparse.errors import first_few

if TYPE_CHECKING:
    from edgesparse.prune import Agreement, PruneReport, ShrunkReport

NAMES_SHOWN = 4


@click.command(
    "prune",
    cls=Command,
    short="Set weights of a model to zero, or take them out.",
    example="edgesparse prune model.onnx -o sparse.onnx --sparsity 0.8 --calibration samples.npz",
)
@click.argument("model", type=options.FILE)
@click.option("-o", "--output", required=True, type=options.FILE, help="The ONNX file to write.")
@options.target
@options.input_shapes
@options.bind
@options.pruning
@options.threads
@options.as_json
def prune_command(model: Path, output: Path, input_shapes: Any, bind: Any, as_json: bool, **chosen: Any) -> None:
    """Write a copy of MODEL with weights set to zero or taken out; it stays an ordinary ONNX file."""
    with progress() as stage:
        report = pipeline.prune(
            model, output, input_shapes=dict(input_shapes), bind=dict(bind), progress=stage, **chosen
        )
    if as_json:
        print_json(report)
        return
    if report.shrunk is not None:
        _tell_groups(output, report.shrunk)
    if report.layers or report.shrunk is None:
        _tell_layers(output, report)
    _tell_outputs(report)


def _tell_groups(output: Path, shrunk: ShrunkReport) -> None:
    """Say what was taken out of which groups."""
    rows = [
        (row.name, row.kind, f"{row.size_before} -> {row.size_after}", str(len(row.layers)), row.note or "")
        for row in shrunk.groups
    ]
    click.echo(table(("group", "kind", "size", "layers", "note"), rows))
    click.echo(
        f"{output}: {shrunk.macs_after:,} of {shrunk.macs_before:,} multiply-accumulates are left "
        f"({shrunk.removed:.1%} gone, {shrunk.asked:.1%} asked for), {shrunk.parameters_after:,} of "
        f"{shrunk.parameters_before:,} weights"
    )


def _tell_layers(output: Path, report: PruneReport) -> None:
    """Say what is left of which layers."""
    rows = [
        (
            layer.node,
            layer.op,
            shape_text(layer.shape),
            f"{layer.density_after:.3f}",
            "" if layer.output_error is None else f"{layer.output_error:.1e}",
            layer.note or "",
        )
        for layer in (*report.layers, *report.others)
    ]
    click.echo(table(("layer", "op", "weight", "density", "error", "note"), rows))
    click.echo(
        f"{output}: density {report.prunable_density:.3f} of the prunable layers, {report.model_density:.3f} of all"
    )
    _tell(report.search)


@click.command(
    "recover",
    cls=Command,
    short="Fit what pruning left to the dense model.",
    example="edgesparse recover sparse.onnx --teacher model.onnx --calibration samples.npz -o better.onnx",
)
@click.argument("model", type=options.FILE)
@click.option("--teacher", required=True, type=options.FILE, help="The model before pruning.")
@click.option(
    "--calibration", required=True, type=options.FILE, help="An .npz with samples of every input, by its name."
)
@click.option("-o", "--output", required=True, type=options.FILE, help="The ONNX file to write.")
@click.option("--time", default="2m", show_default=True, help="How long it may take.")
@options.augment
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order of samples.")
@options.as_json
def recover_command(model: Path, output: Path, as_json: bool, **chosen: Any) -> None:
    """Fit the weights and biases of MODEL, which was pruned, to what it computed before; its zeros stay."""
    with progress() as stage:
        report = pipeline.recover(model, output, progress=stage, **chosen)
    if as_json:
        print_json(report)
        return
    click.echo(
        f"{output}: error of outputs {report.error_before:.4f} -> {report.error_after:.4f} in {report.steps} steps"
    )
    for name, found in (("before", report.before), ("after", report.after)):
        for each in found:
            click.echo(f"{name}: {_agreement_text(each)}")


@click.command(
    "compile",
    cls=Command,
    short="Compile a model into one file for a device.",
    example="edgesparse compile model.onnx --target rpi4 --sparsity 0.8 --calibration samples.npz",
)
@click.argument("model", type=options.FILE)
@options.target
@click.option("-o", "--output", type=options.FILE, help="The artifact to write; MODEL.TARGET.esp here by default.")
@options.input_shapes
@options.bind
@options.preprocess
@options.labels
@options.pruning
@options.threads
@options.witness
@options.as_json
def compile_command(
    model: Path, target: str, output: Path | None, input_shapes: Any, bind: Any, as_json: bool, **chosen: Any
) -> None:
    """Compile MODEL into one file that the runtime executes; zeros in it become speed."""
    with progress() as stage:
        report = pipeline.compile(
            model, target, output, input_shapes=dict(input_shapes), bind=dict(bind), progress=stage, **chosen
        )
    if as_json:
        print_json(report)
        return
    sparse = sum(layer.kernel == "sparse" for layer in report.layers)
    click.echo(f"{report.artifact}: {bytes_text(report.artifact_bytes)} for {report.target}, in {report.seconds:.1f} s")
    click.echo(
        f"{sparse} of {len(report.layers)} weighted layers run sparse; density {report.density:.3f} of all weights"
    )
    click.echo(
        f"code {bytes_text(report.code_bytes)}, weights {bytes_text(report.weights_bytes)}, "
        f"arena {bytes_text(report.arena_bytes)}, {report.steps} kernel calls"
    )
    if report.pruning is not None:
        _tell(report.pruning.search)
        _tell_left(report.pruning)
        _tell_outputs(report.pruning)
    if report.witness is not None:
        seen = report.witness
        click.echo(f"against ONNX Runtime: import {seen.imported}, code {seen.code} ({seen.seconds:.1f} s)")
    for note in report.notes:
        tell(note)


@click.command(
    "tune",
    cls=Command,
    short="Measure what kernels cost on a device.",
    example="edgesparse tune --target rpi4 -o tune.esp",
)
@options.target
@click.option(
    "-o",
    "--output",
    type=options.FILE,
    help="The calibration's .toml, kept for this user by default; or an .esp to measure on a device with esrun --tune.",
)
@click.option("--measured", type=options.FILE, help="What esrun --tune printed; measured on this machine by default.")
@click.option("--seconds", type=click.FloatRange(0.0), default=30.0, show_default=True, help="How long to measure.")
@options.as_json
def tune_command(target: str, output: Path | None, measured: Path | None, seconds: float, as_json: bool) -> None:
    """Measure what kernels cost on a device: what the choice between dense and sparse is made by."""
    with progress() as stage:
        report = pipeline.tune(target, output, measured=measured, seconds=seconds, progress=stage)
    if as_json:
        print_json(report)
    elif report.within_20_percent is None:
        click.echo(f"{report.file}: {report.experiments} measurements; on the device: esrun {report.file.name} --tune")
    else:
        click.echo(
            f"{report.file}: calibration of {report.target} from {report.experiments} measurements; "
            f"it predicts {report.within_20_percent:.0%} of them within 20 %"
        )


@click.command(
    "explain",
    cls=Command,
    short="Say what runs dense or sparse, and why.",
    example="edgesparse explain model.onnx --target rpi4 --sparsity 0.8",
)
@click.argument("model", type=options.FILE)
@options.target
@options.input_shapes
@options.bind
@options.preprocess
@options.pruning
@options.threads
@click.option("--html", type=options.FILE, help="Also write the report to this file, as one page.")
@options.as_json
def explain_command(model: Path, target: str, input_shapes: Any, bind: Any, as_json: bool, **chosen: Any) -> None:
    """Say how each layer of MODEL would run, what dense and sparse would take, and why."""
    with progress() as stage:
        report = pipeline.explain(
            model, target, input_shapes=dict(input_shapes), bind=dict(bind), progress=stage, **chosen
        )
    if as_json:
        print_json(report)
        return
    rows = [
        (
            plan.layer,
            plan.op,
            shape_text((plan.m, plan.k, plan.n)),
            density,
            f"{plan.dense_us:.1f}",
            f"{plan.sparse_us:.1f}",
            break_even,
            plan.choice,
            plan.reason,
        )
        for plan in report.layers
        for density, break_even in [plan.told()]
    ]
    rows += [(layer.layer, layer.op, "", "", "", "", "", "fixed", layer.why) for layer in report.fixed]
    click.echo(table(("layer", "op", "MxKxN", "density", "dense us", "sparse us", "even", "choice", "why"), rows))
    click.echo(
        f"weighted layers: {time_text(report.predicted_us)} as chosen, {time_text(report.dense_us)} all dense; "
        f"{report.threads} thread(s), predicted for {report.target} (calibration {report.origin}: {report.source})"
    )
    _tell(report.search)
    if report.pruning is not None:
        _tell_left(report.pruning)
        _tell_outputs(report.pruning)
    if report.other_ops:
        click.echo("without weights: " + ", ".join(f"{count} {op}" for op, count in report.other_ops.items()))
    for note in report.notes:
        tell(note)


def _tell(found: pipeline.SearchReport | None) -> None:
    """Say what a search for densities reached."""
    if found is None:
        return
    asked = f", asked for {time_text(found.budget_us)}" if found.budget_us else ""
    click.echo(
        f"{found.origin} latency {time_text(found.latency_us)} with {found.threads} thread(s){asked}; "
        f"dense {time_text(found.dense_us)} ({found.speedup:.2f}x)"
    )
    if found.candidates:
        score = next(each.score for each in found.candidates if each.densities == found.densities)
        click.echo(f"score {score:.6g}, dense {found.candidates[0].score:.6g}; {', '.join(map(str, found.files))}")
    if found.judged_by == "weights":
        click.echo("without calibration samples, densities go by the error of the weights alone")


def _tell_left(report: PruneReport) -> None:
    """Say which weights were not pruned, by the reason."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for row in (*report.layers, *report.others):
        if not row.prunable:
            reasons[row.note or ""].append(row.node)
    for reason, nodes in reasons.items():
        click.echo(f"not pruned: {first_few(nodes, NAMES_SHOWN)} ({reason})")


def _agreement_text(each: Agreement) -> str:
    told = [
        "" if each.top1 is None else f"the same answer in {each.top1:.1%}",
        "" if each.cosine is None else f"cosine {each.cosine:.4f}",
        "" if each.relative_error is None else f"relative error {each.relative_error:.3f}",
    ]
    return f"{each.output} against dense, {each.samples} samples held out: {', '.join(filter(None, told))}"


def _tell_outputs(report: PruneReport) -> None:
    """Say how near the outputs are to the dense model's, or that nobody knows."""
    for each in report.agreement:
        click.echo(_agreement_text(each))
    for line in (report.warning or "").splitlines():
        warn(line)


COMMANDS = (prune_command, recover_command, compile_command, explain_command, tune_command)
