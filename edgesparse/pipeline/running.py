"""Inspect, run and measure what has been compiled."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.devices.local import LOCAL
from edgesparse.devices.session import where
from edgesparse.errors import MeasureError
from edgesparse.outputs import new_folder, written
from edgesparse.pipeline.arguments import Progress, name_of, near_names, read_as_compiled, silent
from edgesparse.pipeline.files import require_writable
from edgesparse.pipeline.kinds import require_kinds
from edgesparse.pipeline.reports import Answer, ArtifactSummary, PlanSummary, Score, TensorSummary
from edgesparse.signatures import ARTIFACT, PAGE, kind_of
from edgesparse.tables import shown

if TYPE_CHECKING:
    import numpy as np

    from edgesparse.frontend import Examples, ModelSummary, Source
    from edgesparse.measure import BenchReport, Given
    from edgesparse.package.reader import Artifact
    from edgesparse.program import Program, TensorSpec


@near_names
def inspect(
    file: Source, *, example_inputs: Examples = None, code: str | Path | None = None
) -> ModelSummary | ArtifactSummary:
    """Describe a model or an artifact, whichever `file` is.

    Args:
        example_inputs: as for `compile`.
        code: a folder to make, for the machine code of each plan of an artifact and a list of its symbols.

    Raises: EdgesparseError: the file cannot be read or is neither, or it is no artifact and code is asked for.
    """
    from edgesparse import frontend

    if not isinstance(file, str | Path) or not _is_artifact(Path(file)):
        if code is not None:
            raise MeasureError(f"{name_of(file)}: is not an artifact, and only artifacts hold code; compile it first")
        return replace(frontend.describe(frontend.read(file, example_inputs)), model=name_of(file))

    from edgesparse.package.reader import read

    artifact = read(Path(file))
    if code is not None:
        _write_code(artifact.programs, Path(code))
    first = artifact.programs[0]
    return ArtifactSummary(
        file=str(file),
        version=artifact.version,
        inputs=_tensors(first.inputs),
        outputs=_tensors(first.outputs),
        weights_bytes=len(first.weights) + len(first.indices),
        plans=tuple(_plan(artifact, number) for number in range(len(artifact.programs))),
        manifest=artifact.manifest,
        labels=first.labels,
    )


def _plan(artifact: Artifact, number: int) -> PlanSummary:
    from edgesparse.package.manifest import of_plan

    program = artifact.programs[number]
    (engine,), (image,) = program.engines, program.images
    return PlanSummary(
        target=shown(of_plan(artifact.manifest, number).get("target", "?")),
        isa=image.isa,
        cpu_features=image.cpu_features,
        ops=dict(Counter(step.op for step in program.steps).most_common()),
        code_bytes=len(image.code),
        arena_bytes=engine.arena_bytes,
        scratch_bytes=engine.scratch_bytes,
    )


def _write_code(programs: Sequence[Program], folder: Path) -> None:
    """The machine code of each plan as a flat image, and where each kernel begins in it."""
    with new_folder(folder, "--code") as made:
        made.mkdir()
        for number, program in enumerate(programs):
            (image,) = program.images
            places = sorted({(step.code_offset, step.kernel) for step in program.steps})
            lines = (f"{offset:#010x} {shown(kernel)}\n" for offset, kernel in places)
            (made / f"plan{number}.{image.isa}.bin").write_bytes(image.code)
            (made / f"plan{number}.{image.isa}.txt").write_text("".join(lines), encoding="utf-8")


@near_names
def run(
    artifact: str | Path,
    inputs: Given = None,
    *,
    image: str | Path | None = None,
    threads: int = 1,
    on: str | None = None,
    cores: str | None = None,
    cool_down: str | float | None = None,
    progress: Progress = silent,
) -> dict[str, np.ndarray]:
    """Run an artifact once on this machine, or emulated where it is for another; returns its outputs by name.

    Args:
        on: the device to run it on: a name for ssh, such as "pi@board", or "adb:SERIAL". The artifact and the program
            that runs it are copied there.
        cores: of that device, to run on: "big", "little", or their numbers, such as "0-3,5".
        cool_down: how cool that device has to be first, such as "45C".
        inputs: arrays by name or in order; seeded random ones by default.
        image: a picture for the input that takes frames; others are in `inputs`, by name. Needs Pillow. A picture
            of another size is scaled until it covers the frame, and cropped around its centre.

    Raises: EdgesparseError: the artifact, the inputs or the picture cannot be used.
    """
    answer = classify(
        artifact,
        inputs,
        image=image,
        top=0,
        threads=threads,
        on=on,
        cores=cores,
        cool_down=cool_down,
        progress=progress,
    )
    return answer.outputs


@near_names
def classify(
    artifact: str | Path,
    inputs: Given = None,
    *,
    image: str | Path | None = None,
    top: int = 5,
    threads: int = 1,
    on: str | None = None,
    cores: str | None = None,
    cool_down: str | float | None = None,
    progress: Progress = silent,
) -> Answer:
    """As `run`, and the largest `top` elements of the output that the artifact's labels name, or of the first."""
    from edgesparse import measure
    from edgesparse.devices.here import device_of
    from edgesparse.pipeline.pictures import load_picture, takes_picture

    device, told = device_of(artifact, on, progress, cores=cores, cool_down=cool_down), None
    with device.open(artifact, threads) as model:
        if image is not None:
            tensor = takes_picture(model.inputs, str(artifact))
            frame, told = load_picture(Path(image), tensor)
            inputs = {**_named(inputs), tensor.name: frame}
        outputs = model.run(measure.feeds_for(model.inputs, inputs))
        best = model.top(outputs, top) if top and outputs else []
        return Answer(outputs, tuple(Score(label, score) for label, score in best), told, where(device, model))


def _named(inputs: Given) -> dict[str, np.ndarray]:
    """Inputs beside a picture.

    Raises: MeasureError: they are not by name.
    """
    if not inputs:
        return {}
    if not isinstance(inputs, Mapping):
        raise MeasureError("inputs: got arrays in order besides a picture, expected them by name")
    return dict(inputs)


@near_names
@require_kinds
def bench(
    artifact: str | Path,
    *,
    threads: int = 1,
    against: str | Sequence[str] = (),
    model: Source | None = None,
    example_inputs: Examples = None,
    inputs: Given = None,
    seconds: float = 3.0,
    steps: bool = False,
    on: str | None = None,
    cores: str | None = None,
    cool_down: str | float | None = None,
    html: str | Path | None = None,
    progress: Progress = silent,
) -> BenchReport:
    """Measure an artifact on this machine, in turns with the runtimes in `against` on `model`.

    Args:
        on, cores, cool_down: the device to measure it on, as for `run`; by itself.
        model, example_inputs: as for `verify`.
        inputs: arrays by name or in order; seeded random ones by default.
        seconds: how long to measure all of them together.
        steps: also time every kernel call.
        html: also write the report to this file, with every kernel call, as one page that needs no other file.

    Raises: EdgesparseError: something cannot be opened or run here, or the file cannot be written.
    """
    from edgesparse import measure
    from edgesparse.devices.here import named

    if html is not None:
        require_writable(Path(html), PAGE, (artifact, model))
    device = named(on, progress, cores=cores, cool_down=cool_down)
    against = (against,) if isinstance(against, str) else against
    if not isinstance(against, Sequence) or not all(isinstance(name, str) for name in against):
        raise MeasureError(f"bench: got against={against!r:.60}, expected names of runtimes, such as onnxruntime")
    progress("measuring")
    with _onnx_file(model, example_inputs, Path(artifact)) if against else nullcontext() as path:
        report = measure.bench(
            Path(artifact),
            device=device,
            threads=threads,
            against=against,
            model=path,
            inputs=inputs,
            seconds=seconds,
            steps=steps or html is not None,
        )
    if html is not None:
        from edgesparse import pages

        facts = pages.of_artifact(artifact, [step.kernel for step in report.steps], threads)
        with written(Path(html)) as temporary:
            temporary.write_text(pages.bench_page(report, facts, device.name), encoding="utf-8")
    return report


@contextmanager
def _onnx_file(model: Source | None, examples: Examples, artifact: Path) -> Iterator[Path | None]:
    """`model` as a file for other runtimes; a temporary one where it is something else."""
    import onnx_ir as ir

    from edgesparse import frontend, measure

    if model is None:
        yield None
        return
    with LOCAL.open(artifact) as opened:
        feeds, manifest = measure.feeds_for(opened.inputs, None), opened.manifest
    as_it_is = not (manifest.get("bind") or manifest.get("preprocess"))
    if as_it_is and isinstance(model, str | Path) and frontend.is_onnx(model):
        yield Path(model)
        return
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        path = Path(folder) / f"{Path(name_of(model)).stem}.onnx"
        ir.save(read_as_compiled(model, examples, feeds, manifest), path)
        yield path


def _is_artifact(path: Path) -> bool:
    try:
        return kind_of(path) is ARTIFACT
    except (OSError, ValueError):
        return False  # reading it as a model says what is wrong


def _tensors(specs: Sequence[TensorSpec]) -> tuple[TensorSummary, ...]:
    return tuple(TensorSummary(spec.name, spec.dtype, spec.shape, spec.picture) for spec in specs)
