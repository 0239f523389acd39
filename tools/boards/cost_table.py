"""Estimate the cost table of a target nobody has measured: `tune`'s experiments, timed by the port model.

    python -m tools.boards.cost_table rpi3 rpi4 rpi5 android-arm64

Writes `targets/costs/NAME.toml`, which says of itself that it is estimated; `edgesparse tune` on the board
measures one that takes its place.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from edgesparse import schedule
from edgesparse.devices import costs, targets
from edgesparse.devices.costs import ESTIMATED
from edgesparse.devices.targets import Target
from edgesparse.graph.ops import graph_of
from edgesparse.pipeline.trial_model import experiment_model, experiment_plans
from edgesparse.schedule import Fit
from tools.boards.predict import costs_of

SOURCE = "port model of tools/boards: instructions and cache misses counted under QEMU"


def estimated(target: Target) -> Fit:
    """Unit costs fitted to the modelled times of the experiments.

    Raises: EmulatorError: QEMU, or its support of plugins, is missing. TargetError: facts of the target are.
    """
    tried = schedule.experiments(target.cpu)
    model = experiment_model(tried)
    graph = graph_of(model, target.cpu.dotted)
    costs = costs_of(schedule.arrange(graph, experiment_plans(tried), target.cpu, tile=False), target)
    times_us = {step.name: step.time_us(1) for step in costs}
    found = schedule.fit_experiments(model, tried, times_us, target, SOURCE, "")
    return replace(found, cost_table=replace(found.cost_table, origin=ESTIMATED))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the cost tables of the targets named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("targets", nargs="+")
    options = parser.parse_args(arguments)
    folder = targets.folder() / "costs"
    folder.mkdir(exist_ok=True)
    for name in options.targets:
        found = estimated(targets.load(name))
        path = folder / f"{name}.toml"
        path.write_text(costs.dump(found.cost_table))
        print(f"{path}: {found.within_20_percent:.0%} of the experiments within 20 %")


if __name__ == "__main__":
    main()
