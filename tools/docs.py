"""Write the tables and pictures of the docs that come from the code.

python -m tools.docs            # after a change of such a list
python -m tools.docs --check    # 1 where one is not what the code says
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from edgesparse.pipeline.options import fields
from tools import rooms

DOCS = Path(__file__).parents[1] / "docs"


def options_of_pruning() -> str:
    """A row an option of the command line: what it looks like, and what it does."""
    lines = ["| Option | |", "|---|---|"]
    for name, (_, option) in fields().items():
        if option.value is not None:
            written = f"--{name.replace('_', '-')} {option.example}".rstrip()
            default = f"`{option.default}` by default." if isinstance(option.default, str) else ""
            words = " ".join(filter(None, (option.help, option.more and f"{option.more}.", default)))
            lines.append(f"| `{written}` | {words} |")
    return "\n".join(lines)


TABLES: dict[str, Callable[[], str]] = {"options of pruning": options_of_pruning}
"""What stands between `<!-- NAME: ... -->` and `<!-- end -->`."""


PICTURES: dict[str, Callable[[], str]] = {"rooms.svg": rooms.picture}
"""Files beside the pages."""


def filled(text: str) -> str:
    """A page with its tables as the code says."""

    def table(match: re.Match[str]) -> str:
        return f"{match['begin']}\n{TABLES[match['name']]()}\n{match['end']}"

    return re.sub(
        r"(?P<begin><!-- (?P<name>[^:\n]+):[^\n]*-->)\n.*?(?P<end><!-- end -->)", table, text, flags=re.DOTALL
    )


def main() -> int:
    """1 where something was to be checked and differs."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args()
    wanted = {page: filled(page.read_text()) for page in sorted(DOCS.glob("*.md"))}
    wanted |= {DOCS / name: draw() for name, draw in PICTURES.items()}
    stale = {page: new for page, new in wanted.items() if not page.exists() or page.read_text() != new}
    for page, new in stale.items():
        print(f"{page}: {'differs from the code' if options.check else 'written'}")
        if not options.check:
            page.write_text(new)
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
