"""Open a file that the user names: only an ordinary one, and only if it can be what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.errors import EdgesparseError
from edgesparse.signatures import ARRAYS, Kind, kind_of

if TYPE_CHECKING:
    import numpy as np


def require_kind(
    path: Path, expected: str, error: type[EdgesparseError], *wanted: Kind, remedy: str | None = None
) -> None:
    """Check that `path` is an ordinary file whose first bytes do not say that it is something else.

    Args:
        expected: what is wanted, in words.
        wanted: kinds that it may be; a file whose kind is not known always may.
        remedy: what to do about any other kind; by default how to get a model from it.

    Raises: `error`: it cannot be read, or is of another kind.
    """
    try:
        kind = kind_of(path)
    except (OSError, ValueError) as err:
        raise error(f"{path}: cannot be read: {said(err)}") from err
    if kind is not None and kind not in wanted:
        raise error(f"{path}: is {kind.name}, expected {expected}; remedy: {remedy or kind.remedy}")


def content(path: Path, expected: str, error: type[EdgesparseError], *wanted: Kind, remedy: str | None = None) -> bytes:
    """The bytes of a file, if it can be what is wanted; see `require_kind`."""
    require_kind(path, expected, error, *wanted, remedy=remedy)
    try:
        return path.read_bytes()
    except OSError as err:
        raise error(f"{path}: cannot be read: {said(err)}") from err


def arrays(path: Path, error: type[EdgesparseError], expected: str) -> np.ndarray | Mapping[str, np.ndarray]:
    """The array in an .npy file, or those of an .npz file by name; arrays of objects, which are code, are refused.

    Raises: `error`: the file cannot be read, or holds something else.
    """
    import zipfile
    import zlib

    import numpy as np

    require_kind(path, expected, error, ARRAYS, remedy="save them with numpy.savez")
    if kind_of(path) is not ARRAYS:
        raise error(f"{path}: is no file of numpy, expected {expected}; remedy: save them with numpy.savez")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, KeyError, MemoryError, NotImplementedError) as err:
        why = said(err)
    except (zipfile.BadZipFile, zlib.error, SyntaxError) as err:
        why = f"it is damaged: {said(err)}"
    raise error(f"{path}: cannot be read: {why}; expected {expected}")


def said(err: BaseException) -> str:
    """What the system or a library says, in one line."""
    text = getattr(err, "strerror", None) or str(err)
    return next((line.strip() for line in text.splitlines() if line.strip()), type(err).__name__)
