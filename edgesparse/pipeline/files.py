"""Output paths, and arrays in files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.errors import MeasureError, PackageError
from edgesparse.inputs import arrays as arrays_in
from edgesparse.outputs import written
from edgesparse.signatures import ARRAYS, Kind, kind_of

if TYPE_CHECKING:
    import numpy as np


def require_writable(path: Path, kind: Kind, inputs: Iterable[object] = ()) -> None:
    """Find out before long work that `path` cannot or should not be written after it.

    Args:
        kind: of the file to write; one of another kind is not overwritten.
        inputs: what is read; a file among it is not overwritten, by whatever path it is called.

    Raises: PackageError: its directory is missing or read-only, it is no ordinary file itself, or holds something else.
    """
    try:
        _require_place(path, kind, inputs)
    except OSError as err:  # a name that is too long, a folder that cannot be searched
        raise PackageError(f"{path}: cannot be written: {err.strerror or err}") from err


def _require_place(path: Path, kind: Kind, inputs: Iterable[object]) -> None:
    folder = path.parent
    if path.is_dir():
        raise PackageError(f"{path}: is a directory, expected the name of a file to write")
    if not folder.is_dir():
        raise PackageError(f"{path}: there is no directory {str(folder)!r}; create it first")
    _require_room(path, folder)
    if not path.exists():
        return
    if not path.is_file():
        raise PackageError(f"{path}: is a device, a pipe or the like, expected the name of a file to write")
    for given in inputs:
        if isinstance(given, str | Path) and Path(given).exists() and path.samefile(given):
            raise PackageError(f"{path}: is {given}, which this command reads; name another file to write")
    if path.stat().st_size and (found := kind_of(path)) is not kind:
        held = found.name if found else "something else"
        raise PackageError(f"{path}: holds {held} and would become {kind.name}; remove it, or name another file")


def _require_room(path: Path, folder: Path) -> None:
    """Make a file there that goes at once: neither its mode nor its owner tells of a system that takes no files."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as err:
        raise PackageError(
            f"{path}: the directory {str(folder)!r} takes no files ({err.strerror or err}); name another"
        ) from err


def load_arrays(path: Path) -> np.ndarray | Mapping[str, np.ndarray]:
    """The array in an .npy file, or those of an .npz file by name.

    Raises: MeasureError: it cannot be read, or holds something else.
    """
    return arrays_in(path, MeasureError, "an .npy or .npz file")


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], inputs: Iterable[object] = ()) -> None:
    """Write arrays as .npz, or the only one as .npy; over none of the files `inputs`.

    Raises: PackageError: the name ends in neither, there are several arrays for an .npy, or it cannot be written.
    """
    import numpy as np

    if path.suffix not in (".npy", ".npz"):
        raise PackageError(f"{path}: got the ending {path.suffix!r}, expected .npz or .npy")
    if path.suffix == ".npy" and len(arrays) != 1:
        raise PackageError(f"{path}: got {len(arrays)} arrays ({', '.join(arrays)}), expected one; remedy: use .npz")
    require_writable(path, ARRAYS, inputs)
    with written(path) as temporary:
        if path.suffix == ".npy":
            np.save(temporary, next(iter(arrays.values())), allow_pickle=False)
        else:
            np.savez(temporary, allow_pickle=False, **arrays)
