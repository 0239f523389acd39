"""How every op of a graph runs: the form and tile of its kernel, which ops share a kernel, and how long that takes."""

from edgesparse.schedule.advice import Advice, advice
from edgesparse.schedule.arrange import arrange
from edgesparse.schedule.choose import cost_table, plan, why_fixed
from edgesparse.schedule.experiments import experiments
from edgesparse.schedule.regression import Fit, fit_experiments

__all__ = ["Advice", "Fit", "advice", "arrange", "cost_table", "experiments", "fit_experiments", "plan", "why_fixed"]
