"""The report of `explain` as one page of HTML that needs nothing else."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesparse.pipeline.explaining import ExplainReport
    from edgesparse.plan import LayerPlan

_STYLE = """
:root { color-scheme: light dark; --dense: #8a94a6; --sparse: #2f9e6e; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top; }
th { position: sticky; top: 0; background: Canvas; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.why { font-size: .9em; }
.bar { height: .55rem; min-width: 1px; border-radius: 2px; }
.dense { background: var(--dense); } .sparse { background: var(--sparse); }
.bars { width: 14rem; } .chosen { font-weight: 600; }
.key { display: inline-block; width: 1rem; height: .7rem; border-radius: 2px; }
"""

_HEADERS = ("layer", "op", "M x K x N", "density", "dense, us", "sparse, us", "", "break-even", "choice", "why")


def page(report: ExplainReport) -> str:
    """A self-contained page: totals, a row with bars for every weighted layer, and what has no choice."""
    longest = max((max(plan.dense_us, plan.sparse_us) for plan in report.layers), default=1.0) or 1.0
    title = f"{report.model} on {report.target}"
    speedup = report.dense_us / report.predicted_us if report.predicted_us else 1.0
    lines = [
        "<!doctype html>",
        '<html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(title)}</h1>",
        f"<p>Weighted layers, {report.threads} thread(s): {report.predicted_us / 1e3:.2f} ms as chosen, "
        f"{report.dense_us / 1e3:.2f} ms all dense: {speedup:.2f}x. Times are predicted; their cost table is "
        f"{escape(report.origin)} ({escape(report.source)}).</p>",
        '<p><span class="key dense"></span> dense <span class="key sparse"></span> sparse, on one scale</p>',
        "<table><thead><tr>" + "".join(f"<th>{escape(head)}</th>" for head in _HEADERS) + "</tr></thead><tbody>",
        *(_row(plan, longest) for plan in report.layers),
        "</tbody></table>",
    ]
    if report.fixed:
        rows = (
            f"<tr><td>{escape(x.layer)}</td><td>{escape(x.op)}</td><td>{escape(x.why)}</td></tr>" for x in report.fixed
        )
        lines += ["<h2>Nothing to choose</h2>", "<table><tbody>", *rows, "</tbody></table>"]
    if report.other_ops:
        counts = ", ".join(f"{count} {op}" for op, count in report.other_ops.items())
        lines.append(f"<p>Without weights: {escape(counts)}.</p>")
    return "\n".join([*lines, "</html>", ""])


def _row(plan: LayerPlan, longest: float) -> str:
    bars = "".join(
        f'<div class="bar {kernel}" style="width: {100 * us / longest:.2f}%"></div>'
        for kernel, us in (("dense", plan.dense_us), ("sparse", plan.sparse_us))
    )
    density, break_even = plan.told()
    numbers = [
        f"{plan.m} x {plan.k} x {plan.n}",
        density,
        _time(plan, "dense", plan.dense_us),
        _time(plan, "sparse", plan.sparse_us),
    ]
    return "".join(
        [
            f"<tr><td>{escape(plan.layer)}</td><td>{escape(plan.op)}</td>",
            *(f'<td class="number">{text}</td>' for text in numbers),
            f'<td class="bars">{bars}</td><td class="number">{break_even}</td>',
            f'<td>{escape(plan.choice)}</td><td class="why">{escape(plan.reason)}</td></tr>',
        ]
    )


def _time(plan: LayerPlan, kernel: str, us: float) -> str:
    text = f"{us:.1f}"
    return f'<span class="chosen">{text}</span>' if kernel == plan.kernel else text
