"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgesparse.errors import EdgesparseError, PackageError


@contextmanager
def written(path: Path, error: type[EdgesparseError] = PackageError) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` when the block ends, and goes if it fails.

    Raises: `error`: the system refuses to write.
    """
    temporary = path.with_name(f".{path.stem[:32]}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as err:
        raise error(f"{path}: cannot be written: {err.strerror or err}") from err
    finally:
        temporary.unlink(missing_ok=True)
