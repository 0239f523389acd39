"""Recover a pruned model file from samples, without labels and without the user's training code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.outputs import written
from edgesparse.pipeline import values
from edgesparse.pipeline.arguments import Progress, near_names, silent
from edgesparse.pipeline.files import require_writable
from edgesparse.pipeline.sample_files import MADE_UP, TOO_FEW, Calibration, is_synthetic, parted, samples
from edgesparse.pipeline.settings import checked
from edgesparse.pipeline.stages import recovered
from edgesparse.signatures import ONNX
from edgesparse.tables import Note, Part, Report

if TYPE_CHECKING:
    from edgesparse.frontend import Examples, Source
    from edgesparse.prune import Agreement


@dataclass(frozen=True, repr=False)
class RecoverReport(Report):
    """What recovery reached: the error of outputs on samples held out before and after, in so many `steps`.

    `before` and `after` are the agreement of each output with the dense model's on those samples: nothing is fitted to
    them, but they choose the state that is kept. `warning` says what nobody knows where none could be held out.
    """

    output: Path
    steps: int
    error_before: float
    error_after: float
    before: tuple[Agreement, ...]
    after: tuple[Agreement, ...]
    warning: str | None = None

    def parts(self) -> Iterator[Part]:
        """The error of outputs, and their agreement with the dense model's, before and after."""
        yield f"{self.output}: error of outputs {self.error_before:.4f} -> {self.error_after:.4f} in {self.steps} steps"
        yield from (f"before: {each}" for each in self.before)
        yield from (f"after: {each}" for each in self.after)
        yield from (Note(line, warning=True) for line in (self.warning or "").splitlines())


@near_names
def recover(
    model: Source,
    output: str | Path,
    *,
    teacher: Source,
    calibration: Calibration,
    time: str = "2m",
    augment: Sequence[str] = (),
    seed: int = 0,
    example_inputs: Examples = None,
    progress: Progress = silent,
) -> RecoverReport:
    """Write a copy of a pruned model whose nonzero weights and biases are fitted to the dense one's outputs.

    Args:
        model: the pruned model; its zeros stay.
        teacher: the model before pruning.
        calibration: samples by input name, or the .npz file that holds them; without labels.
        time: how long it may take, such as "2m" or "90s".
        augment: names in `edgesparse.torch.AUGMENTATIONS`: what to do to images, so that few go further.

    Raises: EdgesparseError: a model or the samples cannot be used, torch is missing, or the file cannot be written.
    """
    import onnx_ir as ir

    from edgesparse import frontend
    from edgesparse.prune import compare_outputs

    values.recover(time, "time")
    augment = checked("augment", augment) or ()
    require_writable(Path(output), ONNX, (model, teacher, calibration))
    progress("reading the models")
    sparse, dense = (frontend.read(each, example_inputs) for each in (model, teacher))
    given = samples(calibration, dense)
    found = recovered(sparse, dense, given, time, augment, seed=seed, progress=progress)
    held_out = None if is_synthetic(calibration) else parted(given)[1]
    before, after = (compare_outputs(dense, each, held_out) if held_out else () for each in (sparse, found.model))
    with written(Path(output)) as temporary:
        ir.save(found.model, temporary)
    warning = None if held_out else MADE_UP if is_synthetic(calibration) else TOO_FEW
    return RecoverReport(Path(output), found.steps, found.error_before, found.error_after, before, after, warning)
