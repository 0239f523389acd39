"""Run the stages, and verify between them."""

from edgesparse.pipeline.adding import AddReport, add_target
from edgesparse.pipeline.baseline import bench_builds
from edgesparse.pipeline.board import RuntimeReport, clean, runtime
from edgesparse.pipeline.budgets import SearchReport
from edgesparse.pipeline.compiling import compile, default_output
from edgesparse.pipeline.detecting import DetectReport, detect
from edgesparse.pipeline.explaining import ExplainReport, explain
from edgesparse.pipeline.files import load_arrays, save_arrays
from edgesparse.pipeline.profiling import ProfileReport, profile
from edgesparse.pipeline.pruning import prune
from edgesparse.pipeline.recipe import read_recipe
from edgesparse.pipeline.recovering import RecoverReport, recover
from edgesparse.pipeline.reports import Answer, ArtifactSummary, CompileReport, TensorSummary, VerifyReport
from edgesparse.pipeline.running import bench, classify, inspect, run
from edgesparse.pipeline.settings import Pruning
from edgesparse.pipeline.tuning import TuneReport, tune
from edgesparse.pipeline.verification import verify

__all__ = [
    "AddReport",
    "Answer",
    "ArtifactSummary",
    "CompileReport",
    "DetectReport",
    "ExplainReport",
    "ProfileReport",
    "Pruning",
    "RecoverReport",
    "RuntimeReport",
    "SearchReport",
    "TensorSummary",
    "TuneReport",
    "VerifyReport",
    "add_target",
    "bench",
    "bench_builds",
    "classify",
    "clean",
    "compile",
    "default_output",
    "detect",
    "explain",
    "inspect",
    "load_arrays",
    "profile",
    "prune",
    "read_recipe",
    "recover",
    "run",
    "runtime",
    "save_arrays",
    "tune",
    "verify",
]
