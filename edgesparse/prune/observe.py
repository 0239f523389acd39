"""Run calibration samples through a model in ONNX Runtime and see what its layers read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from edgesparse import reference
from edgesparse.errors import OnnxRuntimeError, PruneError
from edgesparse.prune.moments import MomentSum
from edgesparse.prune.samples import Samples
from edgesparse.prune.unfold import Convolution, Geometry, Product, Sampling, same_pads
from edgesparse.sparsity.weights import WeightRef

BATCH = 16
PASSES = 16
"""How often the samples run: each time, later layers see what was pruned before."""
MOMENT_BYTES = 1 << 30

Read = TypeVar("Read", bound=Hashable)


@dataclass(frozen=True)
class Operand:
    """The activations that a layer reads: the value that holds them, and how they become rows x[K]."""

    value: str
    geometry: Geometry
    groups: int
    k: int
    transposed: bool = False  # Gemm's transA
    auto_pad: str = "NOTSET"

    def rows(self, x: np.ndarray, sampling: Sampling) -> np.ndarray:
        """Inputs of each output position, [G, P, K].

        Raises: PruneError: there are more or fewer inputs than the weight takes.
        """
        geometry = self.geometry
        x = x.T if self.transposed else x
        if (got := geometry.inputs(x)) != (expected := geometry.inputs_of(self.k)):
            raise PruneError(f"calibration: {self.value}: got {got} inputs, expected {expected}")
        if isinstance(geometry, Convolution) and self.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            geometry = replace(geometry, pads=same_pads(x.shape[2:], geometry, upper=self.auto_pad == "SAME_UPPER"))
        return geometry.rows(x, sampling)


def operand_of(ref: WeightRef, graph: ir.Graph) -> Operand | str:
    """What a layer reads, or why that cannot be seen."""
    node = ref.source
    data = node.inputs[1 - ref.at] if node.op_type == "MatMul" else node.inputs[0]
    if node.graph is not graph or data is None or data.name is None:
        return "inside a branch, where calibration does not look"
    if node.op_type == "Conv":
        pad = node.attributes.get("auto_pad")
        auto_pad = pad.as_string() if pad else "NOTSET"
        return Operand(data.name, _convolution(ref), ref.group, ref.k, auto_pad=auto_pad)
    if node.op_type == "Gemm":
        return Operand(data.name, Product(), 1, ref.k, transposed=node.attributes.get_int("transA", 0) == 1)
    if node.op_type == "MatMul":
        return Operand(data.name, Product(ref.view[:-2], columns=ref.at == 0), prod(ref.view[:-2]), ref.k)
    return f"calibration does not look into {node.op_type}"


def _convolution(ref: WeightRef) -> Convolution:
    attributes, rank = ref.source.attributes, len(ref.view) - 2
    pads = attributes.get_ints("pads", [0] * (2 * rank))
    return Convolution(
        kernel=ref.view[2:],
        strides=tuple(attributes.get_ints("strides", [1] * rank)),
        dilations=tuple(attributes.get_ints("dilations", [1] * rank)),
        pads=tuple(zip(pads[:rank], pads[rank:], strict=True)),
        groups=ref.group,
    )


def second_moments(
    model: ir.Model, samples: Samples, operands: Mapping[str, Sequence[Operand]], passes: int | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Second moments [G, K, K] of what each tensor is multiplied with, some tensors at a time, in order.

    The samples run anew for every part, through `model` as it is by then: what was pruned in one part is seen by the
    next (Frantar and Alistarh 2023, section 3.3).

    Args:
        operands: of all layers that share a tensor, by its name.
        passes: parts, at most, or more where moments are large; PASSES by default.

    Raises: PruneError: ONNX Runtime cannot run the model on the samples, or what a layer reads is not finite.
    """
    for part in parts(operands, lambda operand: operand.groups * operand.k**2 * 8, passes or PASSES):
        sums = {operand: MomentSum(operand.groups, operand.k) for tensor in part for operand in operands[tensor]}
        for sampling, arrays in _activations(model, samples, sorted({operand.value for operand in sums})):
            for operand, total in sums.items():
                total.add(operand.rows(arrays[operand.value], sampling))
        seconds = {tensor: MomentSum.mean([sums[operand] for operand in operands[tensor]]) for tensor in part}
        for tensor, second in seconds.items():
            check_finite(tensor, second)
        yield seconds


def check_finite(weight: str, second: np.ndarray) -> None:
    """Refuse second moments that nothing can be made of.

    Raises: PruneError: some are infinite or no numbers.
    """
    if not np.isfinite(second).all():
        raise PruneError(
            f"calibration: what is multiplied with {weight} is infinite, not a number, or too large to square; "
            "leave out the samples that cause it"
        )


def parts(
    reads: Mapping[str, Sequence[Read]], size_bytes: Callable[[Read], int], passes: int = PASSES
) -> list[list[str]]:
    """Weights that are looked at together: neighbours that read the same always are.

    Args:
        reads: what each weight is multiplied with.
        size_bytes: of the moments of one of those.
        passes: groups, at most, or more where moments are large.
    """
    each = max(1, -(-len({tuple(of) for of in reads.values()}) // passes))
    groups: list[list[str]] = [[]]
    seen: set[tuple[Read, ...]] = set()
    for weight, of in reads.items():
        needed = sum(size_bytes(read) for read in {*of, *chain(*seen)})
        if tuple(of) not in seen and seen and (len(seen) == each or needed > MOMENT_BYTES):
            groups.append([])
            seen = set()
        seen.add(tuple(of))
        groups[-1].append(weight)
    return groups


def _activations(
    model: ir.Model, samples: Samples, values: Sequence[str]
) -> Iterator[tuple[Sampling, dict[str, np.ndarray]]]:
    inputs = {value.name for value in model.graph.inputs}
    wanted = [name for name in values if name not in inputs]
    try:
        session = reference.Session(model, wanted, threads=0) if wanted else None
        first = 0
        for feed in samples.feeds(BATCH):
            batch = min(BATCH, len(samples) - first) if samples.batchable else 1
            taken = session.run({name: feed[name] for name in session.inputs}) if session else {}
            yield Sampling(len(samples), first, batch), {**feed, **taken}
            first += batch
    except OnnxRuntimeError as err:
        raise PruneError(f"calibration: {err}") from err
