import pytest

from queues.core.errors import MessageNotFound
from queues.core.events import EventKind, Trace
from queues.core.messages import Draft, Reply, State
from queues.core.queue import Policy
from queues.core.verdict import Verdict, duration, explain_ended

from .scene import Scene


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0.0 s"),
        (0.44, "0.4 s"),
        (10, "10 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3_599, "59 min 59 s"),
        (3_600, "1 h"),
        (7_500, "2 h 5 min"),
        (86_400, "1 d"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def verdict(scene: Scene, id: int) -> Verdict:
    found: Verdict = scene.explain(id).verdict
    assert found.sentence.endswith(".")
    assert found.next_step.endswith(".")
    return found


def test_nobody_ever_served_the_queue() -> None:
    scene = Scene()
    scene.create_queue("q")
    id = scene.put("q")
    scene.sleep(200)
    found = verdict(scene, id)
    assert found.code == "never_started"
    assert "3 min 20 s" in found.sentence
    assert "q" in found.next_step


@pytest.mark.parametrize("how", ["logout", "lease_expired", "unsubscribed"])
def test_the_last_server_left(how: str) -> None:
    scene = Scene()
    server = scene.server("worker", "q", lease=10)
    if how == "logout":
        scene.logout(server)
    elif how == "unsubscribed":
        scene.unsubscribe("q", token=server)
    else:
        scene.sleep(10)
    id = scene.put("q")
    found = verdict(scene, id)
    assert found.code == "server_left"
    assert found.evidence["reason"] == how
    assert found.evidence["client"] == "worker"
    assert "worker" in found.sentence


def test_every_server_is_silent() -> None:
    scene = Scene()
    server = scene.server("worker", "q", lease=10)
    id = scene.put("q")
    scene.sleep(9)
    scene.ack([1], token=server)  # a sign of life, but no Transfer
    scene.sleep(5)
    assert verdict(scene, id).code == "servers_silent"
    scene.touch(server)
    assert verdict(scene, id).code == "queued"


def test_others_come_first() -> None:
    scene = Scene()
    scene.server("worker", "q")
    id = scene.put("q")
    found = verdict(scene, id)
    assert found.code == "queued"
    assert (found.evidence["servers"], found.evidence["ahead"]) == (1, 0)


def test_somebody_works_on_it() -> None:
    scene = Scene()
    server = scene.server("worker", "q")
    id = scene.put("q")
    scene.take(server)
    scene.sleep(5)
    found = verdict(scene, id)
    assert found.code == "held"
    assert (found.evidence["holder"], found.evidence["delivery_count"]) == ("worker", 1)


def test_its_holder_is_silent() -> None:
    scene = Scene()
    server = scene.server("worker", "q", lease=10)
    id = scene.put("q")
    scene.take(server)
    scene.sleep(9)
    scene.ack([1], token=server)
    scene.sleep(9)
    assert verdict(scene, id).code == "held_silent"


def test_a_holder_that_polls_is_not_silent() -> None:
    scene = Scene()
    server = scene.server("worker", "q", lease=10)
    id = scene.put("q")
    scene.take(server)
    scene.transfer(token=server, timeout=300)
    scene.sleep(100)
    assert verdict(scene, id).code == "held"


def test_it_is_not_time_yet() -> None:
    scene = Scene()
    scene.create_queue("q")
    id = scene.put("q", delay=60)
    found = verdict(scene, id)
    assert found.code == "delayed"
    assert found.evidence["due_at"] == scene.now + 60


@pytest.mark.parametrize("cause", ["max_deliveries", "rejected", "expired"])
def test_it_gave_up(cause: str) -> None:
    scene = Scene()
    scene.create_queue("q", Policy(max_deliveries=1, on_expire="dead"))
    server = scene.server("worker", "q")
    id = scene.put("q", ttl=5)
    if cause == "expired":
        scene.sleep(5)
    else:
        scene.take(server)
        scene.nack([id], token=server, requeue=cause == "max_deliveries")
    found = verdict(scene, id)
    assert found.code == ("expired" if cause == "expired" else "dead")
    assert found.evidence["cause"] == cause
    assert "replay" in found.next_step


def test_it_was_acked() -> None:
    scene = Scene()
    server = scene.server("worker", "q")
    id = scene.put("q")
    scene.take(server)
    scene.ack([id], token=server)
    found = verdict(scene, id)
    assert found.code == "acked"
    assert "worker" in found.sentence


def test_a_call_that_was_acked_without_a_reply() -> None:
    scene = Scene()
    server = scene.server("worker", "q")
    id = scene.put("q")
    wait = scene.call("q", Draft(payload="x"), timeout=5)
    for each in (id, wait.call.request):
        scene.take(server)
        scene.ack([each], token=server)
    scene.sleep(5)
    assert wait.verdict is not None
    assert wait.verdict.code == "acked"
    assert verdict(scene, wait.call.request).code == "acked"  # though the timeout came later


def test_it_was_answered() -> None:
    scene = Scene()
    server = scene.server("worker", "q")
    wait = scene.call("q", Draft(payload="x"), timeout=5)
    scene.take(server)
    scene.reply(Reply(id=wait.call.request, payload="y"), token=server)
    assert verdict(scene, wait.call.request).code == "replied"


def test_it_was_dropped() -> None:
    scene = Scene()
    scene.create_queue("q")
    id = scene.put("q", ttl=5)
    scene.sleep(5)
    found = verdict(scene, id)
    assert found.code == "expired"
    assert "time to live" in found.sentence


def test_its_queue_was_purged_and_then_destroyed() -> None:
    scene = Scene()
    scene.create_queue("q")
    id = scene.put("q")
    scene.purge_queue("q")
    later = scene.put("q")
    scene.destroy_queue("q")
    assert verdict(scene, id).code == "purged"
    assert verdict(scene, later).code == "destroyed"


def test_a_purge_is_not_blamed_for_what_it_does_not_touch() -> None:
    scene = Scene()
    server = scene.server("worker", "q")
    held, dead = scene.put("q"), scene.put("q")
    scene.poll(server, limit=2)
    scene.nack([dead], token=server, requeue=False)
    scene.purge_queue("q")
    scene.purge_queue("q", State.DEAD)
    scene.destroy_queue("q")
    assert verdict(scene, held).code == "destroyed"
    assert verdict(scene, dead).code == "purged"


def test_the_trace_forgot_how_it_ended() -> None:
    trace = Trace(first=1, max_events=5, max_bytes=2**20)
    assert explain_ended([], trace, 0.0).code == "forgotten"
    trace.add(0.0, "sent", "q", 1)
    assert explain_ended(trace.of_message(1), trace, 0.0).code == "forgotten"


def test_a_call_times_out_with_a_verdict_when_the_trace_forgot_the_request() -> None:
    scene = Scene(trace_events=2)
    scene.server("worker", "q")
    wait = scene.call("q", Draft(payload="x"), timeout=5)
    scene.destroy_queue("q")
    for client in "abc":
        scene.login(client, client, 100.0)
    scene.sleep(5)
    assert wait.done
    assert wait.verdict is not None
    assert wait.verdict.code == "forgotten"
    assert scene.switch.calls == {}
    with pytest.raises(MessageNotFound):
        scene.explain(1)


@pytest.mark.parametrize(
    ("last", "after", "code"),
    [
        ("sent", [("purged", "1 ready and delayed")], "purged"),
        ("released", [("purged", "1 ready")], "purged"),
        ("sent", [("purged", "1 held")], "forgotten"),
        ("delivered", [("purged", "1 held")], "purged"),
        ("delivered", [("purged", "1 ready and delayed")], "forgotten"),
        ("died", [("purged", "1 dead")], "purged"),
        ("died", [("purged", "1 ready and delayed")], "forgotten"),
        ("died", [("queue_destroyed", "0 messages")], "destroyed"),
        ("sent", [("purged", "1 ready"), ("queue_destroyed", "0 messages")], "purged"),
        ("sent", [("purged", "1 ready"), ("restored", None)], "purged"),
        (
            "sent",
            [("purged", "1 ready"), ("restored", None), ("queue_destroyed", "1 messages")],
            "destroyed",
        ),
        ("died", [("subscribed", None)], "forgotten"),
    ],
)
def test_what_takes_a_message_away(
    last: EventKind, after: list[tuple[EventKind, str | None]], code: str
) -> None:
    trace = Trace(first=1, max_events=9, max_bytes=2**20)
    trace.add(0.0, last, "q", 7)
    for kind, detail in after:
        trace.add(1.0, kind, "other", detail="1 ready and delayed and held and dead")
        trace.add(1.0, kind, "q", detail=detail)
    assert explain_ended(trace.of_message(7), trace, 0.0).code == code


def test_what_takes_a_message_away_that_was_moved() -> None:
    scene = Scene()
    scene.create_queue("q")
    scene.create_queue("other")
    id = scene.put("q")
    scene.move_messages("q", "other")
    scene.destroy_queue("q")
    scene.purge_queue("other")
    found = verdict(scene, id)
    assert (found.code, found.evidence["queue"]) == ("purged", "other")
