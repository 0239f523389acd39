"""The user's own Python code, by "package.module:attribute"."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgesparse.errors import EdgesparseError, in_words


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let modules in `folder` be imported for the time of the block, before all others."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):  # what was imported may have taken it off
            sys.path.remove(str(folder))


def function(name: str, error: type[EdgesparseError], where: str) -> Any:
    """The function, or other thing that can be called, that "package.module:attribute" names.

    To find modules in the working directory too, call it within `importable`.

    Raises: `error`: there is none, or importing its module fails; `where` is what the message begins with.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise error(f"{where}: got {name!r}, expected package.module:function")
    try:
        holder = importlib.import_module(module_name)
        found = getattr(holder, attribute, None)
    except ModuleNotFoundError as err:
        if err.name is None or not f"{module_name}.".startswith(f"{err.name}."):
            raise error(f"{where}: importing {module_name} failed: {in_words(err)}") from err
        raise error(f"{where}: there is no module {err.name!r}, here or installed") from err
    except (Exception, SystemExit) as err:  # the module's own code runs here
        raise error(f"{where}: importing {module_name} failed: {in_words(err)}") from err
    if found is not None and not callable(found):
        raise error(f"{where}: {name} is of type {type(found).__name__}, expected a function")
    if found is None:
        near = difflib.get_close_matches(attribute, [name for name in vars(holder) if callable(vars(holder)[name])])
        hint = f"; did you mean {near[0]}?" if near else ""
        raise error(f"{where}: {module_name} has no function {attribute!r}{hint}")
    return found
