from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from queues.admin.actions import (
    GROUPS,
    QUEUE_ACTIONS,
    Choice,
    Destroy,
    Done,
    Drop,
    EndSession,
    Move,
    Pause,
    Plan,
    Purge,
    Replay,
    Requeue,
    Resume,
    Undo,
)
from queues.core.answers import UndoInfo
from queues.core.errors import (
    InvalidRequest,
    NotOwner,
    QueueNotFound,
    SessionNotFound,
    UndoNotFound,
)
from queues.core.limits import Limits
from queues.core.messages import Draft
from queues.core.queue import Policy
from tests.running import Do, running_switch

from .conftest import Scene


def test_pause_and_resume_say_what_waits(scene: Scene) -> None:
    pause, resume = Pause(Choice(queue="foo")), Resume(Choice(queue="foo"))
    assert scene.do(resume.plan) == Plan(
        question="Resume foo?", messages=3, callers=1, notes=["It is not paused."], possible=False
    )
    assert scene.do(pause.plan) == Plan(question="Pause foo?", messages=3, callers=1)
    done = scene.do(pause.carry_out)
    assert done == Done(sentence="Paused foo; 3 messages in it.", messages=3)
    assert scene.do(lambda e: e.inspect_queue("foo")).paused
    assert not scene.do(pause.plan).possible
    assert scene.do(resume.plan).possible
    done = scene.do(resume.carry_out)
    assert done == Done(sentence="Resumed foo; 3 messages in it.", messages=3)
    assert not scene.do(lambda e: e.inspect_queue("foo")).paused


@pytest.mark.parametrize(
    ("group", "what", "messages", "callers"),
    [
        ("waiting", "ready and delayed ", 3, 1),
        ("ready", "ready ", 2, 1),
        ("delayed", "delayed ", 1, 0),
        ("held", "held ", 1, 0),
        ("dead", "dead ", 1, 0),
    ],
)
def test_purge_says_how_many_and_can_be_undone(
    scene: Scene, group: str, what: str, messages: int, callers: int
) -> None:
    before = scene.states()
    purge = Purge(Choice(queue="foo", group=group, undo_for=600))
    what += "messages" if messages > 1 else "message"
    plan = scene.do(purge.plan)
    assert plan.question == f"Purge {messages} {what} of foo?"
    assert (plan.messages, plan.callers, plan.possible) == (messages, callers, True)
    assert "This can be undone for 10 min." in plan.notes
    assert ("Their holders go on; what they reply reaches nobody." in plan.notes) == (
        group == "held"
    )
    done = scene.do(purge.carry_out)
    assert done.sentence.startswith(f"Purged {messages} {what} of foo. This can be undone until 20")
    kept = {id: state for id, state in before.items() if state not in GROUPS[group]}
    assert scene.states() == kept

    undo = Undo(scene.do(lambda e: e.list_undo())[-1])
    assert undo.target.key == "queue/foo"
    assert scene.do(undo.plan).question == f"Restore {messages} {what.split()[-1]} of foo?"
    assert scene.do(undo.carry_out).messages == messages
    assert scene.states().keys() == before.keys()


def test_nothing_to_purge_is_said(scene: Scene) -> None:
    plan = scene.do(Purge(Choice(queue="bar", group="held", undo_for=600)).plan)
    assert plan == Plan(question="Purge 0 held messages of bar?", messages=0, possible=False)


def test_without_a_time_for_it_nothing_can_be_undone(scene: Scene) -> None:
    purge = Purge(Choice(queue="foo", group="ready"))
    assert scene.do(purge.plan).notes == ["This cannot be undone: SWITCH_UNDO_SECONDS is 0."]
    assert scene.do(purge.carry_out).sentence == (
        "Purged 2 ready messages of foo. This cannot be undone."
    )


def test_what_is_too_large_to_be_undone_is_said_before() -> None:
    with running_switch(Limits(undo_bytes=10)) as do:
        do(lambda e: e.create_queue("foo"))
        for payload in ("123456", "123456"):
            do(lambda e, payload=payload: e.send("foo", Draft(payload=payload)))
            do(lambda e: e.purge_queue("foo", undo_for=60))
        do(lambda e: e.send("foo", Draft(payload="12345")))
        purge = Purge(Choice(queue="foo", group="waiting", undo_for=60))
        assert do(purge.plan).notes == [
            "This can be undone for 1 min.",
            "To make room, 1 earlier removal can then no longer be undone.",
        ]
        do(lambda e: e.send("foo", Draft(payload="123456")))
        for action in (purge, Destroy(Choice(queue="foo", undo_for=60))):
            notes = do(action.plan).notes
            assert "This cannot be undone: the messages have 11 bytes, more than can be kept." in (
                notes
            )
        assert do(purge.carry_out).sentence.endswith("This cannot be undone.")


def test_destroy_takes_the_queue_and_undo_brings_it_back(scene: Scene) -> None:
    before = scene.states()
    destroy = Destroy(Choice(queue="foo", undo_for=600))
    assert scene.do(destroy.plan) == Plan(
        question="Destroy foo and 5 messages?",
        messages=5,
        callers=1,
        notes=["Servers subscribed to it: 1.", "This can be undone for 10 min."],
    )
    done = scene.do(destroy.carry_out)
    assert done.sentence.startswith("Destroyed foo and 5 messages. This can be undone until 20")
    with pytest.raises(QueueNotFound):
        scene.states()
    undo = Undo(scene.do(lambda e: e.list_undo())[-1])
    done = scene.do(undo.carry_out)
    assert done.sentence == "Restored 5 messages of foo, which was made again."
    assert scene.states().keys() == before.keys()


def test_drop_takes_the_chosen_in_whatever_state(scene: Scene) -> None:
    chosen = (scene.held, scene.dead, scene.call, 7)
    drop = Drop(Choice(queue="foo", ids=chosen))
    assert scene.do(drop.plan) == Plan(
        question="Drop 3 messages of foo?",
        messages=3,
        callers=1,
        notes=["Left as they are: 1 message, not in foo.", "This cannot be undone."],
    )
    done = scene.do(drop.carry_out)
    ids = ", ".join(map(str, chosen))
    assert done == Done(
        sentence=f"Dropped 3 messages of foo (chosen: {ids}).",
        messages=3,
        left=["Left as they are: 1 message, not in foo."],
    )
    assert scene.states().keys() == {scene.ready, scene.delayed}


def test_requeue_takes_messages_from_their_holders(scene: Scene) -> None:
    requeue = Requeue(Choice(queue="foo", ids=(scene.held, scene.ready)))
    left = ["Left as they are: 1 message, not held in foo."]
    assert scene.do(requeue.plan) == Plan(
        question="Requeue 1 message of foo?", messages=1, notes=left
    )
    done = scene.do(requeue.carry_out)
    assert done.sentence == (f"Requeued 1 message of foo (chosen: {scene.held}, {scene.ready}).")
    assert done.left == left
    assert scene.states()[scene.held] == "ready"
    everything = Requeue(Choice(queue="foo", group="held"))
    assert not scene.do(everything.plan).possible
    assert scene.do(everything.carry_out).sentence == "Requeued 0 held messages of foo."


def test_replay_makes_the_dead_ready_where_there_is_room(scene: Scene) -> None:
    replay = Replay(Choice(queue="foo", group="dead"))
    scene.do(lambda e: e.change_queue("foo", {"max_length": 4}))
    plan = scene.do(replay.plan)
    assert plan.question == "Replay 1 dead message of foo?"
    assert plan.notes == ["foo has room for 0 messages; the rest stays."]
    assert scene.do(replay.carry_out) == Done(
        sentence="Replayed 0 dead messages of foo.",
        messages=0,
        left=["Left as they are: 1 message, foo is full."],
    )
    scene.do(lambda e: e.change_queue("foo", {"max_length": 5}))
    assert scene.do(replay.plan).notes == []
    assert scene.do(replay.carry_out).messages == 1
    assert scene.states()[scene.dead] == "ready"
    chosen = Replay(Choice(queue="foo", ids=(scene.dead,)))
    assert scene.do(chosen.carry_out).left == ["Left as they are: 1 message, not dead in foo."]


def test_move_takes_all_but_the_held(scene: Scene) -> None:
    every = (scene.call, scene.ready, scene.delayed, scene.held, scene.dead)
    move = Move(Choice(queue="foo", ids=every, target="bar"))
    left = ["Left as they are: 1 message, not ready, delayed or dead in foo."]
    plan = scene.do(move.plan)
    assert (plan.question, plan.messages, plan.callers, plan.notes) == (
        "Move 4 messages of foo?",
        4,
        1,
        left,
    )
    done = scene.do(move.carry_out)
    assert done.sentence.startswith("Moved 4 messages of foo to bar (chosen: ")
    assert done.left == left
    assert scene.states("bar") == {
        scene.call: "ready",
        scene.ready: "ready",
        scene.delayed: "delayed",
        scene.dead: "ready",
    }


def test_move_takes_a_group_as_far_as_there_is_room(scene: Scene) -> None:
    scene.do(lambda e: e.create_queue("small", Policy(max_length=1)))
    move = Move(Choice(queue="foo", group="waiting", target="small"))
    assert scene.do(move.plan).notes == ["small has room for 1 message; the rest stays."]
    assert scene.do(move.carry_out) == Done(
        sentence="Moved 1 ready and delayed message of foo to small.",
        messages=1,
        left=["Left as they are: 2 messages, small is full."],
    )
    dead = Move(Choice(queue="foo", group="dead", target="bar"))
    assert scene.do(dead.carry_out).messages == 1
    assert scene.states("bar") == {scene.dead: "ready"}


def test_move_asks_for_a_queue_that_is_there(scene: Scene) -> None:
    plan = scene.do(Move(Choice(queue="foo", group="waiting")).plan)
    assert (plan.messages, plan.notes) == (3, [])
    unknown = Move(Choice(queue="foo", group="waiting", target="none"))
    assert scene.do(unknown.plan).notes == ["There is no queue 'none'."]
    with pytest.raises(InvalidRequest, match="Name the queue"):
        scene.do(Move(Choice(queue="foo", group="waiting")).carry_out)


def test_the_end_of_a_session_says_what_it_held_and_owned(scene: Scene) -> None:
    owner = scene.do(lambda e: e.login("asker\x1b", 60)).session
    name = scene.do(lambda e: e.create_fresh_queue(session=owner)).name
    scene.do(lambda e: e.send(name, Draft(payload="answer")))
    scene.do(lambda e: e.subscribe("foo", session=owner))
    scene.do(lambda e: e.transfer(session=owner, limit=1))
    sessions = scene.do(lambda e: e.diagnostics()).sessions
    id = next(session.id for session in sessions if session.client == "asker\x1b")
    end = EndSession(id, "asker\x1b")
    assert end.target.key == f"session/{id}"
    assert scene.do(end.plan) == Plan(
        question=f"End session {id} of asker\\x1b?",
        messages=2,
        callers=1,
        notes=[
            "Held, to go to others: 1 message.",
            "In its own queues, to be dropped: 1 message.",
        ],
    )
    assert scene.do(end.carry_out) == Done(
        sentence=f"Ended session {id} of asker\\x1b: 1 held message given back, "
        "1 message dropped with its queues.",
        messages=2,
    )
    for coroutine in (end.plan, end.carry_out):
        with pytest.raises(SessionNotFound):
            scene.do(coroutine)


def test_what_can_no_longer_be_undone_is_refused(scene: Scene) -> None:
    gone = Undo(UndoInfo(id=1, action="purged", queue="foo", messages=1, at=0, until=1))
    for coroutine in (gone.plan, gone.carry_out):
        with pytest.raises(UndoNotFound):
            scene.do(coroutine)


@pytest.mark.parametrize("kind", [Purge, Drop, Requeue, Replay, Move])
@pytest.mark.parametrize("group", ["", "all", "Ready"])
def test_an_empty_choice_is_refused_and_never_means_all(kind: Any, group: str) -> None:
    with pytest.raises(InvalidRequest, match="No message was chosen"):
        kind(Choice(queue="foo", group=group))


def test_purge_and_drop_do_not_stand_in_for_each_other() -> None:
    with pytest.raises(InvalidRequest):
        Purge(Choice(queue="foo", ids=(1,), group="ready"))
    with pytest.raises(InvalidRequest):
        Drop(Choice(queue="foo", group="ready"))


@pytest.mark.parametrize("name", QUEUE_ACTIONS)
def test_a_queue_that_is_not_there_is_refused(do: Do[Any], name: str) -> None:
    group = {"requeue": "held", "replay": "dead"}.get(name, "waiting")
    ids = (1,) if name == "drop" else ()
    action = QUEUE_ACTIONS[name](Choice(queue="none", ids=ids, group=group, target="other"))
    for coroutine in (action.plan, action.carry_out):
        with pytest.raises(QueueNotFound):
            do(coroutine)


@pytest.mark.parametrize("name", [name for name in QUEUE_ACTIONS if name != "drop"])
def test_a_transient_queue_is_its_owners(scene: Scene, name: str) -> None:
    token = scene.do(lambda e: e.login("owner", 60)).session
    queue = scene.do(lambda e: e.create_fresh_queue(session=token)).name
    group = {"requeue": "held", "replay": "dead"}.get(name, "waiting")
    action = QUEUE_ACTIONS[name](Choice(queue=queue, group=group, target="bar", undo_for=60))
    scene.do(action.plan)
    with pytest.raises(NotOwner):
        scene.do(action.carry_out)


def test_the_target_is_the_message_if_one_was_chosen() -> None:
    one, two = (Drop(Choice(queue="foo", ids=ids)).target for ids in ((7,), (7, 8)))
    assert (one.key, one.label) == ("queue/foo/message/7", "message 7 of queue foo")
    assert (two.key, two.label) == ("queue/foo", "queue foo")


def test_the_guide_names_every_action_and_whether_it_can_be_undone() -> None:
    guide = Path(__file__).resolve().parents[2] / "docs" / "admin.md"
    section = guide.read_text().partition("## What can be done")[2].partition("## ")[0]
    rows = dict(re.findall(r"^\| ([A-Z][a-z ]+) \| .* \| ([A-Za-z ]+) \|$", section, re.MULTILINE))
    actions = [*QUEUE_ACTIONS.values(), EndSession]
    assert rows.keys() == {action.verb for action in actions}
    assert {verb for verb, undo in rows.items() if undo == "yes"} == {"Purge", "Destroy"}
