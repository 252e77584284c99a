"""A small curve: how one figure went over the last minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .svg import element, image, number, plain

#: Most points that are drawn; more are thinned out, keeping the peaks.
MOST_POINTS = 240
#: Room above and below the curve, so that its line is not cut.
_EDGE = 2.0


def spark(
    points: Sequence[tuple[float, float | None]],
    *,
    label: str,
    show: Callable[[float], str] = "{:,.0f}".format,
    most: float | None = None,
    width: int = 240,
    height: int = 48,
) -> str:
    """SVG of a line over its area, from 0 upwards. A figure below 0 is drawn as 0.

    ``points`` are times with figures, oldest first; None is a gap. ``label`` is the name of the
    figure and ``show`` writes one for people: the drawing says both to who does not see it.
    ``most`` is what the top stands for; by default the highest figure. Classes: spark,
    spark-area, spark-line, spark-last.
    """
    known = [value for _, value in points if value is not None]
    label = plain(label)
    if not known:
        base = number(height - _EDGE)
        line = element("path", class_="spark-none", d=f"M0 {base}H{width}", fill="none")
        return image(
            line, width=width, height=height, class_="spark", title=f"{label}: nothing yet"
        )

    top = max(most or 0.0, *known, 0.0) or 1.0
    start, end = points[0][0], points[-1][0]
    span = (end - start) or 1.0
    body = height - 2 * _EDGE

    def place(at: float, value: float) -> tuple[float, float]:
        x = (at - start) / span * (width - 2 * _EDGE) + _EDGE
        return x, height - _EDGE - max(0.0, value) / top * body

    low, high, last_known = (show(value) for value in (min(known), max(known), known[-1]))
    told = f"{label}: {last_known} now, lowest {low}, highest {high}"
    parts = []
    for run in _runs(_thin(points)):
        line = "L".join(f"{number(x)} {number(y)}" for x, y in (place(*point) for point in run))
        (first, _), (last, _) = place(*run[0]), place(*run[-1])
        base = number(height - _EDGE)
        if len(run) > 1:
            area = f"M{number(first)} {base}L{line}L{number(last)} {base}Z"
            parts.append(element("path", class_="spark-area", d=area, stroke="none"))
            parts.append(
                element(
                    "path",
                    class_="spark-line",
                    d=f"M{line}",
                    fill="none",
                    stroke_width=1.5,
                    stroke_linejoin="round",
                    vector_effect="non-scaling-stroke",
                )
            )
        else:
            x, y = place(*run[0])
            parts.append(element("circle", class_="spark-last", cx=x, cy=y, r=1.5))
    if points[-1][1] is not None:
        x, y = place(end, points[-1][1])
        parts.append(element("circle", class_="spark-last", cx=x, cy=y, r=2))
    return image("".join(parts), width=width, height=height, class_="spark", title=told)


def _thin(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """At most MOST_POINTS of them: the highest of each group of neighbours."""
    size = -(-len(points) // MOST_POINTS)
    if size <= 1:
        return list(points)
    thin: list[tuple[float, float | None]] = []
    for at in range(0, len(points), size):
        group = points[at : at + size]
        known = [(value, when) for when, value in group if value is not None]
        value, when = max(known, default=(None, group[0][0]))
        thin.append((when, value))
    return thin


def _runs(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """The stretches without a gap."""
    runs: list[list[tuple[float, float]]] = [[]]
    for at, value in points:
        if value is None:
            if runs[-1]:
                runs.append([])
        else:
            runs[-1].append((at, value))
    return [run for run in runs if run]
