"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgesparse.errors import EdgesparseError, PackageError

LONGEST_ENDING = 16  # that a temporary file keeps; some libraries look at it


@contextmanager
def written(path: Path, error: type[EdgesparseError] = PackageError) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` when the block ends, and goes if it fails.

    Raises: `error`: the system refuses to write.
    """
    ending = path.suffix if len(path.suffix) <= LONGEST_ENDING else ""
    temporary = path.with_name(f".{path.stem[:32]}.{secrets.token_hex(4)}{ending}")
    try:
        yield temporary
        with suppress(PermissionError), temporary.open("rb") as file:  # where the umask lets nobody read
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as err:
        raise error(f"{path}: cannot be written: {err.strerror or err}") from err
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(folder: Path, option: str, error: type[EdgesparseError] = PackageError) -> Iterator[Path]:
    """Yield the path of a folder to make beside `folder`; it becomes `folder` when the block ends.

    Raises: `error`: the folder holds something, or the system refuses to write; the remedy names the option.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise error(f"{folder}: is not empty, expected a new or an empty folder; name another with {option}")
        with tempfile.TemporaryDirectory(prefix=".edgesparse-", dir=folder.absolute().parent) as staged:
            made = Path(staged) / "made"
            yield made
            os.replace(made, folder)
    except OSError as err:
        raise error(f"{folder}: cannot be written: {err.strerror or err}") from err
