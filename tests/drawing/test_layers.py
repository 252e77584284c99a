from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from queues.drawing.layers import Arrow, arrange

GAP = 10.0


def places(*arrows: Arrow) -> dict[str, int]:
    nodes = dict.fromkeys(node for arrow in arrows for node in arrow)
    arranged = arrange(dict.fromkeys(nodes, 40.0), arrows, gap=GAP)
    return {node: place.layer for node, place in arranged.places.items()}


def test_a_node_comes_after_all_that_lead_to_it() -> None:
    assert places(("a", "b"), ("b", "c"), ("a", "c")) == {"a": 0, "b": 1, "c": 2}


def test_a_long_arrow_passes_beside_the_nodes_between() -> None:
    arrows = [("a", "b"), ("b", "c"), ("a", "c")]
    arranged = arrange(dict.fromkeys("abc", 40.0), arrows, gap=GAP)
    (passed,) = arranged.through["a", "c"]
    assert passed.layer == 1
    assert abs(passed.y - arranged.places["b"].y) >= 20 + GAP
    assert arranged.through["a", "b"] == []


def test_what_closes_a_circle_leads_back() -> None:
    arrows = [("a", "b"), ("b", "c"), ("c", "b"), ("d", "d")]
    arranged = arrange(dict.fromkeys("abcd", 40.0), arrows, gap=GAP)
    assert arranged.back == [("c", "b"), ("d", "d")]
    assert arranged.places["b"].layer == 1


def test_arrows_do_not_cross_where_they_need_not() -> None:
    arrows = [("a", "y"), ("b", "x")]
    arranged = arrange(dict.fromkeys("abxy", 40.0), arrows, gap=GAP).places
    assert (arranged["a"].y < arranged["b"].y) == (arranged["y"].y < arranged["x"].y)


def test_a_node_is_in_the_middle_of_its_neighbours() -> None:
    arranged = arrange(dict.fromkeys("abcx", 40.0), [(n, "x") for n in "abc"], gap=GAP)
    assert arranged.places["x"].y == arranged.places["b"].y
    assert arranged.height == 3 * 40 + 2 * GAP


def test_what_is_not_connected_takes_no_room_of_the_other() -> None:
    arrows = [("a", "x"), ("b", "x"), ("c", "d"), ("d", "c"), ("e", "z"), ("e", "y")]
    arranged = arrange(dict.fromkeys("abcdexyz", 40.0), arrows, gap=GAP)
    assert arranged.height == 5 * 40 + 4 * GAP
    circle = arranged.places["c"].y
    assert all(place.y < circle for node, place in arranged.places.items() if node not in "cd")


def test_nothing() -> None:
    assert arrange({}, [], gap=GAP).height == 0


NODES = st.sampled_from("abcdefgh")


@settings(max_examples=200)
@given(
    st.dictionaries(NODES, st.floats(10, 100)),
    st.lists(st.tuples(NODES, NODES), max_size=30),
)
def test_any_graph_has_an_arrangement(heights: dict[str, float], arrows: list[Arrow]) -> None:
    heights |= {node: 40.0 for arrow in arrows for node in arrow if node not in heights}
    arranged = arrange(heights, arrows, gap=GAP)
    assert set(arranged.places) == set(heights)
    for arrow in arrows:
        source, target = (arranged.places[node].layer for node in arrow)
        if arrow in arranged.back:
            assert arrow not in arranged.through
        else:
            assert source < target
            assert [place.layer for place in arranged.through[arrow]] == list(
                range(source + 1, target)
            )
    for layer in range(8):
        inside = [(p.y, heights[n]) for n, p in arranged.places.items() if p.layer == layer]
        inside.sort()
        for (y, height), (following, other) in pairwise(inside):
            assert following - y >= (height + other) / 2 + GAP - 1e-6
        assert all(y - h / 2 >= -1e-6 and y + h / 2 <= arranged.height + 1e-6 for y, h in inside)
    assert arrange(heights, arrows, gap=GAP) == arranged
