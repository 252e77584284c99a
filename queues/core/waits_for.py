"""Who waits for whom: from a message to the calls that its handler has made, and from a message in
a queue to those that the queue's servers are busy with.

A held message waits for *all* calls that were made for it. A ready one waits for *any* message
that a server of its queue holds: when one is finished, that server asks for the next. So a
deadlock is proved by looking for what can still go on: what cannot, however long one waits, is
locked. What may go on, as far as the switch knows, is no deadlock: a handler that is silent, a
queue that is paused or has no servers, a server that holds nothing or may be pushed more.
"""

from __future__ import annotations

from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

from .answers import WaitEdge, WaitGraph, WaitNode
from .messages import Message, State, ready_since
from .sessions import Session

if TYPE_CHECKING:
    from .switch import Switch

#: Seconds for which a ready message may wait for a server that pulls, and is about to ask for it.
PATIENCE = 1.0
#: Messages and queues that one look may visit; beyond, nothing is proved.
MOST_VISITED = 5_000
#: Messages in a chain that is told.
LONGEST_CHAIN = 20
#: Edges that a graph shows.
MOST_EDGES = 200

_id = attrgetter("id")


class WaitsFor:
    """What ``switch`` waits for at one instant. It changes nothing, and holds for that instant."""

    def __init__(self, switch: Switch, now: float) -> None:
        self._switch = switch
        self._now = now
        self._locked: dict[int | str, bool] = {}
        """Whether a message, by its id, or the head of a queue, by its name, is locked."""
        self._calls: dict[int, list[Message]] = {}
        self._in_front: dict[str, list[Message] | None] = {}

    def calls_of(self, message: Message) -> list[Message]:
        """The requests whose replies the handler of a held message waits for, oldest first."""
        found = self._calls.get(message.id)
        if found is None:
            found = self._calls[message.id] = self._find_calls(message)
        return found

    def _find_calls(self, message: Message) -> list[Message]:
        calls = self._switch.children.get(message.id)
        hold = message.hold
        if not calls or hold is None:
            return []
        messages = self._switch.messages
        # Whoever held the message before may still wait for calls of his own.
        made = [id for id, since in islice(calls.items(), MOST_VISITED) if since >= hold.since]
        return [messages[id] for id in sorted(made) if id in messages]

    def _servers_hold(self, name: str) -> list[Message] | None:
        """What all servers of a queue hold, where they can take nothing before some of that is
        finished, and where each of these waits for a call; else None."""
        if name not in self._in_front:
            self._in_front[name] = self._find_in_front(name)
        return self._in_front[name]

    def _find_in_front(self, name: str) -> list[Message] | None:
        consumers = self._switch.consumers.get(name)
        if consumers is None or self._switch.queues[name].paused_at is not None:
            return None
        found: list[Message] = []
        for session in consumers.sessions.values():
            subscription = session.subscriptions[name]
            pushed = session.stream is not None and subscription.held < subscription.credit
            if pushed or not session.held:
                return None
            for message in session.held.values():
                if len(found) == MOST_VISITED or not self.calls_of(message):
                    return None
                found.append(message)
        return found or None

    # -- deadlocks ----------------------------------------------------------------------------

    def locked(self, message: Message) -> bool:
        """Whether the message can never go on by itself: it waits in, or for, a circle of calls."""
        if not self._switch.children:
            return False
        if message.id not in self._locked:
            self._look(message.id)
        return self._locked[message.id]

    def circle(self, message: Message) -> list[Message]:
        """The circle that a locked message waits in or for, beginning with its smallest id."""
        path: list[Message] = []
        places: dict[int, int] = {}
        while message.id not in places:
            places[message.id] = len(path)
            path.append(message)
            message = min((m for m in self._after(message) if self.locked(m)), key=_id)
        circle = path[places[message.id] :]
        first = circle.index(min(circle, key=_id))
        return circle[first:] + circle[:first]

    def _look(self, start: int) -> None:
        """Find out for a message, and for all that it may wait for, whether it is locked."""
        left: dict[int | str, int] = {}
        """How much of what each waits for has to go on before it can."""
        before: dict[int | str, list[int | str]] = {}
        free: list[int | str] = []
        todo: list[int | str] = [start]
        seen: set[int | str] = {start}
        while todo:
            node = todo.pop()
            known = self._locked.get(node)
            if known:
                continue
            needs = self._needs(node) if known is None and len(seen) <= MOST_VISITED else None
            if not needs:
                free.append(node)
                continue
            # Of what its servers are busy with a queue needs one to end; a message needs all.
            left[node] = 1 if isinstance(node, str) else len(needs)
            for other in needs:
                before.setdefault(other, []).append(node)
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        while free:
            node = free.pop()
            self._locked[node] = False
            for waiting in before.get(node, ()):
                left[waiting] -= 1
                if left[waiting] == 0:
                    free.append(waiting)
        for node in seen:
            self._locked.setdefault(node, True)

    def _needs(self, node: int | str) -> list[int | str]:
        """What a message or the head of a queue waits for; nothing if it may go on."""
        if isinstance(node, str):
            return [m.id for m in self._servers_hold(node) or ()]
        message = self._switch.messages[node]
        if message.state is State.HELD:
            return [m.id for m in self.calls_of(message)]
        if message.state is State.READY and not self._may_be_asked_for(message):
            return [message.queue]
        return []

    def _may_be_asked_for(self, message: Message) -> bool:
        if self._now - ready_since(message) >= PATIENCE:
            return False
        consumers = self._switch.consumers.get(message.queue)
        sessions = () if consumers is None else consumers.sessions.values()
        return any(s.stream is None or not s.subscriptions[message.queue].credit for s in sessions)

    # -- chains -------------------------------------------------------------------------------

    def chain(self, message: Message) -> list[Message]:
        """From a held message along the oldest calls, as far as it goes. It begins with it."""
        chain = [message]
        seen = {message.id}
        while len(chain) < LONGEST_CHAIN:
            after = min(self._after(chain[-1]), key=_id, default=None)
            if after is None or after.id in seen:
                break
            chain.append(after)
            seen.add(after.id)
        return chain

    def _after(self, message: Message) -> list[Message]:
        """What a held message waits for, all of it, or a ready one, any of it."""
        if message.state is State.READY:
            return self._servers_hold(message.queue) or []
        return self.calls_of(message)

    # -- for people ---------------------------------------------------------------------------

    def graph(self) -> WaitGraph:
        """Callers, services and servers with what they wait for, the longest waits first."""
        switch = self._switch
        edges: list[WaitEdge] = []
        nodes: dict[str, WaitNode] = {}
        left_out = 0

        def node(
            key: str,
            kind: Literal["caller", "service", "server"],
            label: str,
            session: int | None = None,
        ) -> str:
            nodes.setdefault(key, WaitNode(key=key, kind=kind, label=label, session=session))
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
            queues[message.queue] = None
            edges.append(
                WaitEdge(
                    source=source,
                    target=node(f"queue {message.queue}", "service", message.queue),
                    message=message.id,
                    since=message.sent_at,
                    locked=self.locked(message),
                )
            )
        for name in queues:
            held = switch.queues[name].held
            shown = list(islice(held.values(), MOST_EDGES - len(edges)))
            left_out += len(held) - len(shown)
            for message in shown:
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
