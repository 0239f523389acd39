"""Output paths, and files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.errors import PackageError

if TYPE_CHECKING:
    import numpy as np


def require_writable(path: Path) -> None:
    """Find out before long work that `path` cannot be written after it.

    Raises: PackageError: its directory is missing or read-only, or it is a directory itself.
    """
    folder = path.parent
    if path.is_dir():
        raise PackageError(f"{path}: is a directory, expected the name of a file to write")
    if not folder.is_dir():
        raise PackageError(f"{path}: there is no directory {str(folder)!r}; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PackageError(f"{path}: the directory {str(folder)!r} is read-only; name another with -o")


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` when the block ends, and goes if it fails.

    Raises: PackageError: the system refuses to write.
    """
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as err:
        raise PackageError(f"{path}: cannot be written: {err.strerror or err}") from err
    finally:
        temporary.unlink(missing_ok=True)


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as .npz, or the only one as .npy.

    Raises: PackageError: the name ends in neither, there are several arrays for an .npy, or it cannot be written.
    """
    import numpy as np

    if path.suffix not in (".npy", ".npz"):
        raise PackageError(f"{path}: got the ending {path.suffix!r}, expected .npz or .npy")
    if path.suffix == ".npy" and len(arrays) != 1:
        raise PackageError(f"{path}: got {len(arrays)} arrays ({', '.join(arrays)}), expected one; remedy: use .npz")
    require_writable(path)
    with written(path) as temporary:
        if path.suffix == ".npy":
            np.save(temporary, next(iter(arrays.values())), allow_pickle=False)
        else:
            np.savez(temporary, allow_pickle=False, **arrays)
