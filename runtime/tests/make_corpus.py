"""Write the seed corpus of the fuzz target: `python make_corpus.py DIRECTORY`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from edgesparse.package.writer import serialize
from runtime import build
from runtime.tests import samples


def main(directory: Path) -> None:
    """Write one file for each shape that an artifact can have."""
    directory.mkdir(parents=True, exist_ok=True)
    isa = build.host_platform()
    sparse = samples.sparse_model(isa).program
    seeds = {
        "sparse": serialize([sparse], {"name": "sparse"}, b"report", [samples.some_answers(sparse)]),
        "counting": serialize([samples.counting_model(isa, tiles=3, step_count=2).program], {}),
        "echo": serialize([samples.echo_model(isa, "bgr-planes", (3, 2, 1))], {}),
        "lookup": serialize([samples.lookup_model(isa, tiles=3).program], {}),
        "plans": serialize([samples.counting_model(isa, tiles=3, step_count=n).program for n in (1, 2)], {}),
        "slow": serialize([samples.slow_model(isa).program], {}),
    }
    for name, content in seeds.items():
        (directory / name).write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
