from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from queues.core.answers import WaitEdge, WaitGraph, WaitNode
from queues.drawing.graph import MOST_ALIKE, circles, draw

from .events import HOSTILE

SVG = "{http://www.w3.org/2000/svg}"
KINDS: dict[str, Literal["caller", "service", "server"]] = {
    "c": "caller",
    "q": "service",
    "s": "server",
}
Wait = tuple[str, str, float, bool]


def graph(*waits: Wait) -> WaitGraph:
    """A graph; the first letter of a name says what it is. The times are of the edges."""
    nodes = {}
    edges = []
    for message, (source, target, since, locked) in enumerate(waits, 1):
        for key in (source, target):
            kind = KINDS[key[0]]
            nodes[key] = WaitNode(
                key=key, kind=kind, label=key[1:].strip(), session=9 if kind == "server" else None
            )
        edges.append(
            WaitEdge(source=source, target=target, message=message, since=since, locked=locked)
        )
    return WaitGraph(nodes=list(nodes.values()), edges=edges, left_out=0)


def drawn(graph: WaitGraph, **fields: object) -> ElementTree.Element:
    return ElementTree.fromstring(
        draw(graph, now=1_000.0, label="Who waits for whom", **fields)  # type: ignore[arg-type]
    )


def titles(root: ElementTree.Element) -> list[str]:
    """What the parts say of themselves: first the arrows, then the boxes."""
    return [found for part in root if (found := part.findtext(f"{SVG}title")) is not None]


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]


DEADLOCK: tuple[Wait, ...] = (
    ("c web", "q foo", 970.0, True),
    ("q foo", "s one", 970.0, True),
    ("s one", "q bar", 971.0, True),
    ("q bar", "s two", 972.0, True),
    ("s two", "q foo", 973.0, True),
    ("c cron", "q calm", 999.0, False),
)


def test_callers_services_and_servers_from_left_to_right() -> None:
    root = drawn(graph(("c web", "q foo", 988.0, False), ("q foo", "s cat", 990.0, False)))
    assert titles(root) == [
        "web → foo: message 1 for 12 s",
        "foo → cat: message 2 for 10 s",
        "caller web",
        "service foo",
        "server cat",
    ]
    lefts = [float(rect.attrib["x"]) for rect in root.iter(f"{SVG}rect")]
    assert lefts == sorted(set(lefts))
    assert texts(root)[:2] == ["1 12 s", "2 10 s"]


def test_a_deadlock_is_marked_by_word_width_and_shape() -> None:
    root = drawn(graph(*DEADLOCK))
    assert texts(root)[:6] == [
        "1 30 s locked",
        "2 30 s locked",
        "3 29 s locked",
        "4 28 s locked",
        "5 27 s locked",
        "6 1.0 s",
    ]
    arrows = root.findall(f"{SVG}g[@class='wait']")
    for arrow, locked in zip(arrows, [True] * 5 + [False], strict=True):
        line, head = arrow.findall(f"{SVG}path")
        assert (line.attrib["stroke-width"] == "3") is locked
        assert head.attrib["d"].count("M") == (2 if locked else 1)
    assert titles(root)[4] == "two → foo: message 5 for 27 s, locked"


def test_what_closes_a_circle_comes_back_below_all_boxes() -> None:
    root = drawn(graph(*DEADLOCK))
    boxes = [
        float(rect.attrib["y"]) + float(rect.attrib["height"]) for rect in root.iter(f"{SVG}rect")
    ]
    back = root.findall(f"{SVG}g[@class='wait']")[4]
    line = back.find(f"{SVG}path")
    assert line is not None
    down = re.search(r"V([\d.]+)", line.attrib["d"])
    assert down is not None
    assert float(down[1]) > max(boxes)
    assert "1 of them leads back" in (root.findtext(f"{SVG}desc") or "")


def test_several_messages_between_two_are_one_arrow() -> None:
    root = drawn(graph(*[("c web", "q foo", 900.0 + n, n == 2) for n in range(3)]))
    assert titles(root)[0] == "web → foo: 3 messages, the oldest, 1, for 1 min 40 s, locked"
    assert texts(root)[0] == "3× 1 min locked"


def test_many_callers_and_servers_of_a_service_are_folded() -> None:
    waits: list[Wait] = [(f"c web-{n:02}", "q foo", 900.0 - n, n == 3) for n in range(20)]
    waits += [("q foo", f"s cat-{n:02}", 900.0 + n, False) for n in range(9)]
    waits += [("c other", "q foo", 999.0, False), ("c other", "q bar", 999.0, False)]
    root = drawn(graph(*waits))
    boxes = titles(root)[-17:]
    assert {"caller web-03", "caller web-19", "caller 15 more callers"} <= set(boxes)
    assert {"server cat-00", "server 4 more servers", "caller other"} <= set(boxes)
    callers = [box for box in boxes if "web-" in box]
    assert len(callers) == MOST_ALIKE - 1
    assert "15 more callers → foo: 15 messages, the oldest, 16, for 1 min 55 s" in titles(root)


def test_nodes_lead_to_their_pages() -> None:
    waits = [("c web", "q foo", 900.0, False), ("q foo", "s cat", 900.0, False)]
    root = drawn(graph(*waits), link=lambda n: None if n.kind == "caller" else f"/{n.label}?a&b")
    assert [a.attrib["href"] for a in root.iter(f"{SVG}a")] == ["/foo?a&b", "/cat?a&b"]
    assert root.attrib["role"] == "group"


def test_nothing_waits() -> None:
    assert texts(drawn(graph())) == []


def test_deadlocks_are_told_all_the_way_round() -> None:
    (circle,) = circles(graph(*DEADLOCK))
    assert [(edge.source, edge.target) for edge in circle] == [
        ("q foo", "s one"),
        ("s one", "q bar"),
        ("q bar", "s two"),
        ("s two", "q foo"),
    ]
    assert circles(graph(*((*wait[:3], False) for wait in DEADLOCK))) == []


def test_the_words_of_an_arrow_are_on_the_side_that_it_does_not_bend_to() -> None:
    waits = [("c web", f"q {n}", 900.0, False) for n in range(3)]
    root = drawn(graph(*waits))
    for arrow, words in zip(root.findall(f"{SVG}g"), root.findall(f"{SVG}text"), strict=False):
        line = arrow.find(f"{SVG}path")
        assert line is not None
        numbers = re.findall(r"[\d.]+", line.attrib["d"])
        start, end, at = float(numbers[1]), float(numbers[-1]), float(words.attrib["y"])
        assert (at > start) == (end < start)


NAMES = st.sampled_from(["a", "b", HOSTILE, "L" * 255, ""])
CALLERS, SERVICES, SERVERS = (
    NAMES.map("c{}".format),
    NAMES.map("q{}".format),
    NAMES.map("s{}".format),
)
TIMES = st.floats(0, 2_000)
WAITS = st.one_of(
    st.tuples(CALLERS | SERVERS, SERVICES, TIMES, st.booleans()),
    st.tuples(SERVICES, SERVERS, TIMES, st.booleans()),
)


@settings(max_examples=150)
@given(st.lists(WAITS, max_size=25))
def test_any_graph_gives_a_picture_inside_its_frame(waits: list[Wait]) -> None:
    root = drawn(graph(*waits), link=lambda node: f"/{node.kind}/")
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    for rect in root.iter(f"{SVG}rect"):
        x, y, wide, tall = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + wide <= width + 0.1
        assert 0 <= y <= y + tall <= height + 0.1
    for line in root.iter(f"{SVG}path"):
        for name, limit in (("H", width), ("V", height)):
            for found in re.findall(rf"{name}(-?[\d.]+)", line.attrib["d"]):
                assert 0 <= float(found) <= limit
    for circle in circles(graph(*waits)):
        assert circle[-1].target == circle[0].source
        assert all(one.target == other.source for one, other in pairwise(circle))
        assert all(edge.locked for edge in circle)
    assert "style" not in {name for each in root.iter() for name in each.attrib}


def test_the_largest_graph_is_drawn() -> None:
    waits: list[Wait] = [
        (f"s {n % 40}", f"q {n * 7 % 50}", float(n), n % 9 == 0)
        if n % 2
        else (f"q {n % 50}", f"s {n * 3 % 40}", float(n), n % 9 == 0)
        for n in range(200)
    ]
    root = drawn(graph(*waits))
    assert len(list(root.iter(f"{SVG}rect"))) == 90  # 40 servers, 50 services
