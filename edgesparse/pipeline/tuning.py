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
from edgesparse.numerics import PLAIN
from edgesparse.outputs import written
from edgesparse.pipeline.arguments import Progress, near_names, silent
from edgesparse.pipeline.files import require_writable
from edgesparse.pipeline.stages import producer
from edgesparse.plan import LayerPlan
from edgesparse.signatures import ARTIFACT, COSTS
from edgesparse.tables import Part, Report

if TYPE_CHECKING:
    import numpy as np
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
    plan = schedule.arrange(graph_of(model), experiment_plans(tried), device.cpu, tile=False)  # packing is measured too
    program = backend().lower(plan, device)
    write([program], {"producer": producer(), "model": "experiments of tune", "target": device.name}, path)


def experiment_model(experiments: Sequence[Experiment]) -> ir.Model:
    """A model with a node for each experiment; those of a chain follow each other."""
    import numpy as np
    import onnx
    import onnx_ir as ir
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, weights, inputs, ends = [], [], [], {}
    for number, experiment in enumerate(experiments):
        w = _weight(experiment, rng)
        weights.append(numpy_helper.from_array(w, f"w{number}"))
        if experiment.chain not in ends:
            ends[experiment.chain] = f"x{number}"
            shape = _input_shape(experiment)
            inputs.append(helper.make_tensor_value_info(f"x{number}", onnx.TensorProto.FLOAT, shape))
        names = [ends[experiment.chain], f"w{number}"]
        ends[experiment.chain] = f"a{number}" if experiment.activation else f"y{number}"
        if experiment.window == 0:
            nodes.append(helper.make_node("MatMul", names, [f"y{number}"], name=experiment.name))
        else:
            pads = [experiment.window // 2] * 4
            nodes.append(helper.make_node("Conv", names, [f"y{number}"], name=experiment.name, pads=pads))
        if experiment.activation:
            nodes.append(helper.make_node(experiment.activation, [f"y{number}"], [f"a{number}"]))
    outputs = [helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, None) for end in ends.values()]
    graph = helper.make_graph(nodes, "experiments", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 20)]
    model: ir.Model = ir.from_proto(onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets)))
    return model


def _input_shape(experiment: Experiment) -> tuple[int, ...]:
    if experiment.window == 0:
        return (1, experiment.channels)
    height = experiment.size if experiment.window > 1 else 1
    return (1, experiment.channels, height, experiment.size)


def _weight(experiment: Experiment, rng: np.random.Generator) -> np.ndarray:
    """Random, as dense as asked for, in blocks, and scaled so that a chain neither grows nor vanishes."""
    import numpy as np

    m, k, (r, q) = experiment.m, experiment.channels * max(1, experiment.window) ** 2, experiment.tile.zeros
    kept = rng.random((-(-m // r), -(-k // q))) < experiment.density
    mask = np.repeat(np.repeat(kept, r, axis=0), q, axis=1)[:m, :k]
    w: np.ndarray = (rng.standard_normal((m, k)) * mask / np.sqrt(k * experiment.density)).astype(PLAIN.w.numpy)
    if experiment.window == 0:
        return np.ascontiguousarray(w.T)
    shaped: np.ndarray = w.reshape(m, experiment.channels, experiment.window, experiment.window)
    return shaped


def experiment_plans(experiments: Sequence[Experiment]) -> dict[str, LayerPlan]:
    """The candidates of the experiments as plans, by node name."""
    return {
        e.name: LayerPlan(
            layer=e.name,
            op="",
            m=e.m,
            k=e.channels,
            n=e.size,
            numerics=PLAIN,
            density=e.density,
            tile=e.tile,
            break_even=1.0,
            reason="an experiment",
        )
        for e in experiments
    }
