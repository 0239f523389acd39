"""The stages on models in memory: units go, then weights, then what is left recovers; the rest becomes a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from edgesparse.errors import FrontendError, InternalError, PruneError
from edgesparse.pipeline.arguments import InputShapes, Progress
from edgesparse.pipeline.overrides import passes, patterns
from edgesparse.pipeline.sample_files import MADE_UP, TOO_FEW, is_synthetic, parted, samples
from edgesparse.pipeline.settings import Pruning
from edgesparse.pipeline.values import parse_time

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.devices.targets import Target
    from edgesparse.numerics import Element
    from edgesparse.plan import Plan
    from edgesparse.program import Program
    from edgesparse.prune import PruneReport, ShrunkReport
    from edgesparse.torch import Recovered

UNSEEN = """pruned without samples: nobody has seen what the outputs have become, and little may be left of the accuracy
give a few hundred inputs, without labels (--calibration samples.npz), or for pictures --calibration synthetic"""


def apply_pruning(model: ir.Model, pruning: Pruning | None, progress: Progress) -> tuple[ir.Model, PruneReport | None]:
    """Prune a model, and check that the result is valid ONNX; without `pruning` return it as it is."""
    if pruning is None:
        return model, None
    pruning = pruning.but(calibration=samples(pruning.options["calibration"], model))  # read, or made up, once
    how = pruning.options
    smaller, shrunk = without_units(model, pruning, progress)
    if pruning.makes_zeros:
        dense, pruned, report = _with_zeros(model, smaller, pruning, progress)
    else:
        from edgesparse.prune import PruneReport

        dense, pruned = model, smaller
        report = PruneReport(None, how["method"], how["allocation"], how["pattern"], ())
    if how["recover"] is not None:
        given = samples(how["calibration"])
        pruned = recovered(pruned, dense, given, how["recover"], how["augment"], progress=progress).model
    _check_onnx(pruned, "pruning")
    return pruned, replace(report, shrunk=shrunk)


def _with_zeros(
    model: ir.Model, smaller: ir.Model, pruning: Pruning, progress: Progress
) -> tuple[ir.Model, ir.Model, PruneReport]:
    """The smaller model with zeros, and before it the dense one with channels in the same order."""
    from edgesparse.prune import merged, permute, with_notes
    from edgesparse.prune import prune as prune_weights

    arrays, _ = parted(samples(pruning.options["calibration"]))
    dense, pruned, report, notes = model, smaller, None, dict[str, str]()
    if pruning.options["permute"]:
        progress("reordering channels")
        ordered = permute(smaller, patterns(smaller, pruning), calibration=arrays)
        dense, pruned, notes = ordered.model, ordered.model, ordered.notes
    progress("pruning")
    common: dict[str, Any] = {
        "method": pruning.options["method"],
        "calibration": arrays,
        "reconstruct": pruning.options["reconstruct"],
        "match": pruning.options["match"],
        "dense": pruned,
        "progress": partial(progress, "pruning"),
    }
    for density, how in passes(smaller, pruning):
        result = prune_weights(pruned, density, **how, **common)
        pruned, report = result.model, merged(report, result.report)
    if report is None:
        raise InternalError("something is to be pruned, and no layer is")
    return dense, pruned, with_notes(report, notes)


def without_units(model: ir.Model, pruning: Pruning, progress: Progress) -> tuple[ir.Model, ShrunkReport | None]:
    """The model without the channels, heads and neurons that matter least, if that is asked for."""
    if pruning.options["structured"] is None:
        return model, None
    from edgesparse.prune import shrink

    progress("taking out what matters least")
    arrays, _ = parted(samples(pruning.options["calibration"], model))
    result = shrink(
        model,
        pruning.options["structured"],
        importance=pruning.options["importance"],
        kinds=pruning.options["kinds"],
        multiple=pruning.options["multiple"],
        skip=pruning.options["skip"],
        calibration=arrays,
        refit=arrays is not None,
    )
    _check_onnx(result.model, "taking out channels")
    return result.model, result.report


def judged(
    report: PruneReport | None, dense: ir.Model, pruned: ir.Model, pruning: Pruning | None, progress: Progress
) -> PruneReport | None:
    """The report with how near the outputs are to the dense model's, on the samples held out; or why nobody knows."""
    from edgesparse.prune import compare_outputs

    if report is None or pruning is None:
        return None
    _, held_out = parted(samples(pruning.options["calibration"]))
    if is_synthetic(pruning.options["calibration"]):
        return replace(report, warning=MADE_UP)
    if held_out is None:
        return replace(report, warning=UNSEEN if pruning.options["calibration"] is None else TOO_FEW)
    told = partial(progress, "comparing with the dense model")
    told()
    return replace(report, agreement=compare_outputs(dense, pruned, held_out, told))


def _check_onnx(model: ir.Model, stage: str) -> None:
    import onnx_ir as ir

    from edgesparse.frontend import require_wellformed

    try:
        require_wellformed(ir.to_proto(model), stage)
    except FrontendError as err:
        raise InternalError(f"made an invalid model: {err}") from err


def recovered(
    sparse: ir.Model,
    dense: ir.Model,
    given: Mapping[str, Any] | None,
    time: str,
    augment: Sequence[str],
    *,
    seed: int = 0,
    progress: Progress,
) -> Recovered:
    """A pruned model fitted to the dense one on the samples, but for those held out, which choose the best state.

    Raises: PruneError: there are none, they do not fit, or an operator has no torch function.
    """
    from edgesparse.torch import recover as fitted

    if given is None:
        raise PruneError("recover needs calibration: about five hundred samples of every input, without labels")
    progress("recovering")
    seen, held_out = parted(given)
    assert seen is not None
    options: dict[str, Any] = {"seconds": parse_time(time), "seed": seed, "augment": augment}
    return fitted(sparse, dense, seen, held_out=held_out, progress=partial(progress, "recovering"), **options)


def normalised(model: ir.Model, input_shapes: InputShapes | None, progress: Progress) -> ir.Model:
    """The normal form of a model, in which every operator can be compiled.

    Raises: FrontendError: `input_shapes` do not fit, or operators cannot be compiled.
    """
    from edgesparse import frontend
    from edgesparse.backends import backend

    def foreign(node: ir.Node) -> str | None:
        """Why an operator of another domain is refused; its shapes could not be inferred, so it is named first."""
        standard = node.domain in ("", "ai.onnx") or node.op_identifier() in model.functions
        return None if standard or frontend.is_rewritten(node) else backend().supports(node)

    progress("normalising the model")
    frontend.unsupported(model, foreign)
    normal = frontend.load(model, input_shapes, supports=backend().supports)
    frontend.unsupported(normal, backend().supports)
    return normal


def lowered(
    normal: ir.Model, target: Target, progress: Progress, dtype: Element | None = None, *, expose: bool = False
) -> tuple[Program, Plan]:
    """Choose kernels and generate code for a normalised model; with `expose` every value is an output too.

    Args: dtype: what layers are computed with, where the target has it and it is not the type of the model.
    """
    from edgesparse import schedule
    from edgesparse.backends import backend
    from edgesparse.frontend.view import view

    progress("choosing kernels")
    plan = schedule.plan(view(normal, target.cpu, dtype), target)
    backend().require_known(target)
    told = partial(progress, f"generating code for {target.name}")
    told()
    return backend().lower(plan, target, expose=expose, progress=told), plan


def serialized(model: ir.Model) -> bytes:
    """The bytes of an ONNX file with this model."""
    import onnx_ir as ir

    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return data


def producer() -> str:
    """What made an artifact, for its manifest."""
    from importlib.metadata import version

    return f"edgesparse {version('edgesparse')}"
