"""Compile and prune: the stages in their order, and what is checked between them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgesparse import targets
from edgesparse.errors import InternalError
from edgesparse.pipeline.files import require_writable, written
from edgesparse.pipeline.reports import CompileReport
from edgesparse.plan import LayerPlan
from edgesparse.targets import Target

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

    from edgesparse.program import Program
    from edgesparse.prune import PruneReport


PRODUCER = "edgesparse 0.1.0"
Source: TypeAlias = "str | Path | onnx.ModelProto | ir.Model"
InputShapes = Mapping[str, Sequence[int]]
Progress = Callable[[str], None]
"""Called with a few words when a stage begins."""


def silent(stage: str) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Pruning:
    """How to prune; `sparsity` is the share of prunable weights to remove."""

    sparsity: float
    method: str = "magnitude"
    allocation: str = "uniform"
    pattern: str = "1x1"
    skip: tuple[str, ...] = ()


def compile(
    model: Source,
    target: str | Target = targets.HOST,
    output: str | Path | None = None,
    *,
    sparsity: float | None = None,
    method: str = Pruning.method,
    allocation: str = Pruning.allocation,
    pattern: str = Pruning.pattern,
    skip: Sequence[str] = (),
    input_shapes: InputShapes | None = None,
    progress: Progress = silent,
) -> CompileReport:
    """Compile a model into a deployable artifact; zeros that it already has are used as they are.

    Args:
        model: a path, or a model in memory.
        target: a built-in name, the path of a target's TOML file, or a Target.
        output: path of the artifact; MODEL.TARGET.esp in the working directory by default.
        sparsity: first prune this share of the prunable weights; method, allocation, pattern and skip say how.
        input_shapes: full shapes by input name; other dynamic dimensions become 1.

    Raises: EdgesparseError: the model, the target or the options cannot be used, or the file cannot be written.
    """
    from edgesparse import frontend
    from edgesparse.package.writer import write

    started = time.perf_counter()
    device = target if isinstance(target, Target) else targets.load(target)
    path = Path(output) if output else default_output(model, device)
    require_writable(path)
    pruning = None if sparsity is None else Pruning(sparsity, method, allocation, pattern, tuple(skip))
    progress("reading the model")
    source = frontend.read(model)
    pruned, report = apply_pruning(source, pruning, progress)
    program, plans = lowered(normalised(pruned, input_shapes, progress), device, progress)
    summary = frontend.describe(pruned)
    manifest = _manifest(model, source, device, pruning, plans)
    progress("writing the artifact")
    write(program, manifest | {"parameters": summary.parameters, "nonzeros": summary.nonzeros}, path)
    return CompileReport(
        artifact=path,
        target=device.name,
        artifact_bytes=path.stat().st_size,
        code_bytes=len(program.code),
        weights_bytes=len(program.weights),
        arena_bytes=program.arena_bytes,
        steps=len(program.steps),
        density=summary.nonzeros / max(1, summary.parameters),
        seconds=time.perf_counter() - started,
        layers=plans,
        pruning=report,
    )


def prune(
    model: Source,
    output: str | Path,
    sparsity: float,
    *,
    method: str = Pruning.method,
    allocation: str = Pruning.allocation,
    pattern: str = Pruning.pattern,
    skip: Sequence[str] = (),
    progress: Progress = silent,
) -> PruneReport:
    """Write a copy of an ONNX model with a share `sparsity` of its prunable weights set to zero.

    Raises: EdgesparseError: the model or the options cannot be used, or the file cannot be written.
    """
    import onnx_ir as ir

    from edgesparse import frontend

    require_writable(Path(output))
    progress("reading the model")
    pruning = Pruning(sparsity, method, allocation, pattern, tuple(skip))
    pruned, report = apply_pruning(frontend.read(model), pruning, progress)
    progress("writing the model")
    with written(Path(output)) as temporary:
        ir.save(pruned, temporary)
    assert report is not None
    return report


def apply_pruning(model: ir.Model, pruning: Pruning | None, progress: Progress) -> tuple[ir.Model, PruneReport | None]:
    """Prune a model, and check that the result is valid ONNX; without `pruning` return it as it is."""
    if pruning is None:
        return model, None
    from edgesparse.prune import prune as prune_weights

    progress("pruning")
    options = {key: value for key, value in vars(pruning).items() if key != "sparsity"}
    result = prune_weights(model, 1.0 - pruning.sparsity, **options)
    _check_onnx(result.model, "pruning")
    return result.model, result.report


def normalised(model: ir.Model, input_shapes: InputShapes | None, progress: Progress) -> ir.Model:
    """The normal form of a model, in which every operator can be compiled.

    Raises: FrontendError: `input_shapes` do not fit, or operators cannot be compiled.
    """
    from edgesparse import frontend
    from edgesparse.lower.fallback import supports

    def foreign(node: ir.Node) -> str | None:
        """Why an operator of another domain is refused; its shapes could not be inferred, so it is named first."""
        standard = node.domain in ("", "ai.onnx") or node.op_identifier() in model.functions
        return None if standard else supports(node)

    progress("normalising the model")
    frontend.unsupported(model, foreign)
    normal = frontend.load(model, input_shapes, supports=supports)
    frontend.unsupported(normal, supports)
    return normal


def lowered(
    normal: ir.Model, target: Target, progress: Progress, *, expose: bool = False
) -> tuple[Program, tuple[LayerPlan, ...]]:
    """Choose kernels and generate code for a normalised model; with `expose` every value is an output too."""
    from edgesparse import lower, schedule

    progress("choosing kernels")
    plans = schedule.plan(normal, target)
    progress(f"generating code for {target.name}")
    return lower.lower(normal, target, plans, expose=expose), tuple(plans.values())


def default_output(model: Source, target: Target) -> Path:
    """MODEL.TARGET.esp in the working directory."""
    return Path(f"{Path(_name(model)).stem}.{target.name}.esp")


def digest(model: Source, source: ir.Model) -> str:
    """SHA-256 of the model's file, or of the model in memory."""
    data = Path(model).read_bytes() if isinstance(model, str | Path) else serialized(source)
    return hashlib.sha256(data).hexdigest()


def serialized(model: ir.Model) -> bytes:
    """The bytes of an ONNX file with this model."""
    import onnx_ir as ir

    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return data


def _manifest(
    model: Source, source: ir.Model, target: Target, pruning: Pruning | None, plans: Sequence[LayerPlan]
) -> dict[str, Any]:
    return {
        "producer": PRODUCER,
        "model": _name(model),
        "model_sha256": digest(model, source),
        "target": target.name,
        "pruning": asdict(pruning) if pruning else None,
        "layers": [{"name": plan.layer, "kernel": plan.kernel, "density": round(plan.density, 4)} for plan in plans],
    }


def _name(model: Source) -> str:
    return Path(model).name if isinstance(model, str | Path) else "model"


def _check_onnx(model: ir.Model, stage: str) -> None:
    import onnx
    import onnx_ir as ir

    try:
        onnx.checker.check_model(ir.to_proto(model))
    except onnx.checker.ValidationError as err:
        raise InternalError(f"{stage} made an invalid ONNX model: {err}") from err
