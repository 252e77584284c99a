"""Who waits for whom: from a message to the calls its handler has made, and from a message in a
queue to those that the queue's servers are busy with.

A held message waits for *all* calls that were made for it. A ready one waits for *any* message
that a server of its queue holds: when one is finished, that server asks for the next. So a
deadlock is proved by looking for what can still go on: what cannot, however long one waits, is
locked. A handler that stays silent can go on as far as the switch knows, and a queue without
servers can get one: these are other troubles, and no deadlock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .answers import WaitEdge, WaitGraph, WaitNode
from .messages import Message, State
from .sessions import Session

if TYPE_CHECKING:
    from .switch import Switch

#: Messages that one look may visit; beyond, nothing is proved.
MOST_VISITED = 1_000
#: Messages in a chain that is told.
LONGEST_CHAIN = 20
#: Edges that a graph shows.
MOST_EDGES = 200


class WaitsFor:
    """What ``switch`` waits for at one instant. Use it once, then make another."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._known: dict[int, bool] = {}
        """Whether a message is locked, for those that have been looked at."""

    def calls_of(self, message: Message) -> list[Message]:
        """The requests whose replies the handler of a held message waits for, oldest first."""
        calls = self._switch.children.get(message.id)
        if not calls:
            return []
        found = (self._switch.messages.get(id) for id in sorted(calls))
        return [request for request in found if request is not None]

    def in_front_of(self, message: Message) -> Iterator[Message]:
        """What the servers of a ready message's queue are busy with."""
        consumers = self._switch.consumers.get(message.queue)
        if consumers is not None:
            for session in consumers.sessions.values():
                yield from session.held.values()

    def locked(self, message: Message) -> bool:
        """Whether the message can never go on by itself: it waits in, or for, a circle of calls."""
        if not self._switch.children:
            return False
        if message.id not in self._known:
            self._look(message)
        return self._known[message.id]

    def circle(self, message: Message) -> list[Message]:
        """The circle that a locked message waits in or for, beginning with its smallest id."""
        path: list[Message] = []
        places: dict[int, int] = {}
        while message.id not in places:
            places[message.id] = len(path)
            path.append(message)
            message = self._next_locked(message)
        circle = path[places[message.id] :]
        first = min(range(len(circle)), key=lambda n: circle[n].id)
        return circle[first:] + circle[:first]

    def chain(self, message: Message) -> list[Message]:
        """From a held message along the oldest calls, as far as it goes. It begins with it."""
        chain = [message]
        seen = {message.id}
        while len(chain) < LONGEST_CHAIN:
            after = self._after(chain[-1])
            if after is None or after.id in seen:
                break
            chain.append(after)
            seen.add(after.id)
        return chain

    def _after(self, message: Message) -> Message | None:
        if message.state is State.HELD:
            return next(iter(self.calls_of(message)), None)
        if message.state is State.READY:
            # The oldest that waits for a call itself: what it waits for is what is of interest.
            busy = (m for m in self.in_front_of(message) if self._switch.children.get(m.id))
            return min(busy, key=lambda m: m.id, default=None)
        return None

    def _waits_for(self, message: Message) -> tuple[list[Message], bool] | None:
        """What it waits for, and whether for all of that; None if it can go on."""
        if message.state is State.HELD:
            return (calls, True) if (calls := self.calls_of(message)) else None
        if message.state is not State.READY:
            return None
        queue = self._switch.queues[message.queue]
        if queue.paused_at is not None:
            return None
        front: list[Message] = []
        for other in self.in_front_of(message):
            if not self._switch.children.get(other.id) or len(front) == MOST_VISITED:
                return None
            front.append(other)
        return (front, False) if front else None

    def _look(self, start: Message) -> None:
        """Find out for a message, and for all that it may wait for, whether it is locked."""
        waits: dict[int, tuple[list[Message], bool]] = {}
        before: dict[int, list[int]] = {}
        free: list[int] = []
        todo = [start]
        seen = {start.id}
        while todo:
            message = todo.pop()
            found = None if len(seen) > MOST_VISITED else self._waits_for(message)
            if found is None:
                free.append(message.id)
                continue
            waits[message.id] = found
            for other in found[0]:
                before.setdefault(other.id, []).append(message.id)
                if other.id not in seen:
                    seen.add(other.id)
                    todo.append(other)
        left = {id: len(found) if every else 1 for id, (found, every) in waits.items()}
        locked = set(waits)
        while free:
            for id in before.get(free.pop(), ()):
                left[id] -= 1
                if left[id] == 0:
                    locked.discard(id)
                    free.append(id)
        for id in seen:
            self._known[id] = id in locked

    def _next_locked(self, message: Message) -> Message:
        found = self._waits_for(message)
        assert found is not None
        return min((m for m in found[0] if self.locked(m)), key=lambda m: m.id)

    # -- for people ---------------------------------------------------------------------------

    def graph(self) -> WaitGraph:
        """Callers, services and servers with what they wait for, the longest waits first."""
        switch = self._switch
        edges: list[WaitEdge] = []
        nodes: dict[str, WaitNode] = {}
        left_out = 0

        def node(key: str, kind: str, label: str, session: int | None = None) -> str:
            nodes.setdefault(key, WaitNode(key=key, kind=kind, label=label, session=session))  # type: ignore[arg-type]
            return key

        def server(session: Session) -> str:
            return node(f"session {session.id}", "server", session.client, session.id)

        queues: dict[str, None] = {}
        for call in switch.calls.values():
            message = switch.messages.get(call.request)
            if not call.waits or message is None:
                continue
            if len(edges) >= MOST_EDGES // 2:
                left_out += 1
                continue
            parent = None if call.parent is None else switch.messages.get(call.parent)
            if parent is not None and parent.hold is not None:
                source = server(parent.hold.session)
            else:
                name = call.caller or "a caller without a session"
                source = node(f"caller {name}", "caller", name)
            target = node(f"queue {call.queue}", "service", call.queue)
            queues[call.queue] = None
            edges.append(
                WaitEdge(
                    source=source,
                    target=target,
                    message=message.id,
                    since=message.sent_at,
                    locked=self.locked(message),
                )
            )
        for name in queues:
            for message in switch.queues[name].held.values():
                if len(edges) >= MOST_EDGES:
                    left_out += 1
                    continue
                assert message.hold is not None
                edges.append(
                    WaitEdge(
                        source=f"queue {name}",
                        target=server(message.hold.session),
                        message=message.id,
                        since=message.hold.since,
                        locked=self.locked(message),
                    )
                )
        return WaitGraph(nodes=list(nodes.values()), edges=edges, left_out=left_out)
