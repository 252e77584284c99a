"""What operators may do. Each action says first what it would touch, and afterwards what it did.

Nothing here knows of HTTP or of the database. ``plan`` changes nothing. The coroutines run on the
engine's event loop and never let others in between: each sees, or makes, one state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

from queues.core.answers import QueueInfo, Tally, UndoInfo
from queues.core.errors import (
    InvalidName,
    InvalidRequest,
    MessageNotFound,
    QueueNotFound,
    UndoNotFound,
)
from queues.core.messages import State
from queues.core.verdict import duration
from queues.engines.base import Engine
from queues.text import printable

#: What may be chosen as a whole: the messages in one state, or those that wait for a server.
GROUPS: dict[str, tuple[State, ...]] = {
    "waiting": (State.READY, State.DELAYED),
    **{state.value: (state,) for state in State},
}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What an operator chose: messages of a queue by their ids, or a whole group of them."""

    queue: str
    ids: tuple[int, ...] = ()
    group: str = ""
    target: str = ""
    """The queue that messages are moved to."""
    undo_for: float = 0.0
    """Seconds for which what is removed may be restored."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What an action is done to. ``key`` names it in the log: ``queue/foo``,
    ``queue/foo/message/7`` or ``session/3``."""

    key: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an action would do now."""

    question: str
    messages: int
    """How many messages it would touch."""
    callers: int = 0
    """How many of them somebody waits for."""
    notes: list[str] = field(default_factory=list)
    """What else is worth knowing before."""
    possible: bool = True
    """Whether there is anything to do."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What an action did, and what of it was left."""

    sentence: str
    messages: int
    left: list[str] = field(default_factory=list)


class Action(ABC):
    """One thing to do."""

    name: ClassVar[str]
    """The last part of its address."""
    verb: ClassVar[str]
    """What its button says."""
    meaning: ClassVar[str]
    """What it does, in a sentence or two."""
    removes: ClassVar[bool] = False
    """Whether something is gone afterwards."""
    do_not_call_in_templates: ClassVar[bool] = True
    """Templates show the class; they would make an instance of it."""

    @property
    @abstractmethod
    def target(self) -> Target:
        """What it is done to."""

    @abstractmethod
    async def plan(self, engine: Engine) -> Plan:
        """What it would do. Raises what tells that it could not."""

    @abstractmethod
    async def carry_out(self, engine: Engine) -> Done:
        """Do it."""


# -- queues -----------------------------------------------------------------------------------


class QueueAction(Action):
    """Something to do to a queue, or to some of its messages."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.queue = choice.queue

    @property
    def target(self) -> Target:
        """The one message that was chosen, else the queue."""
        key, label = f"queue/{self.queue}", f"queue {self.queue}"
        if len(self.choice.ids) == 1:
            (id,) = self.choice.ids
            return Target(key=f"{key}/message/{id}", label=f"message {id} of {label}")
        return Target(key=key, label=label)


class Pause(QueueAction):
    """Hand out no message of a queue."""

    name, verb = "pause", "Pause"
    meaning = (
        "A paused queue takes messages and hands none out until it is resumed. "
        "What is held stays with its holders."
    )

    async def plan(self, engine: Engine) -> Plan:
        info = await engine.inspect_queue(self.queue)
        tally = await engine.tally(self.queue, GROUPS["waiting"])
        return Plan(
            question=f"Pause {self.queue}?",
            messages=tally.messages,
            callers=tally.callers,
            notes=["It is paused already."] if info.paused else [],
            possible=not info.paused,
        )

    async def carry_out(self, engine: Engine) -> Done:
        info = await engine.pause_queue(self.queue)
        waiting = info.ready + info.delayed
        return Done(
            sentence=f"Paused {self.queue}; {_count(waiting, 'message')} in it.", messages=waiting
        )


class Resume(QueueAction):
    """Hand out messages of a queue again."""

    name, verb = "resume", "Resume"
    meaning = "The queue hands its messages out again, the oldest first."

    async def plan(self, engine: Engine) -> Plan:
        info = await engine.inspect_queue(self.queue)
        tally = await engine.tally(self.queue, GROUPS["waiting"])
        return Plan(
            question=f"Resume {self.queue}?",
            messages=tally.messages,
            callers=tally.callers,
            notes=[] if info.paused else ["It is not paused."],
            possible=info.paused,
        )

    async def carry_out(self, engine: Engine) -> Done:
        before = await engine.inspect_queue(self.queue)
        await engine.resume_queue(self.queue)
        waiting = before.ready + before.delayed
        return Done(
            sentence=f"Resumed {self.queue}; {_count(waiting, 'message')} in it.", messages=waiting
        )


class Destroy(QueueAction):
    """Drop a queue with everything in it."""

    name, verb, removes = "destroy", "Destroy", True
    meaning = (
        "The queue goes with all its messages, and whoever sends to it or calls it is told that it "
        "is not there. Servers stay subscribed to its name."
    )

    async def plan(self, engine: Engine) -> Plan:
        info = await engine.inspect_queue(self.queue)
        tally = await engine.tally(self.queue)
        return Plan(
            question=f"Destroy {self.queue} and {_count(tally.messages, 'message')}?",
            messages=tally.messages,
            callers=tally.callers,
            notes=[
                f"Servers subscribed to it: {info.consumers:,}.",
                *_undo_notes(tally, self.choice.undo_for),
            ],
        )

    async def carry_out(self, engine: Engine) -> Done:
        tally = await engine.tally(self.queue)
        undo = await engine.destroy_queue(self.queue, undo_for=self.choice.undo_for)
        what = f"Destroyed {self.queue} and {_count(tally.messages, 'message')}."
        return Done(sentence=f"{what} {_until(undo)}", messages=tally.messages)


# -- messages ---------------------------------------------------------------------------------


class MessagesAction(QueueAction):
    """Something to do to messages: those chosen by their ids, or a group."""

    applies_to: ClassVar[tuple[State, ...]] = tuple(State)
    """The states of messages that it can be done to."""

    def __init__(self, choice: Choice) -> None:
        super().__init__(choice)
        if not choice.ids and choice.group not in GROUPS:
            raise InvalidRequest("No message was chosen.")
        self._ids = choice.ids or None
        group = tuple(State) if choice.ids else GROUPS[choice.group]
        self._states = tuple(state for state in group if state in self.applies_to)
        self._state = State(choice.group) if choice.group in tuple(State) else None
        """The state of a group; None for those that wait for a server."""

    async def plan(self, engine: Engine) -> Plan:
        tally = await engine.tally(self.queue, self._states, ids=self._ids)
        others = len(self.choice.ids) - tally.messages
        notes = await self._notes(engine, tally) if tally.messages else []
        return Plan(
            question=self._question(tally.messages),
            messages=tally.messages,
            callers=tally.callers,
            notes=[*_left(others, f"not {self._fit}in {self.queue}"), *notes],
            possible=bool(tally.messages),
        )

    async def _notes(self, engine: Engine, tally: Tally) -> list[str]:
        """What else is worth knowing before, if there is anything to do."""
        return []

    def _question(self, messages: int) -> str:
        return f"{self.verb} {self._what(messages)}?"

    def _what(self, messages: int) -> str:
        """``3 held messages of foo``."""
        states = "" if self._ids else f"{_words(self._states, 'and')} "
        return f"{_count(messages, f'{states}message')} of {self.queue}"

    @property
    def _chosen(self) -> str:
        """The ids that were chosen, for the log."""
        return f" (chosen: {', '.join(map(str, self.choice.ids))})" if self._ids else ""

    @property
    def _fit(self) -> str:
        """The states of messages that it can be done to, where that is not all."""
        return "" if len(self.applies_to) == len(State) else f"{_words(self.applies_to, 'or')} "


class Purge(MessagesAction):
    """Drop a group of messages."""

    name, verb, removes = "purge", "Purge", True
    meaning = (
        "The messages are dropped. Their senders are not told; a caller waits on until its time "
        "is over."
    )

    def __init__(self, choice: Choice) -> None:
        super().__init__(choice)
        if choice.ids:
            raise InvalidRequest("Only a whole group can be purged; drop chosen messages.")

    async def _notes(self, engine: Engine, tally: Tally) -> list[str]:
        held = ["Their holders go on; what they reply reaches nobody."]
        return [
            *(held if State.HELD in self._states else ()),
            *_undo_notes(tally, self.choice.undo_for),
        ]

    async def carry_out(self, engine: Engine) -> Done:
        result = await engine.purge_queue(self.queue, self._state, undo_for=self.choice.undo_for)
        what = f"Purged {self._what(result.purged)}."
        end = f" {_until(result.undo)}" if result.purged else ""
        return Done(sentence=f"{what}{end}", messages=result.purged)


class Drop(MessagesAction):
    """Finish chosen messages in the place of their holders."""

    name, verb, removes = "drop", "Drop", True
    meaning = (
        "The messages are dropped, as if they had been acked. Their senders are not told; a caller "
        "waits on until its time is over."
    )

    def __init__(self, choice: Choice) -> None:
        super().__init__(choice)
        if not choice.ids:
            raise InvalidRequest("No message was chosen.")

    async def _notes(self, engine: Engine, tally: Tally) -> list[str]:
        return ["This cannot be undone."]

    async def carry_out(self, engine: Engine) -> Done:
        dropped = 0
        for id in self.choice.ids:
            with suppress(MessageNotFound):
                await engine.drop_message(self.queue, id)
                dropped += 1
        return Done(
            sentence=f"Dropped {self._what(dropped)}{self._chosen}.",
            messages=dropped,
            left=_left(len(self.choice.ids) - dropped, f"not in {self.queue}"),
        )


class Requeue(MessagesAction):
    """Take held messages from their holders."""

    name, verb = "requeue", "Requeue"
    meaning = (
        "The messages are taken from their holders and are ready again, in their old places. "
        "A holder that is still at work does not learn of it at once: its work may be done twice."
    )
    applies_to = (State.HELD,)

    async def carry_out(self, engine: Engine) -> Done:
        result = await engine.requeue(self.queue, self._ids)
        return Done(
            sentence=f"Requeued {self._what(result.requeued)}{self._chosen}.",
            messages=result.requeued,
            left=_left(result.not_held, f"not {self._fit}in {self.queue}"),
        )


class Replay(MessagesAction):
    """Make dead messages ready again."""

    name, verb = "replay", "Replay"
    meaning = (
        "Dead messages are ready again, in their old places, with no delivery counted and no "
        "expiry. Mend first what they died of."
    )
    applies_to = (State.DEAD,)

    async def _notes(self, engine: Engine, tally: Tally) -> list[str]:
        return _room_notes(await engine.inspect_queue(self.queue), tally)

    async def carry_out(self, engine: Engine) -> Done:
        result = await engine.replay_dead(self.queue, self._ids)
        return Done(
            sentence=f"Replayed {self._what(result.replayed)}{self._chosen}.",
            messages=result.replayed,
            left=[
                *_left(result.not_dead, f"not {self._fit}in {self.queue}"),
                *_left(result.no_room, f"{self.queue} is full"),
            ],
        )


class Move(MessagesAction):
    """Put messages into another queue."""

    name, verb = "move", "Move"
    meaning = (
        "The messages go to another queue, in the order in which they were sent. Dead ones are "
        "ready there, with no delivery counted and no expiry. Replies still reach their callers."
    )
    applies_to = (State.READY, State.DELAYED, State.DEAD)

    async def _notes(self, engine: Engine, tally: Tally) -> list[str]:
        if not self.choice.target:
            return []
        try:
            return _room_notes(await engine.inspect_queue(self.choice.target), tally)
        except (QueueNotFound, InvalidName) as error:
            return [error.detail]

    async def carry_out(self, engine: Engine) -> Done:
        target = self.choice.target
        if not target:
            raise InvalidRequest("Name the queue to move them to.")
        result = await engine.move_messages(
            self.queue, target, ids=self._ids, state=None if self._ids else self._state
        )
        return Done(
            sentence=f"Moved {self._what(result.moved)} to {target}{self._chosen}.",
            messages=result.moved,
            left=[
                *_left(result.not_movable, f"not {self._fit}in {self.queue}"),
                *_left(result.no_room, f"{target} is full"),
            ],
        )


# -- sessions ---------------------------------------------------------------------------------


class EndSession(Action):
    """End a session in the place of its client."""

    name, verb, removes = "end", "End session", True
    meaning = (
        "What the session holds goes to others, and its own queues go with their messages. "
        "Its client finds that it must log in again; one that does so on its own comes back."
    )

    def __init__(self, id: int, client: str) -> None:
        self.id = id
        self._label = f"session {id} of {printable(client)}"

    @property
    def target(self) -> Target:
        return Target(key=f"session/{self.id}", label=self._label)

    async def plan(self, engine: Engine) -> Plan:
        tally = await engine.tally_session(self.id)
        held, owned = tally.held, tally.owned
        return Plan(
            question=f"End {self._label}?",
            messages=held.messages + owned.messages,
            callers=held.callers + owned.callers,
            notes=[
                f"Held, to go to others: {_count(held.messages, 'message')}.",
                f"In its own queues, to be dropped: {_count(owned.messages, 'message')}.",
            ],
        )

    async def carry_out(self, engine: Engine) -> Done:
        tally = await engine.tally_session(self.id)
        await engine.end_session(self.id)
        held, owned = tally.held.messages, tally.owned.messages
        return Done(
            sentence=f"Ended {self._label}: {_count(held, 'held message')} given back, "
            f"{_count(owned, 'message')} dropped with its queues.",
            messages=held + owned,
        )


# -- undo -------------------------------------------------------------------------------------


class Undo(Action):
    """Restore what a purge or a destruction removed."""

    name, verb = "undo", "Undo"
    meaning = (
        "The messages are back in their old places; those that were held are ready. "
        "A queue that is gone is made again, as it was."
    )

    def __init__(self, info: UndoInfo) -> None:
        self.info = info

    @property
    def target(self) -> Target:
        return Target(key=f"queue/{self.info.queue}", label=f"queue {self.info.queue}")

    async def plan(self, engine: Engine) -> Plan:
        if self.info not in await engine.list_undo():
            raise UndoNotFound("It can no longer be undone.")
        info = self.info
        return Plan(
            question=f"Restore {_count(info.messages, 'message')} of {info.queue}?",
            messages=info.messages,
            notes=[f"They were {info.action} {_clock(info.at)}."],
        )

    async def carry_out(self, engine: Engine) -> Done:
        result = await engine.undo(self.info.id)
        made = ", which was made again" if result.created else ""
        return Done(
            sentence=f"Restored {_count(result.restored, 'message')} of {result.queue}{made}.",
            messages=result.restored,
        )


#: What can be done to queues and their messages, by name.
QUEUE_ACTIONS: dict[str, type[QueueAction]] = {
    action.name: action for action in (Pause, Resume, Purge, Destroy, Drop, Requeue, Replay, Move)
}


# -- words ------------------------------------------------------------------------------------


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _words(states: Sequence[State], join: str) -> str:
    """``ready, delayed or dead``."""
    *first, last = states
    return f"{', '.join(first)} {join} {last}" if first else str(last)


def _left(number: int, why: str) -> list[str]:
    """What is not touched, and why."""
    return [f"Left as they are: {_count(number, 'message')}, {why}."] if number > 0 else []


def _room_notes(queue: QueueInfo, tally: Tally) -> list[str]:
    """Whether a queue has room for what is to come into it."""
    room = queue.policy.max_length - queue.ready - queue.delayed - queue.held
    if room >= tally.messages:
        return []
    return [f"{queue.name} has room for {_count(max(room, 0), 'message')}; the rest stays."]


def _undo_notes(tally: Tally, seconds: float) -> list[str]:
    """Whether a removal can be undone."""
    if seconds <= 0:
        return ["This cannot be undone: SWITCH_UNDO_SECONDS is 0."]
    if not tally.undoable:
        size = f"{tally.bytes:,} bytes"
        return [f"This cannot be undone: the messages have {size}, more than can be kept."]
    notes = [f"This can be undone for {duration(seconds)}."]
    if tally.forgets:
        earlier = _count(tally.forgets, "earlier removal")
        notes.append(f"To make room, {earlier} can then no longer be undone.")
    return notes


def _until(undo: UndoInfo | None) -> str:
    """How long a removal can be undone."""
    if undo is None:
        return "This cannot be undone."
    return f"This can be undone until {_clock(undo.until)}."


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
