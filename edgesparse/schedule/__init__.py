"""Choice of kernel and tile for every weighted layer."""

from edgesparse.schedule.choose import plan
from edgesparse.schedule.experiments import Experiment, experiments
from edgesparse.schedule.fit import Fit, fit_experiments

__all__ = ["Experiment", "Fit", "experiments", "fit_experiments", "plan"]
