"""Two builds of edgesparse against each other, each in a process of its own environment, in turns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgesparse.devices.worker import BUILD, PYTHON, Worker
from edgesparse.errors import MeasureError
from edgesparse.measure.compare import compare_all
from edgesparse.measure.feeds import Arrays
from edgesparse.measure.latency import Latency, take_turns
from edgesparse.tables import Part, Report, Table, time_text


@dataclass(frozen=True)
class Build:
    """A build of edgesparse in words, and what it reached."""

    build: str
    latency: Latency


@dataclass(frozen=True, repr=False)
class BuildsReport(Report):
    """This build and another on the same model, measured in turns.

    `ratio` is the other's median over this one's, `ratio_p10` its p10 over ours: above 1, this one is faster.
    `agree` says whether both compute the same, within the tolerance of `verify`.
    """

    threads: int
    ours: Build
    baseline: Build
    ratio: float
    ratio_p10: float
    agree: bool

    def parts(self) -> Iterator[Part]:
        """A row a build, and what one is to the other."""
        rows = [
            (name, time_text(side.latency.median_us), time_text(side.latency.p10_us), side.latency.runs, side.build)
            for name, side in (("this", self.ours), ("baseline", self.baseline))
        ]
        yield Table(("", "median", "p10", "runs", "build"), rows)
        yield f"this build is {self.ratio:.3f}x as fast as the baseline (median; p10: {self.ratio_p10:.3f}x)"
        yield f"{self.threads} thread(s); their outputs {'agree' if self.agree else 'DIFFER'}"


def compare_builds(
    artifact: Path, model: Path, environment: Path, feeds: Arrays, threads: int, seconds: float
) -> BuildsReport:
    """Measure an artifact of this build, and what the build in another environment makes of its model.

    Args:
        model: an ONNX file, with the options of its compilation beside it; the other's artifact is put there, too.
        environment: a virtual environment, or its interpreter.

    Raises: MeasureError: there is no such environment, or a build cannot take part.
    """
    theirs = str(interpreter(environment))
    with Worker(BUILD, artifact, threads) as this, Worker(BUILD, model, threads, python=(theirs, "-I")) as other:
        actual, expected = _outputs(this, PYTHON[0], feeds), _outputs(other, theirs, feeds)
        latencies = take_turns({"this build": this, f"the build of {theirs}": other}, feeds, seconds).values()
        ours, baseline = map(Build, (this.notes["build"], other.notes["build"]), latencies)
    return BuildsReport(
        threads,
        ours,
        baseline,
        ratio=baseline.latency.median_us / ours.latency.median_us,
        ratio_p10=baseline.latency.p10_us / ours.latency.p10_us,
        agree=all(difference.agrees for difference in compare_all(actual, expected)),
    )


def interpreter(environment: Path) -> Path:
    """The Python of a virtual environment, or the one that is named.

    Raises: MeasureError: there is none.
    """
    python = environment / "bin" / "python" if environment.is_dir() else environment
    if not python.is_file():
        raise MeasureError(f"{environment}: no such Python; expected a virtual environment, or the python in it")
    return python.absolute()


def _outputs(build: Worker, python: str, feeds: Arrays) -> Arrays:
    try:
        return build.run(feeds)
    except MeasureError as err:
        raise MeasureError(f"{python}: this build of edgesparse cannot take part: {err}") from err
