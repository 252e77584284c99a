import json
import re

import pytest

from queues.core import verdict as verdict_module
from queues.core.changes import Changes
from queues.core.errors import MessageNotFound, NoServer, QueueFull, SessionNotFound
from queues.core.events import EventKind, Trace
from queues.core.messages import Draft, Reply, State
from queues.core.queue import Policy
from queues.core.verdict import Verdict, counted, duration, explain_ended

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


ONE_AND_MANY = re.compile(r"(?<![\d.,])1 (messages|times|dead messages)\b")


def checked(found: Verdict) -> Verdict:
    """What every verdict has to be: whole sentences, and nothing but plain evidence."""
    for text in (found.sentence, found.next_step, *(each.sentence for each in found.also)):
        assert text.endswith(".")
        assert "  " not in text
        assert ".." not in text
        assert "None" not in text
        assert not ONE_AND_MANY.search(text)
    json.dumps(found.evidence)
    codes = [found.code, *(each.code for each in found.also)]
    assert len(set(codes)) == len(codes), "it says the same twice"
    return found


def verdict(scene: Scene, id: int) -> Verdict:
    return checked(scene.explain(id).verdict)


def of_queue(scene: Scene, name: str = "q") -> Verdict:
    return checked(scene.inspect_queue(name).verdict)


def of_session(scene: Scene, token: str) -> Verdict:
    return checked(scene.explain_session(scene.switch.sessions[token].id).verdict)


def also(found: Verdict) -> list[str]:
    return [each.code for each in found.also]


def test_the_database_takes_nothing() -> None:
    scene = Scene()
    scene.switch.changes = Changes()
    scene.create_queue("q")
    scene.create_queue("r")
    reader = scene.server("reader")
    transient = scene.create_fresh_queue(token=reader)
    safe = scene.put("q")
    scene.switch.safe = scene.switch.changes.position
    unsafe = scene.put("q")
    assert verdict(scene, unsafe).code == "never_started"
    scene.switch.store_down_since = scene.now
    scene.sleep(12)
    found = verdict(scene, unsafe)
    assert (found.code, found.level, also(found)) == ("store_down", "stuck", ["never_started"])
    assert "for 12 s" in found.sentence
    assert found.evidence == {"since": scene.now - 12}
    assert verdict(scene, safe).code == "never_started"
    assert (of_queue(scene).code, also(of_queue(scene))) == ("store_down", ["never_started"])
    assert of_queue(scene, "r").code == "store_down"
    assert of_queue(scene, transient.name).code == "unused"
    scene.switch.store_down_since = None
    assert verdict(scene, unsafe).code == "never_started"


def test_nobody_ever_served_the_queue() -> None:
    scene = Scene()
    scene.create_queue("q")
    id = scene.put("q")
    scene.sleep(200)
    found = verdict(scene, id)
    assert (found.code, found.level, found.also) == ("never_started", "stuck", [])
    assert "3 min 20 s" in found.sentence
    assert found.evidence == {"queue": "q", "since": scene.now - 200}
    assert "q" in found.next_step


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("logout", "it logged out"),
        ("lease_expired", "its lease ended"),
        ("unsubscribed", "it unsubscribed"),
        ("disconnected", "its connection ended"),
        ("ended", "an operator ended its session"),
    ],
)
def test_the_last_server_left(how: str, words: str) -> None:
    scene = Scene()
    scene.logout(scene.server("another", "q"))
    if how == "disconnected":
        scene.close_stream(scene.stream("worker", "q"))
    else:
        server = scene.server("worker", "q", lease=10)
    if how == "logout":
        scene.logout(server)
    elif how == "unsubscribed":
        scene.unsubscribe("q", token=server)
    elif how == "ended":
        scene.end_session(scene.switch.sessions[server].id)
    elif how == "lease_expired":
        scene.sleep(10)
    left_at = scene.now
    scene.sleep(5)
    id = scene.put("q")
    found = verdict(scene, id)
    assert (found.code, found.level) == ("server_left", "stuck")
    assert found.evidence["reason"] == how
    assert (found.evidence["client"], found.evidence["left_at"]) == ("worker", left_at)
    assert found.evidence["servers_ever"] == 2
    assert "worker, left 5.0 s ago" in found.sentence
    assert words in found.sentence


def test_every_server_is_silent() -> None:
    scene = Scene()
    server = scene.server("worker", "q", lease=10)
    id = scene.put("q")
    scene.sleep(9)
    scene.ack([1], token=server)  # a sign of life, but no Transfer
    scene.sleep(5)
    found = verdict(scene, id)
    assert (found.code, found.level) == ("servers_silent", "stuck")
    assert (found.evidence["servers"], found.evidence["last_seen"]) == (["worker"], scene.now - 5)
    scene.touch(server)
    assert verdict(scene, id).code == "queued"


def test_others_come_first() -> None:
    scene = Scene()
    scene.server("worker", "q")
    id = scene.put("q")
    found = verdict(scene, id)
    assert found.code == "queued"
    assert (found.evidence["servers"], found.evidence["ahead"]) == (1, 0)
    assert "as the next one" in found.sentence


def test_it_waits_behind_others() -> None:
    scene = Scene()
    servers = [scene.server(f"worker {number}", "q") for number in range(5)]
    held = [scene.put("q") for _ in servers]
    for server in servers:
        scene.take(server)
        scene.sleep(1)
    ids = [scene.put("q") for _ in range(3)]
    found = verdict(scene, ids[2])
    assert (found.code, found.level, found.also) == ("queued", "ok", [])
    assert found.evidence["ahead"] == 2
    assert (found.evidence["held"], found.evidence["servers"]) == (5, 5)
    assert (found.evidence["oldest_held"], found.evidence["oldest_held_since"]) == (held[0], 1_000)
    assert "behind 2 messages" in found.sentence
    assert "by worker 0, worker 1, worker 2 and 2 more" in found.sentence
    assert "the oldest for 5.0 s" in found.sentence
    scene.sleep(11)
    assert verdict(scene, ids[2]).level == "warning"


def test_somebody_works_on_it() -> None:
    scene = Scene()
    server = scene.server("worker", "q")
    id = scene.put("q")
    scene.take(server)
    scene.sleep(5)
    found = verdict(scene, id)
    assert found.code == "held"
    assert (found.evidence["holder"], found.evidence["delivery_count"]) == ("worker", 1)
    assert (found.level, found.also) == ("ok", [])
    assert "waits for no call" in found.sentence
    scene.sleep(6)
    assert verdict(scene, id).level == "warning"


def test_its_holder_is_silent() -> None:
    scene = Scene()
    server = scene.server("worker", "q", lease=10)
    id = scene.put("q")
    scene.take(server)
    scene.sleep(9)
    scene.ack([1], token=server)
    scene.sleep(9)
    found = verdict(scene, id)
    assert (found.code, found.level) == ("held_silent", "stuck")
    assert (found.evidence["since"], found.evidence["last_seen"]) == (scene.now - 18, scene.now - 9)


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
    assert (found.level, found.evidence["due_at"]) == ("ok", scene.now + 60)
    assert "as its sender asked" in found.sentence


def test_it_is_not_time_yet_as_its_holder_asked() -> None:
    scene = Scene()
    server = scene.server("worker", "q")
    id = scene.put("q")
    scene.take(server)
    scene.nack([id], token=server, delay=60)
    found = verdict(scene, id)
    assert (found.code, also(found)) == ("delayed", ["redelivered"])
    assert "as its last holder asked" in found.sentence


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
    assert (found.level, found.evidence["cause"]) == ("warning", cause)
    assert "replay" in found.next_step
    count = 0 if cause == "expired" else 1
    assert len(found.evidence.get("last_holders", [])) == (cause == "max_deliveries")
    assert found.evidence["delivery_count"] == count


def test_it_expired_after_it_had_been_handed_out() -> None:
    scene = Scene()
    server = scene.server("worker", "q")
    id = scene.put("q", ttl=5)
    scene.take(server)
    scene.nack([id], token=server, delay=60)
    scene.sleep(5)
    found = verdict(scene, id)
    assert (found.code, found.level) == ("expired", "warning")
    assert "while nobody had it" in found.sentence


def test_it_comes_back_again_and_again() -> None:
    scene = Scene()
    server = scene.server("worker", "q")
    id = scene.put("q")
    for count in (1, 2):
        scene.take(server)
        scene.nack([id], token=server)
        scene.sleep(1)
        found = verdict(scene, id)
        assert (found.code, also(found)) == ("queued", ["redelivered"])
        assert f"handed out {count} time" in found.also[0].sentence
    scene.take(server)
    found = verdict(scene, id)
    assert (found.code, found.level, found.also) == ("redelivered", "warning", [])
    assert "it gave the message back; worker has it now" in found.sentence
    assert found.evidence["last_holders"] == ["worker (nack)", "worker (nack)"]
    assert (found.evidence["holder"], found.evidence["delivery_count"]) == ("worker", 3)


def test_a_replayed_message_begins_anew() -> None:
    scene = Scene()
    scene.create_queue("q", Policy(max_deliveries=1))
    server = scene.server("worker", "q")
    id = scene.put("q")
    scene.take(server)
    scene.nack([id], token=server)
    scene.replay_dead("q")
    found = verdict(scene, id)
    assert (found.code, found.also) == ("queued", [])


@pytest.mark.parametrize("held", [True, False])
def test_it_is_about_to_die(held: bool) -> None:
    scene = Scene()
    scene.create_queue("q", Policy(max_deliveries=3))
    server = scene.server("worker", "q")
    id = scene.put("q")
    for _ in range(2):
        scene.take(server)
        scene.nack([id], token=server)
    if held:
        scene.take(server)
    found = verdict(scene, id)
    if held:
        assert (found.code, also(found)) == ("about_to_die", ["redelivered"])
        assert (found.evidence["delivery_count"], found.evidence["max_deliveries"]) == (3, 3)
        assert "if this hand-over" in found.sentence
    else:
        assert (found.code, also(found)) == ("queued", ["about_to_die", "redelivered"])
        assert "if the next hand-over" in found.also[0].sentence


def test_its_queue_is_paused() -> None:
    scene = Scene()
    scene.create_queue("q")
    scene.pause_queue("q")
    scene.sleep(30)
    id = scene.put("q")
    found = verdict(scene, id)
    assert (found.code, found.level, also(found)) == ("paused", "warning", ["never_started"])
    assert found.evidence == {"queue": "q", "since": scene.now - 30, "ready": 1}
    assert "resume" in found.next_step


@pytest.mark.parametrize("state", list(State))
def test_its_caller_is_gone(state: State) -> None:
    scene = Scene()
    server = scene.server("worker", "q")
    caller = scene.server("caller", "other")
    # With a key it may come back.
    wait = scene.call("q", Draft("x", key="k"), timeout=60, token=caller)
    id = wait.call.request
    if state is not State.READY:
        scene.take(server)
    if state in (State.DELAYED, State.DEAD):
        scene.nack([id], token=server, delay=60, requeue=state is State.DELAYED)
    scene.leave_call(wait)
    found = verdict(scene, id)
    if state is State.DEAD:
        assert (found.code, found.also) == ("dead", [])
        return
    expected = {
        State.READY: ["caller_gone", "queued"],
        State.HELD: ["caller_gone", "held"],
        State.DELAYED: ["delayed", "redelivered", "caller_gone"],
    }
    assert [found.code, *also(found)] == expected[state]
    if state is not State.DELAYED:
        assert (found.level, found.evidence["caller"]) == ("warning", "caller")
        assert "its caller, caller, sent it" in found.sentence


def two_in_a_circle(scene: Scene) -> list[int]:
    alice, bob = scene.server("alice", "a"), scene.server("bob", "b")
    first = scene.serve(alice, "a")
    second = scene.serve(bob, "b", inside=first)
    third = scene.ask("a", inside=second).call.request
    scene.sleep(5)
    return [first, second, third]


def test_a_deadlock() -> None:
    scene = Scene()
    ids = two_in_a_circle(scene)
    first, second, third = ids
    for id, beside in zip(ids, [["held"], ["held"], ["queued"]], strict=True):
        found = verdict(scene, id)
        assert (found.code, found.level, also(found)) == ("deadlock", "stuck", beside)
        assert found.sentence == (
            "Deadlock: a and b wait for each other: "
            f"alice holds message {first} of a and waits for the reply to message {second}, which "
            f"was sent to b for it; bob holds message {second} of b and waits for the reply to "
            f"message {third}, which was sent to a for it; message {third} waits until alice has "
            f"finished message {first}. Nobody can go on, since 5.0 s."
        )
        assert [place["message"] for place in found.evidence["circle"]] == ids
        assert [place["holder"] for place in found.evidence["circle"]] == ["alice", "bob", None]
        assert found.evidence["since"] == scene.now - 5
    assert of_queue(scene, "a").code == of_queue(scene, "b").code == "deadlock"
    assert of_session(scene, "token of alice").code == "deadlock"


def test_a_large_deadlock_is_told_in_part() -> None:
    scene = Scene()
    parent = None
    for number in range(verdict_module.MOST_IN_CIRCLE + 10):
        server = scene.server(f"server {number}", f"q{number}", lease=60)
        parent = scene.serve(server, f"q{number}", inside=parent)
    scene.ask("q0", inside=parent)
    scene.sleep(5)
    found = verdict(scene, parent)
    assert found.code == "deadlock"
    assert len(found.sentence) < 1_000
    assert "and so on, over 61 messages" in found.sentence
    assert len(found.evidence["circle"]) == verdict_module.MOST_IN_CIRCLE


def test_it_waits_for_its_own_call() -> None:
    scene = Scene()
    alice, bob = scene.server("alice", "a"), scene.server("bob", "b")
    scene.create_queue("nobody")
    first = scene.serve(alice, "a")
    second = scene.serve(bob, "b", inside=first)
    third = scene.ask("nobody", inside=second).call.request
    scene.sleep(5)
    found = verdict(scene, first)
    assert (found.code, found.level, also(found)) == ("waiting_on_call", "stuck", ["held"])
    assert [place["message"] for place in found.evidence["chain"]] == [first, second, third]
    assert (found.evidence["end"], found.evidence["end_evidence"]["queue"]) == (
        "never_started",
        "nobody",
    )
    assert "a → b → nobody" in found.sentence
    assert "no server has ever subscribed to nobody" in found.sentence
    assert found.next_step == "Start a server for nobody."
    assert "waits for no call" not in found.also[0].sentence
    behind = scene.put("a")
    found = verdict(scene, behind)
    assert (found.code, also(found)) == ("queued", ["waiting_on_call"])
    assert f"Message {first}" in found.also[0].sentence
    assert of_session(scene, alice).code == "waiting_on_call"


def test_the_end_of_a_chain_that_is_cut_is_told_without_another_chain() -> None:
    scene = Scene()
    parent, ids = None, []
    for number in range(100):
        server = scene.server(f"server {number}", f"q{number}", lease=60)
        parent = scene.serve(server, f"q{number}", inside=parent)
        ids.append(parent)
    found = verdict(scene, ids[0])
    assert (found.code, found.evidence["end"]) == ("waiting_on_call", "held")
    assert found.sentence.count("At the end of that") == 1


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
        ("sent", [("purged", "0 ready and delayed")], "forgotten"),
        (
            "sent",
            [("purged", "0 delayed"), ("queue_destroyed", "1 messages")],
            "destroyed",
        ),
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


# -- queues ---------------------------------------------------------------------------------------


def test_a_queue_that_nobody_uses() -> None:
    scene = Scene()
    scene.create_queue("q")
    found = of_queue(scene)
    assert (found.code, found.level, found.also) == ("unused", "ok", [])
    server = scene.server("worker", "q")
    assert (of_queue(scene).code, of_queue(scene).level) == ("idle", "ok")
    scene.logout(server)
    assert (of_queue(scene).code, of_queue(scene).level) == ("no_server", "ok")


def test_a_queue_is_as_its_oldest_ready_message_is() -> None:
    scene = Scene()
    scene.create_queue("q")
    scene.put("q")
    found = of_queue(scene)
    assert (found.code, found.level) == ("never_started", "stuck")


def test_a_queue_is_as_what_is_held_longest_where_nothing_is_ready() -> None:
    scene = Scene()
    server = scene.server("worker", "q")
    scene.put("q")
    scene.take(server)
    scene.sleep(11)
    found = of_queue(scene)
    assert (found.code, found.level) == ("held", "warning")


def test_a_queue_that_is_paused_and_full_and_has_dead_messages() -> None:
    scene = Scene()
    scene.create_queue("q", Policy(max_length=2))
    server = scene.server("worker", "q")
    dead = scene.put("q")
    scene.take(server)
    scene.nack([dead], token=server, requeue=False)
    scene.pause_queue("q")
    for _ in range(2):
        scene.put("q")
    for _ in range(3):
        with pytest.raises(QueueFull) as refusal:
            scene.put("q")
    assert checked(refusal.value.extra["verdict"]).code == "queue_full"
    found = of_queue(scene)
    assert (found.code, found.level) == ("paused", "warning")
    assert also(found) == ["queue_full", "queued", "dead_messages"]
    scene.resume_queue("q")
    scene.sleep(2)
    found = of_queue(scene)
    assert (found.code, found.level, also(found)) == (
        "queue_full",
        "stuck",
        ["queued", "dead_messages"],
    )
    assert found.evidence == {
        "queue": "q",
        "length": 2,
        "max_length": 2,
        "refused": 3,
        "last_refused_at": scene.now - 2,
    }
    assert "3 messages were refused, the last 2.0 s ago" in found.sentence
    assert "1 dead message is kept" in found.also[1].sentence


def test_a_call_that_nobody_serves_is_refused_with_a_verdict() -> None:
    scene = Scene()
    with pytest.raises(NoServer) as refusal:
        scene.call("q", Draft("x"), timeout=5)
    found = checked(refusal.value.extra["verdict"])
    assert (found.code, found.evidence) == ("never_started", {"queue": "q"})
    scene.logout(scene.server("worker", "q"))
    with pytest.raises(NoServer) as refusal:
        scene.call("q", Draft("x"), timeout=5)
    assert checked(refusal.value.extra["verdict"]).code == "server_left"


# -- sessions -------------------------------------------------------------------------------------


def test_a_session_that_does_nothing() -> None:
    scene = Scene()
    token = scene.server("worker", lease=10)
    scene.sleep(4)
    found = of_session(scene, token)
    assert (found.code, found.level) == ("between_requests", "ok")
    assert "4.0 s" in found.sentence
    assert found.evidence["last_seen"] == scene.now - 4


def test_a_session_that_is_connected() -> None:
    scene = Scene()
    stream = scene.stream("worker")
    found = of_session(scene, stream.session.token)
    assert (found.code, found.level) == ("connected", "ok")
    scene.create_queue("q")
    scene.subscribe("q", token=stream.session.token)
    assert of_session(scene, stream.session.token).code == "listening"


def test_a_session_that_works() -> None:
    scene = Scene()
    token = scene.server("worker", "q", lease=60)
    ids = [scene.put("q") for _ in range(3)]
    scene.poll(token, limit=3)
    scene.sleep(3)
    found = of_session(scene, token)
    assert (found.code, found.level) == ("working", "ok")
    assert (found.evidence["held"], found.evidence["oldest_held"]) == (3, ids[0])
    assert found.evidence["oldest_held_since"] == scene.now - 3
    scene.sleep(8)
    assert of_session(scene, token).level == "warning"


@pytest.mark.parametrize("holds", [True, False])
def test_a_session_that_is_silent(holds: bool) -> None:
    scene = Scene()
    token = scene.server("worker", "q", lease=10)
    if holds:
        scene.put("q")
        scene.take(token)
    scene.sleep(9)
    scene.ack([1], token=token)
    scene.sleep(5)
    found = of_session(scene, token)
    assert (found.code, found.level) == ("silent", "stuck" if holds else "warning")
    assert "silent for 5.0 s" in found.sentence


def test_a_session_with_what_it_holds_and_waits_for() -> None:
    scene = Scene()
    token = scene.server("worker", "q", "r")
    scene.create_queue("called")
    first = scene.serve(token, "q")
    scene.sleep(1)
    second = scene.serve(token, "r")
    call = scene.ask("called", inside=second).call.request
    info = scene.explain_session(scene.switch.sessions[token].id)
    assert [(h.id, h.queue, h.since) for h in info.holding] == [
        (first, "q", 1_000.0),
        (second, "r", 1_001.0),
    ]
    assert [(h.id, h.queue) for h in info.calls] == [(call, "called")]
    assert info.verdict.code == "waiting_on_call"
    with pytest.raises(SessionNotFound):
        scene.explain_session(1)


# -- one and many -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 calls"), (1, "1 call"), (1_000, "1,000 calls")]
)
def test_so_many_of_something(number: int, said: str) -> None:
    assert counted(number, "call") == said


def test_a_queue_that_holds_one_message_of_one() -> None:
    scene = Scene()
    scene.create_queue("q", Policy(max_length=1, max_deliveries=1, max_dead=1))
    server = scene.server("server", "q")
    id = scene.put("q")
    with pytest.raises(QueueFull, match="q holds 1 message, its max_length"):
        scene.put("q")
    full = "q is full: it holds 1 message, its max_length; 1 message was refused"
    assert full in of_queue(scene).sentence
    scene.take(server)
    assert "handed out 1 of at most 1 time:" in str(verdict(scene, id).also)
    of_session(scene, server)
    scene.nack([id], token=server)
    assert "handed out 1 time and never acked" in verdict(scene, id).sentence
    assert "1 dead message is kept" in str(of_queue(scene).also)
    scene.destroy_queue("q")
    assert scene.events()[-1] == ("queue_destroyed", None, "1 message")
