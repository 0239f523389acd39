"""Options that several commands share, and what their values become."""

from __future__ import annotations

import builtins
import math
from collections import abc
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from edgesparse import pipeline
from edgesparse.devices import targets
from edgesparse.errors import MeasureError, PruneError
from edgesparse.pipeline.budgets import MOST_THREADS
from edgesparse.pipeline.dtypes import DTYPES
from edgesparse.pipeline.options import fields, those_that
from edgesparse.pipeline.profiling import MOST
from edgesparse.pipeline.settings import checked, plain

if TYPE_CHECKING:
    import numpy as np

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)
THREADS = click.IntRange(1, MOST_THREADS)


class Amount(click.ParamType[Any]):
    """A number with its unit behind it, which may be left out."""

    def __init__(self, unit: str, example: str, least: float | None = None) -> None:
        """Args: least: that it may be; any above 0 by default."""
        self.name = self._example = example
        self._unit, self._least = unit, least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        try:
            number = float(str(value).removesuffix(self._unit))
        except ValueError:
            number = math.nan
        is_enough = number > 0 if self._least is None else number >= self._least
        if not is_enough or number > MOST:
            expected = "above 0" if self._least is None else f"from {self._least:g}"
            self.fail(f"got {value!r}, expected a number {expected} to {MOST:g} such as {self._example}", param, ctx)
        return number


class TargetName(click.ParamType[Any]):
    """A name that the shell completes, or a file."""

    name = "NAME"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The target names that begin with `incomplete`, with their summaries."""
        before, comma, begun = incomplete.rpartition(",")
        known = [targets.load(name) for name in targets.names() if name.startswith(begun)]
        return [CompletionItem(f"{before}{comma}{target.name}", help=target.summary) for target in known]


def _target(help: str) -> Callable[[Command], Command]:
    return click.option("--target", type=TargetName(), default="host", show_default=True, help=help)


target = _target("A name from `edgesparse targets`, or a TOML file.")
target_or_targets = _target("A name from `edgesparse targets`, or a TOML file; for several in one artifact: rpi4,rpi5.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
html = click.option("--html", type=FILE, help="Also write the report to this file, as one HTML page.")
threads = click.option("--threads", type=THREADS, default=1, show_default=True, help="Threads to use or predict for.")


def on(command: Command) -> Command:
    """The device that a command uses, and whether anything is left on it."""

    @click.option(
        "--on", metavar="DEVICE", help="The device to run or measure on, as ssh calls it (pi@board), or adb:SERIAL."
    )
    @click.option("--clean", is_flag=True, help="When done, remove from the device all that was ever copied there.")
    @wraps(command)
    def run(*arguments: Any, on: str | None, clean: bool, **chosen: Any) -> None:
        if clean and on is None:
            raise click.UsageError("--clean needs --on DEVICE")
        command(*arguments, on=on, **chosen)
        if clean and on is not None:
            pipeline.clean(on)

    return cast(Command, run)


def measured_on(command: Command) -> Command:
    """The device that a command uses, how cool it has to be first, and on which of its cores."""

    @on
    @click.option(
        "--cores", metavar="big|little|0-3,5", help="Of the device, to run on: the big ones, the little ones, or these."
    )
    @click.option(
        "--cool-down", metavar="45C", help="First wait until the device is as cool as this, for at most 10 minutes."
    )
    @wraps(command)
    def run(*arguments: Any, on: str | None, cores: str | None, cool_down: str | None, **chosen: Any) -> None:
        for option, given in (("--cores", cores), ("--cool-down", cool_down)):
            if given is not None and on is None:
                raise click.UsageError(f"{option} needs --on DEVICE")
        command(*arguments, on=on, cores=cores, cool_down=cool_down, **chosen)

    return cast(Command, run)


dtype = click.option(
    "--dtype",
    type=click.Choice(tuple(DTYPES)),
    help="Compute with f16 where the target has it, or with f32 all that is f16; by default as MODEL does.",
)
witness = click.option(
    "--witness/--no-witness", default=True, help="Check the compiled code against MODEL before writing; on by default."
)


class Number(click.ParamType[Any]):
    """A number that an option of pruning takes."""

    def __init__(self, option: str, kind: type[int] | type[float]) -> None:
        self.name = "integer" if kind is int else "number"
        self._option, self._kind = option, kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Turn the text into a number."""
        try:
            number: Any = self._kind(value)
        except ValueError:
            number = value
        try:
            return checked(self._option, number)  # type: ignore[no-any-return]
        except PruneError as err:
            self.fail(str(err).removeprefix(f"{self._option}: "), param, ctx)


def of_pruning(name: str) -> Callable[[Command], Command]:
    """The command line's form of an option of pruning."""
    kind, option = fields()[name]
    given: dict[str, Any] = {"help": option.help, "metavar": option.value or None}
    match plain(kind):
        case builtins.bool:
            given |= {"is_flag": True}
        case builtins.int | builtins.float as number:
            given |= {"type": Number(name, number)}
        case abc.Sequence if option.repeated:
            given |= {"multiple": True}
        case abc.Sequence:
            given |= {"callback": _separated, "default": ",".join(option.default), "show_default": bool(option.default)}
        case builtins.str:
            given |= {"default": option.default, "show_default": option.default is not None}
        case _ if option.example.startswith("FILE"):
            given |= {"type": FILE}
    return click.option(f"--{name.replace('_', '-')}", **given)


def _separated(_context: click.Context, _param: click.Parameter, text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def pruning(command: Command) -> Command:
    """Add the options of pruning to a command, and a recipe that holds them."""
    names = [name for name, field in fields().items() if field.option.value is not None]
    wrapped = _with_recipe(command)
    for name in reversed(names):
        wrapped = of_pruning(name)(wrapped)
    recipe = click.option("--recipe", type=FILE, help="A YAML file with options; the command line overrides it.")
    return recipe(wrapped)


def _with_recipe(command: Command) -> Command:
    """`command` with what its recipe holds in place of options that are not given, as far as it has them."""

    @wraps(command)
    def run(*, recipe: Path | None, **options: Any) -> Any:
        context = click.get_current_context()
        held = pipeline.read_recipe(recipe) if recipe else {}
        given = {name for name in options if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
        if given.intersection(amounts := those_that("says_how_much")):
            given.update(amounts)
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
        raise click.UsageError("give every --input its own NAME=, or leave NAME= out of all of them")
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
    help="Fix an input to a constant: a number, comma-separated numbers, true, false or an .npy file.",
)
preprocess = click.option(
    "--preprocess",
    multiple=True,
    metavar="NAME=PART,...",
    help="Take raw camera frames as input NAME, such as image=uint8,nhwc,rgb,from=640x480,size=224x224,std=255.",
)
labels = click.option("--labels", type=FILE, help="A text file with one class name per line, to store in the artifact.")
input_shapes = click.option(
    "--input-shape",
    "input_shapes",
    type=InputShape(),
    multiple=True,
    callback=_by_name,
    help="Set the shape of an input with dynamic sizes; the batch size is 1 by default.",
)
