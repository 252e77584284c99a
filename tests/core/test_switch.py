"""The promises of the switch, one small story each:
numbers, delivery, Transfer, ack and reply, sessions, queues, bounds, retry, calls, time.
"""

from __future__ import annotations

import pytest

from queues.core import switch as switch_module
from queues.core.errors import (
    InvalidName,
    InvalidRequest,
    KeyReused,
    MessageNotFound,
    NameTaken,
    NoServer,
    NotHolder,
    NotOwner,
    PayloadTooLarge,
    PolicyDiffers,
    QueueFull,
    QueueNotFound,
    SessionRequired,
    SwitchError,
    SwitchFull,
    TooManyQueues,
    TooManySessions,
    TooManySubscriptions,
    UnknownSession,
)
from queues.core.messages import Draft, Failure, Reply, State
from queues.core.queue import Policy

from .scene import FIRST_ID, Scene


@pytest.fixture
def scene() -> Scene:
    return Scene()


def draft(payload: str = "x", **fields: object) -> Draft:
    return Draft(payload=payload, **fields)  # type: ignore[arg-type]


# -- numbers ------------------------------------------------------------------------------------


def test_ids_and_delivery_numbers_are_one_sequence(scene: Scene) -> None:
    server = scene.server("worker", "q")
    first, second = scene.put("q"), scene.put("q")
    deliveries = [m.delivery for m in scene.poll(server, limit=2).messages]
    third = scene.put("q")
    # The session has a number too.
    assert first == FIRST_ID + 1
    assert first < second < deliveries[0] < deliveries[1] < third


def test_a_number_is_not_used_again_when_its_message_is_gone(scene: Scene) -> None:
    scene.create_queue("q")
    id = scene.put("q")
    scene.drop_message("q", id)
    assert scene.put("q") > id


# -- delivery -----------------------------------------------------------------------------------


def test_a_message_is_ready_then_held_then_gone(scene: Scene) -> None:
    server = scene.server("worker", "q")
    id = scene.put("q", "hello", correlation_id="c", headers={"h": "v"})
    assert scene.browse("q").messages[0].state is State.READY
    message = scene.take(server)
    assert (message.id, message.payload, message.correlation_id) == (id, "hello", "c")
    assert (message.headers, message.delivery_count) == ({"h": "v"}, 1)
    assert scene.browse("q").messages[0].state is State.HELD
    assert scene.ack([id], token=server).acked == [id]
    assert scene.browse("q").messages == []


def test_a_message_goes_to_one_consumer_at_a_time(scene: Scene) -> None:
    servers = [scene.server(client, "q") for client in "ab"]
    id = scene.put("q")
    assert [scene.ids(server) for server in servers] == [[id], []]


def test_first_deliveries_are_in_the_order_of_ids(scene: Scene) -> None:
    server = scene.server("worker", "q")
    ids = [scene.put("q") for _ in range(4)]
    assert [scene.take(server).id for _ in ids] == ids


def test_a_delayed_message_waits_and_then_has_its_own_place(scene: Scene) -> None:
    server = scene.server("worker", "q")
    delayed = scene.put("q", delay=5)
    other, last = scene.put("q"), scene.put("q")
    assert scene.take(server).id == other
    scene.sleep(5)
    assert scene.ids(server, limit=5) == [delayed, last]


@pytest.mark.parametrize("how", ["logout", "lease", "nack", "ack_timeout"])
def test_what_is_given_back_comes_first_and_counts(scene: Scene, how: str) -> None:
    scene.create_queue("q", Policy(ack_timeout=20 if how == "ack_timeout" else None))
    first, second = scene.server("first", "q", lease=30), scene.server("second", "q", lease=300)
    id, other = scene.put("q"), scene.put("q")
    scene.take(first)
    if how == "logout":
        scene.logout(first)
    elif how == "nack":
        scene.nack([id], token=first)
    else:
        scene.sleep(20 if how == "ack_timeout" else 30)
    assert [(m.id, m.delivery_count) for m in scene.poll(second, limit=5).messages] == [
        (id, 2),
        (other, 1),
    ]


def test_nack_with_a_delay(scene: Scene) -> None:
    server = scene.server("worker", "q")
    id = scene.put("q")
    scene.take(server)
    assert scene.nack([id], token=server, delay=5).released == [id]
    assert scene.ids(server) == []
    scene.sleep(5)
    assert scene.ids(server) == [id]


def test_touch_renews_the_ack_timeout(scene: Scene) -> None:
    scene.create_queue("q", Policy(ack_timeout=10))
    server = scene.server("worker", "q")
    id = scene.put("q")
    scene.take(server)
    for _ in range(3):
        scene.sleep(9)
        assert scene.touch(server, [id, 1]).touched == [id]
    assert scene.inspect_queue("q").held == 1
    scene.sleep(10)
    assert scene.inspect_queue("q").ready == 1


def test_touch_after_the_policy_lost_its_ack_timeout(scene: Scene) -> None:
    scene.create_queue("q", Policy(ack_timeout=10))
    server = scene.server("worker", "q")
    id = scene.put("q")
    scene.take(server)
    scene.change_queue("q", {"ack_timeout": None})
    scene.touch(server, [id])
    scene.sleep(20)
    assert scene.inspect_queue("q").held == 1


def test_after_max_deliveries_it_is_dead(scene: Scene) -> None:
    scene.create_queue("q", Policy(max_deliveries=2))
    server = scene.server("worker", "q")
    id = scene.put("q")
    for _ in range(2):
        scene.take(server)
        scene.nack([id], token=server)
    assert scene.ids(server) == []
    (dead,) = scene.browse("q", state=State.DEAD).messages
    assert (dead.id, dead.cause, dead.delivery_count) == (id, "max_deliveries", 2)


def test_rejected_it_is_dead(scene: Scene) -> None:
    server = scene.server("worker", "q")
    id = scene.put("q")
    scene.take(server)
    assert scene.nack([id], token=server, requeue=False).released == [id]
    assert scene.browse("q").messages[0].cause == "rejected"


def test_dead_messages_are_bounded_and_the_oldest_goes_with_an_event(scene: Scene) -> None:
    scene.create_queue("q", Policy(max_dead=2))
    server = scene.server("worker", "q")
    ids = [scene.put("q") for _ in range(3)]
    scene.poll(server, limit=3)
    # The one that died first is the oldest, whatever its id.
    for id in (ids[1], ids[2], ids[0]):
        scene.nack([id], token=server, requeue=False)
    assert [m.id for m in scene.browse("q").messages] == [ids[0], ids[2]]
    assert ("dropped", ids[1], "max_dead") in scene.events()


def test_a_smaller_max_dead_holds_at_once(scene: Scene) -> None:
    server = scene.server("worker", "q")
    ids = [scene.put("q") for _ in range(3)]
    scene.poll(server, limit=3)
    scene.nack(ids, token=server, requeue=False)
    scene.change_queue("q", {"max_dead": 1})
    assert [m.id for m in scene.browse("q").messages] == [ids[2]]


def test_a_replayed_message_starts_anew(scene: Scene) -> None:
    server = scene.server("worker", "q")
    id = scene.put("q", ttl=10)
    other = scene.put("q")
    scene.take(server)
    scene.nack([id], token=server, requeue=False)
    scene.sleep(20)
    assert scene.replay_dead("q").replayed == 1
    message = scene.take(server)
    assert (message.id, message.delivery_count, message.expires_at) == (id, 1, None)
    assert scene.take(server).id == other


def test_as_many_are_replayed_as_fit(scene: Scene) -> None:
    scene.create_queue("q", Policy(max_length=2))
    server = scene.server("worker", "q")
    dead = [scene.put("q"), scene.put("q")]
    scene.poll(server, limit=2)
    scene.nack(dead, token=server, requeue=False)
    ready = scene.put("q")
    result = scene.replay_dead("q", [*dead, ready, 1])
    assert (result.replayed, result.not_dead, result.no_room) == (1, 2, 1)
    assert scene.ids(server, limit=5) == [dead[0], ready]


def test_an_expired_message_is_not_delivered(scene: Scene) -> None:
    server = scene.server("worker", "q")
    id = scene.put("q", ttl=10)
    scene.now += 10  # nobody told the switch yet
    assert scene.ids(server) == []
    assert ("dropped", id, "expired") in scene.events()


def test_where_the_policy_says_so_an_expired_message_is_dead(scene: Scene) -> None:
    scene.create_queue("q", Policy(on_expire="dead"))
    scene.put("q", ttl=10)
    scene.sleep(10)
    assert scene.browse("q").messages[0].cause == "expired"


@pytest.mark.parametrize(("own", "policy", "life"), [(5, 9, 5), (9, 5, 5), (None, 5, 5)])
def test_the_shorter_ttl_wins(scene: Scene, own: float, policy: float, life: float) -> None:
    scene.create_queue("q", Policy(ttl=policy))
    scene.put("q", ttl=own)
    scene.sleep(life - 0.5)
    assert scene.inspect_queue("q").ready == 1
    scene.sleep(0.5)
    assert scene.inspect_queue("q").ready == 0


def test_ttl_is_not_judged_while_it_is_held_but_when_it_is_given_back(scene: Scene) -> None:
    server = scene.server("worker", "q")
    acked, given_back = scene.put("q", ttl=10), scene.put("q", ttl=10)
    scene.poll(server, limit=2)
    scene.sleep(20)
    assert scene.inspect_queue("q").held == 2
    assert scene.ack([acked], token=server).acked == [acked]
    scene.nack([given_back], token=server)
    assert ("dropped", given_back, "expired") in scene.events()
    assert scene.ids(server) == []


def test_ttl_runs_on_for_what_was_given_back(scene: Scene) -> None:
    server = scene.server("worker", "q")
    id = scene.put("q", ttl=10)
    scene.take(server)
    scene.sleep(5)
    scene.nack([id], token=server)
    scene.sleep(5)
    assert scene.inspect_queue("q").ready == 0


def test_a_message_whose_delay_and_ttl_both_passed_is_not_delivered(scene: Scene) -> None:
    server = scene.server("worker", "q")
    wait = scene.transfer(token=server, timeout=60)
    scene.put("q", delay=5, ttl=10)
    scene.sleep(20)
    assert not wait.done
    assert scene.inspect_queue("q").delayed == 0


# -- Transfer -----------------------------------------------------------------------------------


def test_next_is_the_highest_delivery_number_or_what_was_asked_after(scene: Scene) -> None:
    server = scene.server("worker", "q")
    assert scene.poll(server).next == 0
    assert scene.poll(server, after=7).next == 7
    scene.put("q")
    scene.put("q")
    result = scene.poll(server, after=7, limit=2)
    assert result.next == result.messages[1].delivery > result.messages[0].delivery


def test_a_lost_answer_loses_nothing(scene: Scene) -> None:
    server = scene.server("worker", "q")
    ids = [scene.put("q") for _ in range(3)]
    first = scene.poll(server, after=0, limit=1)
    lost = scene.poll(server, after=first.next, limit=2)
    again = scene.poll(server, after=first.next, limit=2)
    assert again.messages == lost.messages
    assert [m.id for m in again.messages] == ids[1:]
    assert [m.delivery_count for m in again.messages] == [1, 1]


def test_after_zero_sends_all_that_is_held_oldest_first_and_then_new_ones(scene: Scene) -> None:
    server = scene.server("worker", "q")
    held = [scene.put("q"), scene.put("q")]
    scene.poll(server, limit=2)
    new = scene.put("q")
    assert scene.ids(server, after=0, limit=5) == [*held, new]


def test_new_messages_wait_until_all_is_sent_again(scene: Scene) -> None:
    server = scene.server("worker", "q")
    held = [scene.put("q") for _ in range(3)]
    scene.poll(server, limit=3)
    new = scene.put("q")
    first = scene.poll(server, after=0, limit=2)
    assert [m.id for m in first.messages] == held[:2]
    assert scene.ids(server, after=first.next, limit=2) == [held[2], new]


def test_what_was_acked_is_not_sent_again(scene: Scene) -> None:
    server = scene.server("worker", "q")
    ids = [scene.put("q"), scene.put("q")]
    scene.poll(server, limit=2)
    assert scene.ids(server, after=0, limit=5, acks=ids[:1]) == ids[1:]


def test_after_never_hides_what_was_not_handed_to_this_session(scene: Scene) -> None:
    first, second = scene.server("first", "q"), scene.server("second", "q")
    id = scene.put("q")
    seen = scene.poll(first, after=0).next
    scene.nack([id], token=first)
    scene.poll(second)
    scene.logout(second)
    assert scene.ids(first, after=seen + 100) == [id]


def test_without_after_nothing_is_sent_again(scene: Scene) -> None:
    server = scene.server("worker", "q")
    scene.put("q")
    scene.take(server)
    assert scene.ids(server) == []


def test_a_transfer_with_after_ends_the_earlier_one(scene: Scene) -> None:
    server = scene.server("worker", "q")
    earlier = scene.transfer(token=server, after=5, timeout=60)
    later = scene.transfer(token=server, after=5, timeout=60)
    assert (earlier.done, later.done) == (True, False)
    assert scene.switch.woken == [earlier]
    result = scene.collect(earlier)
    assert (result.messages, result.next, result.superseded) == ([], 5, True)


def test_what_the_superseded_one_was_handed_goes_to_the_newer_one(scene: Scene) -> None:
    server = scene.server("worker", "q")
    earlier = scene.transfer(token=server, after=0, timeout=60)
    id = scene.put("q")
    message = scene.take(server, after=0)
    assert (message.id, message.delivery_count) == (id, 1)
    assert scene.collect(earlier).messages == []


def test_without_after_any_number_may_be_open(scene: Scene) -> None:
    server = scene.server("worker", "q")
    waits = [scene.transfer(token=server, timeout=60) for _ in range(3)]
    waits.append(scene.transfer(token=server, after=0, timeout=60))
    assert not any(wait.done for wait in waits)
    ids = [scene.put("q") for _ in waits]
    assert [scene.collect(wait).messages[0].id for wait in waits] == ids


def test_what_is_sent_again_leaves_the_other_answer(scene: Scene) -> None:
    server, other = scene.server("worker", "q"), scene.server("other", "q")
    crossing = scene.transfer(token=server, timeout=60)
    id = scene.put("q")
    assert scene.ids(server, after=0) == [id]
    scene.abandon(crossing)
    assert scene.ids(other) == []
    assert scene.ack([id], token=server).acked == [id]


def test_what_was_given_back_and_handed_out_again_is_in_one_answer(scene: Scene) -> None:
    server = scene.server("worker", "q")
    id = scene.put("q")
    scene.take(server)
    again = scene.transfer(token=server, after=0, timeout=60)
    scene.nack([id], token=server)
    message = scene.take(server)
    assert (message.id, message.delivery_count) == (id, 2)
    assert scene.collect(again).messages == []


def test_limit_is_one_unless_asked(scene: Scene) -> None:
    server = scene.server("worker", "q")
    ids = [scene.put("q") for _ in range(5)]
    assert scene.ids(server) == ids[:1]
    assert scene.ids(server, limit=3) == ids[1:4]


def test_an_answer_is_filled_up_when_it_is_given(scene: Scene) -> None:
    server = scene.server("worker", "q")
    wait = scene.transfer(token=server, timeout=60, limit=3)
    ids = [scene.put("q") for _ in range(4)]
    assert scene.inspect_queue("q").held == 1
    assert [m.id for m in scene.collect(wait).messages] == ids[:3]


def test_an_answer_is_bounded_in_bytes_but_never_empty(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch_module, "MAX_BATCH_BYTES", 10)
    server = scene.server("worker", "q")
    ids = [scene.put("q", payload) for payload in ("large" * 5, "12345", "éé", "12")]
    assert scene.ids(server, limit=9) == ids[:1]
    assert scene.ids(server, limit=9) == ids[1:3]
    assert scene.ids(server, limit=9) == ids[3:]
    assert scene.ids(server, after=0, limit=9) == ids[:1]


def test_headers_count_as_well(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch_module, "MAX_BATCH_BYTES", 10)
    server = scene.server("worker", "q")
    ids = [scene.put("q", "1", headers={"name": "value"}) for _ in range(2)]
    assert scene.ids(server, limit=9) == ids[:1]
    assert scene.ids(server, limit=9) == ids[1:]


def test_across_queues_the_oldest_id_comes_first(scene: Scene) -> None:
    server = scene.server("worker", "a", "b")
    ids = [scene.put(name) for name in "abba"]
    assert scene.ids(server, limit=9) == ids


def test_subscribing_joins_transfers_already_open(scene: Scene) -> None:
    server = scene.server("worker")
    wait = scene.transfer(token=server, timeout=60)
    scene.create_queue("q")
    id = scene.put("q")
    scene.subscribe("q", token=server)
    assert [m.id for m in scene.collect(wait).messages] == [id]


def test_unsubscribing_leaves_transfers_already_open(scene: Scene) -> None:
    server = scene.server("worker", "q")
    wait = scene.transfer(token=server, timeout=60)
    scene.unsubscribe("q", token=server)
    scene.put("q")
    assert not wait.done


def test_a_message_wakes_the_one_that_waits_longest_and_nobody_else(scene: Scene) -> None:
    tokens = [scene.server(client, "q") for client in "abc"]
    waits = [scene.transfer(token=token, timeout=60) for token in reversed(tokens)]
    for woken in range(3):
        assert scene.switch.woken == waits[:woken]
        scene.put("q")
    assert scene.switch.woken == waits


def test_a_wait_is_woken_once(scene: Scene) -> None:
    server = scene.server("worker", "q")
    wait = scene.transfer(token=server, timeout=10)
    scene.put("q")
    scene.sleep(20)
    assert scene.switch.woken == [wait]


def test_nothing_comes_and_the_time_is_up(scene: Scene) -> None:
    server = scene.server("worker", "q")
    wait = scene.transfer(token=server, after=3, timeout=10)
    assert scene.switch.next_deadline() == scene.now + 10
    scene.sleep(10)
    assert scene.switch.woken == [wait]
    result = scene.collect(wait)
    assert (result.messages, result.next, result.superseded) == ([], 3, False)


def test_a_lost_poll_passes_the_message_on_as_if_never_delivered(scene: Scene) -> None:
    first, second = scene.server("first", "q"), scene.server("second", "q")
    lost = scene.transfer(token=first, timeout=60)
    waiting = scene.transfer(token=second, timeout=60)
    id = scene.put("q")
    scene.abandon(lost)
    assert ("released", id, "poll_lost") in scene.events()
    (message,) = scene.collect(waiting).messages
    assert (message.id, message.delivery_count) == (id, 1)
    assert scene.inspect_queue("q").delivered == 1


def test_a_lost_poll_does_not_use_up_deliveries(scene: Scene) -> None:
    scene.create_queue("q", Policy(max_deliveries=1))
    server = scene.server("worker", "q")
    id = scene.put("q")
    scene.abandon(scene.transfer(token=server))
    assert scene.ids(server) == [id]


def test_a_lost_poll_keeps_what_was_held_before(scene: Scene) -> None:
    server = scene.server("worker", "q")
    held, new = scene.put("q"), scene.put("q")
    scene.take(server)
    scene.abandon(scene.transfer(token=server, after=0, limit=2))
    assert [(m.id, m.state) for m in scene.browse("q").messages] == [
        (held, "held"),
        (new, "ready"),
    ]


def test_a_transfer_acks_and_replies_first_and_says_what_came_of_it(scene: Scene) -> None:
    server = scene.server("worker", "q")
    acked, asked = scene.put("q"), scene.put("q", reply_to="nowhere")
    scene.poll(server, limit=2)
    wait = scene.transfer(
        token=server, timeout=60, acks=[acked, 1], replies=[Reply(id=asked, payload="y")]
    )
    assert not wait.done  # nothing was refused
    new = scene.put("q")
    result = scene.collect(wait)
    assert [m.id for m in result.messages] == [new]
    assert (result.acks.acked, result.acks.unknown) == ([acked], [1])
    assert [(r.request, r.state, r.code) for r in result.replies] == [(asked, "caller_gone", None)]


@pytest.mark.parametrize("what", ["ack", "reply"])
def test_a_transfer_answers_at_once_if_an_ack_or_a_reply_was_refused(
    scene: Scene, what: str
) -> None:
    server, other = scene.server("worker", "q"), scene.server("other", "q")
    id = scene.put("q")
    scene.take(other)
    fields = {"acks": [id]} if what == "ack" else {"replies": [Reply(id=id, payload="y")]}
    wait = scene.transfer(token=server, timeout=60, **fields)
    assert wait.done
    result = scene.collect(wait)
    if what == "ack":
        assert result.acks.not_held == [id]
    else:
        assert result.replies[0].code == "not_holder"


# -- ack, nack, reply ---------------------------------------------------------------------------


def test_acking_what_is_unknown_or_acked_before_is_no_error(scene: Scene) -> None:
    server = scene.server("worker", "q")
    id = scene.put("q")
    scene.take(server)
    scene.ack([id], token=server)
    result = scene.ack([id, 1], token=server)
    assert (result.acked, result.unknown, result.not_held) == ([], [id, 1], [])


@pytest.mark.parametrize("operation", ["ack", "nack"])
def test_not_holder_only_if_nothing_was_done_and_another_holds_it(
    scene: Scene, operation: str
) -> None:
    first, second = scene.server("first", "q"), scene.server("second", "q")
    mine, theirs, ready = scene.put("q"), scene.put("q"), scene.put("q")
    scene.take(first)
    scene.take(second)
    act = getattr(scene, operation)
    assert act([ready], token=first).not_held == [ready]
    with pytest.raises(NotHolder):
        act([theirs, 1, ready], token=first)
    assert act([theirs, mine], token=first).not_held == [theirs]
    assert scene.ack([theirs], token=second).acked == [theirs]


def test_a_reply_goes_to_the_reply_queue_and_acks(scene: Scene) -> None:
    server, asker = scene.server("worker", "q"), scene.server("asker", "answers")
    id = scene.put("q", reply_to="answers", correlation_id="c")
    scene.take(server)
    result = scene.reply(
        Reply(id=id, payload="42", headers={"h": "v"}, error=Failure("oops", "It broke.")),
        token=server,
    )
    answer = scene.take(asker)
    assert (answer.id, answer.payload, answer.correlation_id) == (result.id, "42", "c")
    assert (answer.headers, answer.sender) == ({"h": "v"}, "worker")
    assert answer.error == Failure("oops", "It broke.")
    assert scene.inspect_queue("q").held == 0


@pytest.mark.parametrize(("asked", "answered"), [(None, None), ("", ""), ("c", "c")])
def test_a_response_has_the_correlation_id_of_its_request_or_its_id(
    scene: Scene, asked: str | None, answered: str | None
) -> None:
    server, asker = scene.server("worker", "q"), scene.server("asker", "answers")
    id = scene.put("q", reply_to="answers", correlation_id=asked)
    scene.take(server)
    scene.reply(Reply(id=id, payload="y"), token=server)
    assert scene.take(asker).correlation_id == (str(id) if answered is None else answered)
    call = scene.call("q", draft(correlation_id=asked), timeout=10)
    request = scene.take(server)
    scene.reply(Reply(id=request.id, payload="y"), token=server)
    expected = str(request.id) if asked is None else asked
    assert call.response.correlation_id == expected


@pytest.mark.parametrize(("reply_to", "state"), [(None, "no_reply_to"), ("nowhere", "caller_gone")])
def test_a_reply_that_nobody_waits_for_acks_too(
    scene: Scene, reply_to: str | None, state: str
) -> None:
    server = scene.server("worker", "q")
    id = scene.put("q", reply_to=reply_to)
    scene.take(server)
    result = scene.reply(Reply(id=id, payload="y"), token=server)
    assert (result.id, result.state) == (None, state)
    assert scene.inspect_queue("q").acked == 1
    result = scene.reply(Reply(id=id, payload="y"), token=server)
    assert (result.id, result.state) == (None, "unknown")


def test_only_the_holder_replies(scene: Scene) -> None:
    server, other = scene.server("worker", "q"), scene.server("other", "q")
    id = scene.put("q", reply_to="q")
    scene.take(other)
    with pytest.raises(NotHolder):
        scene.reply(Reply(id=id, payload="y"), token=server)


@pytest.mark.parametrize("why", ["queue", "bytes", "payload"])
def test_if_there_is_no_room_for_the_reply_nothing_happens(why: str) -> None:
    scene = Scene(total_bytes=30, payload_bytes=20)
    server = scene.server("worker", "q")
    scene.create_queue("full", Policy(max_length=0 if why == "queue" else 9))
    id = scene.put("q", reply_to="full")
    scene.take(server)
    payload, refusal = {
        "queue": ("y", QueueFull),
        "bytes": ("y" * 20, SwitchFull),
        "payload": ("y" * 21, PayloadTooLarge),
    }[why]
    before = scene.switch.bytes
    if why == "bytes":
        scene.put("q", "x" * 10)
        before += 10
    with pytest.raises(refusal):
        scene.reply(Reply(id=id, payload=payload), token=server)
    assert scene.inspect_queue("q").held == 1
    assert scene.switch.bytes == before


def test_messages_without_a_byte_are_bounded_too() -> None:
    scene = Scene(messages=3)
    server = scene.server("worker", "q")
    scene.create_queue("r")
    id = scene.put("q", "", reply_to="r")
    for _ in range(2):
        scene.put("r", "")
    with pytest.raises(SwitchFull, match="3 messages"):
        scene.put("r", "")
    with pytest.raises(SwitchFull):
        scene.ask("another")
    assert "another" not in scene.switch.queues
    scene.take(server)
    # It takes the place of its request.
    scene.reply(Reply(id=id, payload=""), token=server)
    assert scene.inspect_queue("r").ready == 3
    removed = scene.purge_queue("r", undo_for=60).undo
    scene.put("q", "")
    with pytest.raises(SwitchFull):
        scene.undo(removed.id)
    assert scene.inspect_queue("r").ready == 0


# -- sessions -----------------------------------------------------------------------------------

NEEDS_SESSION = {
    "logout": (),
    "touch": (),
    "create_fresh_queue": (),
    "subscribe": ("q",),
    "unsubscribe": ("q",),
    "transfer": (),
    "ack": ([1],),
    "nack": ([1],),
    "reply": (Reply(id=1, payload=""),),
}


@pytest.mark.parametrize(("token", "refusal"), [(None, SessionRequired), ("wrong", UnknownSession)])
@pytest.mark.parametrize("operation", NEEDS_SESSION)
def test_what_needs_a_session(
    scene: Scene, operation: str, token: str | None, refusal: type[SwitchError]
) -> None:
    scene.create_queue("q")
    positional = NEEDS_SESSION[operation]
    if operation in ("logout", "touch"):
        positional, fields = (token, *positional), {}
    else:
        fields = {"token": token}
    with pytest.raises(refusal):
        getattr(scene, operation)(*positional, **fields)


def test_the_rest_works_without_one_and_has_no_sender(scene: Scene) -> None:
    scene.create_queue("q")
    scene.put("q")
    assert scene.browse("q").messages[0].sender is None
    with pytest.raises(UnknownSession):
        scene.send("q", draft(), token="wrong")


def test_a_sender_with_a_session_has_its_name(scene: Scene) -> None:
    scene.send("q", draft(), token=scene.server("asker", "q"))
    assert scene.browse("q").messages[0].sender == "asker"


def test_a_session_ends_when_its_lease_has_passed(scene: Scene) -> None:
    server = scene.server("worker", "q", lease=30)
    scene.sleep(29)
    scene.touch(server)
    scene.sleep(29)
    scene.send("q", draft(), token=server)
    scene.sleep(29)
    scene.touch(server)
    scene.sleep(30)
    with pytest.raises(UnknownSession):
        scene.touch(server)
    assert ("lease_expired", None, None) in scene.events()


def test_an_open_transfer_keeps_its_session_alive(scene: Scene) -> None:
    server = scene.server("worker", "q", lease=5)
    wait = scene.transfer(token=server, timeout=60)
    scene.sleep(60)
    assert wait.done
    scene.sleep(10)  # done, but not answered yet
    scene.collect(wait)
    scene.sleep(4)
    scene.touch(server)
    scene.sleep(5)
    with pytest.raises(UnknownSession):
        scene.touch(server)


def test_a_session_that_ends_wakes_its_transfers(scene: Scene) -> None:
    server = scene.server("worker", "q")
    wait = scene.transfer(token=server, timeout=60)
    scene.logout(server)
    assert scene.switch.woken == [wait]
    with pytest.raises(UnknownSession):
        scene.collect(wait)
    scene.abandon(wait)  # no error: there is nothing left to undo
    scene.put("q")
    assert scene.inspect_queue("q").ready == 1


def test_the_end_of_a_session_frees_what_it_had(scene: Scene) -> None:
    server = scene.server("worker", "q")
    name = scene.create_fresh_queue(token=server).name
    scene.put(name)
    id = scene.put("q")
    scene.take(server)
    scene.logout(server)
    info = scene.inspect_queue("q")
    assert (info.ready, info.held, info.consumers) == (1, 0, 0)
    with pytest.raises(QueueNotFound):
        scene.inspect_queue(name)
    assert ("released", id, "logout") in scene.events()
    assert ("logout", None, None) in scene.events()


def test_nobody_but_its_owner_uses_a_transient_queue_but_anybody_sends(scene: Scene) -> None:
    owner, other = scene.server("owner"), scene.server("other")
    name = scene.create_fresh_queue(token=owner).name
    for operation, args in (
        ("subscribe", ()),
        ("destroy_queue", ()),
        ("purge_queue", ()),
        ("replay_dead", ()),
        ("change_queue", ({"ttl": 5.0},)),
    ):
        with pytest.raises(NotOwner):
            getattr(scene, operation)(name, *args, token=other)
    id = scene.put(name)
    scene.subscribe(name, token=owner)
    assert scene.ids(owner) == [id]
    scene.change_queue(name, {"ttl": 5.0}, token=owner)
    scene.destroy_queue(name, token=owner)


def test_the_name_of_a_fresh_queue_cannot_be_taken_in_advance(scene: Scene) -> None:
    spy, owner = scene.server("spy"), scene.server("owner")
    guess = f"fresh.{FIRST_ID + 2}"  # after the numbers of the two sessions
    scene.create_queue(guess)
    scene.subscribe(guess, token=spy)
    scene.destroy_queue(guess)
    name = scene.create_fresh_queue(token=owner).name
    assert name != guess
    assert scene.inspect_queue(name).consumers == 0


# -- queues -------------------------------------------------------------------------------------


def test_put_without_a_policy_changes_nothing(scene: Scene) -> None:
    policy = Policy(ttl=5.0)
    assert scene.create_queue("q", policy).created
    assert not scene.create_queue("q").created
    assert not scene.create_queue("q", policy).created
    with pytest.raises(PolicyDiffers):
        scene.create_queue("q", Policy())
    assert scene.inspect_queue("q").policy == policy


def test_a_policy_is_changed_field_by_field(scene: Scene) -> None:
    scene.create_queue("q", Policy(ttl=5.0))
    info = scene.change_queue("q", {"max_deliveries": 3})
    assert info.policy == Policy(ttl=5.0, max_deliveries=3)


def test_a_queue_needs_a_name(scene: Scene) -> None:
    with pytest.raises(InvalidName):
        scene.create_queue("no/name")


def test_subscribing_needs_the_queue(scene: Scene) -> None:
    server = scene.server("worker")
    with pytest.raises(QueueNotFound):
        scene.subscribe("q", token=server)


def test_a_subscription_survives_destroy_and_create(scene: Scene) -> None:
    server = scene.server("worker", "q")
    wait = scene.transfer(token=server, timeout=60)
    scene.destroy_queue("q")
    scene.create_queue("q")
    id = scene.put("q")
    assert [m.id for m in scene.collect(wait).messages] == [id]


def test_unsubscribed_what_is_held_stays_held(scene: Scene) -> None:
    server = scene.server("worker", "q")
    id = scene.put("q")
    scene.take(server)
    scene.unsubscribe("q", token=server)
    scene.put("q")
    assert scene.ids(server) == []
    assert scene.ack([id], token=server).acked == [id]


def test_destroy_drops_all_and_later_acks_are_unknown(scene: Scene) -> None:
    server = scene.server("worker", "q")
    id = scene.put("q")
    scene.put("q")
    wait = scene.transfer(token=server, timeout=60)
    scene.destroy_queue("q")
    assert ("queue_destroyed", None, "2 messages") in scene.events()
    assert scene.ack([id], token=server).unknown == [id]
    assert scene.collect(wait).messages == []
    assert scene.switch.bytes == 0


@pytest.mark.parametrize(
    ("state", "left"),
    [
        (None, {"held", "dead"}),
        (State.READY, {"delayed", "held", "dead"}),
        (State.DELAYED, {"ready", "held", "dead"}),
        (State.HELD, {"ready", "delayed", "dead"}),
        (State.DEAD, {"ready", "delayed", "held"}),
    ],
)
def test_purge_drops_one_state_or_what_is_not_delivered(
    scene: Scene, state: State | None, left: set[str]
) -> None:
    server = scene.server("worker", "q")
    dead = scene.put("q")
    scene.put("q")
    scene.poll(server, limit=2)
    scene.nack([dead], token=server, requeue=False)
    scene.put("q")
    scene.put("q", delay=60)
    purged = scene.purge_queue("q", state).purged
    assert {m.state for m in scene.browse("q").messages} == left
    assert purged == 4 - len(left)


def test_an_operator_drops_a_message_in_any_state(scene: Scene) -> None:
    server = scene.server("worker", "q")
    held, ready = scene.put("q"), scene.put("q")
    scene.take(server)
    for id in (held, ready):
        scene.drop_message("q", id)
        assert ("dropped", id, "operator") in scene.events()
    assert scene.ack([held], token=server).unknown == [held]
    with pytest.raises(MessageNotFound):
        scene.drop_message("q", held)


def test_a_message_is_dropped_from_its_own_queue_only(scene: Scene) -> None:
    scene.create_queue("q")
    scene.create_queue("other")
    id = scene.put("q")
    with pytest.raises(MessageNotFound):
        scene.drop_message("other", id)


# -- nothing silent, bounded --------------------------------------------------------------------


def test_sending_to_a_queue_that_does_not_exist_is_an_error(scene: Scene) -> None:
    with pytest.raises(QueueNotFound):
        scene.put("nowhere")


def test_a_full_queue_refuses(scene: Scene) -> None:
    scene.create_queue("q", Policy(max_length=3))
    server = scene.server("worker", "q")
    id = scene.put("q")
    scene.take(server)
    scene.put("q", delay=60)
    scene.put("q")
    with pytest.raises(QueueFull) as refusal:
        scene.put("q")
    assert refusal.value.extra["retry_after"] >= 1
    scene.nack([id], token=server, requeue=False)  # the dead do not count
    scene.put("q")


@pytest.mark.parametrize("part", ["payload", "headers"])
def test_a_message_is_bounded(part: str) -> None:
    scene = Scene(payload_bytes=10, header_bytes=10)
    scene.create_queue("q")
    good = {"payload": draft("é" * 5), "headers": draft(headers={"é": "x" * 8})}[part]
    large = {"payload": draft("é" * 5 + "x"), "headers": draft(headers={"é": "x" * 9})}[part]
    scene.send("q", good)
    with pytest.raises(PayloadTooLarge):
        scene.send("q", large)


def test_bytes_are_bounded_with_the_keys_and_counted_exactly() -> None:
    scene = Scene(total_bytes=100, key_window=10)
    server = scene.server("worker", "q")
    id = scene.put("q", "x" * 60)
    with pytest.raises(SwitchFull):
        scene.put("q", "x" * 41)
    with pytest.raises(SwitchFull):
        scene.put("q", "x" * 10, key="k")
    other = scene.put("q", "x" * 6, key="k")
    assert scene.switch.bytes == 60 + (6 + 1) + (1 + 32)
    scene.poll(server, limit=2)
    scene.ack([id, other], token=server)
    assert scene.switch.bytes == 33  # the key is still remembered
    scene.sleep(10)
    assert scene.switch.bytes == 0


def test_sessions_queues_and_subscriptions_are_bounded() -> None:
    scene = Scene(sessions=1, queues=2, subscriptions=1)
    server = scene.server("worker", "a")
    scene.create_queue("b")
    with pytest.raises(TooManySessions):
        scene.login("token", "other", 30.0)
    with pytest.raises(TooManyQueues):
        scene.create_queue("c")
    with pytest.raises(TooManyQueues):
        scene.create_fresh_queue(token=server)
    with pytest.raises(TooManySubscriptions):
        scene.subscribe("b", token=server)
    scene.subscribe("a", token=server)  # it has that one already
    scene.logout(server)
    scene.login("token", "other", 30.0)


def test_max_length_is_bounded_and_the_default_fits() -> None:
    scene = Scene(queue_length=10)
    with pytest.raises(InvalidRequest):
        scene.create_queue("q", Policy(max_length=11))
    scene.create_queue("q")
    assert scene.inspect_queue("q").policy.max_length == 10
    with pytest.raises(InvalidRequest):
        scene.change_queue("q", {"max_length": 11})


# -- retry --------------------------------------------------------------------------------------


def test_a_repeated_key_answers_with_the_first_id(scene: Scene) -> None:
    scene.create_queue("q", Policy(max_length=1))
    first = scene.send("q", draft(key="k"))
    again = scene.send("q", draft(key="k"))
    assert (first.created, again.created) == (True, False)
    assert first.id == again.id
    assert scene.inspect_queue("q").sent == 1


def test_a_key_is_remembered_after_the_message_is_gone_for_a_window() -> None:
    scene = Scene(key_window=10)
    server = scene.server("worker", "q")
    id = scene.put("q", key="k")
    scene.take(server)
    scene.ack([id], token=server)
    scene.sleep(9)
    assert scene.put("q", key="k") == id
    scene.sleep(1)
    assert scene.put("q", key="k") > id


def test_another_payload_or_operation_under_the_same_key_is_refused(scene: Scene) -> None:
    scene.server("worker", "q")
    scene.put("q", key="sent")
    scene.call("q", draft(key="called"), timeout=10)
    with pytest.raises(KeyReused):
        scene.put("q", "other", key="sent")
    with pytest.raises(KeyReused):
        scene.call("q", draft(key="sent"), timeout=10)
    with pytest.raises(KeyReused):
        scene.put("q", key="called")


def test_keys_are_of_one_queue_and_go_with_it(scene: Scene) -> None:
    scene.create_queue("q")
    scene.create_queue("other")
    id = scene.put("q", key="k")
    assert scene.put("other", "different", key="k") > id
    scene.destroy_queue("q")
    scene.create_queue("q")
    assert scene.put("q", "different", key="k") > id


# -- calls --------------------------------------------------------------------------------------


def test_a_call_is_answered(scene: Scene) -> None:
    server = scene.server("worker", "q")
    call = scene.call("q", draft("question"), timeout=10)
    request = scene.take(server)
    assert (request.payload, request.expires_at) == ("question", scene.now + 10)
    id = scene.reply(Reply(id=request.id, payload="answer"), token=server).id
    assert scene.switch.woken == [call]
    response = call.response
    assert (response.id, response.request, response.payload) == (id, request.id, "answer")
    assert (response.sender, response.error) == ("worker", None)
    scene.leave_call(call)
    assert scene.switch.calls == {}
    assert scene.switch.bytes == 0


def test_a_call_is_answered_by_a_plain_send_to_its_reply_address(scene: Scene) -> None:
    server = scene.server("worker", "q")
    call = scene.call("q", draft(), timeout=10)
    address = scene.take(server).reply_to
    scene.put(address, "answer")
    assert call.response.payload == "answer"
    with pytest.raises(QueueNotFound):
        scene.put(address, "another answer")


def test_nobody_creates_a_queue_with_the_reply_address_of_a_call(scene: Scene) -> None:
    server = scene.server("worker", "q")
    call = scene.call("q", draft(), timeout=10)
    address = scene.take(server).reply_to
    with pytest.raises(NameTaken):
        scene.create_queue(address)
    scene.leave_call(call)
    assert scene.create_queue(address).created


def test_a_call_times_out_with_the_verdict_of_the_instant_before(scene: Scene) -> None:
    server = scene.server("worker", "q")
    scene.put("q")
    scene.take(server)
    call = scene.call("q", draft(), timeout=10)
    scene.sleep(10)
    assert scene.switch.woken == [call]
    assert call.response is None
    assert call.verdict.code == "queued"  # it was still there
    assert scene.inspect_queue("q").ready == 0  # and expired with the call
    assert ("call_timeout", call.call.request, None) in scene.events()


def test_no_server_starts_work_for_a_caller_that_gave_up(scene: Scene) -> None:
    server = scene.server("worker", "q")
    scene.call("q", draft(), timeout=10)
    scene.now += 10
    assert scene.ids(server) == []


def test_the_caller_is_gone_when_the_reply_comes_late(scene: Scene) -> None:
    server = scene.server("worker", "q")
    scene.call("q", draft(), timeout=10)
    request = scene.take(server)
    scene.sleep(10)
    result = scene.reply(Reply(id=request.id, payload="y"), token=server)
    assert (result.id, result.state) == (None, "caller_gone")


def test_a_caller_that_leaves_is_an_event(scene: Scene) -> None:
    scene.server("worker", "q")
    call = scene.call("q", draft(), timeout=10)
    scene.leave_call(call)
    assert ("caller_gone", call.call.request, None) in scene.events()
    scene.sleep(20)
    assert call.verdict is None
    assert scene.switch.woken == []


@pytest.mark.parametrize("delay", [0.0, 5.0])
def test_no_server_starts_work_for_a_caller_that_left(scene: Scene, delay: float) -> None:
    scene.create_queue("q", Policy(on_expire="dead"))
    server = scene.server("worker", "q")
    call = scene.call("q", Draft("x", delay=delay), timeout=10)
    scene.leave_call(call)
    assert ("dropped", call.call.request, "caller_gone") in scene.events()
    report = scene.explain(call.call.request)
    assert (report.message, report.verdict.code) == (None, "dropped")
    assert "nobody waited" in report.verdict.sentence
    scene.sleep(delay)
    assert scene.ids(server) == []
    assert scene.switch.bytes == 0


def test_a_request_of_a_caller_that_left_is_handed_out_no_more(scene: Scene) -> None:
    scene.create_queue("q", Policy(on_expire="dead"))
    server = scene.server("worker", "q")
    call = scene.call("q", draft(), timeout=10)
    request = scene.take(server)
    scene.leave_call(call)
    assert scene.browse("q").messages[0].holder == "worker"
    scene.nack([request.id], token=server)
    assert scene.events()[-2:] == [
        ("released", request.id, "nack"),
        ("dropped", request.id, "caller_gone"),
    ]
    assert scene.ids(server) == []
    assert "nobody waited" in scene.explain(request.id).verdict.sentence


def test_the_work_for_a_caller_that_left_may_be_finished(scene: Scene) -> None:
    server = scene.server("worker", "q")
    call = scene.call("q", draft(), timeout=10)
    request = scene.take(server)
    scene.leave_call(call)
    result = scene.reply(Reply(id=request.id, payload="y"), token=server)
    assert (result.id, result.state) == (None, "caller_gone")


@pytest.mark.parametrize("then", ["dead", "replayed", "held again"])
def test_a_dead_request_outlives_its_caller(scene: Scene, then: str) -> None:
    server = scene.server("worker", "q")
    call = scene.call("q", draft(), timeout=10)
    id = scene.take(server).id
    scene.nack([id], token=server, requeue=False)
    if then != "dead":
        scene.replay_dead("q", [id])
    if then == "held again":
        scene.take(server)
    scene.leave_call(call)
    if then == "held again":
        scene.nack([id], token=server)
    info = scene.inspect_queue("q")
    assert (info.dead, info.ready) == ((1, 0) if then == "dead" else (0, 1))


def test_one_of_two_who_wait_for_a_call_may_leave(scene: Scene) -> None:
    server = scene.server("worker", "q")
    first, second = (scene.call("q", draft(key="k"), timeout=10) for _ in range(2))
    scene.leave_call(first)
    request = scene.take(server)
    scene.reply(Reply(id=request.id, payload="answer"), token=server)
    assert second.response.payload == "answer"


def test_the_request_of_a_caller_that_left_is_dropped_where_it_is_now(scene: Scene) -> None:
    scene.server("worker", "q")
    scene.create_queue("other")
    call = scene.call("q", draft(), timeout=10)
    scene.move_messages("q", "other", ids=[call.call.request])
    scene.leave_call(call)
    assert scene.inspect_queue("other").ready == 0
    assert scene.switch.messages == {}


def test_nobody_serves(scene: Scene) -> None:
    with pytest.raises(NoServer):
        scene.call("q", draft(), timeout=10)
    assert scene.list_queues().queues == []
    scene.create_queue("q")
    with pytest.raises(NoServer):
        scene.call("q", draft(), timeout=10)


def test_a_call_that_waits_for_a_server_creates_the_queue(scene: Scene) -> None:
    call = scene.call("q", draft(), timeout=10, wait_for_server=True)
    server = scene.server("worker", "q")
    assert scene.take(server).id == call.call.request


def test_a_call_that_does_not_wait_for_a_server_creates_nothing(scene: Scene) -> None:
    scene.server("worker", "q")
    scene.destroy_queue("q")
    with pytest.raises(QueueNotFound):
        scene.call("q", draft(), timeout=10)


def test_a_call_that_is_refused_creates_nothing() -> None:
    scene = Scene(payload_bytes=5)
    with pytest.raises(PayloadTooLarge):
        scene.call("q", draft("too long"), timeout=10, wait_for_server=True)
    assert scene.list_queues().queues == []


def test_a_call_with_a_key_is_joined_again_while_the_key_is_remembered() -> None:
    scene = Scene(key_window=100)
    server = scene.server("worker", "q", lease=300)
    lost = scene.call("q", draft(key="k"), timeout=10)
    scene.leave_call(lost)
    again = scene.call("q", draft(key="k"), timeout=10)
    assert again.call is lost.call
    request = scene.take(server)
    scene.reply(Reply(id=request.id, payload="answer"), token=server)
    assert again.response.payload == "answer"
    scene.leave_call(again)
    late = scene.call("q", draft(key="k"), timeout=10)
    assert late.done
    assert late.response is again.response
    assert scene.switch.bytes == (1 + 32) + len("answer") + len(str(request.id))
    scene.sleep(100)
    assert (scene.switch.calls, scene.switch.bytes) == ({}, 0)


def test_a_repeated_call_whose_request_is_lost_is_a_new_call() -> None:
    scene = Scene(key_window=100)
    server = scene.server("worker", "q", lease=300)
    first = scene.call("q", draft(key="k"), timeout=10)
    scene.sleep(10)
    scene.leave_call(first)
    again = scene.call("q", draft(key="k"), timeout=10)
    assert again.call is not first.call
    request = scene.take(server)
    scene.reply(Reply(id=request.id, payload="answer"), token=server)
    assert again.response.payload == "answer"


def test_a_full_switch_takes_the_reply_that_makes_room() -> None:
    scene = Scene(total_bytes=100)
    server = scene.server("worker", "q")
    scene.create_queue("replies")
    call = scene.call("q", Draft(payload="x" * 40), timeout=10)
    scene.put("q", "x" * 30, reply_to="replies")
    scene.poll(server, limit=2)
    (first, second) = scene.switch.queues["q"].held
    with pytest.raises(SwitchFull):
        scene.put("q", "x" * 30)
    scene.reply(Reply(id=first, payload="y" * 70), token=server)
    assert call.response.payload == "y" * 70
    scene.put("q", "x" * 60)
    assert scene.reply(Reply(id=second, payload="y" * 10), token=server).id is not None


def test_the_reply_address_of_an_answered_call_ends_with_its_key() -> None:
    scene = Scene(key_window=5)
    server = scene.server("worker", "q")
    call = scene.call("q", draft(key="k"), timeout=10)
    request = scene.take(server)
    scene.reply(Reply(id=request.id, payload="answer"), token=server)
    scene.sleep(5)
    assert scene.create_queue(request.reply_to).created
    scene.leave_call(call)


# -- time ---------------------------------------------------------------------------------------


def test_what_fell_due_earlier_happens_earlier(scene: Scene) -> None:
    scene.create_queue("q", Policy(ack_timeout=10))
    server = scene.server("worker", "q", lease=12)
    id = scene.put("q")
    scene.sleep(5)
    scene.take(server)  # the lease ends at 17 now, the ack timeout at 15
    scene.sleep(60)
    assert ("released", id, "ack_timeout") in scene.events()


def test_the_next_deadline_is_told(scene: Scene) -> None:
    assert scene.switch.next_deadline() is None
    scene.create_queue("q")
    scene.put("q", ttl=10)
    scene.put("q", delay=5)
    assert scene.switch.next_deadline() == scene.now + 5
    scene.sleep(5)
    assert scene.switch.next_deadline() == scene.now + 5
    scene.sleep(5)
    assert scene.inspect_queue("q").ready == 1
    assert scene.switch.next_deadline() is None


def test_a_reader_of_the_trace_waits_for_the_next_event(scene: Scene) -> None:
    scene.create_queue("q")
    last = scene.switch.trace.last
    wait = scene.watch(after=last, limit=10, timeout=60)
    assert not wait.done
    id = scene.put("q")
    assert scene.switch.woken == [wait]
    (event,) = scene.leave_trace(wait).events
    assert (event.kind, event.message) == ("sent", id)
    assert scene.watch(after=last, limit=10, timeout=60).done


def test_a_reader_of_the_trace_gives_up(scene: Scene) -> None:
    wait = scene.watch(after=scene.switch.trace.last, limit=10, timeout=5)
    left = scene.watch(after=scene.switch.trace.last, limit=10, timeout=5)
    assert scene.leave_trace(left).events == []
    scene.sleep(5)
    assert scene.switch.woken == [wait]
    assert scene.leave_trace(wait).events == []
