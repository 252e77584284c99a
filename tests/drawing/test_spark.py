from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from queues.drawing.spark import MOST_POINTS, spark

SVG = "{http://www.w3.org/2000/svg}"


def drawn(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def path(svg: str, name: str) -> str:
    found = drawn(svg).find(f"{SVG}path[@class='{name}']")
    assert found is not None
    return found.attrib["d"]


def test_a_line_from_the_oldest_to_the_newest() -> None:
    svg = spark([(0, 0), (5, 10), (10, 5)], label="Rate", width=104, height=24)
    assert path(svg, "spark-line") == "M2 22L52 2L102 12"
    assert path(svg, "spark-area") == "M2 22L2 22L52 2L102 12L102 22Z"


def test_it_says_what_it_shows() -> None:
    svg = spark([(0, 1.5), (1, 4.5), (2, 3)], label="Lag & more", show="{:.1f} ms".format)
    title = drawn(svg).findtext(f"{SVG}title")
    assert title == "Lag & more: 3.0 ms now, lowest 1.5 ms, highest 4.5 ms"
    assert drawn(svg).attrib["role"] == "img"


def test_nothing_yet() -> None:
    for points in ([], [(0.0, None)]):
        svg = spark(points, label="Rate")
        assert drawn(svg).findtext(f"{SVG}title") == "Rate: nothing yet"
        assert "spark-line" not in svg


def test_a_gap_breaks_the_line() -> None:
    svg = spark([(0, 1), (1, 1), (2, None), (3, 1), (4, 1)], label="Rate")
    assert svg.count('class="spark-line"') == 2


def test_one_point_between_gaps_is_a_dot() -> None:
    svg = spark([(0, None), (1, 1), (2, None)], label="Rate")
    assert svg.count("<circle") == 1
    assert "spark-line" not in svg


def test_a_limit_is_the_top() -> None:
    svg = spark([(0, 50), (1, 50)], label="Used", most=100, width=104, height=24)
    assert path(svg, "spark-line") == "M2 12L102 12"


def test_many_points_are_thinned_and_the_peak_stays() -> None:
    points = [(float(at), 1.0) for at in range(10_000)]
    points[4_321] = (4_321.0, 9.0)
    svg = spark(points, label="Rate", height=24)
    line = path(svg, "spark-line")
    assert line.count("L") < MOST_POINTS
    assert re.search(r" 2L", line)


FIGURES = st.none() | st.floats(-1e12, 1e15)


@given(st.lists(st.tuples(st.floats(0, 1e10), FIGURES), max_size=30), st.text(max_size=20))
def test_any_points_give_a_picture_inside_its_frame(
    points: list[tuple[float, float | None]], label: str
) -> None:
    svg = spark(sorted(points, key=lambda point: point[0]), label=label)
    root = drawn(svg)
    assert "style" not in "".join(f"{e.tag}{list(e.attrib)}" for e in root.iter())
    for each in root.iter(f"{SVG}path"):
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", each.attrib["d"])]
        assert all(-0.1 <= n <= 240.1 for n in numbers)
