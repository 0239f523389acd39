"""Check the cost model on this machine: predicted against measured times, and the choice against other candidates.

python -m bench.costmodel --models resnet50,mobilenetv1,mobilenetv2,minilm --densities 1,0.2,0.1 --sample 3
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

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from bench.machine import describe
from edgesparse import frontend, lower, measure, schedule, targets
from edgesparse.layers import Layer, layers
from edgesparse.nodes import constant, shape_of
from edgesparse.package.writer import write
from edgesparse.pipeline.arguments import silent
from edgesparse.pipeline.compiling import normalised
from edgesparse.pipeline.pruning import Pruning, apply_pruning
from edgesparse.plan import LayerPlan
from edgesparse.schedule.choose import Prediction, predictions
from edgesparse.targets import Target
from models import zoo

NEAR = 0.2  # a prediction is near if it is off by no more
SLACK = 1.5  # candidates predicted to take up to this times the best are measured


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
    """A layer by itself: the chosen candidate against the fastest one of all that were measured."""

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
    pruning = Pruning(1 - density, pattern=pattern) if density < 1 else None
    pruned, _ = apply_pruning(frontend.read(zoo.cached(name)), pruning, silent)
    return normalised(pruned, None, silent)


def step_times(model: ir.Model, plans: dict[str, LayerPlan], target: Target, seconds: float) -> dict[str, float]:
    """The p10 of each step of a model compiled with given plans, in microseconds."""
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        path = Path(folder) / "model.esp"
        write(lower.lower(model, target, plans), {}, path)
        return measure.step_times_us(path, seconds)


def check_predictions(
    name: str, density: float, model: ir.Model, target: Target, seconds: float
) -> Iterator[Predicted]:
    """Predicted and measured time of every weighted layer, as the model runs."""
    plans = schedule.plan(model, target)
    times_us = step_times(model, plans, target, seconds)
    for plan in plans.values():
        yield Predicted(name, density, plan.layer, plan.choice, plan.predicted_us, times_us[plan.layer])


def check_choice(name: str, density: float, layer: Layer, target: Target, seconds: float) -> Chosen:
    """Measure the candidates of a layer in turns, each adding to what the one before it gave."""
    found = sorted(predictions(layer, target, schedule.calibration_of(target)), key=lambda p: p.us)
    tried = [p for p in found if p.us <= SLACK * found[0].us]
    shuffled = np.random.default_rng(0).permutation(len(tried)).tolist()
    plans = {f"candidate {i}": _plan(layer, tried[i]) for i in shuffled}
    times_us = step_times(_repeated(layer, list(plans)), plans, target, seconds)
    best = min(plans, key=lambda candidate: times_us[candidate])
    first = "candidate 0"
    return Chosen(
        name,
        density,
        layer.name,
        plans[first].choice,
        times_us[first],
        plans[best].choice,
        times_us[best],
        len(plans),
    )


def _plan(layer: Layer, prediction: Prediction) -> LayerPlan:
    plane, candidate = layer.plane, prediction.candidate
    sizes = (plane.m, plane.k, plane.n, layer.density)
    return LayerPlan(layer.name, layer.node.op_type, *sizes, candidate.kernel, candidate.tile, 0.0, "tried")


def _repeated(layer: Layer, names: Sequence[str]) -> ir.Model:
    """A model that computes the layer once for each name, every time on the same input."""
    x, y = shape_of(layer.node.inputs[0]), shape_of(layer.node.outputs[0])
    weight = constant(layer.node.inputs[1])
    attributes = [ir.to_proto(attribute) for attribute in layer.node.attributes.values()]
    nodes, last = [], ""
    for i, name in enumerate(names):
        node = helper.make_node(layer.node.op_type, ["x", "w"], [f"p{i}"], name=name)
        node.attribute.extend(attributes)
        nodes.append(node)
        if last:
            nodes.append(helper.make_node("Add", [f"p{i}", last], [f"y{i}"]))
        last = f"y{i}" if last else f"p{i}"
    graph = helper.make_graph(
        nodes,
        "candidates",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, y)],
        [numpy_helper.from_array(weight, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model: ir.Model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    return model


def summary(predicted: Sequence[Predicted], chosen: Sequence[Chosen]) -> str:
    """Shares and distances in words."""
    lines = []
    if predicted:
        near = sum(p.is_near for p in predicted)
        lines.append(f"{near} of {len(predicted)} layers ({near / len(predicted):.0%}) are predicted within {NEAR:.0%}")
    if chosen:
        losses = sorted(c.loss for c in chosen)
        close = sum(loss <= 0.05 for loss in losses)
        lines.append(
            f"the choice is within 5% of the best measured candidate in {close} of {len(losses)} layers; "
            f"median {losses[len(losses) // 2]:.1%}, worst {losses[-1]:.1%}"
        )
    return "\n".join(lines)


def _line(p: Predicted) -> str:
    return f"{p.model} {p.density:g} {p.layer}: {p.measured_us:.1f} us, predicted {p.predicted_us:.1f}: {p.choice}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the check that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", default="resnet50,mobilenetv1,mobilenetv2,minilm")
    parser.add_argument("--densities", default="1,0.2,0.1")
    parser.add_argument("--pattern", default="1x1")
    parser.add_argument("--sample", type=int, default=3, help="layers of each model to measure all candidates of")
    parser.add_argument("--seconds", type=float, default=3.0, help="to measure each model, and each layer")
    parser.add_argument("--output", type=Path, default=Path("build/bench/costmodel.json"))
    chosen_options = parser.parse_args(arguments)
    target = targets.load(targets.HOST)
    predicted: list[Predicted] = []
    chosen: list[Chosen] = []
    for name in chosen_options.models.split(","):
        for density in map(float, chosen_options.densities.split(",")):
            model = normal_model(name, density, chosen_options.pattern)
            found = list(check_predictions(name, density, model, target, chosen_options.seconds))
            predicted += found
            print("\n".join(_line(p) for p in found if not p.is_near))
            every = [layer for layer in layers(model) if not layer.is_vector]
            for layer in every[:: max(1, len(every) // chosen_options.sample)][: chosen_options.sample]:
                one = check_choice(name, density, layer, target, chosen_options.seconds)
                chosen.append(one)
                print(
                    f"{name} {density:g} {one.layer}: {one.measured_us:.1f} us ({one.choice}), best of "
                    f"{one.candidates}: {one.best_us:.1f} us ({one.best}): {one.loss:.1%}",
                    flush=True,
                )
            print(f"{name} {density:g}: {summary(found, [])}", flush=True)
    print(summary(predicted, chosen))
    chosen_options.output.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "command": " ".join(["python -m bench.costmodel", *(arguments or sys.argv[1:])]),
        "machine": dataclasses.asdict(describe()),
        "predicted": [dataclasses.asdict(p) for p in predicted],
        "chosen": [dataclasses.asdict(c) for c in chosen],
    }
    chosen_options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
