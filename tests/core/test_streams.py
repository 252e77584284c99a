"""The promises of streams, one small story each:
pushing, credit, room, taking turns, resuming, the end of a stream.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from queues.core.errors import SessionRequired, TooManySessions, UnknownSession
from queues.core.messages import Reply, State
from queues.core.queue import Policy
from queues.core.waits import Stream

from .scene import Scene


@pytest.fixture
def scene() -> Scene:
    return Scene()


def token(stream: Stream) -> str:
    return stream.session.token


# -- pushing ------------------------------------------------------------------------------------


def test_a_stream_starts_a_session_as_a_login_does(scene: Scene) -> None:
    login, stream = scene.open_stream("secret", "worker", 30.0, room=1_000)
    assert (login.session, login.client, login.lease) == ("secret", "worker", 30.0)
    assert login.instance == scene.switch.instance
    assert scene.events() == [("login", None, None)]
    assert scene.switch.waiting() == [stream]
    scene.create_queue("q")
    scene.subscribe("q", token="secret")


def test_a_message_is_pushed_at_once(scene: Scene) -> None:
    stream = scene.stream("worker", "q")
    id = scene.put("q", "hello", correlation_id="c")
    assert scene.switch.woken == [stream]
    (message,) = scene.switch.take(stream)
    assert (message.id, message.payload, message.correlation_id) == (id, "hello", "c")
    assert (message.delivery_count, scene.inspect_queue("q").held) == (1, 1)
    assert ("delivered", id, None) in scene.events()


def test_messages_are_pushed_in_the_order_of_ids(scene: Scene) -> None:
    scene.create_queue("q")
    there = [scene.put("q"), scene.put("q")]
    stream = scene.stream("worker", "q", credit=9)
    new = [scene.put("q"), scene.put("q")]
    messages = scene.switch.take(stream)
    assert [m.id for m in messages] == there + new
    assert [m.delivery for m in messages] == sorted(m.delivery for m in messages)


def test_what_was_pushed_is_not_pushed_again(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=9)
    first = scene.put("q")
    assert scene.pushed(stream) == [first]
    assert scene.pushed(stream) == []
    second = scene.put("q")
    assert scene.pushed(stream) == [second]


def test_a_stream_is_woken_once_for_all_that_is_to_be_pushed(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=9)
    ids = [scene.put("q") for _ in range(3)]
    assert scene.switch.woken == [stream]
    assert scene.pushed(stream) == ids
    ids = [scene.put("q") for _ in range(3)]
    assert scene.switch.woken == [stream, stream]


def test_a_delayed_message_is_pushed_when_it_is_ready(scene: Scene) -> None:
    stream = scene.stream("worker", "q")
    id = scene.put("q", delay=5)
    assert scene.pushed(stream) == []
    scene.sleep(5)
    assert scene.pushed(stream) == [id]


def test_an_expired_message_is_not_pushed(scene: Scene) -> None:
    stream = scene.stream("worker", "q")
    held, expired = scene.put("q"), scene.put("q", ttl=10)
    scene.now += 10  # nobody told the switch yet
    scene.ack([held], token=token(stream))
    assert scene.pushed(stream) == []
    assert ("dropped", expired, "expired") in scene.events()


def test_a_replayed_message_is_pushed(scene: Scene) -> None:
    stream = scene.stream("worker", "q")
    id = scene.put("q")
    scene.nack([id], token=token(stream), requeue=False)
    scene.replay_dead("q")
    (message,) = scene.switch.take(stream)
    assert (message.id, message.delivery_count) == (id, 1)


@pytest.mark.parametrize("how", ["ack", "drop", "purge", "destroy", "ack_timeout"])
def test_what_went_away_before_it_was_taken_is_left_out(scene: Scene, how: str) -> None:
    scene.create_queue("q", Policy(ack_timeout=10, max_deliveries=1))
    stream = scene.stream("worker", "q", "other", credit=2)
    gone, id = scene.put("q"), scene.put("other")
    if how == "ack":
        scene.ack([gone], token=token(stream))
    elif how == "drop":
        scene.drop_message("q", gone)
    elif how == "purge":
        scene.purge_queue("q", State.HELD)
    elif how == "destroy":
        scene.destroy_queue("q")
    else:
        scene.sleep(10)
    assert scene.pushed(stream) == [id]


def test_what_was_given_back_and_pushed_again_before_it_was_taken_comes_once(scene: Scene) -> None:
    stream = scene.stream("worker", "q")
    id = scene.put("q")
    scene.nack([id], token=token(stream))
    (message,) = scene.switch.take(stream)
    assert (message.id, message.delivery_count) == (id, 2)


def test_unsubscribing_ends_the_push_and_keeps_what_is_held(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=2)
    held = scene.put("q")
    scene.unsubscribe("q", token=token(stream))
    scene.put("q")
    assert scene.pushed(stream) == [held]
    scene.ack([held], token=token(stream))
    assert scene.pushed(stream) == []
    assert scene.inspect_queue("q").ready == 1


def test_subscribing_again_counts_what_is_held(scene: Scene) -> None:
    stream = scene.stream("worker", "q")
    held = scene.put("q")
    scene.unsubscribe("q", token=token(stream))
    next = scene.put("q")
    scene.subscribe("q", token=token(stream), credit=1)
    assert scene.pushed(stream) == [held]
    scene.ack([held], token=token(stream))
    assert scene.pushed(stream) == [next]


@pytest.mark.parametrize("held", [False, True])
def test_a_subscription_goes_on_when_its_queue_is_made_again(scene: Scene, held: bool) -> None:
    stream = scene.stream("worker", "q")
    if held:
        scene.put("q")
        scene.pushed(stream)
    scene.destroy_queue("q")
    scene.create_queue("q")
    ids = [scene.put("q"), scene.put("q")]
    assert scene.pushed(stream) == ids[:1]
    scene.ack(ids[:1], token=token(stream))
    assert scene.pushed(stream) == ids[1:]


def test_a_stream_counts_as_waiting_while_it_would_take_more(scene: Scene) -> None:
    scene.stream("worker", "q")
    assert scene.inspect_queue("q").waiting == 1
    scene.put("q")
    assert scene.inspect_queue("q").waiting == 0


# -- credit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("credit", [1, 2, 5])
def test_no_more_is_pushed_than_the_session_may_hold(scene: Scene, credit: int) -> None:
    scene.create_queue("q")
    ids = [scene.put("q") for _ in range(4)]
    stream = scene.stream("worker", "q", credit=credit)
    ids += [scene.put("q") for _ in range(4)]
    assert scene.pushed(stream) == ids[:credit]
    assert scene.inspect_queue("q").held == credit


def test_each_subscription_has_its_own_credit(scene: Scene) -> None:
    stream = scene.stream("worker", "a", "b")
    scene.subscribe("b", token=token(stream), credit=2)
    a = [scene.put("a") for _ in range(3)]
    b = [scene.put("b") for _ in range(3)]
    assert scene.pushed(stream) == [a[0], b[0], b[1]]
    scene.ack(b[:1], token=token(stream))
    assert scene.pushed(stream) == [b[2]]


def _ack(scene: Scene, id: int, token: str) -> None:
    scene.ack([id], token=token)


def _nack(scene: Scene, id: int, token: str) -> None:
    scene.nack([id], token=token, delay=99)


def _reject(scene: Scene, id: int, token: str) -> None:
    scene.nack([id], token=token, requeue=False)


def _reply(scene: Scene, id: int, token: str) -> None:
    scene.reply(Reply(id=id, payload="y"), token=token)


def _drop(scene: Scene, id: int, token: str) -> None:
    scene.drop_message("q", id)


def _purge(scene: Scene, id: int, token: str) -> None:
    scene.purge_queue("q", State.HELD)


def _ack_timeout(scene: Scene, id: int, token: str) -> None:
    scene.change_queue("q", {"max_deliveries": 1})
    scene.sleep(60)


def _expire(scene: Scene, id: int, token: str) -> None:
    scene.now += 10
    scene.nack([id], token=token)


@pytest.mark.parametrize(
    ("release", "fields"),
    [
        (_ack, {}),
        (_nack, {}),
        (_reject, {}),
        (_reply, {}),
        (_reply, {"reply_to": "nobody"}),
        (_drop, {}),
        (_purge, {}),
        (_ack_timeout, {}),
        (_expire, {"ttl": 10}),
    ],
)
def test_whatever_ends_a_hold_gives_credit_back_and_the_next_message_follows(
    scene: Scene, release: Callable[[Scene, int, str], None], fields: dict[str, object]
) -> None:
    scene.create_queue("q", Policy(ack_timeout=60))
    stream = scene.stream("worker", "q")
    first, second, third = scene.put("q", **fields), scene.put("q"), scene.put("q")
    assert scene.pushed(stream) == [first]
    scene.switch.woken.clear()
    release(scene, first, token(stream))
    assert scene.switch.woken == [stream]
    assert scene.pushed(stream) == [second]
    assert scene.inspect_queue("q").ready == 1
    scene.ack([second], token=token(stream))
    assert scene.pushed(stream) == [third]


def test_an_ack_in_a_transfer_gives_credit_back_before_the_transfer_takes_more(
    scene: Scene,
) -> None:
    stream = scene.stream("worker", "q")
    first, second, third = scene.put("q"), scene.put("q"), scene.put("q")
    assert scene.pushed(stream) == [first]
    assert scene.ids(token(stream), acks=[first], limit=9) == [third]
    assert scene.pushed(stream) == [second]


def test_what_is_given_back_at_once_comes_back_if_nobody_else_waits(scene: Scene) -> None:
    stream = scene.stream("worker", "q")
    first, _ = scene.put("q"), scene.put("q")
    scene.pushed(stream)
    scene.nack([first], token=token(stream))
    (message,) = scene.switch.take(stream)
    assert (message.id, message.delivery_count) == (first, 2)


def test_a_lost_poll_gives_credit_back(scene: Scene) -> None:
    stream = scene.stream("worker", "q")
    scene.subscribe("q", token=token(stream), credit=0)
    lost = scene.transfer(token=token(stream), timeout=60)
    first = scene.put("q")
    scene.subscribe("q", token=token(stream), credit=1)
    assert scene.pushed(stream) == []
    scene.abandon(lost)
    assert scene.pushed(stream) == [first]


@pytest.mark.parametrize("credit", [None, 0])
def test_without_credit_nothing_is_pushed(scene: Scene, credit: int | None) -> None:
    stream = scene.stream("worker")
    scene.create_queue("q")
    id = scene.put("q")
    scene.subscribe("q", token=token(stream), credit=credit)
    later = scene.put("q")
    assert scene.switch.woken == []
    assert scene.pushed(stream) == []
    assert scene.ids(token(stream), limit=9) == [id, later]


def test_more_credit_is_used_at_once(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=0)
    ids = [scene.put("q") for _ in range(4)]
    scene.subscribe("q", token=token(stream), credit=1)
    assert scene.pushed(stream) == ids[:1]
    scene.subscribe("q", token=token(stream), credit=3)
    assert scene.pushed(stream) == ids[1:3]


def test_with_less_credit_the_push_rests_until_so_much_is_acked(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=3)
    ids = [scene.put("q"), scene.put("q")]
    scene.subscribe("q", token=token(stream), credit=1)
    ids += [scene.put("q"), scene.put("q")]
    assert scene.pushed(stream) == ids[:2]
    scene.ack(ids[:1], token=token(stream))
    assert scene.pushed(stream) == []
    scene.ack(ids[1:2], token=token(stream))
    assert scene.pushed(stream) == ids[2:3]


def test_subscribing_again_without_credit_leaves_it_as_it_is(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=2)
    scene.subscribe("q", token=token(stream))
    ids = [scene.put("q") for _ in range(3)]
    assert scene.pushed(stream) == ids[:2]
    assert [e.kind for e in scene.switch.trace.after(0, 99).events].count("subscribed") == 1


def test_credit_given_before_there_is_a_stream_is_kept_for_it(scene: Scene) -> None:
    server = scene.server("worker")
    scene.create_queue("q")
    scene.subscribe("q", token=server, credit=2)
    ids = [scene.put("q") for _ in range(3)]
    assert scene.pushed(scene.resume(server)) == ids[:2]


def test_what_transfers_of_the_session_took_uses_up_credit(scene: Scene) -> None:
    server = scene.server("worker", "q")
    wait = scene.transfer(token=server, timeout=60)
    stream = scene.resume(server)
    scene.subscribe("q", token=server, credit=1)
    first, second = scene.put("q"), scene.put("q")
    assert [m.id for m in scene.collect(wait).messages] == [first]
    assert scene.pushed(stream) == []
    scene.ack([first], token=server)
    assert scene.pushed(stream) == [second]


# -- room ---------------------------------------------------------------------------------------


def test_room_bounds_what_is_pushed_and_the_last_message_may_exceed_it(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=9, room=10)
    ids = [scene.put("q", "1234") for _ in range(5)]
    assert scene.pushed(stream) == ids[:3]
    scene.ack(ids[:3], token=token(stream))
    assert scene.pushed(stream) == []
    assert scene.inspect_queue("q").ready == 2


def test_without_room_nothing_is_pushed_and_a_grant_goes_on(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=9, room=0)
    ids = [scene.put("q") for _ in range(3)]
    assert scene.pushed(stream) == []
    scene.grant(stream, 2)
    assert scene.switch.woken == [stream]
    assert scene.pushed(stream) == ids[:2]
    scene.grant(stream, 1_000)
    new = scene.put("q")
    assert scene.pushed(stream) == [ids[2], new]


def test_a_grant_pushes_the_oldest_id_of_all_queues_first(scene: Scene) -> None:
    stream = scene.stream("worker", "a", "b", "c", credit=9, room=0)
    ids = [scene.put(name) for name in "abbcab"]
    scene.grant(stream, 4)
    assert scene.pushed(stream) == ids[:4]
    scene.grant(stream, 4)
    assert scene.pushed(stream) == ids[4:]


def test_a_grant_keeps_to_the_credit_of_each_queue(scene: Scene) -> None:
    stream = scene.stream("worker", "a", "b", room=0)
    scene.subscribe("b", token=token(stream), credit=2)
    ids = [scene.put(name) for name in "aabbb"]
    scene.grant(stream, 1_000)
    assert scene.pushed(stream) == [ids[0], ids[2], ids[3]]


def test_a_grant_of_nothing_ends_the_push(scene: Scene) -> None:
    stream = scene.stream("worker", "q")
    scene.grant(stream, 0)
    id = scene.put("q")
    assert scene.pushed(stream) == []
    scene.grant(stream, 1)
    assert scene.pushed(stream) == [id]


def test_a_grant_is_what_there_is_and_not_added(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=9, room=5)
    for _ in range(3):
        scene.grant(stream, 2)
    ids = [scene.put("q") for _ in range(4)]
    assert scene.pushed(stream) == ids[:2]


def test_a_stream_without_room_leaves_messages_to_others(scene: Scene) -> None:
    full, free = scene.stream("full", "q", room=0), scene.stream("free", "q")
    id = scene.put("q")
    assert (scene.pushed(full), scene.pushed(free)) == ([], [id])


def test_a_grant_after_the_end_pushes_nothing(scene: Scene) -> None:
    stream = scene.stream("worker", "q", lease=30, room=0)
    scene.put("q")
    scene.close_stream(stream)
    scene.grant(stream, 1_000)
    assert scene.pushed(stream) == []
    assert scene.inspect_queue("q").ready == 1


# -- taking turns -------------------------------------------------------------------------------


def test_streams_and_transfers_of_a_queue_take_turns(scene: Scene) -> None:
    a, b = scene.stream("a", "q", credit=9), scene.stream("b", "q", credit=9)
    server = scene.server("c", "q")
    wait = scene.transfer(token=server, timeout=60)
    ids = []
    for number, woken in enumerate([a, b, wait, None, None], 1):
        ids.append(scene.put("q"))
        assert scene.switch.woken[number - 1 :] == ([] if woken is None else [woken])
    assert scene.pushed(a) == [ids[0], ids[3]]
    assert scene.pushed(b) == [ids[1], ids[4]]
    assert [m.id for m in scene.collect(wait).messages] == [ids[2]]


def test_who_has_credit_again_waits_behind_the_others(scene: Scene) -> None:
    a, b = scene.stream("a", "q"), scene.stream("b", "q", credit=2)
    ids = [scene.put("q")]
    scene.ack(ids, token=token(a))
    ids += [scene.put("q"), scene.put("q"), scene.put("q"), scene.put("q")]
    assert (scene.pushed(a), scene.pushed(b)) == ([ids[2]], [ids[1], ids[3]])
    assert scene.inspect_queue("q").ready == 1


def test_what_is_given_back_goes_to_who_waits_before_it_comes_back(scene: Scene) -> None:
    a, b = scene.stream("a", "q"), scene.stream("b", "q", credit=2)
    id = scene.put("q")
    scene.nack([id], token=token(a))
    assert (scene.pushed(a), scene.pushed(b)) == ([], [id])


def test_a_message_wakes_one(scene: Scene) -> None:
    streams = [scene.stream(client, "q") for client in "ab"]
    scene.put("q")
    assert scene.switch.woken == streams[:1]
    scene.put("q")
    assert scene.switch.woken == streams
    scene.put("q")
    assert scene.switch.woken == streams


def test_many_streams_share_a_queue_and_each_message_goes_to_one(scene: Scene) -> None:
    streams = [scene.stream(client, "q", credit=2) for client in "abc"]
    ids = {scene.put("q") for _ in range(12)}
    seen: list[int] = []
    while batches := [batch for stream in streams if (batch := scene.pushed(stream))]:
        seen += [id for batch in batches for id in batch]
        for stream in streams:
            held = [m.id for m in stream.session.held.values()]
            scene.ack(held, token=token(stream))
    assert len(seen) == 12
    assert set(seen) == ids


# -- resuming -----------------------------------------------------------------------------------


def test_a_session_made_by_login_gets_a_stream(scene: Scene) -> None:
    server = scene.server("worker", "q")
    held = scene.put("q")
    scene.take(server)
    login, stream = scene.resume_stream(server, after=0, room=1_000)
    assert (login.session, login.client, login.lease) == (server, "worker", 30.0)
    assert scene.pushed(stream) == [held]
    assert ("resumed", None, None) in scene.events()


@pytest.mark.parametrize(("token", "refusal"), [(None, SessionRequired), ("wrong", UnknownSession)])
def test_only_a_session_resumes(
    scene: Scene, token: str | None, refusal: type[SessionRequired]
) -> None:
    with pytest.raises(refusal):
        scene.resume_stream(token, after=None, room=1_000)


def test_what_is_held_is_pushed_again_oldest_first_and_then_what_is_new(scene: Scene) -> None:
    stream = scene.stream("worker", "a", "b", credit=3, lease=30)
    held = [scene.put(name) for name in "abba"]
    before = scene.switch.take(stream)
    scene.close_stream(stream)
    # Neither the queue nor the id counts: it goes by the order in which they were handed over.
    new = [scene.put("b"), scene.put("a")]
    again = scene.switch.take(scene.resume(token(stream)))
    assert [m.id for m in again] == held + new
    assert again[:4] == before
    assert [m.delivery_count for m in again] == [1] * 6


def test_an_older_message_that_was_not_pushed_comes_after_those_pushed_again(
    scene: Scene,
) -> None:
    first, second = scene.stream("first", "q", lease=30), scene.stream("second", "q", lease=30)
    ids = [scene.put("q"), scene.put("q")]
    scene.subscribe("q", token=token(second), credit=2)
    scene.close_stream(second)
    scene.logout(token(first))
    assert scene.pushed(scene.resume(token(second))) == [ids[1], ids[0]]


def test_only_what_is_held_above_the_given_number_is_pushed_again(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=3, lease=30)
    ids = [scene.put("q") for _ in range(3)]
    numbers = [m.delivery for m in scene.switch.take(stream)]
    assert scene.pushed(scene.resume(token(stream), after=numbers[0])) == ids[1:]
    assert scene.pushed(scene.resume(token(stream), after=numbers[2])) == []
    assert scene.pushed(scene.resume(token(stream), after=None)) == []
    assert scene.pushed(scene.resume(token(stream), after=0)) == ids


def test_what_was_acked_or_given_back_is_not_pushed_again(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=3, lease=30)
    ids = [scene.put("q") for _ in range(3)]
    scene.pushed(stream)
    scene.close_stream(stream)
    scene.ack(ids[:1], token=token(stream))
    scene.nack(ids[1:2], token=token(stream), delay=60)
    assert scene.pushed(scene.resume(token(stream))) == ids[2:]


def test_what_is_acked_while_it_waits_for_room_is_not_pushed_again(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=4, lease=30)
    ids = [scene.put("q") for _ in range(3)]
    again = scene.resume(token(stream), room=1)
    assert scene.pushed(again) == ids[:1]
    scene.ack(ids[1:2], token=token(stream))
    new = scene.put("q")
    assert scene.pushed(again) == []
    scene.grant(again, 1)
    assert scene.pushed(again) == ids[2:]
    scene.grant(again, 1)
    assert scene.pushed(again) == [new]


def test_nothing_new_overtakes_what_waits_for_room_to_be_pushed_again(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=2, lease=30)
    ids = [scene.put("q"), scene.put("q")]
    again = scene.resume(token(stream), room=0)
    scene.create_queue("other")
    new = scene.put("other")
    scene.subscribe("other", token=token(stream), credit=1)
    assert scene.pushed(again) == []
    scene.grant(again, 1_000)
    assert scene.pushed(again) == [*ids, new]


def test_resuming_pushes_also_what_its_transfers_hold(scene: Scene) -> None:
    server = scene.server("worker", "q")
    other = scene.stream("other", "q")
    crossing = scene.transfer(token=server, timeout=60)
    first, second = scene.put("q"), scene.put("q")
    assert scene.pushed(other) == [first]
    assert scene.pushed(scene.resume(server)) == [second]
    # The answer of that Transfer is lost, but the stream has its message.
    scene.abandon(crossing)
    assert scene.ack([second], token=server).acked == [second]


def test_a_newer_stream_closes_the_older_one(scene: Scene) -> None:
    older = scene.stream("worker", "q", credit=9, lease=30)
    newer = scene.resume(token(older))
    assert (older.done, older.superseded) == (True, True)
    assert (newer.done, newer.superseded) == (False, False)
    assert scene.switch.woken == [older]
    assert scene.switch.waiting() == [newer]
    id = scene.put("q")
    scene.grant(older, 1_000)
    assert (scene.pushed(older), scene.pushed(newer)) == ([], [id])
    assert scene.switch.woken == [older, newer]


def test_the_end_of_an_older_stream_does_nothing(scene: Scene) -> None:
    older = scene.stream("worker", "q")
    newer = scene.resume(token(older))
    scene.close_stream(older, slow=True)
    assert scene.switch.waiting() == [newer]
    assert [e.kind for e in scene.switch.trace.after(0, 99).events][-1] == "resumed"
    id = scene.put("q")
    assert scene.pushed(newer) == [id]


# -- the end ------------------------------------------------------------------------------------


def test_a_session_without_a_lease_ends_with_its_stream(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=9)
    ids = [scene.put("q") for _ in range(3)]
    scene.ack(ids[1:2], token=token(stream))
    scene.close_stream(stream)
    with pytest.raises(UnknownSession):
        scene.touch(token(stream))
    with pytest.raises(UnknownSession):
        scene.resume(token(stream))
    assert scene.events()[-3:] == [
        ("released", ids[0], "disconnected"),
        ("released", ids[2], "disconnected"),
        ("disconnected", None, None),
    ]
    messages = scene.poll(scene.server("next", "q"), limit=9).messages
    assert [(m.id, m.delivery_count) for m in messages] == [(ids[0], 2), (ids[2], 2)]


def test_what_a_lost_stream_held_goes_to_who_waits_in_order(scene: Scene) -> None:
    lost = scene.stream("lost", "q", credit=9)
    ids = [scene.put("q") for _ in range(4)]
    a, b = scene.stream("a", "q", credit=9), scene.stream("b", "q", credit=1)
    scene.close_stream(lost)
    assert (scene.pushed(a), scene.pushed(b)) == ([ids[0], ids[2], ids[3]], [ids[1]])


def test_its_transient_queues_and_transfers_end_with_it(scene: Scene) -> None:
    stream = scene.stream("worker")
    name = scene.create_fresh_queue(token=token(stream)).name
    scene.subscribe(name, token=token(stream), credit=1)
    wait = scene.transfer(token=token(stream), timeout=60)
    scene.close_stream(stream)
    assert scene.list_queues().queues == []
    assert wait.done
    with pytest.raises(UnknownSession):
        scene.collect(wait)


def test_a_session_with_a_lease_survives_its_stream_for_so_long(scene: Scene) -> None:
    stream = scene.stream("worker", "q", lease=30)
    held = scene.put("q")
    scene.sleep(1_000)  # the lease does not run while the stream is open
    assert scene.inspect_queue("q").status == "running"
    scene.close_stream(stream)
    assert scene.events()[-1] == ("disconnected", None, None)
    scene.sleep(29)
    assert scene.inspect_queue("q").held == 1
    again = scene.resume(token(stream))
    assert scene.pushed(again) == [held]
    scene.sleep(1_000)
    scene.close_stream(again)
    scene.sleep(30)
    with pytest.raises(UnknownSession):
        scene.touch(token(stream))
    assert ("released", held, "lease_expired") in scene.events()


def test_nothing_is_pushed_between_two_streams(scene: Scene) -> None:
    stream = scene.stream("worker", "q", credit=9, lease=30)
    scene.close_stream(stream)
    id = scene.put("q")
    assert scene.pushed(stream) == []
    assert scene.inspect_queue("q").ready == 1
    assert scene.pushed(scene.resume(token(stream), after=None)) == [id]


def test_an_open_transfer_keeps_the_session_when_its_stream_ends(scene: Scene) -> None:
    stream = scene.stream("worker", "q", lease=30)
    wait = scene.transfer(token=token(stream), timeout=100)
    scene.close_stream(stream)
    scene.sleep(60)
    id = scene.put("q")
    assert [m.id for m in scene.collect(wait).messages] == [id]


def test_an_open_stream_keeps_the_session_when_a_transfer_ends(scene: Scene) -> None:
    for lease in (0, 30):
        stream = scene.stream(f"lease {lease}", "q", lease=lease)
        scene.poll(token(stream))
        scene.sleep(60)
        scene.touch(token(stream))


def test_a_logout_ends_the_stream(scene: Scene) -> None:
    stream = scene.stream("worker", "q", lease=30)
    id = scene.put("q")
    scene.switch.woken.clear()
    scene.logout(token(stream))
    assert (stream.done, stream.superseded) == (True, False)
    assert scene.switch.woken == [stream]
    assert scene.switch.waiting() == []
    assert scene.pushed(stream) == []
    assert ("released", id, "logout") in scene.events()
    scene.close_stream(stream)  # no error: there is nothing left to close
    assert scene.events()[-1] == ("logout", None, None)


def test_a_slow_consumer_is_told_apart(scene: Scene) -> None:
    stream = scene.stream("worker", "q", lease=30)
    scene.close_stream(stream, slow=True)
    scene.close_stream(stream, slow=True)
    assert scene.events()[-2:] == [("slow_consumer", None, None), ("disconnected", None, None)]


@pytest.mark.parametrize(
    ("how", "status"), [("close", "crashed_or_deadlocked"), ("logout", "stopped")]
)
def test_a_service_that_lost_its_stream_has_crashed_and_one_that_left_has_stopped(
    scene: Scene, how: str, status: str
) -> None:
    stream = scene.stream("worker", "q")
    assert scene.inspect_queue("q").status == "running"
    if how == "close":
        scene.close_stream(stream)
    else:
        scene.logout(token(stream))
    assert scene.inspect_queue("q").status == status


def test_a_session_that_lost_its_stream_is_overdue_after_its_lease(scene: Scene) -> None:
    stream = scene.stream("worker", "q", lease=30)
    scene.sleep(60)
    scene.close_stream(stream)
    scene.sleep(20)
    scene.create_queue("other", token=token(stream))
    scene.sleep(10)
    assert scene.inspect_queue("q").status == "running"
    scene.sleep(1)
    assert scene.inspect_queue("q").status == "crashed_or_deadlocked"


def test_streams_count_as_sessions() -> None:
    scene = Scene(sessions=1)
    stream = scene.stream("worker")
    with pytest.raises(TooManySessions):
        scene.stream("another")
    scene.close_stream(stream)
    scene.stream("another")
