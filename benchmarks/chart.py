"""Bar charts as SVG."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH = 720
LABELS = 150
ROW = 22
HEAD = 34
ROOM = 90
"""Right of the longest bar, for its figure."""


@dataclass(frozen=True)
class Panel:
    """Bars on one scale: names with the figures of the rounds."""

    title: str
    rows: Sequence[tuple[str, Sequence[float]]]


def bars(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Write a chart: for each row the median as a bar, the extremes as a line."""
    body = [f'<text x="12" y="24" class="title">{escape(title)}</text>']
    y = 40
    for panel in panels:
        body.append(f'<text x="12" y="{y + 20}" class="head">{escape(panel.title)}</text>')
        y += HEAD
        most = max(max(figures) for _, figures in panel.rows)
        scale = (WIDTH - LABELS - ROOM) / most
        for name, figures in panel.rows:
            body += _bar(y, name, figures, scale)
            y += ROW
        y += 6
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 6}" role="img">\n'
        f"<title>{escape(title)}</title>\n"
        "<style>text{font:12px sans-serif;fill:#1f2933}.title{font-size:15px;font-weight:600}"
        ".head{font-weight:600}.figure{fill:#52606d}rect.bar{fill:#2f6f9f}"
        "line{stroke:#1f2933}</style>\n"
        f'<rect width="{WIDTH}" height="{y + 6}" fill="#fff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )
    print(f"chart: {path}")


def _bar(y: int, name: str, figures: Sequence[float], scale: float) -> list[str]:
    value = statistics.median(figures)
    low, high = LABELS + min(figures) * scale, LABELS + max(figures) * scale
    base = y + 14
    return [
        f'<text x="{LABELS - 8}" y="{base}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="bar" x="{LABELS}" y="{y + 2}" width="{value * scale:.1f}" height="16"/>',
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + 10}" y2="{y + 10}"/>',
        f'<text class="figure" x="{high + 8:.1f}" y="{base}">{value:,.0f}</text>',
    ]
