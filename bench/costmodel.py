"""Check the cost model on this machine: predicted against measured times, and the choice against other candidates.

python -m bench.costmodel --models resnet50,mobilenetv1,mobilenetv2,minilm --densities 1,0.2,0.1 --candidates 16
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from bench.machine import describe
from edgesparse import frontend, measure, schedule
from edgesparse.backends import cpu
from edgesparse.devices import targets
from edgesparse.devices.targets import Target
from edgesparse.graph.ops import Weighted, graph_of
from edgesparse.package.writer import write
from edgesparse.pipeline.arguments import silent
from edgesparse.pipeline.settings import Pruning
from edgesparse.pipeline.stages import apply_pruning, normalised
from edgesparse.plan import LayerPlan
from edgesparse.schedule.choose import plan_layer, predictions
from models import zoo

NEAR = 0.2  # a prediction is near if it is off by no more
CLOSE = 0.05  # a choice is close if the best candidate takes no less


@dataclass(frozen=True)
class Predicted:
    """A layer in its model: what was predicted of the chosen kernel, and what it took."""

    model: str
    density: float
    layer: str
    choice: str
    predicted_us: float
    measured_us: float

    @property
    def is_near(self) -> bool:
        """Whether the prediction is within NEAR of the measured time."""
        return abs(self.predicted_us / self.measured_us - 1) <= NEAR


@dataclass(frozen=True)
class Chosen:
    """A layer in its model: the chosen candidate against the fastest one of all that were measured."""

    model: str
    density: float
    layer: str
    choice: str
    measured_us: float
    best: str
    best_us: float
    candidates: int

    @property
    def loss(self) -> float:
        """How much longer the choice takes than the best, as a share."""
        return self.measured_us / self.best_us - 1


def normal_model(name: str, density: float, pattern: str) -> ir.Model:
    """A reference model, pruned and normalised."""
    pruning = (
        Pruning.of({"sparsity": 1 - density, "allocation": "uniform", "pattern": pattern}) if density < 1 else None
    )
    pruned, _ = apply_pruning(frontend.read(zoo.cached(name)), pruning, silent)
    return normalised(pruned, None, silent)


def step_times(model: ir.Model, plans: dict[str, LayerPlan], target: Target, seconds: float) -> dict[str, float]:
    """The p10 of each step of a model compiled with given plans, in microseconds; every layer is a step of its own."""
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        path = Path(folder) / "model.esp"
        write([cpu.lower(schedule.arrange(graph_of(model), plans, target.cpu, join=False), target)], {}, path)
        return measure.step_times_us(path, seconds)


def check_predictions(
    name: str, density: float, model: ir.Model, target: Target, seconds: float
) -> Iterator[Predicted]:
    """Predicted and measured time of every weighted layer, as the model runs."""
    graph = graph_of(model)
    table = schedule.cost_table(target)
    plans = {op.layer.name: plan_layer(op, target.cpu, table) for op in graph.weighted}
    times_us = step_times(model, plans, target, seconds)
    for plan in plans.values():
        yield Predicted(name, density, plan.layer, plan.choice, plan.predicted_us, times_us[plan.layer])


def check_choices(
    name: str, density: float, model: ir.Model, target: Target, count: int, seconds: float
) -> Iterator[Chosen]:
    """Measure the best candidates of every layer where they run: the i-th ones of all layers in one model."""
    tried = {op.layer.name: _candidates(op, target, count) for op in graph_of(model).weighted}
    most = max(map(len, tried.values()))
    rounds = [{layer: of[min(i, len(of) - 1)] for layer, of in tried.items()} for i in range(most)]
    times_us = [step_times(model, plans, target, seconds) for plans in rounds]
    for layer, plans in tried.items():
        us = [times_us[i][layer] for i in range(len(plans))]
        best = us.index(min(us))
        yield Chosen(name, density, layer, plans[0].choice, us[0], plans[best].choice, us[best], len(plans))


def _candidates(op: Weighted, target: Target, count: int) -> list[LayerPlan]:
    """The plan of a layer, and then others of which most is expected: each inner loop with its best block of K."""
    table = schedule.cost_table(target)
    chosen = plan_layer(op, target.cpu, table)
    firsts = {dataclasses.replace(chosen.tile, k_block=0): chosen}
    for prediction in sorted(predictions(op, target.cpu, table), key=lambda p: p.core_us):
        plan = dataclasses.replace(chosen, tile=prediction.tile)
        firsts.setdefault(dataclasses.replace(prediction.tile, k_block=0), plan)
    return list(firsts.values())[:count]


def summary(predicted: Sequence[Predicted], chosen: Sequence[Chosen]) -> str:
    """Shares and distances in words."""
    lines = []
    if predicted:
        near = sum(p.is_near for p in predicted)
        lines.append(f"{near} of {len(predicted)} layers ({near / len(predicted):.0%}) are predicted within {NEAR:.0%}")
    if chosen:
        losses = sorted(c.loss for c in chosen)
        close = sum(loss <= CLOSE for loss in losses)
        lines.append(
            f"the choice is within {CLOSE:.0%} of the best measured candidate in {close} of {len(losses)} layers; "
            f"median {losses[len(losses) // 2]:.1%}, worst {losses[-1]:.1%}"
        )
    return "\n".join(lines)


def _line(p: Predicted) -> str:
    return f"{p.model} {p.density:g} {p.layer}: {p.measured_us:.1f} us, predicted {p.predicted_us:.1f}: {p.choice}"


def _comparison(c: Chosen) -> str:
    return (
        f"{c.model} {c.density:g} {c.layer}: {c.measured_us:.1f} us ({c.choice}), best of {c.candidates}: "
        f"{c.best_us:.1f} us ({c.best}): {c.loss:.1%}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the check that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", default="resnet50,mobilenetv1,mobilenetv2,minilm")
    parser.add_argument("--densities", default="1,0.2,0.1")
    parser.add_argument("--pattern", default="1x1")
    parser.add_argument("--candidates", type=int, default=16, help="kernels of each layer to compare")
    parser.add_argument("--seconds", type=float, default=3.0, help="to measure each model, once for each candidate")
    parser.add_argument("--output", type=Path, default=Path("build/bench/costmodel.json"))
    options = parser.parse_args(arguments)
    target = targets.load(targets.HOST)
    predicted: list[Predicted] = []
    chosen: list[Chosen] = []
    for name in options.models.split(","):
        for density in map(float, options.densities.split(",")):
            model = normal_model(name, density, options.pattern)
            found = list(check_predictions(name, density, model, target, options.seconds))
            predicted += found
            print("\n".join(_line(p) for p in found if not p.is_near))
            compared = list(check_choices(name, density, model, target, options.candidates, options.seconds))
            chosen += compared
            print("\n".join(_comparison(c) for c in compared if c.loss > CLOSE))
            print(f"{name} {density:g}: {summary(found, compared)}", flush=True)
    print(summary(predicted, chosen))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "command": " ".join(["python -m bench.costmodel", *(arguments or sys.argv[1:])]),
        "machine": dataclasses.asdict(describe()),
        "predicted": [dataclasses.asdict(p) for p in predicted],
        "chosen": [dataclasses.asdict(c) for c in chosen],
    }
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
