"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
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
