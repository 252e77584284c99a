"""What a switch says about its changes is enough to put it back: after each batch a new switch
that is loaded from what the batches left is the same, as far as it must survive."""

from __future__ import annotations

from hypothesis import given

from queues.core.changes import Changes
from queues.core.messages import Draft, Message, Reply
from queues.core.switch import Switch
from queues.core.waits import TransferWait

from .program import NaiveTables, Program, Step, steps


@given(steps)
def test_a_restarted_switch_is_the_same(steps: list[Step]) -> None:
    Program(NaiveTables(), gated=False).run(steps)


@given(steps)
def test_what_is_handed_over_is_written(steps: list[Step]) -> None:
    Program(NaiveTables(), gated=True).run(steps)


def test_what_is_removed_restored_and_removed_again_is_gone() -> None:
    program = Program(NaiveTables(), gated=False)
    program.run([("send", 1, 0, 4), ("write", 0, 0, 0)])
    assert program.switch.messages
    program.run([("purge", 1, 0, 1), ("undo", 0, 0, 0), ("purge", 1, 0, 0)])
    assert not program.switch.messages


def message(switch: Switch, payload: str = "x") -> Message:
    return switch.messages[switch.send("q", Draft(payload), now=1.0).id]


def switch_with_queue() -> Switch:
    switch = Switch(first_id=1, now=0.0)
    switch.changes = Changes()
    switch.create_queue("q", now=0.0)
    return switch


def test_what_came_and_went_leaves_nothing_but_its_position() -> None:
    switch = switch_with_queue()
    changes = switch.changes
    assert changes is not None
    before = changes.position
    sent = message(switch)
    switch.drop_message("q", sent.id, now=1.0)
    assert not changes.added
    assert not changes.removed
    assert changes.position == before + 2
    assert sent.position == before + 1


def test_transient_queues_leave_nothing() -> None:
    switch = Switch(first_id=1, now=0.0)
    switch.changes = Changes()
    switch.login("token", "client", 30.0, now=0.0)
    name = switch.create_fresh_queue(token="token", now=0.0).name
    switch.subscribe(name, token="token", now=0.0)
    switch.send(name, Draft("x", key="k"), now=0.0)
    wait = switch.transfer(token="token", now=0.0)
    delivery = switch.collect(wait, now=0.0).messages[0]
    switch.nack([delivery.id], token="token", now=0.0)
    switch.destroy_queue(name, token="token", now=0.0)
    assert switch.changes.position == 0


def test_what_is_not_safe_is_ready_but_not_handed_over() -> None:
    switch = switch_with_queue()
    switch.safe = 0
    switch.login("token", "client", 30.0, now=0.0)
    switch.subscribe("q", token="token", now=0.0)
    wait = switch.transfer(token="token", timeout=9.0, now=0.0)
    sent = message(switch)
    assert not wait.done
    assert switch.inspect_queue("q", now=1.0).ready == 1
    switch.have_saved(sent.position - 1, now=1.0)
    assert not wait.done
    switch.have_saved(sent.position, now=1.0)
    assert ids_of(switch, wait) == [sent.id]


def test_what_is_moved_again_waits_for_the_last_move() -> None:
    switch, sent = switch_with_dead_message()
    switch.replay_dead("q", now=1.0)
    first = sent.position
    switch.move_messages("q", "other", now=1.0)
    assert sent.position > first
    switch.have_saved(first, now=1.0)
    assert poll(switch, "other") == []
    switch.have_saved(sent.position, now=1.0)
    assert poll(switch, "other") == [sent.id]


def test_a_replayed_message_waits_until_that_is_written() -> None:
    switch, sent = switch_with_dead_message()
    switch.replay_dead("q", now=1.0)
    assert poll(switch, "q") == []
    switch.have_saved(sent.position, now=1.0)
    assert poll(switch, "q") == [sent.id]


def test_a_reply_in_a_transient_queue_waits_until_its_request_is_gone() -> None:
    switch = switch_with_queue()
    switch.login("token", "client", 30.0, now=0.0)
    replies = switch.create_fresh_queue(token="token", now=0.0).name
    switch.send("q", Draft("request", reply_to=replies), now=0.0)
    assert switch.changes is not None
    switch.safe = switch.changes.position
    [request] = poll(switch, "q")
    result = switch.reply(Reply(request, "reply"), token="token", now=1.0)
    assert poll(switch, replies) == []
    switch.have_saved(switch.changes.position, now=1.0)
    assert poll(switch, replies) == [result.id]


def switch_with_dead_message() -> tuple[Switch, Message]:
    """What has been written is safe."""
    switch = switch_with_queue()
    switch.create_queue("other", now=0.0)
    switch.login("token", "client", 30.0, now=0.0)
    sent = message(switch)
    assert poll(switch, "q") == [sent.id]
    switch.nack([sent.id], token="token", requeue=False, now=1.0)
    assert switch.changes is not None
    switch.safe = switch.changes.position
    return switch, sent


def poll(switch: Switch, queue: str) -> list[int]:
    switch.subscribe(queue, token="token", now=1.0)
    return ids_of(switch, switch.transfer(token="token", now=1.0))


def ids_of(switch: Switch, wait: TransferWait) -> list[int]:
    return [m.id for m in switch.collect(wait, now=1.0).messages]
