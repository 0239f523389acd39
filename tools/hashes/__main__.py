"""Tell whether a change of the compiler changes what it compiles: hashes of artifacts before and after.

    python -m tools.hashes forms -o build/hashes/before.jsonl       # a quick set, which holds every kind of kernel
    python -m tools.hashes models -o build/hashes/models.jsonl --shard 1/4 --folder DIR
    python -m tools.hashes compare build/hashes/before.jsonl build/hashes/after.jsonl

A file that is there already is gone on with. `models` needs the zoo extra. Timings choose kernels for the target
`host`, so it is left out; every other target gives the same bytes on every machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tools.hashes import record


def main() -> int:
    """1 where hashes differ."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.hashes", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("forms", "models"):
        command = commands.add_parser(name)
        command.add_argument("-o", "--output", type=Path, required=True, help="a file of lines of JSON")
        command.add_argument("--jobs", type=int, default=2, help="processes that compile; %(default)s")
        if name == "models":
            command.add_argument("--shard", default="1/1", help="which of how many parts; %(default)s")
            command.add_argument("--folder", type=Path, help="of more ONNX files")
    command = commands.add_parser("compare")
    command.add_argument("before", type=Path)
    command.add_argument("after", type=Path)
    options = parser.parse_args()
    if options.command == "compare":
        return _compare(options.before, options.after)
    if options.command == "forms":
        cases = record.forms()
    else:
        shard, _, shards = options.shard.partition("/")
        cases = record.models(options.folder)[int(shard) - 1 :: int(shards)]
    started = time.monotonic()
    for done, name in enumerate(record.record(cases, options.output, options.jobs), 1):
        print(f"{done} {name} ({time.monotonic() - started:.0f} s)", flush=True)
    kinds = sorted({kind for found in record.read(options.output).values() for kind in found.get("kernels", ())})
    print(f"{len(cases)} artifacts; kernels: {' '.join(kinds)}")
    return 0


def _compare(before: Path, after: Path) -> int:
    old, new = record.read(before), record.read(after)
    told = record.differences(old, new)
    for name, parts in told.items():
        print(f"{name}: {parts}")
    print(f"{len({*old} & {*new})} artifacts in both, {len(told)} differ")
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main())
