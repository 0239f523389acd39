"""Run calibration samples through a model in ONNX Runtime and see what its layers read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.errors import PruneError
from edgesparse.prune.carry import Arrays, Stop, carry
from edgesparse.prune.moments import Moments, MomentSum
from edgesparse.prune.rows import Rows
from edgesparse.prune.samples import Samples
from edgesparse.prune.site import Bias, Site, site_of
from edgesparse.prune.unfold import Convolution, Geometry, Product, Sampling, Transposed, same_pads
from edgesparse.sparsity.weights import WeightRef


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

    def outputs(self, y: np.ndarray, sampling: Sampling) -> np.ndarray:
        """Outputs at the positions of `rows`, [G, P, M / G]."""
        return self.geometry.outputs(y, self.k, sampling)


@dataclass(frozen=True)
class Read:
    """A layer as samples see it: what it reads, and where its outputs are matched if that can be said.

    `kept` are the channels that are left of the dense network's outputs; None for all.
    """

    operand: Operand
    site: Site | None
    kept: np.ndarray | None = None

    def goal(self, mine: Arrays, dense: Arrays, sampling: Sampling) -> np.ndarray:
        """What the layer should give, [G, P, M / G], so that it makes up for a residual that is not the dense one."""
        assert self.site is not None
        y = self._left(dense[self.site.output])
        if (added := self._added(dense)) is not None:
            y = y + (self._left(added) - mine[str(self.site.residual)])
        return self.operand.outputs(y, sampling)

    def visible(self, mine: Arrays, dense: Arrays, sampling: Sampling) -> tuple[np.ndarray, np.ndarray] | None:
        """From where to where outputs can be told apart, each [G, P or 1, M / G or 1]; None where all can."""
        site = self.site
        if site is None or site.slope is None or (site.residual is not None and self._added(dense) is None):
            return None
        added = np.zeros((1, 1, 1), np.float32)
        if site.residual is not None:
            added = self.operand.outputs(mine[site.residual], sampling)
        if site.bias is not None and (behind := site.bias.behind()) is not None:
            added = added + behind.reshape(self.operand.groups, 1, -1)
        return site.slope[0] - added, site.slope[1] - added

    def _added(self, dense: Arrays) -> np.ndarray | None:
        """The residual of the dense network, if it is not spread over the outputs."""
        assert self.site is not None
        residual = None if self.site.residual is None else dense[self.site.residual]
        return residual if residual is not None and residual.shape == dense[self.site.output].shape else None

    def _left(self, y: np.ndarray) -> np.ndarray:
        return y if self.kept is None else np.take(y, self.kept, axis=self.operand.geometry.channels)


def read_of(ref: WeightRef, graph: ir.Graph, kept: Mapping[str, np.ndarray] | None = None) -> Read | str:
    """A layer as samples see it, or why they do not.

    Args: kept: which channels of values are left, by name; all by default.
    """
    found, site = operand_of(ref, graph), site_of(ref)
    return found if isinstance(found, str) else Read(found, site, (kept or {}).get(site.output) if site else None)


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
    if node.op_type == "ConvTranspose" and not node.attributes.keys() & {"output_shape", "auto_pad"}:
        return Operand(data.name, _transposed(ref), ref.group, ref.k)
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


def _transposed(ref: WeightRef) -> Transposed:
    plain = _convolution(ref)
    more = ref.source.attributes.get_ints("output_padding", [0] * len(plain.kernel))
    pads = tuple((first, last - extra) for (first, last), extra in zip(plain.pads, more, strict=True))
    return Transposed(plain.kernel, plain.strides, plain.dilations, pads, plain.groups)


def observe(
    model: ir.Model, samples: Samples, reads: Mapping[str, Sequence[Read]], dense: ir.Model | None = None
) -> Iterator[tuple[str, Moments]]:
    """The moments of the layers of each tensor in order, through `model` as it is by then.

    What becomes of a weight before the next is asked for is seen by all behind it (Frantar and Alistarh 2023, section
    3.3).

    Args:
        reads: of all layers that share a tensor, by its name, in graph order.
        dense: the network whose outputs the layers should give, where moments of these are wanted too. What is added
            to them on their way counts: what it differs by there, a layer is to make up for.

    Raises: PruneError: ONNX Runtime cannot run a model on the samples, or what a layer reads is not finite.
    """
    itself = dense is model  # then nothing is pruned meanwhile
    stops = [_stop(of, match=dense is not None, final=itself) for of in reads.values()]
    goals = None if itself or dense is None else carry(dense, samples, [_goals(of) for of in reads.values()])
    for (tensor, of), batches in zip(reads.items(), carry(model, samples, stops), strict=True):
        sums = [MomentSum(read.operand.groups, read.operand.k) for read in of]
        matched = dense is not None and all(read.site is not None for read in of)
        kept: list[Rows] = []
        for (sampling, mine), theirs in _together(batches, next(goals) if goals else None):
            for read, total in zip(of, sums, strict=True):
                rows = read.operand.rows(mine[read.operand.value], sampling)
                goal = read.goal(mine, theirs, sampling) if matched else None
                total.add(rows, goal)
                if goal is not None and rows.size and len(of) == 1 and (ends := read.visible(mine, theirs, sampling)):
                    kept.append(Rows.of(rows, goal, *ends).thinned(sampling.batch / sampling.samples))
        moments = MomentSum.mean(sums, centred=bias_of(of) is not None)
        check_finite(tensor, moments.second)
        yield tensor, replace(moments, rows=Rows.joined(kept)) if kept else moments


Batches = Iterator[tuple[Sampling, Arrays]]


def _together(mine: Batches, dense: Batches | None) -> Iterator[tuple[tuple[Sampling, Arrays], Arrays]]:
    """The batches of a network and of the dense one, which is the same where none is given."""
    if dense is None:
        return ((batch, batch[1]) for batch in mine)
    return ((batch, arrays) for batch, (_, arrays) in zip(mine, dense, strict=True))


def bias_of(layers: Sequence[Read]) -> Bias | None:
    """The bias that can take up what the means differ by; layers that share a weight have none."""
    return layers[0].site.bias if len(layers) == 1 and layers[0].site else None


def _stop(layers: Sequence[Read], *, match: bool, final: bool) -> Stop:
    """What to see of the network that is pruned: the inputs of the first layer are `final` in any event."""
    first, *others = (read.operand.value for read in layers)
    if match and final:
        goals = _goals(layers)
        return Stop((first, *others, *goals.final))
    residuals = [read.site.residual for read in layers if match and read.site and read.site.residual]
    return Stop((first,), (*others, *residuals))


def _goals(layers: Sequence[Read]) -> Stop:
    sites = [read.site for read in layers if read.site]
    return Stop(tuple(name for site in sites for name in (site.output, site.residual) if name))


def check_finite(weight: str, second: np.ndarray) -> None:
    """Refuse second moments that nothing can be made of.

    Raises: PruneError: some are infinite or no numbers.
    """
    if not np.isfinite(second).all():
        raise PruneError(
            f"calibration: what is multiplied with {weight} is infinite, not a number, or too large to square; "
            "leave out the samples that cause it"
        )
