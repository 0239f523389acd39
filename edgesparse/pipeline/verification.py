"""Compare an artifact with ONNX Runtime: its outputs, then the values between its kernels."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesparse.devices import targets
from edgesparse.devices.session import where
from edgesparse.devices.targets import Target
from edgesparse.errors import EdgesparseError, MeasureError, OptionError, PruneError
from edgesparse.inputs import said
from edgesparse.numerics import Element
from edgesparse.pipeline.arguments import InputShapes, Progress, near_names, read_as_compiled, silent
from edgesparse.pipeline.compiling import digest
from edgesparse.pipeline.dtypes import computed_with, dtype_called
from edgesparse.pipeline.reports import VerifiedPlan, VerifyReport
from edgesparse.pipeline.running import run
from edgesparse.pipeline.sample_files import Calibration, first_of, samples
from edgesparse.pipeline.settings import Pruning
from edgesparse.pipeline.stages import apply_pruning, lowered, normalised
from edgesparse.tables import shown

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.frontend import Examples, Source
    from edgesparse.measure import Difference, Given
    from edgesparse.package.answers import Answers
    from edgesparse.pipeline.unsteady import Arrays


@near_names
def verify(
    artifact: str | Path,
    model: Source | None = None,
    *,
    example_inputs: Examples = None,
    inputs: Given = None,
    calibration: Calibration = None,
    layers: bool = True,
    on: str | None = None,
    progress: Progress = silent,
) -> VerifyReport:
    """Compare an artifact with ONNX Runtime on the model it was compiled from, each of its plans.

    The pruning that the artifact records is applied to `model` first. Plans for other machines are run emulated.

    Args:
        model: what the artifact was compiled from. Without it outputs are compared, bit by bit, with what the artifact
            promises for made-up inputs, as those of models of small integers can be; then only `on` is used.
        example_inputs: as for `compile`; inputs of the artifact where a PyTorch module comes with none.
        inputs: arrays by name or in order; by default the first of `calibration`, or seeded random ones.
        calibration: samples that the pruning which is recorded needs, or their .npz file; by default the file that the
            artifact records.
        on: the device to run it on, as for `run`.
        layers: also compile the model with the values between its layers visible, and compare those.

    Raises: EdgesparseError: something cannot be opened or run here.
    """
    from edgesparse import measure, reference
    from edgesparse.devices.here import device_of

    if model is None:
        return verified_answers(Path(artifact), on, progress)
    given = samples(calibration)
    progress("reading the model")
    with device_of(artifact, on, progress).open(artifact) as opened:
        manifest = opened.manifest
        shapes = {spec.name: spec.shape for spec in opened.inputs}
        feeds = measure.feeds_for(opened.inputs, inputs or first_of(given, shapes))
    source = read_as_compiled(model, example_inputs, feeds, manifest)
    pruned, _ = apply_pruning(source, recorded_pruning(manifest, given), progress)
    progress("running ONNX Runtime")
    judge = _Judge(pruned, feeds, reference.evaluate(pruned, feeds), shapes, on, recorded_dtype(manifest))
    plans, skipped = each_plan(Path(artifact), lambda path: judge.plan(path, layers, progress), progress)
    same = manifest.get("model_sha256") in (None, digest(model, source))
    notes = () if same else ("the artifact was compiled from another file than this model",)
    return VerifyReport(plans, notes=(*notes, *skipped))


@dataclass(frozen=True, eq=False)
class _Judge:
    """A model, and what ONNX Runtime computes with it."""

    model: ir.Model
    feeds: Arrays
    expected: Arrays
    shapes: InputShapes
    on: str | None
    dtype: Element | None

    def plan(self, artifact: Path, layers: bool, progress: Progress) -> VerifiedPlan:
        """How far an artifact of one plan is from that."""
        from edgesparse.devices.here import device_of
        from edgesparse.package.manifest import of_plan

        device = device_of(artifact, self.on, progress)
        with device.open(artifact) as opened:
            record = of_plan(opened.manifest, 0)
            outputs, place = self.judged(opened.run(self.feeds), self.expected), where(device, opened)
        compared = self._layers(_target(record, artifact), progress) if layers else ()
        return VerifiedPlan(
            target=shown(record.get("target", "?")),
            outputs=outputs,
            layers=compared,
            first_divergence=next((difference.name for difference in compared if not difference.agrees), None),
            where=place,
        )

    def _layers(self, device: Target, progress: Progress) -> tuple[Difference, ...]:
        """Compare every value that both the model and the code have: one of the same name is the same value."""
        from edgesparse import reference
        from edgesparse.package.writer import write

        normal = normalised(self.model, self.shapes, progress)
        program, _ = lowered(normal, device, progress, self.dtype, expose=True)
        with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
            path = Path(folder) / "layers.esp"
            write([program], {"plans": [{"target_facts": targets.facts(device)}]}, path)
            progress("comparing layer by layer")
            actual = run(path, self.feeds, on=self.on, progress=progress)
        known = {value.name for node in self.model.graph for value in node.outputs}
        values = [str(value.name) for node in normal.graph for value in node.outputs]
        both = [name for name in values if name in known and name in actual]
        expected = reference.evaluate(self.model, self.feeds, both)
        if self.dtype is not None:
            actual = {name: array.astype(expected.get(name, array).dtype) for name, array in actual.items()}
        return self.judged(actual, expected)

    def judged(self, actual: Arrays, expected: Arrays) -> tuple[Difference, ...]:
        """How far values are from those expected; one agrees, too, that differs by no more than rounding moves it."""
        from edgesparse import measure, reference
        from edgesparse.pipeline.unsteady import is_rounding, moved_outputs

        def run(moved: Arrays) -> Arrays:
            return reference.evaluate(self.model, moved, names)

        differences = measure.compare_all(actual, expected, computed_with(self.model, self.dtype))
        names = [difference.name for difference in differences if not difference.agrees]
        moved = list(moved_outputs(run, self.model, self.feeds, names)) if names else []
        rounded = {
            name
            for name in names
            if is_rounding(actual.get(name), expected[name], (outputs[name] for outputs in moved))
        }
        return tuple(
            replace(each, agrees=True, note=f"{each.note}, as when rounding differs") if each.name in rounded else each
            for each in differences
        )


def each_plan(
    artifact: Path, judge: Callable[[Path], VerifiedPlan], progress: Progress
) -> tuple[tuple[VerifiedPlan, ...], tuple[str, ...]]:
    """What is found of the plans that can be run, each in a file of its own, and why others cannot.

    Raises: EdgesparseError: none can be run.
    """
    from edgesparse.devices.emulated import plan_alone
    from edgesparse.package.manifest import of_plan
    from edgesparse.package.reader import read

    found, judged, skipped = read(artifact), [], []
    for number in range(len(found.programs)):
        progress("running the artifact")
        with plan_alone(found, number, artifact) as path:
            try:
                judged.append(judge(path))
            except EdgesparseError as err:
                if len(found.programs) == 1 or (not judged and number == len(found.programs) - 1):
                    raise
                target = shown(of_plan(found.manifest, number).get("target", "?"))
                skipped.append(f"{target} is not verified: {str(err).replace(f'{path}: ', '')}")
    return tuple(judged), tuple(skipped)


def verified_answers(artifact: Path, on: str | None, progress: Progress) -> VerifyReport:
    """Compare what every plan gives for made-up inputs with what the artifact promises.

    Raises: EdgesparseError: it promises nothing, or cannot be run.
    """
    from edgesparse.package.reader import read

    promised = read(artifact).answers
    if not promised:
        raise MeasureError(
            f"{artifact}: promises no bits: its outputs depend on floats, which machines round apart; give the model "
            "that it was compiled from (--model)"
        )
    plans, skipped = each_plan(artifact, lambda path: _answering(path, promised, on, progress), progress)
    return VerifyReport(plans, notes=skipped)


def _answering(artifact: Path, promised: Sequence[Answers], on: str | None, progress: Progress) -> VerifiedPlan:
    """What a device makes of the inputs of each seed."""
    from edgesparse.devices.here import device_of
    from edgesparse.measure import Difference
    from edgesparse.package.answers import digest, made_up
    from edgesparse.package.manifest import of_plan

    device, told = device_of(artifact, on, progress), []
    with device.open(artifact) as opened:
        record, place = of_plan(opened.manifest, 0), where(device, opened)
        for answers in promised:
            outputs = opened.run(made_up(opened.inputs, answers.seed))
            for spec, expected in zip(opened.outputs, answers.digests, strict=True):
                if expected is not None:
                    same = digest(outputs[spec.name]) == expected
                    note = f"{'the' if same else 'not the'} bits that are promised for seed {answers.seed}"
                    error = 0.0 if same else float("inf")
                    told.append(Difference(spec.name, tuple(spec.shape), 0.0, error, agrees=same, note=note))
    return VerifiedPlan(shown(record.get("target", "?")), tuple(told), (), None, place)


def _target(record: Mapping[str, Any], artifact: Path) -> Target:
    """What a plan was compiled for; its artifact carries the facts."""
    return targets.of_facts(record.get("target_facts"), f"{artifact}: target_facts")


def recorded_dtype(manifest: Mapping[str, Any]) -> Element | None:
    """What an artifact says that its layers were to be computed with."""
    name = manifest.get("dtype")
    try:
        return dtype_called(name if name is None else str(name))
    except OptionError as err:
        raise MeasureError(f"the artifact records a type that is not known: {said(err)}") from err


def recorded_pruning(manifest: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Pruning | None:
    """What an artifact says it was pruned by, with the samples that are given for it."""
    recorded = manifest.get("pruning")
    if not recorded:
        return None
    try:
        pruning = Pruning.recorded(recorded)
    except (PruneError, TypeError, AttributeError) as err:
        raise MeasureError(f"the artifact records a pruning that is not known: {said(err)}") from err
    recovery = pruning.options["recover"]
    if recovery is not None:
        raise MeasureError(
            f"the artifact's weights were recovered for {recovery}, and no two recoveries are equal; remedy: "
            "edgesparse prune --recover writes a model, compile that, and compare with it"
        )
    return pruning if given is None else pruning.but(calibration=given)
