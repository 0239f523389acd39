"""Compile: the stages in their order, and what is checked between them."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from edgesparse.devices import targets
from edgesparse.devices.targets import Target
from edgesparse.errors import SearchError
from edgesparse.numerics import F16, F32
from edgesparse.pipeline.arguments import Bindings, InputShapes, Preprocessing, Progress, name_of, silent
from edgesparse.pipeline.dtypes import computed_with, dtype_called
from edgesparse.pipeline.files import require_writable
from edgesparse.pipeline.labels import Labels, read_labels
from edgesparse.pipeline.options import PruningOptions
from edgesparse.pipeline.preparing import Prepared, Request, prepared
from edgesparse.pipeline.reports import CompiledPlan, CompileReport, WitnessReport
from edgesparse.pipeline.sample_files import samples
from edgesparse.pipeline.settings import Pruning
from edgesparse.pipeline.stages import lowered, producer, serialized
from edgesparse.plan import LayerPlan
from edgesparse.signatures import ARTIFACT

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.frontend import Examples, Frame, Source
    from edgesparse.graph.ops import Graph
    from edgesparse.package.answers import Answers
    from edgesparse.program import Program, TensorSpec


def compile(
    model: Source,
    target: str | Target | Sequence[str | Target] = targets.HOST,
    output: str | Path | None = None,
    *,
    example_inputs: Examples = None,
    input_shapes: InputShapes | None = None,
    bind: Bindings | None = None,
    preprocess: Preprocessing = None,
    labels: Labels = None,
    threads: int = 1,
    on: str | None = None,
    dtype: str | None = None,
    witness: bool = True,
    progress: Progress = silent,
    **pruning: Unpack[PruningOptions],
) -> CompileReport:
    """Compile a model into a deployable artifact; zeros that it already has are used as they are.

    Args:
        model: a path, "package.module:factory", or a model in memory, of ONNX or of PyTorch.
        target: a built-in name, the path of a target's TOML file, or a Target; or several, also as "rpi4,rpi5": the
            artifact holds a plan for each, over shared weights, and the runtime takes the one that suits its CPU.
        output: path of the artifact; MODEL.TARGET.esp in the working directory by default.
        example_inputs: what to trace a PyTorch module with; their shapes become the model's.
        input_shapes: full shapes by input name; only batch sizes may be left out, which become 1. A PyTorch module
            that comes with no example inputs is traced with float32 inputs of these shapes.
        bind: values of inputs that become constants: arrays, numbers, or text such as "16000" or "3,224,224".
        preprocess: how frames of a camera become inputs, a text an input, such as
            "image=uint8,nhwc,rgb,from=640x480,size=224x224,mean=123.7:116.3:103.5,std=58.4:57.1:57.4".
        labels: names of the classes, in order, which go into the artifact; or the text file with one a line.
        threads: that a budget of latency holds for; the artifact runs with any number.
        on: the device that a budget is measured on, as for `run`; by default this machine where it runs the code, and
            elsewhere latencies are predicted.
        dtype: "f16" computes layers with float16 where a target has it (`docs/half.md`), "f32" a model of float16 with
            float32; by default a model is computed with its own types.
        witness: run the model before and after and compare; see `pipeline/witness.py`.
        pruning: the options in `options.PruningOptions`; without any, the zeros of the model are used as they are.

    Raises: EdgesparseError: the model, the target or the options cannot be used, the file cannot be written, or the
        witness finds that what was compiled computes something else.
    """
    from edgesparse.nodes import shape_of
    from edgesparse.package.check import check_labels
    from edgesparse.pipeline.answering import answers_of

    started = time.perf_counter()
    named = targets.load_all(target)
    path, devices = Path(output) if output else default_output(model, named), targets.ranked(named)
    require_writable(path, ARTIFACT, (model, target, labels, pruning.get("calibration")))
    names = read_labels(labels)
    wanted = Pruning.of(pruning, max(device.cpu.lanes(F32) for device in devices))
    _require_one_budget(wanted, named)
    computed = dtype_called(dtype, wanted)
    asked = Request(model, devices[0], wanted, example_inputs, input_shapes, bind, preprocess, threads, on, computed)
    ready = prepared(asked, path.parent, progress)
    check_labels(names, [math.prod(shape_of(value)) for value in ready.normal.graph.outputs])
    made = [_compiled(ready, device, names, progress) for device in devices]
    told = _witnessed(ready, made, progress) if witness else None
    answers = answers_of([(each.graph, each.program) for each in made]) if witness else ()
    progress("writing the artifact")
    return _written(ready, made, path, told, answers, started)


@dataclass(frozen=True, eq=False)
class _Compiled:
    """A model for one of the targets."""

    target: Target
    graph: Graph
    program: Program
    layers: tuple[LayerPlan, ...]


def _compiled(ready: Prepared, device: Target, labels: tuple[str, ...], progress: Progress) -> _Compiled:
    program, plan = lowered(ready.normal, device, progress, ready.asked.dtype)
    inputs = tuple(_pictured(spec, ready.frames) for spec in program.inputs)
    program = replace(program, inputs=inputs, labels=labels)
    return _Compiled(device, plan.graph, program, tuple(plan.layers.values()))


def _require_one_budget(pruning: Pruning | None, devices: Sequence[Target]) -> None:
    """Raises: SearchError: a budget is to be met on several targets at once."""
    if pruning is not None and pruning.searches and len(devices) > 1:
        names = ", ".join(device.name for device in devices)
        raise SearchError(f"a budget holds for one target, got {names}; compile once for each, or give sparsity")


def _written(
    ready: Prepared,
    made: Sequence[_Compiled],
    path: Path,
    told: WitnessReport | None,
    answers: Sequence[Answers],
    started: float,
) -> CompileReport:
    """Write the artifact, and say what it is."""
    from edgesparse import frontend
    from edgesparse.package.sharing import shared
    from edgesparse.package.writer import write

    summary = frontend.describe(ready.pruned)
    counts = {"parameters": summary.parameters, "nonzeros": summary.nonzeros}
    programs = shared([each.program for each in made])
    write(programs, _manifest(ready, made) | counts, path, answers=answers)
    return CompileReport(
        artifact=path,
        artifact_bytes=path.stat().st_size,
        weights_bytes=len(programs[0].weights) + len(programs[0].indices),
        density=summary.nonzeros / max(1, summary.parameters),
        seconds=time.perf_counter() - started,
        plans=tuple(
            CompiledPlan(
                target=each.target.name,
                code_bytes=len(program.images[0].code),
                arena_bytes=program.engines[0].arena_bytes,
                steps=len(program.steps),
                layers=each.layers,
            )
            for each, program in zip(made, programs, strict=True)
        ),
        pruning=ready.told,
        witness=told,
        notes=(*frontend.remarks(ready.source, ready.input_shapes), *_without_half(ready, made)),
    )


def _without_half(ready: Prepared, made: Sequence[_Compiled]) -> Iterator[str]:
    """What to know of targets that compute in another type than was asked for, or than the model has."""
    if computed_with(ready.normal, ready.asked.dtype) is None:
        return
    for each in made:
        if not each.target.cpu.has_half:
            yield f"{each.target.name}: computes in float32, and stores weights so: its CPU has no float16 arithmetic"


def _witnessed(ready: Prepared, made: Sequence[_Compiled], progress: Progress) -> WitnessReport:
    """Compare the user's own file, or what was made of it before it was normalised, with what was compiled."""
    from edgesparse import frontend
    from edgesparse.pipeline.witness import Judged, witness
    from edgesparse.quantize import halved, widened

    progress("comparing with ONNX Runtime")
    model = ready.asked.model
    as_it_is = ready.pruning is None and not (ready.asked.bind or ready.asked.preprocess)
    as_it_is = as_it_is and isinstance(model, str | Path) and frontend.is_onnx(model)
    users: Path | ir.Model = Path(model) if as_it_is else ready.pruned  # type: ignore[arg-type]
    given = samples(ready.pruning.options["calibration"]) if ready.pruning is not None else None
    dtype = ready.asked.dtype
    tried = dtype == F16 and any(each.target.cpu.has_half for each in made)
    half = halved(widened(ready.normal)) if tried else None
    judged = Judged(users, ready.normal, given, computed_with(ready.normal, dtype), half)
    return witness(judged, [each.program for each in made])


def _pictured(spec: TensorSpec, frames: Mapping[str, Frame]) -> TensorSpec:
    """An input with what its pixels mean."""
    return replace(spec, picture=frames[spec.name].kind) if spec.name in frames else spec


def _values(source: ir.Model, bind: Bindings | None) -> dict[str, Any]:
    """What inputs are bound to, for the manifest; as texts where a number is none that JSON knows."""
    import numpy as np

    constants = {name: source.graph.initializers[name].const_value for name in bind or ()}
    arrays = {name: tensor.numpy() for name, tensor in constants.items() if tensor is not None}
    return {name: (array if np.isfinite(array).all() else array.astype(str)).tolist() for name, array in arrays.items()}


def default_output(model: Source, devices: Sequence[Target]) -> Path:
    """MODEL.TARGET.esp in the working directory, or MODEL.TARGET+TARGET.esp."""
    names = "+".join(device.name for device in devices)
    return Path(f"{Path(name_of(model).rpartition(':')[2]).stem}.{names}.esp")


def digest(model: Source, source: ir.Model) -> str:
    """SHA-256 of the model's file, or of the model in memory."""
    if isinstance(model, str | Path) and Path(model).is_file():
        return hashlib.sha256(Path(model).read_bytes()).hexdigest()
    return hashlib.sha256(serialized(source)).hexdigest()


def _manifest(ready: Prepared, made: Sequence[_Compiled]) -> dict[str, Any]:
    model = ready.asked.model
    frames = {name: {"text": frame.text, "shape": frame.shape} for name, frame in ready.frames.items()}
    return {
        "producer": producer(),
        "model": name_of(model),
        "model_sha256": digest(model, ready.source),
        "pruning": ready.pruning.record if ready.pruning else None,
        "plans": [
            {
                "target": each.target.name,
                "target_facts": targets.facts(each.target),
                "layers": [_told(plan) for plan in each.layers],
            }
            for each in made
        ],
        **({"dtype": ready.asked.dtype.short} if ready.asked.dtype else {}),
        "bind": _values(ready.source, ready.asked.bind),
        **({"preprocess": frames} if frames else {}),
    }


def _told(plan: LayerPlan) -> dict[str, Any]:
    """What the manifest says of a layer."""
    joined = {"joined": plan.joined} if plan.joined else {}
    return {"name": plan.layer, "kernel": plan.kernel, "density": round(plan.density, 4), **joined}
