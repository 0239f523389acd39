"""The options of pruning, listed once: functions, the command line, recipes and the docs take them from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, NamedTuple, TypedDict, get_args, get_type_hints

from edgesparse.pipeline import values
from edgesparse.pipeline.sample_files import Calibration

HOW_MUCH, HOW, SEARCH = "How much to prune", "How to prune", "How to search"

MULTIPLE = 8
"""What dimensions are rounded to where no target says it."""

OTHER_OPTIONS = (
    *("target", "output", "example_inputs", "input_shapes", "bind", "preprocess", "labels"),
    *("threads", "on", "dtype", "witness", "html", "progress"),
)
"""What the functions that take the options of pruning take besides."""


class LayerOptions(TypedDict, total=False):
    """What holds for the layers that a shell pattern names, in place of the options for all."""

    sparsity: float
    pattern: str
    skip: bool


@dataclass(frozen=True)
class Option:
    """What is known of an option besides its name and its type.

    Args:
        help: one sentence.
        more: what the docs say after it, in Markdown.
        section: of the help that it stands in.
        default: what holds where nothing is given; None too where that depends on other options.
        value: what the command line calls its value; None where the option is for files and functions only.
        example: a value, as one would give it on the command line.
        check: of a value; raises a PruneError where it fits no model.
        repeated: where the option takes several values, whether the command line repeats it, and does not separate them
            by commas.
        says_how_much: to prune; only one of those that do can be given. A `budget` does it by a search.
        needs: the option without which this one means nothing.
        recorded: whether an artifact keeps it, so that another copy of the model can be pruned alike.
    """

    help: str
    more: str = ""
    section: str = HOW
    default: Any = None
    value: str | None = ""
    example: str = ""
    check: Callable[[Any, str], None] | None = None
    repeated: bool = False
    says_how_much: bool = False
    budget: bool = False
    needs: str = ""
    recorded: bool = True


class PruningOptions(TypedDict, total=False):
    """How to prune. None stands for what holds by default."""

    sparsity: Annotated[
        float | None,
        Option(
            "Share of the prunable weights to set to zero, such as 0.8.",
            "The first convolution and depthwise ones stay dense",
            example="0.9",
            check=values.share,
            says_how_much=True,
            section=HOW_MUCH,
        ),
    ]
    structured: Annotated[
        float | None,
        Option(
            "Share of the multiply-accumulates to remove, before any zeros, as whole channels, attention heads and"
            " neurons.",
            "What is left is a smaller dense model. What feeds an operator that is not understood stays, and so do the"
            " outputs; `prune` lists every group and why it stays. With `--calibration` the layers are then fitted anew"
            " to what the whole network gives",
            example="0.5",
            check=values.share,
            section=HOW_MUCH,
        ),
    ]
    latency: Annotated[
        str | None,
        Option(
            "Choose each layer's density so that the compiled model takes at most this long, such as 8ms.",
            "See [budgets](recipes.md#budgets)",
            value="TIME",
            example="8ms",
            check=values.latency,
            says_how_much=True,
            budget=True,
            recorded=False,
            section=HOW_MUCH,
        ),
    ]
    speedup: Annotated[
        float | None,
        Option(
            "Choose each layer's density so that the compiled model is this many times as fast as the dense one.",
            "See [budgets](recipes.md#budgets)",
            example="3",
            check=values.speedup,
            says_how_much=True,
            budget=True,
            recorded=False,
            section=HOW_MUCH,
        ),
    ]
    max_accuracy_drop: Annotated[
        str | float | None,
        Option(
            "Find the fastest model whose score drops by at most this share, such as 1%; needs --eval.",
            "It is a share of the dense model's score. See [accuracy](recipes.md#accuracy)",
            value="SHARE",
            example="1%",
            check=values.drop,
            says_how_much=True,
            budget=True,
            recorded=False,
            section=HOW_MUCH,
        ),
    ]
    calibration: Annotated[
        Calibration,
        Option(
            "An .npz file with a few hundred samples of every input, by name, without labels; or the word synthetic,"
            " for made-up pictures.",
            "A fifth (32 at least, half at most) is [held out](#what-pruning-did). [Made-up pictures]"
            "(pruning.md#without-any-samples) are for networks that begin with a convolution or take frames",
            example="FILE.npz",
        ),
    ]
    method: Annotated[
        str,
        Option(
            "How to choose the weights to remove: magnitude, wanda, sparsegpt or admm; by default admm if there are"
            " samples, else magnitude.",
            "The smallest go (`magnitude`), those that matter least for strong inputs (`wanda`), or those whose"
            " loss the others, which then change, can make up for: chosen column by column (`sparsegpt`), or all"
            " together (`admm`)",
            example="admm",
            check=values.method,
        ),
    ]
    allocation: Annotated[
        str,
        Option(
            "How layers share the sparsity: uniform, lamp, global or erk; by default uniform with admm, else lamp.",
            "The same for all (`uniform`), one threshold on magnitudes relative to each layer's (`lamp`), one threshold"
            " for all (`global`), or less for small layers (`erk`)",
            example="lamp",
            check=values.allocation,
        ),
    ]
    pattern: Annotated[
        str,
        Option(
            "Shape of the blocks that are pruned as one, such as 4x1; or N:M, which keeps N of every M input channels.",
            "A block RxQ is R output channels and Q neighbouring input channels at one place of the window: `1x4` is"
            " what dot products of bytes skip ([models of 8 bits](quantized.md)). `2:4` keeps 2 of every 4, which fixes"
            " the sparsity",
            default="1x1",
            example="4x1",
            check=values.pattern,
        ),
    ]
    skip: Annotated[
        Sequence[str],
        Option(
            "Keep dense the layers whose name, or weight's name, matches this shell pattern; may be repeated.",
            default=(),
            value="PATTERN",
            example="'head*'",
            repeated=True,
        ),
    ]
    match: Annotated[
        str,
        Option(
            "What each layer's outputs are fitted to: those in the dense network (dense), or those of its dense weights"
            " on the inputs that it gets once pruning has changed the layers before it (own).",
            "Either way the layer is fed by the network as pruned so far; `dense` also makes up, with the bias, for"
            " what residual branches have lost",
            default="dense",
            example="own",
            check=values.match,
        ),
    ]
    reconstruct: Annotated[
        bool,
        Option(
            "Refit the weights that remain so that each layer's outputs on the samples change least.",
            default=False,
        ),
    ]
    permute: Annotated[
        bool,
        Option(
            "With a pattern N:M or 1x4, reorder channels before pruning, so that larger weights can stay.",
            "Of models of 8 bits too. All layers that they couple are reordered ([Pool and Yu](https://proceedings.neurips.cc/paper/2021"
            "/hash/6e8404c3b93a9527c8db241a1846599a-Abstract.html)). Outputs do not change, and no layer keeps less"
            " (of blocks: at sparsity 0.8)",
            default=False,
        ),
    ]
    importance: Annotated[
        str,
        Option(
            "How to rank channels: l1, l2, bn, activation or output; by default output if there are samples, else l2.",
            "By the sum of magnitudes (`l1`) or the norm (`l2`) of all weights that go with them, by the scales of"
            " BatchNormalization (`bn`), by the energy of what the next layers read (`activation`), or by what the"
            " outputs of those layers lose (`output`). `taylor` needs gradients, from Python. With samples, how many"
            " each layer gives up depends on what the outputs of the network lose",
            example="l2",
            check=values.importance,
            needs="structured",
        ),
    ]
    kinds: Annotated[
        Sequence[str],
        Option(
            "What --structured may remove, separated by commas: channels, heads, neurons.",
            default=("channels", "heads", "neurons"),
            example="channels,heads",
            check=values.kinds,
            needs="structured",
        ),
    ]
    multiple: Annotated[
        int,
        Option(
            "Round what --structured leaves of a dimension to a multiple of this number; by default"
            f" {MULTIPLE} in prune, else the target's vector lanes.",
            example="8",
            check=values.multiple,
            needs="structured",
        ),
    ]
    recover: Annotated[
        str | None,
        Option(
            "After pruning, fit the remaining weights to the dense network for this long, such as 2m; needs PyTorch.",
            "Gradients fit all remaining weights and all biases to what the blocks of the dense network give on the "
            "samples; zeros stay zeros. Needs `--calibration` and the extra `torch`",
            value="TIME",
            example="2m",
            check=values.recover,
        ),
    ]
    augment: Annotated[
        Sequence[str],
        Option(
            "How to vary images during recovery, so that few samples go further: flip, shift, or flip,shift.",
            "`flip` mirrors left and right, `shift` moves by up to 4 pixels; both networks see the same. Off by"
            " default: digits, for one, must not be mirrored",
            default=(),
            example="flip,shift",
            check=values.augment,
            needs="recover",
        ),
    ]
    eval: Annotated[
        str | None,
        Option(
            "A function that takes the path of an ONNX file and returns its score; higher is better.",
            value="PACKAGE.MODULE:FUNCTION",
            example="package.module:function",
            recorded=False,
            section=SEARCH,
        ),
    ]
    ray: Annotated[
        str | None,
        Option(
            "Share the search with the Ray cluster at this address; auto means the one running on this machine.",
            "It takes over [what single layers lose](recipes.md#accuracy)",
            value="ADDRESS",
            example="auto",
            recorded=False,
            section=SEARCH,
        ),
    ]
    resume: Annotated[
        bool,
        Option(
            "Continue a search that was interrupted.",
            "What it found so far is in `MODEL.search` beside the output",
            default=False,
            recorded=False,
            section=SEARCH,
        ),
    ]
    layers: Annotated[
        Mapping[str, LayerOptions],
        Option(
            "Options for single layers by shell pattern on their names; the first pattern that matches counts.",
            default={},
            value=None,
            check=values.layers,
        ),
    ]


class Field(NamedTuple):
    """An option with its type."""

    kind: Any
    option: Option


@cache
def fields() -> dict[str, Field]:
    """All options of pruning by name, in order."""
    hints = get_type_hints(PruningOptions, include_extras=True)
    return {name: Field(*get_args(hint)) for name, hint in hints.items()}


def those_that(attribute: str) -> tuple[str, ...]:
    """Names of the options of which something holds: an attribute of `Option`."""
    return tuple(name for name, field in fields().items() if getattr(field.option, attribute))
