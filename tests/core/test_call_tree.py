"""The calls that a request belongs to, live and from the trace; what callers say may be a lie."""

from __future__ import annotations

import pytest

from queues.core.answers import CallTree
from queues.core.messages import PARENT, Draft, Reply, parent_of
from queues.core.snapshot import MAX_CALLS, MAX_DEPTH, call_tree

from .scene import Scene

#: Each call takes a number for its reply address, and one for itself.
STEP = 2


@pytest.fixture
def scene() -> Scene:
    return Scene()


def shape(tree: CallTree | None) -> object:
    """The ids alone: one, or one with what is below it."""
    if tree is None:
        return None
    return (tree.id, [shape(call) for call in tree.calls]) if tree.calls else tree.id


def tree(scene: Scene, id: int) -> CallTree | None:
    found: CallTree | None = scene.explain(id).tree
    return found


def size(tree: CallTree) -> int:
    return 1 + sum(size(call) for call in tree.calls)


def depth(tree: CallTree) -> int:
    return 1 + max((depth(call) for call in tree.calls), default=0)


def three_levels(scene: Scene) -> tuple[dict[str, str], list[int]]:
    """a calls b twice, and the second of these calls c, which nobody has taken yet."""
    servers = {name: scene.server(f"server of {name}", name) for name in "abc"}
    top = scene.serve(servers["a"], "a")
    first = scene.serve(servers["b"], "b", inside=top)
    scene.sleep(1)
    second = scene.serve(servers["b"], "b", inside=top)
    below = scene.ask("c", inside=second, token=servers["b"]).call.request
    return servers, [top, first, second, below]


def test_a_tree_is_the_same_from_each_of_its_calls(scene: Scene) -> None:
    _, (top, first, second, below) = three_levels(scene)
    for id in (top, first, second, below):
        assert shape(tree(scene, id)) == (top, [first, (second, [below])])


def test_each_call_says_how_it_is_doing(scene: Scene) -> None:
    _, (top, _, _, below) = three_levels(scene)
    found = tree(scene, top)
    assert found is not None
    assert (found.queue, found.caller, found.sent_at) == ("a", None, 1_000.0)
    assert (found.state, found.holder, found.waiting) == ("held", "server of a", True)
    last = found.calls[1].calls[0]
    assert (last.id, last.queue, last.caller, last.sent_at) == (below, "c", "server of b", 1_001.0)
    assert (last.state, last.holder, last.waiting) == ("ready", None, True)


def test_of_calls_that_have_ended_the_trace_knows(scene: Scene) -> None:
    servers, (top, first, second, below) = three_levels(scene)
    scene.take(servers["c"])
    for id, name in ((below, "c"), (second, "b"), (first, "b"), (top, "a")):
        scene.reply(Reply(id=id, payload="y"), token=servers[name])
        for each in (top, first, second, below):
            assert shape(tree(scene, each)) == (top, [first, (second, [below])])
    found = tree(scene, below)
    assert found is not None
    last = found.calls[1].calls[0]
    assert (last.state, last.holder, last.waiting) == (None, None, False)
    assert (last.queue, last.caller, last.sent_at) == ("c", "server of b", 1_001.0)


def test_where_the_trace_has_forgotten_a_call_there_are_those_who_wait_and_the_header() -> None:
    scene = Scene(trace_events=3)
    _, (top, first, second, below) = three_levels(scene)
    assert shape(tree(scene, below)) == (top, [first, (second, [below])])
    scene = Scene(trace_events=1)
    alice = scene.server("alice", "a")
    top = scene.serve(alice, "a")
    note = scene.put("a", headers={PARENT: str(top)})
    scene.put("a")
    assert shape(tree(scene, note)) == (top, [note])
    assert tree(scene, top) is None


def test_a_message_without_calls_has_no_tree(scene: Scene) -> None:
    scene.create_queue("a")
    assert tree(scene, scene.ask("a").call.request) is None
    assert call_tree(scene.switch, 1) is None


def test_a_request_that_names_itself_has_no_tree(scene: Scene) -> None:
    scene.create_queue("a")
    guess = scene.switch._next_id + 1
    assert scene.ask("a", inside=guess).call.request == guess
    assert tree(scene, guess) is None


def test_a_parent_that_never_was_is_no_parent(scene: Scene) -> None:
    scene.create_queue("a")
    assert tree(scene, scene.ask("a", inside=10**18).call.request) is None


@pytest.mark.parametrize("count", [2, 3, MAX_DEPTH, 5 * MAX_DEPTH])
def test_requests_that_name_each_other_are_shown_once(scene: Scene, count: int) -> None:
    scene.create_queue("a")
    start = scene.switch._next_id + 1
    ids = [start + STEP * number for number in range(count)]
    for id, parent in zip(ids, ids[1:] + ids[:1], strict=True):
        assert scene.ask("a", inside=parent).call.request == id
    for id in ids[:3]:
        found = tree(scene, id)
        assert found is not None
        assert size(found) == depth(found) == min(count, MAX_DEPTH + 1)
        assert str(id) in str(shape(found))


def test_a_deep_tree_is_shown_to_some_depth(scene: Scene) -> None:
    scene.create_queue("a")
    ids = [scene.ask("a").call.request]
    for _ in range(3 * MAX_DEPTH):
        ids.append(scene.ask("a", inside=ids[-1]).call.request)
    for place in (0, MAX_DEPTH, 2 * MAX_DEPTH, 3 * MAX_DEPTH):
        found = tree(scene, ids[place])
        assert found is not None
        assert found.id == ids[max(0, place - MAX_DEPTH)]
        assert depth(found) == MAX_DEPTH + 1


def test_a_wide_tree_is_shown_in_part_but_with_what_was_asked_for(scene: Scene) -> None:
    scene.create_queue("a")
    top = scene.ask("a").call.request
    ids = [scene.ask("a", inside=top).call.request for _ in range(2 * MAX_CALLS)]
    found = tree(scene, top)
    assert found is not None
    assert [call.id for call in found.calls] == ids[: MAX_CALLS - 1]
    last = tree(scene, ids[-1])
    assert last is not None
    assert [call.id for call in last.calls] == [*ids[: MAX_CALLS - 1], ids[-1]]


def test_a_message_that_is_no_call_may_have_a_parent_too(scene: Scene) -> None:
    alice = scene.server("alice", "a")
    top = scene.serve(alice, "a")
    note = scene.put("a", headers={PARENT: str(top)})
    found = tree(scene, top)
    assert found is not None
    assert shape(found) == (top, [note])
    assert not found.calls[0].waiting
    assert scene.switch.children == {}


@pytest.mark.parametrize(
    ("text", "parent"),
    [
        ("7", 7),
        ("007", 7),
        ("9" * 19, int("9" * 19)),
        ("9" * 20, None),
        ("", None),
        ("-1", None),
        ("1.0", None),
        ("٣", None),
        (" 7", None),
    ],
)
def test_what_a_header_may_say(text: str, parent: int | None) -> None:
    assert parent_of({PARENT: text}) == parent


def test_without_the_header_there_is_no_parent() -> None:
    assert parent_of(None) is parent_of({}) is parent_of({"parent": "7"}) is None


def test_a_call_that_is_known_by_its_number_alone() -> None:
    """Somebody waits for a call whose request is gone, from the trace too."""
    scene = Scene(trace_events=1)
    alice = scene.server("alice", "a")
    top = scene.serve(alice, "a")
    wait = scene.call("a", Draft("x", headers={PARENT: str(top)}), timeout=60)
    scene.drop_message("a", wait.call.request)
    found = call_tree(scene.switch, top)
    assert shape(found) == (top, [wait.call.request])
    assert found is not None
    assert (found.calls[0].queue, found.calls[0].sent_at) == ("", None)
