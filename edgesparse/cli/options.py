"""Options that several commands share, and what their values become."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from edgesparse import pipeline, targets
from edgesparse.errors import MeasureError
from edgesparse.pipeline.pruning import AMOUNTS, KINDS, no_share
from edgesparse.pipeline.searching import MOST_THREADS

if TYPE_CHECKING:
    import numpy as np

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)
THREADS = click.IntRange(1, MOST_THREADS)


class TargetName(click.ParamType[Any]):
    """A name that the shell completes, or a file."""

    name = "NAME"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin so, with what they are."""
        known = [targets.load(name) for name in targets.names() if name.startswith(incomplete)]
        return [CompletionItem(target.name, help=target.summary) for target in known]


target = click.option(
    "--target",
    type=TargetName(),
    default="host",
    show_default=True,
    help="A name from `edgesparse targets`, or a TOML file.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
threads = click.option("--threads", type=THREADS, default=1, show_default=True, help="Threads that share the work.")

witness = click.option(
    "--witness/--no-witness", default=True, help="Compare the model before and after on made-up inputs; on by default."
)


augment = click.option(
    "--augment",
    default="",
    callback=lambda _context, _option, text: [name for name in text.split(",") if name],
    help="What is done to images meanwhile, so that few go further: flip, shift, or flip,shift.",
)


class Share(click.ParamType[Any]):
    """A number from 0 up to below 1."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Turn the text into a number."""
        try:
            share = float(value)
        except ValueError:
            share = math.nan
        if not 0.0 <= share < 1.0:
            self.fail(no_share(str(value)), param, ctx)
        return share


def pruning(command: Command) -> Command:
    """Add the options of pruning to a command: the fields of `pipeline.Pruning`, and a recipe that holds them."""
    decorators = [
        click.option("--recipe", type=FILE, help="A YAML file with options; those given here go before its own."),
        click.option(
            "--sparsity",
            type=Share(),
            help="Share of the prunable weights to set to zero.",
        ),
        click.option("--latency", metavar="TIME", help="Choose densities by layer so that it takes so long: 8ms."),
        click.option(
            "--speedup",
            type=click.FloatRange(1.0, min_open=True),
            help="Choose densities by layer so that it is so many times as fast as dense.",
        ),
        click.option(
            "--max-accuracy-drop",
            metavar="SHARE",
            help="Choose densities by layer for the fastest model whose score drops by no more: 1%.",
        ),
        click.option("--eval", metavar="PACKAGE.MODULE:FUNCTION", help="Gives the score of an ONNX file by its path."),
        click.option("--ray", metavar="ADDRESS", help="Share the search with a Ray cluster; auto for this machine's."),
        click.option("--resume", is_flag=True, help="Go on with a search that was interrupted."),
        click.option(
            "--method",
            help="How weights are chosen: magnitude, wanda, sparsegpt, or admm, the default where there are samples.",
        ),
        click.option(
            "--allocation",
            help="How layers share it: uniform, the default for admm, lamp, the default else, global or erk.",
        ),
        click.option("--pattern", default="1x1", show_default=True, help="Block of weights that go together, or N:M."),
        click.option("--skip", multiple=True, metavar="PATTERN", help="Leave layers dense whose name matches."),
        click.option(
            "--calibration",
            type=FILE,
            help="An .npz with some hundred samples of every input, by its name, without labels; "
            "synthetic: pictures that are made up.",
        ),
        click.option("--reconstruct", is_flag=True, help="Fit the weights that stay to the samples."),
        click.option(
            "--match",
            default="dense",
            show_default=True,
            help="What the outputs of a layer are fitted to: those of the dense network, or its own.",
        ),
        click.option("--permute", is_flag=True, help="With N:M, reorder channels before, so that more can stay."),
        click.option(
            "--structured",
            type=Share(),
            help="Share of the multiply-accumulates to take away as whole channels, heads and neurons, first of all.",
        ),
        click.option(
            "--importance",
            help="Which of those go first: l1, l2, bn, activation, or output, the default where there are samples.",
        ),
        click.option(
            "--kinds",
            default=",".join(KINDS),
            show_default=True,
            callback=lambda _context, _option, text: text.split(","),
            help="Those that may go, of these three.",
        ),
        click.option(
            "--multiple",
            type=click.IntRange(1),
            help="What is left of a dimension is a multiple of this; by default the lanes of the target.",
        ),
        click.option(
            "--recover",
            metavar="TIME",
            help="Last of all, fit what is left to the dense network's outputs for so long: 2m. Needs PyTorch.",
        ),
        augment,
    ]
    wrapped = _with_recipe(command)
    for decorator in reversed(decorators):
        wrapped = decorator(wrapped)
    return wrapped


def _with_recipe(command: Command) -> Command:
    """`command` with what its recipe holds in place of options that are not given, as far as it has them."""

    @wraps(command)
    def run(*, recipe: Path | None, **options: Any) -> Any:
        context = click.get_current_context()
        held = pipeline.read_recipe(recipe) if recipe else {}
        given = {name for name in options if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
        if given.intersection(AMOUNTS):
            given.update(AMOUNTS)
        for name, value in held.items():
            if name == "layers" or (name in options and name not in given):
                options[name] = value
        return command(**options)

    return cast(Command, run)


class InputShape(click.ParamType[Any]):
    """NAME=1,3,224,224."""

    name = "NAME=D0,D1,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        """Split the name from the dimensions."""
        name, separator, dimensions = str(value).rpartition("=")
        sizes = dimensions.split(",") if dimensions else []
        if not separator or not name or not all(size.strip().isdigit() and int(size) > 0 for size in sizes):
            self.fail(f"got {value!r}, expected a name and positive sizes such as image=1,3,224,224", param, ctx)
        return name, tuple(int(size) for size in sizes)


class InputFile(NamedTuple):
    """A file on the command line with inputs; the name of one is None where none was given."""

    path: Path
    arrays: dict[str | None, np.ndarray]


class InputArrays(click.ParamType[Any]):
    """FILE.npz with every input by name, FILE.npy for the first input, or NAME=FILE.npy."""

    name = "[NAME=]FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> InputFile:
        """Read the file."""
        name, _, file = str(value).rpartition("=")
        loaded = pipeline.load_arrays(Path(file))
        if not isinstance(loaded, Mapping):
            return InputFile(Path(file), {name or None: loaded})
        if name:
            raise MeasureError(f"{file}: got an .npz file for the input {name!r}, expected an .npy file")
        return InputFile(Path(file), {key: loaded[key] for key in loaded})


def merged(files: tuple[InputFile, ...]) -> dict[str, np.ndarray] | list[np.ndarray]:
    """The arrays of all `--input` options: by name, or in order where they have no names."""
    pairs = [pair for file in files for pair in file.arrays.items()]
    names = [name for name, _ in pairs]
    if all(name is None for name in names):
        return [array for _, array in pairs]
    if None in names or len(set(names)) < len(names):
        raise click.UsageError("give every --input a NAME= of its own, or none of them")
    return {str(name): array for name, array in pairs}


class Binding(click.ParamType[Any]):
    """NAME=16000."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Split the name from the value."""
        name, separator, text = str(value).rpartition("=")
        if not separator or not name or not text:
            self.fail(f"got {value!r}, expected a name and a value such as rate=16000", param, ctx)
        return name, text


def _by_name(context: click.Context, param: click.Parameter, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Values by the names that were given with them."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise click.BadParameter(f"{twice!r} is given twice, expected once", context, param)
    return found


bind = click.option(
    "--bind",
    type=Binding(),
    multiple=True,
    callback=_by_name,
    help="Make an input a constant: a number, numbers with commas between them, true, false or an .npy file.",
)
preprocess = click.option(
    "--preprocess",
    multiple=True,
    metavar="NAME=PART,...",
    help="Take frames of a camera: image=uint8,nhwc,rgb,from=640x480,size=224x224,mean=123.7:116.3:103.5,std=58.4.",
)
labels = click.option("--labels", type=FILE, help="A text file with the name of a class a line, for the artifact.")
input_shapes = click.option(
    "--input-shape",
    "input_shapes",
    type=InputShape(),
    multiple=True,
    callback=_by_name,
    help="Fix an input's dynamic shape; the batch size is 1 by default.",
)
