"""Print the examples on their page anew: python -m tests.examples.page"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "examples.md"


def main() -> None:
    """Put each file where its mark is."""

    def printed(mark: re.Match[str]) -> str:
        content = (ROOT / mark[1]).read_text()
        return f"<!-- {mark[1]} -->\n```{mark[2]}\n{content}```\n"

    page = re.sub(r"<!-- (examples/[\w.]+) -->\n```(\w+)\n.*?```\n", printed, PAGE.read_text(), flags=re.DOTALL)
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
