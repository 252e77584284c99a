"""Whatever explains, counts or shows leaves the switch as it was, down to the last bit.

The property test says so of all that hypothesis comes upon; here each way of looking is on its own,
at a switch that has something of everything.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator

import pytest

from queues.core.changes import Changes
from queues.core.errors import QueueFull, SwitchError
from queues.core.messages import Draft, State
from queues.core.metrics import Counting
from queues.core.queue import Policy
from queues.core.verdict import Verdict
from queues.core.waits_for import PATIENCE

from .scene import FIRST_ID, Scene


def everything(scene: Scene) -> bytes:
    """All that the switch is, with what it has for its journal."""
    return pickle.dumps(vars(scene.switch))


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A deadlock, a chain, a fork of calls, messages in every state, and all kinds of waits."""
    scene = Scene()
    scene.switch.changes = Changes()
    alice, bob = scene.server("alice", "a"), scene.server("bob", "b")
    first = scene.serve(alice, "a")
    second = scene.serve(bob, "b", inside=first)
    scene.ask("a", inside=second, token=bob)
    carol, dave = scene.server("carol", "front"), scene.server("dave", "back", lease=5.0)
    request = scene.serve(carol, "front")
    scene.serve(dave, "back", inside=request)
    scene.ask("nobody", inside=request, token=carol)
    scene.call("nobody", Draft("x", key="k"), timeout=60, wait_for_server=True)
    scene.leave_call(scene.ask("back"))

    policy = Policy(max_length=12, max_deliveries=2, on_expire="dead", ack_timeout=100.0)
    scene.create_queue("work", policy)
    worker = scene.server("worker", "work")
    for number in range(8):
        scene.put("work", f"payload {number}", key=f"key {number}")
    scene.put("work", ttl=1.5)
    scene.put("work", delay=500)
    scene.put("work", "é", reply_to="nowhere")
    rejected, again, done, _ = scene.ids(worker, limit=4)
    scene.nack([rejected], token=worker, requeue=False)
    scene.nack([again], token=worker)
    scene.ack([done], token=worker)
    for name in ("paused", "purged", "gone"):
        scene.create_queue(name)
        scene.put(name)
    scene.pause_queue("paused")
    scene.purge_queue("purged", undo_for=600)
    scene.destroy_queue("gone", undo_for=600)
    scene.create_fresh_queue(token=worker)
    scene.transfer(token=worker, timeout=300, after=0)
    scene.transfer(token=scene.server("listener", "quiet"), timeout=300)
    scene.stream("streamer", "streamed", "work", credit=3)
    scene.put("streamed")
    scene.watch(after=scene.switch.trace.last, limit=10, timeout=300)
    scene.sleep(4)
    scene.send("nobody", Draft("x"), token=dave)
    scene.sleep(3 + PATIENCE)
    while scene.switch.queues["work"].length < policy.max_length:
        scene.put("work")
    with pytest.raises(QueueFull):
        scene.put("work")
    return scene


def codes(verdict: Verdict) -> list[str]:
    return [verdict.code, *(finding.code for finding in verdict.also)]


def every_message(scene: Scene) -> Iterator[object]:
    """Those that have ended and those that never were as well."""
    for id in range(FIRST_ID, scene.switch.next_id + 1):
        try:
            yield from codes(scene.explain(id).verdict)
        except SwitchError as refusal:
            yield refusal.code


def every_queue(scene: Scene) -> Iterator[object]:
    for name in scene.switch.queues:
        yield from codes(scene.explain_queue(name).queue.verdict)
        yield scene.inspect_queue(name)
        yield scene.tally(name)
        yield scene.tally(name, [State.HELD], ids=[FIRST_ID])


def every_session(scene: Scene) -> Iterator[object]:
    for session in scene.switch.sessions.values():
        yield from codes(scene.explain_session(session.id).verdict)
        yield scene.tally_session(session.id)


def every_list(scene: Scene) -> Iterator[object]:
    yield scene.list_queues(limit=3)
    yield scene.list_undo()
    yield scene.trace_back(None, 1_000)
    for name in scene.switch.queues:
        for state in (None, *State):
            yield scene.browse(name, state=state, limit=2)
            yield scene.browse(name, state=state, search="é")


def the_whole(scene: Scene) -> Iterator[object]:
    yield scene.waits_for()
    yield scene.diagnostics()


def the_figures(scene: Scene) -> Iterator[object]:
    counting = Counting(scene.switch, now=scene.now)
    while counting.step(now=scene.now):
        pass
    yield from counting.result.queues


@pytest.mark.parametrize(
    "look",
    [every_message, every_queue, every_session, every_list, the_whole, the_figures],
    ids=lambda look: look.__name__,
)
def test_looking_changes_nothing(scene: Scene, look: Callable[[Scene], Iterator[object]]) -> None:
    before = everything(scene)
    assert len([found for found in look(scene) if found is not None]) > 1
    assert everything(scene) == before


def test_the_scene_has_something_of_everything(scene: Scene) -> None:
    found = [*every_message(scene), *every_queue(scene), *every_session(scene)]
    told = {code for code in found if isinstance(code, str)}
    assert told >= {
        "deadlock",
        "waiting_on_call",
        "held_silent",
        "never_started",
        "caller_gone",
        "redelivered",
        "delayed",
        "dead",
        "expired",
        "paused",
        "acked",
        "purged",
        "destroyed",
        "message_not_found",
        "queue_full",
        "listening",
    }


def test_a_change_would_be_seen(scene: Scene) -> None:
    before = everything(scene)
    scene.touch(token="token of alice")
    assert everything(scene) != before
