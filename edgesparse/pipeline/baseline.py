"""Measure an artifact against what another build of edgesparse makes of the same model."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.devices import targets
from edgesparse.devices.local import LOCAL
from edgesparse.devices.targets import Target
from edgesparse.package.manifest import of_plan
from edgesparse.pipeline.arguments import Progress, read_as_compiled, silent
from edgesparse.pipeline.stages import apply_pruning
from edgesparse.pipeline.verification import recorded_pruning

if TYPE_CHECKING:
    from edgesparse.frontend import Examples, Source
    from edgesparse.measure import BuildsReport, Given


def bench_builds(
    artifact: str | Path,
    model: Source,
    baseline: str | Path,
    *,
    threads: int = 1,
    example_inputs: Examples = None,
    inputs: Given = None,
    seconds: float = 3.0,
    progress: Progress = silent,
) -> BuildsReport:
    """Measure an artifact in turns with what another build of edgesparse compiles from its model.

    The pruning that the artifact records is applied to `model` first; both builds run the same weights.

    Args:
        model, example_inputs: as for `verify`.
        baseline: the virtual environment that the other build is installed in, or its interpreter.
        inputs: arrays by name or in order; seeded random ones by default.
        seconds: how long to measure both together.

    Raises: EdgesparseError: something cannot be opened, compiled or run here.
    """
    import onnx_ir as ir

    from edgesparse import measure

    with LOCAL.open(artifact) as opened:
        manifest, record = opened.manifest, of_plan(opened.manifest, opened.plan)
        feeds = measure.feeds_for(opened.inputs, inputs)
        shapes = {spec.name: spec.shape for spec in opened.inputs}
    progress("reading the model")
    source = read_as_compiled(model, example_inputs, feeds, manifest)
    pruned, _ = apply_pruning(source, recorded_pruning(manifest), progress)
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        path = Path(folder) / "model.onnx"
        target = targets.of_facts(record.get("target_facts"), f"{artifact}: target_facts")
        options = {"target": _told(target, path.with_suffix(".toml")), "input_shapes": shapes}
        ir.save(pruned, path)
        path.with_suffix(".json").write_text(json.dumps(options))
        progress("compiling with the other build, and measuring")
        return measure.compare_builds(Path(artifact), path, Path(baseline), feeds, threads, seconds)


def _told(target: Target, file: Path) -> str:
    """What another build knows a target by: its name, or where that is not the same here, a file with its facts."""
    if target.name in targets.names() and targets.facts(targets.load(target.name)) == targets.facts(target):
        return target.name
    file.write_text(targets.dump(target), encoding="utf-8")
    return str(file)
