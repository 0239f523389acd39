"""Apply pruning to a model: units go, then weights, then what is left recovers; and say how near the outputs are."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from edgesparse.errors import FrontendError, InternalError
from edgesparse.pipeline.arguments import Progress
from edgesparse.pipeline.recovering import recovered
from edgesparse.pipeline.samples import MADE_UP, TOO_FEW, is_synthetic, parted, samples

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.pipeline.pruning import Pruning
    from edgesparse.prune import PruneReport, ShrunkReport

UNSEEN = """pruned without samples: nobody has seen what the outputs have become, and little may be left of the accuracy
give some hundred inputs, without labels (--calibration samples.npz), or for pictures have some made up (synthetic)"""


def apply_pruning(model: ir.Model, pruning: Pruning | None, progress: Progress) -> tuple[ir.Model, PruneReport | None]:
    """Prune a model, and check that the result is valid ONNX; without `pruning` return it as it is."""
    if pruning is None:
        return model, None
    pruning = replace(pruning, calibration=samples(pruning.calibration, model))  # read, or made up, once
    smaller, shrunk = without_units(model, pruning, progress)
    if pruning.makes_zeros:
        dense, pruned, report = _with_zeros(model, smaller, pruning, progress)
    else:
        from edgesparse.prune import PruneReport

        dense, pruned = model, smaller
        report = PruneReport(None, pruning.method, pruning.allocation, pruning.pattern, ())
    if pruning.recover is not None:
        given = samples(pruning.calibration)
        pruned = recovered(pruned, dense, given, pruning.recover, pruning.augment, progress=progress).model
    _check_onnx(pruned, "pruning")
    return pruned, replace(report, shrunk=shrunk)


def _with_zeros(
    model: ir.Model, smaller: ir.Model, pruning: Pruning, progress: Progress
) -> tuple[ir.Model, ir.Model, PruneReport]:
    """The smaller model with zeros, and before it the dense one with channels in the same order."""
    from edgesparse.pipeline.overrides import passes, patterns
    from edgesparse.prune import merged, permute, with_gains
    from edgesparse.prune import prune as prune_weights

    arrays, _ = parted(samples(pruning.calibration))
    dense, pruned, report, gains = model, smaller, None, dict[str, float]()
    if pruning.permute:
        progress("reordering channels")
        ordered = permute(smaller, patterns(smaller, pruning), calibration=arrays)
        dense, pruned, gains = ordered.model, ordered.model, ordered.gains
    progress("pruning")
    common: dict[str, Any] = {
        "method": pruning.method,
        "calibration": arrays,
        "reconstruct": pruning.reconstruct,
        "match": pruning.match,
        "dense": pruned,
        "progress": partial(progress, "pruning"),
    }
    for density, how in passes(smaller, pruning):
        result = prune_weights(pruned, density, **how, **common)
        pruned, report = result.model, merged(report, result.report)
    if report is None:
        raise InternalError("something is to be pruned, and no layer is")
    return dense, pruned, with_gains(report, gains)


def without_units(model: ir.Model, pruning: Pruning, progress: Progress) -> tuple[ir.Model, ShrunkReport | None]:
    """The model without the channels, heads and neurons that matter least, if that is asked for."""
    if pruning.structured is None:
        return model, None
    from edgesparse.prune import shrink

    progress("taking out what matters least")
    arrays, _ = parted(samples(pruning.calibration, model))
    result = shrink(
        model,
        pruning.structured,
        importance=pruning.importance,
        kinds=pruning.kinds,
        multiple=pruning.multiple,
        skip=pruning.skip,
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
    _, held_out = parted(samples(pruning.calibration))
    if is_synthetic(pruning.calibration):
        return replace(report, warning=MADE_UP)
    if held_out is None:
        return replace(report, warning=UNSEEN if pruning.calibration is None else TOO_FEW)
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
