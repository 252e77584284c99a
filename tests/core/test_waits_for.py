"""Who waits for whom, and which of them can never go on."""

import pytest

from queues.core import waits_for
from queues.core.messages import PARENT, Draft, Message, Reply, State
from queues.core.waits_for import MOST_EDGES, PATIENCE, WaitsFor

from .scene import Scene


@pytest.fixture
def scene() -> Scene:
    return Scene()


def waits(scene: Scene) -> WaitsFor:
    return WaitsFor(scene.switch, scene.now)


def message(scene: Scene, id: int) -> Message:
    return scene.switch.messages[id]


def locked(scene: Scene) -> list[int]:
    """Every message that is locked, each looked at for itself."""
    return [id for id, each in scene.switch.messages.items() if waits(scene).locked(each)]


def chain(scene: Scene, id: int) -> list[int]:
    return [each.id for each in waits(scene).chain(message(scene, id))]


def circle(scene: Scene, id: int) -> list[int]:
    return [each.id for each in waits(scene).circle(message(scene, id))]


def stand_still(scene: Scene) -> None:
    """Nobody is about to ask for anything any more."""
    scene.sleep(PATIENCE)


def two_in_a_circle(scene: Scene) -> list[int]:
    """alice, who serves a, calls b, and bob, who serves b, calls a."""
    alice, bob = scene.server("alice", "a"), scene.server("bob", "b")
    first = scene.serve(alice, "a")
    second = scene.serve(bob, "b", inside=first)
    third = scene.ask("a", inside=second, token=bob).call.request
    stand_still(scene)
    return [first, second, third]


# -- deadlocks ------------------------------------------------------------------------------------


def test_two_services_that_call_each_other(scene: Scene) -> None:
    ids = two_in_a_circle(scene)
    assert locked(scene) == ids
    for id in ids:
        assert circle(scene, id) == ids


def test_three_services_in_a_circle_and_who_waits_for_it(scene: Scene) -> None:
    names = "abc"
    servers = {name: scene.server(f"server of {name}", name) for name in names}
    outside = scene.server("outside", "d")
    waiting = scene.serve(outside, "d")
    parent, ids = waiting, []
    for name in names:
        parent = scene.serve(servers[name], name, inside=parent)
        ids.append(parent)
    ids.append(scene.ask("a", inside=parent).call.request)
    behind = scene.put("a")
    stand_still(scene)
    assert locked(scene) == [waiting, *ids, behind]
    for id in (waiting, *ids, behind):
        assert circle(scene, id) == ids


def test_a_service_that_calls_itself(scene: Scene) -> None:
    server = scene.server("alice", "a")
    first = scene.serve(server, "a")
    second = scene.ask("a", inside=first).call.request
    stand_still(scene)
    assert locked(scene) == [first, second]
    assert circle(scene, second) == [first, second]


def test_two_servers_of_one_service_that_both_call_it(scene: Scene) -> None:
    first = scene.serve(scene.server("alice", "a"), "a")
    second = scene.serve(scene.server("bob", "a"), "a")
    calls = [scene.ask("a", inside=id).call.request for id in (first, second)]
    stand_still(scene)
    assert locked(scene) == [first, second, *calls]


@pytest.mark.parametrize("served", ["a", "b"])
def test_a_server_that_has_nothing_to_do_is_a_way_out(scene: Scene, served: str) -> None:
    two_in_a_circle(scene)
    scene.server("idle", served)
    # It has not asked yet; once it does it gets the message that waits.
    assert bool(locked(scene)) == (served == "b")


def test_a_second_server_that_works_on_something_else_is_a_way_out(scene: Scene) -> None:
    ids = two_in_a_circle(scene)
    carol = scene.server("carol", "a", "other")
    scene.put("other")
    scene.transfer(token=carol, limit=1)
    held = list(scene.switch.sessions[carol].held.values())
    assert [m.queue for m in held] == ["a"], "it took the oldest, which is of the circle"
    assert held[0].id == ids[2]
    assert locked(scene) == []


def test_of_several_servers_one_that_may_finish_is_enough(scene: Scene) -> None:
    alice, busy = scene.server("alice", "a"), scene.server("busy", "a")
    first = scene.serve(alice, "a")
    scene.serve(busy, "a")
    scene.ask("a", inside=first)
    stand_still(scene)
    assert locked(scene) == []


def test_of_several_calls_one_that_cannot_end_is_enough(scene: Scene) -> None:
    alice = scene.server("alice", "a")
    scene.server("idle", "free")
    first = scene.serve(alice, "a")
    fine = scene.ask("free", inside=first).call.request
    stuck = scene.ask("a", inside=first).call.request
    stand_still(scene)
    assert locked(scene) == [first, stuck]
    assert fine not in locked(scene)


def test_a_handler_that_waits_for_a_service_without_servers_is_in_other_trouble(
    scene: Scene,
) -> None:
    first = scene.serve(scene.server("alice", "a"), "a")
    scene.create_queue("nobody")
    call = scene.ask("nobody", inside=first).call.request
    stand_still(scene)
    assert locked(scene) == []
    assert chain(scene, first) == [first, call]


def test_a_paused_queue_is_in_other_trouble(scene: Scene) -> None:
    two_in_a_circle(scene)
    scene.pause_queue("a")
    assert locked(scene) == []
    scene.resume_queue("a")
    assert len(locked(scene)) == 3


@pytest.mark.parametrize("how", ["leave", "time out", "drop", "reply"])
def test_a_circle_ends_with_any_of_its_calls(scene: Scene, how: str) -> None:
    alice, bob = scene.server("alice", "a"), scene.server("bob", "b")
    first = scene.serve(alice, "a")
    second = scene.serve(bob, "b", inside=first)
    last = scene.ask("a", inside=second, timeout=PATIENCE + 1)
    stand_still(scene)
    assert locked(scene)
    if how == "leave":
        scene.leave_call(last)
    elif how == "time out":
        scene.sleep(1)
    elif how == "drop":
        scene.drop_message("a", last.call.request)
    else:
        scene.reply(Reply(id=second, payload="y"), token=bob)
    assert locked(scene) == []


def test_a_server_that_pulls_may_be_about_to_ask(scene: Scene) -> None:
    server = scene.server("alice", "a")
    first = scene.serve(server, "a")
    scene.ask("a", inside=first)
    assert locked(scene) == []
    scene.sleep(PATIENCE - 0.01)
    assert locked(scene) == []
    scene.sleep(0.01)
    assert len(locked(scene)) == 2


def test_a_stream_without_credit_can_take_nothing(scene: Scene) -> None:
    stream = scene.stream("alice", "a", credit=1)
    first = scene.ask("a").call.request
    scene.ask("a", inside=first)
    assert len(locked(scene)) == 2
    scene.subscribe("a", token=stream.session.token, credit=2)
    assert locked(scene) == []


def test_a_stream_that_has_credit_may_make_room(scene: Scene) -> None:
    stream = scene.stream("alice", "a", credit=2, room=1)
    first = scene.ask("a").call.request
    scene.ask("a", inside=first)
    assert [m.id for m in stream.session.held.values()] == [first]
    scene.sleep(60)
    assert locked(scene) == []


def test_who_takes_over_a_request_does_not_wait_for_the_calls_of_who_had_it(scene: Scene) -> None:
    alice = scene.server("alice", "a", lease=5)
    first = scene.serve(alice, "a")
    scene.ask("a", inside=first)
    scene.sleep(6)
    bob = scene.server("bob", "a")
    assert scene.take(bob).id == first
    assert waits(scene).calls_of(message(scene, first)) == []
    stand_still(scene)
    assert locked(scene) == []
    again = scene.ask("a", inside=first).call.request
    assert [m.id for m in waits(scene).calls_of(message(scene, first))] == [again]


def test_a_call_that_is_joined_again_counts_from_then(scene: Scene) -> None:
    alice = scene.server("alice", "a", lease=5)
    scene.create_queue("b")
    first = scene.serve(alice, "a")
    keyed = Draft("x", headers={PARENT: str(first)}, key="k")
    scene.call("b", keyed, timeout=60, wait_for_server=True)
    scene.sleep(6)
    bob = scene.server("bob", "a")
    scene.take(bob)
    assert waits(scene).calls_of(message(scene, first)) == []
    joined = scene.call("b", keyed, timeout=60, wait_for_server=True).call.request
    assert [m.id for m in waits(scene).calls_of(message(scene, first))] == [joined]


# -- callers that lie -----------------------------------------------------------------------------


def test_a_request_that_names_itself(scene: Scene) -> None:
    alice = scene.server("alice", "a")
    guess = scene.switch._next_id + 1  # after the number of the reply address
    assert scene.serve(alice, "a", inside=guess) == guess
    assert locked(scene) == [guess]
    assert circle(scene, guess) == chain(scene, guess) == [guess]


def test_requests_that_name_each_other(scene: Scene) -> None:
    alice = scene.server("alice", "a")
    step = 2  # each call takes a number for its reply address
    start = scene.switch._next_id + 1
    ids = [start + step * n for n in range(50)]
    for id, parent in zip(ids, ids[1:] + ids[:1], strict=True):
        assert scene.ask("a", inside=parent).call.request == id
    scene.poll(alice, limit=50)
    assert locked(scene) == ids
    assert sorted(circle(scene, ids[7])) == ids
    assert len(chain(scene, ids[7])) == waits_for.LONGEST_CHAIN


def test_a_parent_that_never_was(scene: Scene) -> None:
    alice = scene.server("alice", "a")
    request = scene.serve(alice, "a", inside=10**18)
    stand_still(scene)
    assert locked(scene) == []
    assert chain(scene, request) == [request]


# -- bounds ---------------------------------------------------------------------------------------


def many_that_wait_for_each_other(scene: Scene, servers: int) -> None:
    for number in range(servers):
        scene.server(f"server {number}", "a")
    for number in range(servers):
        first = scene.ask("a").call.request
        assert scene.ids(f"token of server {number}") == [first]
    for id in list(scene.switch.messages):
        scene.ask("a", inside=id)
    stand_still(scene)


def test_many_servers_in_a_deadlock(scene: Scene) -> None:
    many_that_wait_for_each_other(scene, 30)
    look = waits(scene)
    assert all(look.locked(each) for each in scene.switch.messages.values())
    assert len(circle(scene, min(scene.switch.messages))) == 2


def test_beyond_so_many_nothing_is_proved(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    many_that_wait_for_each_other(scene, 10)
    monkeypatch.setattr(waits_for, "MOST_VISITED", 21)
    assert len(locked(scene)) == 20  # and the queue
    monkeypatch.setattr(waits_for, "MOST_VISITED", 9)
    assert locked(scene) == []


def hold_many_with_calls(scene: Scene, count: int) -> list[int]:
    """The requests to one server that makes a call to its own service for each."""
    token = scene.server("alice", "a", "b")
    held = [scene.ask("a").call.request for _ in range(count)]
    assert scene.ids(token, limit=count) == held
    for id in held:
        scene.ask("b", inside=id, token=token)
    stand_still(scene)
    return held


@pytest.mark.parametrize(
    ("visits", "proved", "told"), [(41, True, 4), (30, False, 4), (15, False, 2)]
)
def test_a_session_that_holds_much_is_looked_at_as_far_as_allowed(
    scene: Scene, visits: int, proved: bool, told: int
) -> None:
    held = hold_many_with_calls(scene, 20)
    look = WaitsFor(scene.switch, scene.now, visits=visits)
    assert look.locked(message(scene, held[0])) is proved
    look = WaitsFor(scene.switch, scene.now, visits=visits)
    assert len(look.chain(message(scene, held[1]))) == told


def test_only_so_many_calls_of_one_message_are_looked_at(scene: Scene) -> None:
    alice = scene.server("alice", "a")
    first = scene.serve(alice, "a")
    calls = [scene.ask("b", inside=first).call.request for _ in range(waits_for.MOST_CALLS + 5)]
    found = waits(scene).calls_of(message(scene, first))
    assert [each.id for each in found] == calls[: waits_for.MOST_CALLS]


def test_what_has_been_found_out_is_not_looked_for_again(scene: Scene) -> None:
    ids = two_in_a_circle(scene)
    look = waits(scene)
    assert look.locked(message(scene, ids[0]))
    scene.pause_queue("a")  # it holds for the instant that it was made for
    assert look.locked(message(scene, ids[1]))


# -- chains ---------------------------------------------------------------------------------------


def test_a_chain_leads_over_the_oldest_calls_to_where_they_end(scene: Scene) -> None:
    servers = {name: scene.server(f"server of {name}", name) for name in "abc"}
    first = scene.serve(servers["a"], "a")
    second = scene.serve(servers["b"], "b", inside=first)
    scene.ask("c", inside=first)
    third = scene.ask("c", inside=second).call.request
    assert chain(scene, first) == [first, second, third]
    assert chain(scene, third) == [third]


def test_a_chain_leads_through_a_queue_whose_servers_all_wait(scene: Scene) -> None:
    alice, bob = scene.server("alice", "a"), scene.server("bob", "b")
    scene.create_queue("nobody")
    busy = scene.serve(bob, "b")
    end = scene.ask("nobody", inside=busy).call.request
    first = scene.serve(alice, "a")
    second = scene.ask("b", inside=first).call.request
    assert chain(scene, first) == [first, second, busy, end]
    scene.server("carol", "b")
    assert chain(scene, first) == [first, second]


def test_a_chain_is_told_only_so_far(scene: Scene) -> None:
    parent = None
    ids = []
    for number in range(waits_for.LONGEST_CHAIN + 5):
        server = scene.server(f"server {number}", f"q{number}")
        parent = scene.serve(server, f"q{number}", inside=parent)
        ids.append(parent)
    assert chain(scene, ids[0]) == ids[: waits_for.LONGEST_CHAIN]


# -- the graph ------------------------------------------------------------------------------------


def test_the_graph_of_a_deadlock(scene: Scene) -> None:
    first, second, third = two_in_a_circle(scene)
    caller = scene.server("caller")
    outer = scene.ask("b", token=caller).call.request
    seen = scene.waits_for()
    labels = {node.key: (node.kind, node.label) for node in seen.nodes}
    edges = {(labels[e.source][1], labels[e.target][1], e.message): e.locked for e in seen.edges}
    assert edges == {
        ("a caller without a session", "a", first): True,
        ("a", "alice", first): True,
        ("alice", "b", second): True,
        ("b", "bob", second): True,
        ("bob", "a", third): True,
        ("caller", "b", outer): False,  # it has only just been sent
    }
    assert {kind for kind, _ in labels.values()} == {"caller", "service", "server"}
    servers = {node.session for node in seen.nodes if node.kind == "server"}
    assert servers == {scene.switch.sessions[f"token of {name}"].id for name in ("alice", "bob")}
    assert seen.left_out == 0


def test_the_graph_of_a_request_that_was_moved(scene: Scene) -> None:
    scene.create_queue("a")
    scene.create_queue("b")
    request = scene.ask("a").call.request
    scene.move_messages("a", "b")
    scene.destroy_queue("a")
    (edge,) = scene.waits_for().edges
    assert (edge.target, edge.message) == ("queue b", request)


def test_calls_whose_request_is_gone_are_not_in_the_graph(scene: Scene) -> None:
    scene.create_queue("a")
    scene.ask("a")
    scene.purge_queue("a")
    seen = scene.waits_for()
    assert (seen.nodes, seen.edges, seen.left_out) == ([], [], 0)


def test_the_graph_shows_so_many_and_counts_the_rest(scene: Scene) -> None:
    alice = scene.server("alice", "a")
    for _ in range(MOST_EDGES):
        scene.ask("a")
    scene.poll(alice, limit=MOST_EDGES)
    seen = scene.waits_for()
    assert len(seen.edges) == MOST_EDGES
    assert seen.left_out == MOST_EDGES
    since = [edge.since for edge in seen.edges]
    assert since == sorted(since)
    assert all(m.state is State.HELD for m in scene.switch.messages.values())
