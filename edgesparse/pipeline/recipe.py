"""Recipes: the options of `compile` as a YAML file, checked against the types and ranges of the options themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints, is_typeddict

from edgesparse.errors import EdgesparseError, RecipeError, nearest
from edgesparse.inputs import content
from edgesparse.pipeline.options import PruningOptions, fields
from edgesparse.pipeline.settings import checked, members
from edgesparse.pipeline.values import no_share

if TYPE_CHECKING:
    import yaml


class _Recipe(PruningOptions, total=False):
    """What a recipe can say: how to prune, and for what."""

    target: str | Path | Sequence[str | Path]
    input_shapes: Mapping[str, Sequence[int]]
    bind: Mapping[str, int | float | bool | str | Sequence[int | float | bool]]
    preprocess: str | Sequence[str]
    labels: Path | Sequence[str]
    threads: int
    dtype: str
    witness: bool


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The keyword arguments for `compile` that a recipe holds; its paths are relative to its folder.

    Raises: RecipeError: it cannot be read, or a key or value is wrong; with line and column.
    """
    import yaml

    file = Path(path)
    try:
        text = content(file, "a recipe", RecipeError, remedy="write the options as YAML, such as sparsity: 0.9")
        root = yaml.compose(text.decode(), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as err:
        raise RecipeError(f"{file}: is not a text file; expected YAML") from err
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        raise RecipeError(f"{file}:{_place(mark)}: {err.problem or 'not YAML'}") from err
    except RecursionError as err:
        raise RecipeError(f"{file}: is nested too deeply; expected options") from err
    except yaml.YAMLError as err:
        raise RecipeError(f"{file}: not YAML: {str(err).splitlines()[0]}") from err
    if root is None or root.tag.endswith(":null"):
        return {}
    reader = _Reader(file)
    options: dict[str, Any] = reader.table(root, get_type_hints(_Recipe), "")
    for key, node in reader.entries(root):
        if key == "layers":
            for name, entry in reader.entries(node):
                reader.check(entry, key, {name: options[key][name]})
        elif key in fields():
            reader.check(node, key, options[key])
    return options


def _place(mark: Any) -> str:
    return f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"


class _Reader:
    """Turns nodes of one file into values of the types that are wanted."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def fail(self, node: yaml.Node, text: str) -> RecipeError:
        """An error that says where in the file."""
        return RecipeError(f"{self._file}:{_place(node.start_mark)}: {text}")

    def check(self, node: yaml.Node, name: str, value: Any) -> None:
        """Let an option say whether it takes a value."""
        try:
            checked(name, value)
        except EdgesparseError as err:
            raise self.fail(node, str(err)) from err

    def entries(self, node: yaml.Node) -> Iterator[tuple[str, yaml.Node]]:
        """The keys of a mapping, as text, with the nodes of their values."""
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key.value, str):
                raise self.fail(key, "expected a name")
            if key.value in seen:
                raise self.fail(key, f"{key.value} is given twice")
            seen.add(key.value)
            yield key.value, value

    def table(self, node: yaml.Node, hints: Mapping[str, Any], name: str) -> dict[str, Any]:
        """A mapping with the keys of `hints` only."""
        self._require(node, "mapping", name or "recipe")
        values: dict[str, Any] = {}
        places = {key.value: key for key, _ in node.value if isinstance(key.value, str)}
        for key, value in self.entries(node):
            if key not in hints:
                raise self.fail(places[key], f"unknown key {key!r}{nearest(key, hints)}")
            values[key] = self.value(value, hints[key], f"{name}{key}")
        return values

    def value(self, node: yaml.Node, hint: Any, name: str) -> Any:
        """A value of the type `hint`."""
        options = members(hint)
        if node.tag.endswith(":null"):
            if NoneType in options:
                return None
            raise self.fail(node, f"{name}: got nothing, expected {_words(options)}")
        if is_typeddict(hint):
            return self.table(node, get_type_hints(hint), f"{name}.")
        kind = get_origin(hint)
        if kind is Mapping:
            self._require(node, "mapping", name)
            item = get_args(hint)[1]
            return {key: self.value(value, item, f"{name}.{key}") for key, value in self.entries(node)}
        lists = [option for option in options if get_origin(option) is Sequence]
        if lists and (node.id == "sequence" or len(options) == 1):
            return self._items(node, get_args(lists[0])[0], name)
        if not _is_scalar(node):
            raise self.fail(node, f"{name}: got a {_kind(node)}, expected {_words(options)}")
        return self._scalar(node, options, name)

    def _items(self, node: yaml.Node, item: Any, name: str) -> list[Any]:
        self._require(node, "sequence", name)
        return [self.value(each, item, f"{name}[{at}]") for at, each in enumerate(node.value)]

    def _scalar(self, node: yaml.Node, options: Sequence[Any], name: str) -> Any:
        """Text is taken as it is written: YAML would read 2:4 as a number of base 60."""
        text, tag = str(node.value), node.tag.rpartition(":")[2]
        if Path in options and (str not in options or _is_file(text)):
            return self._file.parent / text
        if bool in options and tag == "bool":
            return text.lower() in ("true", "yes", "on")
        for number in (int, float):
            if number in options:
                with suppress(ValueError):
                    return number(text)
        if str in options and tag != "bool":
            return text
        if text.endswith("%") and name.rpartition(".")[2] in ("sparsity", "structured"):
            raise self.fail(node, f"{name}: {no_share(text)}")
        raise self.fail(node, f"{name}: got {text!r}, expected {_words(options)}")

    def _require(self, node: yaml.Node, kind: str, name: str) -> None:
        if node.id != kind:
            expected = "a mapping" if kind == "mapping" else "a list"
            raise self.fail(node, f"{name}: got a {_kind(node)}, expected {expected}")


def _is_scalar(node: yaml.Node) -> bool:
    return bool(node.id == "scalar")


def _kind(node: yaml.Node) -> str:
    return {"mapping": "mapping", "sequence": "list"}.get(node.id, "single value")


def _is_file(text: str) -> bool:
    """Whether a text that may be a name or a path is a path."""
    return bool(Path(text).suffix) or "/" in text


def _words(options: Sequence[Any]) -> str:
    """Types in words."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    return " or ".join(dict.fromkeys(words[option] for option in options if option in words)) or "a mapping"
