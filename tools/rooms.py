"""A picture of the rooms of `edgesparse/`, from the import contract: who stands above may import what is below."""

from __future__ import annotations

import ast
import re
import textwrap
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
WIDTH, GAP, MARGIN, PAD = 1080, 12, 16, 10
HEAD, LINE, LETTER = 28, 13, 5.7  # pixels of a name, of a line below it, and of one of its letters
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1f2328}.name{font-weight:600}.word{font-size:10.5px;fill:#59636e}"
    "rect{fill:#f6f8fa;stroke:#d1d9e0}"
    "@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.word{fill:#9198a1}rect{fill:#151b23;stroke:#3d444d}}"
)


def layers() -> list[list[str]]:
    """The rows of the contract, the uppermost first; rooms of a row that may import one another stand there alike."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = next(each["layers"] for each in contracts if each.get("exhaustive"))
    return [re.split(r"\s*[|:]\s*", row) for row in rows if row != "__main__"]


def claim(room: str) -> str:
    """What a room says that it is: the first sentence of its docstring."""
    folder = ROOT / "edgesparse" / room
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    words = ast.get_docstring(ast.parse(file.read_text())) or ""
    return re.split(r"[.](?:\s|$)", words.replace("\n", " "))[0].replace("`", "")


def picture() -> str:
    """The SVG: one row per layer, one box per room."""
    parts, y = list[str](), float(MARGIN)
    for row in layers():
        wide = (WIDTH - 2 * MARGIN - (len(row) - 1) * GAP) / len(row)
        told = {room: textwrap.wrap(claim(room), int((wide - 2 * PAD) / LETTER)) for room in row}
        high = HEAD + LINE * max(map(len, told.values())) + PAD
        for at, (room, lines) in enumerate(told.items()):
            parts += _box(room, lines, MARGIN + at * (wide + GAP), y, wide, high)
        y += high + GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y - GAP + MARGIN:.0f}" role="img">'
    title = "<title>The rooms of edgesparse: each imports only from rooms below it</title>"
    return "\n".join([head, title, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def _box(room: str, lines: list[str], x: float, y: float, wide: float, high: float) -> list[str]:
    words = [
        f'<text class="word" x="{x + PAD:.0f}" y="{y + HEAD + LINE * (at + 0.7):.0f}">{escape(line)}</text>'
        for at, line in enumerate(lines)
    ]
    return [
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{wide:.0f}" height="{high:.0f}" rx="6"/>',
        f'<text class="name" x="{x + PAD:.0f}" y="{y + 20:.0f}">{escape(room)}</text>',
        *words,
    ]
