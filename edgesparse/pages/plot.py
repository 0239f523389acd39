"""A plot: an SVG as wide as its column, whose places are shares of it, so that texts and dots keep their size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgesparse.pages.axes import Axis
from edgesparse.pages.element import Child, Markup, tag

Text = Callable[[float], str]


@dataclass(frozen=True)
class Plot:
    """Two axes, how their values are written, and what a screen reader says of the whole."""

    x: Axis
    y: Axis
    says: str
    x_text: Text
    y_text: Text
    height: int = 220

    def draw(self, *children: Child, x_ticks: Sequence[float] | None = None, x_label: str = "") -> Markup:
        """The plot with lines at the values of its axes."""
        across = (self._across(value) for value in self.y.ticks(4 if self.height > 150 else 3))
        along = (self._along(value) for value in (self.x.ticks() if x_ticks is None else x_ticks))
        svg = tag(
            "svg",
            tag("g", across, along, class_="axes"),
            *children,
            tag("text", x_label, x="100%", y=self.height + 38, class_="label end") if x_label else None,
            role="img",
            aria_label=self.says,
            width="100%",
            height=self.height,
        )
        return tag("div", svg, class_="plot labelled" if x_label else "plot")

    def across(self, value: float) -> str:
        """Where a value of x lies."""
        return share(self.x.at(value))

    def down(self, value: float) -> str:
        """Where a value of y lies, in pixels."""
        return f"{(1 - self.y.at(value)) * self.height:.1f}"

    def _across(self, value: float) -> Markup:
        y = self.down(value)
        label = tag("text", self.y_text(value), x="-8", y=y, dy=".32em", class_="end")
        return tag("g", tag("line", x1="0", x2="100%", y1=y, y2=y), label)

    def _along(self, value: float) -> Markup:
        x = self.across(value)
        line = tag("line", x1=x, x2=x, y1=self.height, y2=self.height + 5)
        text = self.x_text(value)
        return tag("g", line, tag("text", text, x=x, y=self.height + 20, class_="middle") if text else None)

    def rect(self, begin: float, end: float, low: float, high: float, class_: str, title: str) -> Markup:
        """A bar over some values of x, from one value of y to another, which tells what it is."""
        left, right, top = self.x.at(begin), self.x.at(end), (1 - self.y.at(high)) * self.height
        return tag(
            "rect",
            tag("title", title),
            x=share(left),
            width=share(max(right - left, 0.0005)),
            y=f"{top:.1f}",
            height=f"{max((1 - self.y.at(low)) * self.height - top, 0):.1f}",
            class_=class_,
        )

    def dot(self, x: float, y: float, class_: str, title: str, radius: float = 5) -> Markup:
        """A dot that tells what it is."""
        return tag(
            "circle", tag("title", title), cx=self.across(x), cy=self.down(y), r=f"{radius:.1f}", class_=f"dot {class_}"
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
        """A straight line."""
        return tag("line", x1=self.across(x1), y1=self.down(y1), x2=self.across(x2), y2=self.down(y2), class_=class_)

    def mark(self, x: float, text: str, row: int, class_: str = "") -> Markup:
        """A line at a value of x, with a text above the plot, in one of several rows."""
        at, right = self.across(x), self.x.at(x) > 0.7
        return tag(
            "g",
            tag("line", x1=at, x2=at, y1=f"{row * 16 + 4}", y2=self.height),
            tag("text", text, x=at, y=row * 16 + 10, dx=-6 if right else 6, class_="end" if right else None),
            class_=f"mark {class_}".strip(),
        )

    def path(self, points: Iterable[tuple[float, float | None]], class_: str) -> Markup:
        """A line through points, with a gap where a value is missing."""
        return self._stretched(tag("path", d=" ".join(self._moves(points)), class_=class_))

    def band(self, points: Sequence[tuple[float, float | None, float | None]], class_: str) -> Markup:
        """What lies between two lines, in pieces where a value is missing."""
        pieces, piece = list[str](), list[tuple[float, float, float]]()
        for x, low, high in [*points, (0.0, None, None)]:
            if low is not None and high is not None:
                piece.append((x, low, high))
            elif piece:
                outline = [(x, high) for x, _, high in piece] + [(x, low) for x, low, _ in reversed(piece)]
                pieces.append(" ".join(self._moves(outline)) + "z")
                piece = []
        return self._stretched(tag("path", d=" ".join(pieces), class_=class_))

    def stairs(self, values: Sequence[float], class_: str) -> Markup:
        """An area below values that each hold for one step of x."""
        parts = [f"M0 {self.height}"]
        for at, value in enumerate(values):
            parts.append(f"L{self.x.at(at) * 1000:.1f} {self.down(value)}H{self.x.at(at + 1) * 1000:.1f}")
        return self._stretched(tag("path", d="".join([*parts, f"V{self.height}z"]), class_=class_))

    def _moves(self, points: Iterable[tuple[float, float | None]]) -> Iterable[str]:
        begun = False
        for x, y in points:
            if y is not None:
                yield f"{'L' if begun else 'M'}{self.x.at(x) * 1000:.1f} {self.down(y)}" + ("" if begun else "h.01")
            begun = y is not None

    def _stretched(self, shape: Markup) -> Markup:
        box = f"0 0 1000 {self.height}"
        return tag("svg", shape, viewBox=box, preserveAspectRatio="none", width="100%", height=self.height)


def share(part: float) -> str:
    """A share of the width."""
    return f"{part * 100:.3f}".rstrip("0").rstrip(".") + "%"
