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
    *("threads", "witness", "html", "progress"),
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
            "Share of the prunable weights to set to zero.",
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
            "Share of the multiply-accumulates to remove first, as whole channels, attention heads and neurons.",
            "What is left is a smaller dense model. What an operator that is not understood reads stays, and so do the"
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
            "Choose densities by layer for the fastest model whose score drops by no more than this share, such as 1%.",
            "It is a share of the dense model's score; needs `--eval`. See [accuracy](recipes.md#accuracy)",
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
            "An .npz file with a few hundred samples of every input, by name, without labels; or synthetic: made-up"
            " pictures.",
            "A fifth (32 at least, half at most) is [held out](#what-pruning-did). [Made-up pictures]"
            "(pruning.md#without-any-samples) are for networks that begin with a convolution or take frames",
            example="FILE.npz",
        ),
    ]
    method: Annotated[
        str,
        Option(
            "How weights are chosen: magnitude, wanda, sparsegpt or admm; admm if there are samples, else magnitude.",
            "The smallest go (`magnitude`), those that matter least for strong inputs (`wanda`), or those whose"
            " loss the others can make up for, which then change: chosen column by column (`sparsegpt`), or all"
            " together (`admm`)",
            example="admm",
            check=values.method,
        ),
    ]
    allocation: Annotated[
        str,
        Option(
            "How layers share the sparsity: uniform, lamp, global or erk; uniform for admm, else lamp.",
            "The same for all (`uniform`), one threshold on magnitudes relative to each layer's (`lamp`), one threshold"
            " for all (`global`), or less for small layers (`erk`)",
            example="lamp",
            check=values.allocation,
        ),
    ]
    pattern: Annotated[
        str,
        Option(
            "Block of weights that are pruned together, such as 4x1; or N:M: N of every M input channels stay.",
            "`2:4` keeps 2 of every 4, which fixes the sparsity",
            default="1x1",
            example="4x1",
            check=values.pattern,
        ),
    ]
    skip: Annotated[
        Sequence[str],
        Option(
            "Leave layers dense whose name, or whose weight's name, matches this shell pattern.",
            default=(),
            value="PATTERN",
            example="'head*'",
            repeated=True,
        ),
    ]
    match: Annotated[
        str,
        Option(
            "What the outputs of a layer are fitted to: those of the dense network, or its own.",
            "The layer gets what the network pruned so far gives it; `dense` makes up for what residuals have lost,"
            " too, with the bias; `own` is what its dense weights give there",
            default="dense",
            example="own",
            check=values.match,
        ),
    ]
    reconstruct: Annotated[
        bool,
        Option(
            "Fit the weights that stay so that each layer's outputs on the samples change least.",
            default=False,
        ),
    ]
    permute: Annotated[
        bool,
        Option(
            "With N:M, reorder channels first, so that larger weights can stay.",
            "In all layers that they couple ([Pool and Yu](https://proceedings.neurips.cc/paper/2021/hash/"
            "6e8404c3b93a9527c8db241a1846599a-Abstract.html)). Outputs do not change by it, and no layer keeps less",
            default=False,
        ),
    ]
    importance: Annotated[
        str,
        Option(
            "How channels are ranked: l1, l2, bn, activation or output; output if there are samples, else l2.",
            "By the sum of magnitudes (`l1`) or the norm (`l2`) of all weights that go with them, by the scales of"
            " BatchNormalization (`bn`), by the energy of what the next layers read (`activation`), or by what the"
            " outputs of those layers lose (`output`). `taylor` needs gradients, from Python. With samples, how many go"
            " from where is by what the outputs of the network lose",
            example="l2",
            check=values.importance,
            needs="structured",
        ),
    ]
    kinds: Annotated[
        Sequence[str],
        Option(
            "Which of channels, heads and neurons may be taken away.",
            default=("channels", "heads", "neurons"),
            example="channels,heads",
            check=values.kinds,
            needs="structured",
        ),
    ]
    multiple: Annotated[
        int,
        Option(
            "What is left of a dimension is a multiple of this number; of the target's vector lanes by default.",
            f"Of {MULTIPLE} for `prune`",
            example="8",
            check=values.multiple,
            needs="structured",
        ),
    ]
    recover: Annotated[
        str | None,
        Option(
            "Last of all, fit what is left to the dense network's outputs for this long, such as 2m; needs PyTorch.",
            "All weights that are left and all biases, to what the blocks of the dense network give on the samples, by "
            "gradients; zeros stay. Needs the extra `torch`",
            value="TIME",
            example="2m",
            check=values.recover,
        ),
    ]
    augment: Annotated[
        Sequence[str],
        Option(
            "How images are varied during recovery, so that a few go further: flip, shift, or flip,shift.",
            "Before both networks see them: mirrored left for right, moved by up to 4 pixels. Nothing by default:"
            " digits are not to be mirrored",
            default=(),
            example="flip,shift",
            check=values.augment,
            needs="recover",
        ),
    ]
    eval: Annotated[
        str | None,
        Option(
            "A function that returns the score of the ONNX file whose path it gets; higher is better.",
            value="PACKAGE.MODULE:FUNCTION",
            example="package.module:function",
            recorded=False,
            section=SEARCH,
        ),
    ]
    ray: Annotated[
        str | None,
        Option(
            "Share the search with the Ray cluster at this address; auto is the one that runs on this machine.",
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
            "Go on with a search that was interrupted.",
            "What it learned lies in `MODEL.search` beside the output",
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
