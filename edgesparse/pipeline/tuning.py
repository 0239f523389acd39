"""Tune: build the experiments as one artifact, measure its steps, fit the unit costs of a cost table."""

from __future__ import annotations

import datetime
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.devices import costs, targets
from edgesparse.devices.costs import CostTable
from edgesparse.devices.session import Device
from edgesparse.devices.targets import Target
from edgesparse.errors import MeasureError
from edgesparse.inputs import content
from edgesparse.outputs import written
from edgesparse.pipeline.arguments import Progress, near_names, silent
from edgesparse.pipeline.files import require_writable
from edgesparse.pipeline.stages import producer
from edgesparse.pipeline.trial_model import experiment_model, experiment_plans
from edgesparse.signatures import ARTIFACT, COSTS
from edgesparse.tables import Part, Report

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.forms.tile import Experiment
    from edgesparse.schedule import Fit


_INSTEAD = "; or write the artifact with -o tune.esp, run esrun tune.esp --tune > times.json there, and give --measured"


@dataclass(frozen=True, repr=False)
class TuneReport(Report):
    """What `tune` wrote to `file`: a cost table, or the artifact that measures (then `cost_table` is None).

    `within_20_percent` is the share of the experiments that the cost table predicts that well.
    """

    file: Path
    target: str
    experiments: int
    cost_table: CostTable | None = None
    within_20_percent: float | None = None

    def parts(self) -> Iterator[Part]:
        """The file, and what it is good for."""
        if self.within_20_percent is None:
            yield f"{self.file}: {self.experiments} measurements; on the device: esrun {self.file.name} --tune"
            return
        yield (
            f"{self.file}: cost table of {self.target} from {self.experiments} measurements; "
            f"it predicts {self.within_20_percent:.0%} of them within 20 %"
        )


@near_names
def tune(
    target: str | Target = targets.HOST,
    output: str | Path | None = None,
    *,
    measured: str | Path | None = None,
    seconds: float = 30.0,
    on: str | None = None,
    cores: str | None = None,
    cool_down: str | float | None = None,
    progress: Progress = silent,
) -> TuneReport:
    """Measure what the kernels' work costs on a device, and write its cost table.

    For a device that cannot be reached from here: write the artifact, run `esrun FILE.esp --tune` there, and hand over
    what it prints.

    Args:
        target: a built-in name, the path of a target's TOML file, or a Target.
        output: the cost table's .toml, by default where this user's compilations find it; an .esp to write only the
            artifact that is to be measured.
        measured: what esrun printed; measured on this machine by default.
        seconds: how long to measure.
        on, cores, cool_down: the device to measure, as for `run`; this machine by default.

    Raises: EdgesparseError: the target cannot be measured here, the measurements do not fit, or a file cannot be used.
    """
    from edgesparse import schedule
    from edgesparse.devices.here import named, require_here

    device = target if isinstance(target, Target) else targets.load(target)
    place = named(on, progress, cores=cores, cool_down=cool_down)
    path = Path(output) if output else targets.cached_costs(device)
    if not output:
        path.parent.mkdir(parents=True, exist_ok=True)
    to_measure = path.suffix == ".esp"
    if not (to_measure or measured or on is not None):
        require_here(device, _INSTEAD)
    require_writable(path, ARTIFACT if to_measure else COSTS, (target, measured))
    given = read_times(Path(measured)) if measured and not to_measure else None
    tried = schedule.experiments(device.cpu)
    model = experiment_model(tried)
    if to_measure:
        _write_artifact(model, tried, device, path, progress)
        return TuneReport(path, device.name, len(tried))
    if given is not None:
        times_us, how, machine = given, "measured by esrun", device.summary
    else:
        times_us = _measure(model, tried, device, seconds, place, progress)
        where = f"measured on {on}" + (f", cores {cores}" if cores else "")
        how, machine = ("measured in place", _cpu()) if on is None else (where, device.summary)
    source = f"edgesparse tune, {how}, {datetime.date.today().isoformat()}"
    progress("fitting")
    found: Fit = schedule.fit_experiments(model, tried, times_us, device, source, machine)
    with written(path) as temporary:
        temporary.write_text(costs.dump(found.cost_table), encoding="utf-8")
    return TuneReport(path, device.name, len(tried), found.cost_table, found.within_20_percent)


def read_times(path: Path) -> dict[str, float]:
    """The time of each step in what `esrun --tune` printed.

    Raises: MeasureError: the file cannot be read or holds something else.
    """
    try:
        steps = json.loads(content(path, "what `esrun FILE.esp --tune` prints", MeasureError))["steps"]
        return {str(step["name"]): float(step["p10_us"]) for step in steps}
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise MeasureError(f"{path}: not what `esrun FILE.esp --tune` prints; remedy: run it again") from err


def _cpu() -> str:
    from edgesparse.devices.host import detect

    return detect().model


def _measure(
    model: ir.Model, tried: Sequence[Experiment], device: Target, seconds: float, place: Device, progress: Progress
) -> dict[str, float]:
    from edgesparse import measure

    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        path = Path(folder) / "tune.esp"
        _write_artifact(model, tried, device, path, progress)
        progress("measuring")
        return measure.step_times_us(path, seconds, device=place)


def _write_artifact(
    model: ir.Model, tried: Sequence[Experiment], device: Target, path: Path, progress: Progress
) -> None:
    from edgesparse import schedule
    from edgesparse.backends import backend
    from edgesparse.graph.ops import graph_of
    from edgesparse.package.writer import write

    progress(f"generating code for {device.name}")
    graph = graph_of(model, device.cpu.dotted)
    plan = schedule.arrange(graph, experiment_plans(tried), device.cpu, tile=False)  # packing is measured too
    program = backend().lower(plan, device)
    write([program], {"producer": producer(), "model": "experiments of tune", "target": device.name}, path)
