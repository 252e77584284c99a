"""Who waits for whom: from a message to the calls that its handler has made, and from a message in
a queue to those that the queue's servers are busy with.

A held message waits for *all* calls that were made for it. A ready one waits for *any* message
that a server of its queue holds: when one is finished, that server asks for the next. So a
deadlock is proved by looking for what can still go on: what cannot, however long one waits, is
locked. What may go on, as far as the switch knows, is no deadlock: a handler that is silent, a
queue that is paused or has no servers, a server that holds nothing or may be pushed more.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

from .answers import WaitEdge, WaitGraph, WaitNode
from .messages import Message, State, ready_since
from .sessions import Session

if TYPE_CHECKING:
    from .switch import Switch
    from .verdict import Verdict

#: Seconds for which a ready message may wait for a server that pulls, and is about to ask for it.
PATIENCE = 1.0
#: Servers, messages and calls that are looked at together to find deadlocks; beyond, none is
#: proved. It bounds the time that a verdict takes.
MOST_VISITED = 500
#: The same where much is explained at once.
MOST_VISITED_IN_ALL = 20_000
#: Calls made for one message that are looked at.
MOST_CALLS = 100
#: Messages in a chain that is told.
LONGEST_CHAIN = 20
#: Edges that a graph shows.
MOST_EDGES = 200

_id = attrgetter("id")
#: A held message by its id, what is ready in a queue by its name, or all that a session holds.
_Node = int | str | Session


class WaitsFor:
    """What ``switch`` waits for at one instant. It changes nothing, and holds for that instant."""

    def __init__(self, switch: Switch, now: float, *, visits: int | None = None) -> None:
        self._switch = switch
        self._now = now
        self._visits = MOST_VISITED if visits is None else visits
        """How much may still be looked at."""
        self._locked: dict[_Node, bool] = {}
        self._needs: dict[_Node, list[_Node]] = {}
        """What has to go on before a node can: for a message all of it, else any of it."""
        self._needed: dict[int, list[int]] = {}
        """The calls that stand behind the needs of a held message, one for each."""
        self._calls: dict[int, list[Message]] = {}
        self._circles: dict[int, list[Message]] = {}
        self.told: dict[int, Verdict] = {}
        """What has been said about circles, by the first message of each."""
        self._in_front: dict[str, Message | None] = {}

    def calls_of(self, message: Message) -> list[Message]:
        """The requests whose replies the handler of a held message waits for, oldest first."""
        found = self._calls.get(message.id)
        if found is None:
            found = self._calls[message.id] = sorted(self._calls_made(message), key=_id)
        return found

    def _calls_made(self, message: Message) -> list[Message]:
        """The same in any order."""
        calls = self._switch.children.get(message.id)
        hold = message.hold
        if calls is None or hold is None:
            return []
        self._visits -= min(len(calls), MOST_CALLS)
        found = []
        since = hold.since
        messages = self._switch.messages
        for id, at in islice(calls.items(), MOST_CALLS):
            # Whoever held the message before may still wait for calls of his own.
            if at >= since and id in messages:
                found.append(messages[id])
        return found

    # -- deadlocks ----------------------------------------------------------------------------

    def locked(self, message: Message) -> bool:
        """Whether the message can never go on by itself: it waits in, or for, a circle of calls."""
        if not self._switch.children:
            return False
        node = self._node(message)
        if node is None:
            return False
        if node not in self._locked:
            self._look(node)
        return self._locked[node]

    def circle(self, message: Message) -> list[Message]:
        """The circle that a locked message waits in or for, beginning with its smallest id."""
        self.locked(message)  # unless it is known already
        messages = self._switch.messages
        id = message.id
        path: dict[int, None] = {}
        while id not in path and id not in self._circles:
            path[id] = None
            id = self._locked_after(messages[id])
        circle = self._circles.get(id)
        if circle is None:
            ids = list(path)
            ids = ids[ids.index(id) :]
            first = ids.index(min(ids))
            circle = [messages[each] for each in ids[first:] + ids[:first]]
        self._circles.update(dict.fromkeys(path, circle))
        return circle

    def _locked_after(self, message: Message) -> int:
        """What a locked message waits for in vain: the oldest of it, by its id."""
        if message.state is State.HELD:
            needs = zip(self._needs[message.id], self._needed[message.id], strict=True)
            return min(call for node, call in needs if self._locked[node])
        return min(self._held(self._needs[message.queue]))

    def _held(self, nodes: list[_Node]) -> Iterator[int]:
        """The messages that the servers of a queue hold, by their ids, from the queue's needs."""
        for node in nodes:
            if isinstance(node, int):
                yield node
            elif isinstance(node, Session):
                yield from (message.id for message in node.held.values())

    def _node(self, message: Message) -> _Node | None:
        """What stands for a message; None if it may go on."""
        if message.state is State.HELD:
            return message.id
        if message.state is State.READY and not self._may_be_asked_for(message):
            return message.queue
        return None

    def _look(self, start: _Node) -> None:
        """Find out for a node, and for all that it may wait for, whether it is locked."""
        free: list[_Node] = []
        known = self._locked
        seen = {start}
        todo = [start]
        for node in todo:
            if node in known:
                if not known[node]:
                    free.append(node)
                continue
            needs = self._needs[node] = self._find_needs(node)
            if not needs:
                free.append(node)
            for other in needs:
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        if free:
            self._let_go(free, todo)
        for node in todo:
            known.setdefault(node, True)

    def _let_go(self, free: list[_Node], nodes: list[_Node]) -> None:
        """Find out which of the nodes can go on because others can."""
        left: dict[_Node, int] = {}
        before: dict[_Node, list[_Node]] = {}
        for node in nodes:
            needs = self._needs.get(node, ())
            left[node] = len(needs) if isinstance(node, int) else 1
            for other in needs:
                before.setdefault(other, []).append(node)
        while free:
            node = free.pop()
            self._locked[node] = False
            for waiting in before.get(node, ()):
                left[waiting] -= 1
                if left[waiting] == 0:
                    free.append(waiting)

    def _find_needs(self, node: _Node) -> list[_Node]:
        """What has to go on before a node can; nothing if it may, or if too much was looked at."""
        if self._visits < 0:
            return []
        if isinstance(node, int):
            return self._needs_of_message(self._switch.messages[node])
        if isinstance(node, str):
            return self._needs_of_queue(node)
        return self._needs_of_session(node)

    def _needs_of_message(self, message: Message) -> list[_Node]:
        """Of the calls for a held message those that may never end; the others are no obstacle."""
        needs: list[_Node] = []
        needed: list[int] = []
        for call in self._calls_made(message):
            node = self._node(call)
            if node is not None:
                needs.append(node)
                needed.append(call.id)
        self._needed[message.id] = needed
        return needs

    def _needs_of_queue(self, name: str) -> list[_Node]:
        """What the servers of a queue are busy with: one of it has to be finished before the next
        message is taken."""
        switch = self._switch
        consumers = switch.consumers.get(name)
        if consumers is None or switch.queues[name].paused_at is not None:
            return []
        sessions = consumers.sessions
        self._visits -= len(sessions)
        if self._visits < 0:
            return []
        needs: list[_Node] = []
        children = switch.children
        for session in sessions.values():
            held = session.held
            if session.stream is not None:
                subscription = session.subscriptions[name]
                if subscription.held < subscription.credit:
                    return []
            if len(held) != 1:
                if not held:
                    return []
                needs.append(session)
                continue
            (message,) = held.values()
            if message.id not in children:
                return []
            needs.append(message.id)
        return needs

    def _needs_of_session(self, session: Session) -> list[_Node]:
        """All that a session holds: one of it has to be finished."""
        held = session.held
        self._visits -= len(held)
        if self._visits < 0:
            return []
        children = self._switch.children
        needs: list[_Node] = [m.id for m in held.values() if m.id in children]
        return needs if len(needs) == len(held) else []

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
            after = self._oldest_after(chain[-1])
            if after is None or after.id in seen:
                break
            chain.append(after)
            seen.add(after.id)
        return chain

    def _oldest_after(self, message: Message) -> Message | None:
        """The oldest of what a held message, or a ready one, waits for."""
        if message.state is State.READY:
            name = message.queue
            if name not in self._in_front:
                self._in_front[name] = self._find_in_front(name)
            return self._in_front[name]
        return next(iter(self.calls_of(message)), None)

    def _find_in_front(self, name: str) -> Message | None:
        """The oldest message that the servers of a queue hold, where they can take nothing before
        one is finished, and where each waits for a call."""
        messages = self._switch.messages
        needs = self._needs.get(name)
        if needs is None:
            needs = self._needs[name] = self._find_needs(name)
        most = max(0, self._visits)
        held = [messages[id] for id in islice(self._held(needs), most + 1)]
        if not held or len(held) > most or not all(map(self.calls_of, held)):
            return None
        return min(held, key=_id)

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
