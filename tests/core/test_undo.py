"""What a purge or a destruction removed comes back, whole or not at all."""

import pytest

from queues.core import switch as switch_module
from queues.core.errors import QueueFull, SwitchFull, TooManyQueues, UndoNotFound
from queues.core.messages import State
from queues.core.queue import Policy

from .scene import Scene


@pytest.fixture
def scene() -> Scene:
    return Scene()


def in_state(scene: Scene, name: str, state: State) -> list[int]:
    return [m.id for m in scene.browse(name, state=state).messages]


def one_in_each_state(scene: Scene) -> dict[State, int]:
    """A queue of four messages, one ready, delayed, held and dead."""
    server = scene.server("worker", "q")
    held, dead = scene.put("q", "1"), scene.put("q", "22")
    scene.poll(server, limit=2)
    scene.nack([dead], token=server, requeue=False)
    delayed, ready = scene.put("q", "333", delay=60), scene.put("q", "4444")
    return {State.HELD: held, State.DEAD: dead, State.DELAYED: delayed, State.READY: ready}


def test_purged_messages_come_back_to_their_places(scene: Scene) -> None:
    scene.create_queue("q")
    ids = [scene.put("q") for _ in range(3)]
    before = scene.inspect_queue("q").bytes
    answer = scene.purge_queue("q", undo_for=10)
    assert (answer.purged, answer.undo.messages, answer.undo.until) == (3, 3, scene.now + 10)
    ids.append(scene.put("q"))
    assert scene.list_undo() == [answer.undo]
    result = scene.undo(answer.undo.id)
    assert (result.queue, result.restored, result.created) == ("q", 3, False)
    server = scene.server("worker", "q")
    assert scene.ids(server, limit=9) == ids
    assert scene.inspect_queue("q").bytes == before + 1
    assert (scene.switch.undo_bytes, scene.list_undo()) == (0, [])
    with pytest.raises(UndoNotFound):
        scene.undo(answer.undo.id)


def test_a_destroyed_queue_comes_back_with_all_its_messages(scene: Scene) -> None:
    scene.create_queue("q", Policy(max_deliveries=7))
    ids = one_in_each_state(scene)
    scene.pause_queue("q")
    undo = scene.destroy_queue("q", undo_for=10)
    assert (undo.action, undo.queue, undo.messages) == ("destroyed", "q", 4)
    result = scene.undo(undo.id)
    assert (result.restored, result.created) == (4, True)
    info = scene.inspect_queue("q")
    assert (info.policy, info.paused, info.bytes) == (Policy(max_deliveries=7), True, 10)
    assert in_state(scene, "q", State.READY) == [ids[State.HELD], ids[State.READY]]
    assert in_state(scene, "q", State.DELAYED) == [ids[State.DELAYED]]
    assert in_state(scene, "q", State.DEAD) == [ids[State.DEAD]]
    assert scene.switch.bytes == 10


def test_the_subscribers_of_a_destroyed_queue_get_what_comes_back(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=2)
    waiting = scene.server("other", "q")
    scene.pause_queue("q")
    ids = [scene.put("q") for _ in range(3)]
    undo = scene.destroy_queue("q", undo_for=10)
    wait = scene.transfer(token=waiting, timeout=60)
    scene.undo(undo.id)
    scene.resume_queue("q")
    assert sorted(scene.pushed(stream) + [m.id for m in scene.collect(wait).messages]) == ids


def test_what_was_delayed_and_what_is_due_meanwhile(scene: Scene) -> None:
    scene.create_queue("q")
    soon, later = scene.put("q", delay=5), scene.put("q", delay=20)
    short, long = scene.put("q", ttl=5), scene.put("q", ttl=20)
    undo = scene.purge_queue("q", undo_for=30).undo
    scene.sleep(10)
    assert scene.undo(undo.id).restored == 4
    assert in_state(scene, "q", State.READY) == [soon, long]
    assert in_state(scene, "q", State.DELAYED) == [later]
    assert scene.explain(short).verdict.code == "expired"
    scene.sleep(10)
    assert in_state(scene, "q", State.READY) == [soon, later]


def test_the_dead_come_back_in_the_order_of_their_deaths(scene: Scene) -> None:
    scene.create_queue("q", Policy(max_dead=3))
    server = scene.server("worker", "q")
    ids = [scene.put("q") for _ in range(4)]
    scene.poll(server, limit=4)
    for id in (ids[2], ids[0]):
        scene.nack([id], token=server, requeue=False)
    undo = scene.purge_queue("q", State.DEAD, undo_for=10).undo
    for id in (ids[3], ids[1]):
        scene.nack([id], token=server, requeue=False)
    scene.undo(undo.id)
    assert list(scene.switch.queues["q"].dead) == [ids[0], ids[3], ids[1]]
    assert scene.explain(ids[2]).verdict.code == "dropped"


def test_a_caller_who_still_waits_gets_the_reply_after_all(scene: Scene) -> None:
    server = scene.server("worker", "q")
    wait = scene.ask("q")
    undo = scene.purge_queue("q", undo_for=10).undo
    assert wait.call.lost
    scene.undo(undo.id)
    assert not wait.call.lost
    assert scene.take(server).id == wait.call.request


def test_what_time_ends(scene: Scene) -> None:
    scene.create_queue("q")
    scene.put("q")
    undo = scene.purge_queue("q", undo_for=10).undo
    scene.sleep(9)
    assert scene.list_undo() == [undo]
    scene.sleep(1)
    assert scene.list_undo() == []
    assert scene.switch.undo_bytes == 0
    with pytest.raises(UndoNotFound):
        scene.undo(undo.id)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_nothing_is_kept_that_was_not_asked_for(scene: Scene, seconds: float) -> None:
    scene.create_queue("q")
    scene.put("q")
    assert scene.purge_queue("q", undo_for=seconds).undo is None
    assert scene.destroy_queue("q", undo_for=seconds) is None


def test_nothing_is_kept_of_a_transient_queue_or_of_nothing(scene: Scene) -> None:
    owner = scene.server("asker", "q")
    name = scene.create_fresh_queue(token=owner).name
    scene.put(name)
    assert scene.purge_queue(name, token=owner, undo_for=10).undo is None
    assert scene.destroy_queue(name, token=owner, undo_for=10) is None
    assert scene.purge_queue("q", undo_for=10).undo is None
    assert scene.destroy_queue("q", undo_for=10) is not None


def test_it_is_bounded_in_bytes() -> None:
    scene = Scene(undo_bytes=10)
    scene.create_queue("q")
    kept = []
    for _ in range(3):
        scene.put("q", "1234")
        kept.append(scene.purge_queue("q", undo_for=10).undo)
    assert scene.list_undo() == kept[1:]
    assert scene.switch.undo_bytes == 8
    scene.put("q", "12345678901")
    assert scene.purge_queue("q", undo_for=10).undo is None
    assert scene.list_undo() == kept[1:]


def test_it_is_bounded_in_number(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch_module, "MOST_KEPT", 2)
    kept = []
    for _ in range(3):
        scene.create_queue("q")
        kept.append(scene.destroy_queue("q", undo_for=10))
    assert scene.list_undo() == kept[1:]


def test_it_comes_back_whole_or_not_at_all() -> None:
    scene = Scene(total_bytes=10, queues=1)
    scene.create_queue("q", Policy(max_length=2))
    for _ in range(2):
        scene.put("q", "1234")
    undo = scene.purge_queue("q", undo_for=10).undo
    scene.put("q", "12345")
    with pytest.raises(SwitchFull):
        scene.undo(undo.id)
    scene.purge_queue("q")
    scene.put("q", "1")
    with pytest.raises(QueueFull):
        scene.undo(undo.id)
    scene.destroy_queue("q")
    scene.create_queue("other")
    with pytest.raises(TooManyQueues):
        scene.undo(undo.id)
    assert scene.list_undo() == [undo]
    scene.destroy_queue("other")
    assert scene.undo(undo.id).restored == 2
    assert scene.switch.bytes == 8


def test_keys_that_a_destroyed_queue_remembered_stay_forgotten(scene: Scene) -> None:
    scene.create_queue("q")
    first = scene.put("q", key="k")
    undo = scene.destroy_queue("q", undo_for=10)
    scene.undo(undo.id)
    assert scene.put("q", key="k") != first
