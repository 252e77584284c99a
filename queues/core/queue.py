"""A queue: its policy and its messages by state, with the oldest ready one always at hand."""

from __future__ import annotations

import heapq
import re
from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

from .errors import InvalidName
from .messages import Message, State

if TYPE_CHECKING:
    from .calls import Call
    from .sessions import Session

#: Messages that came back and are looked through in any case.
_SLACK = 1_000

NAME_PATTERN = r"[A-Za-z0-9._:@+~=-]{1,255}"
_id = attrgetter("id")
_NAME = re.compile(NAME_PATTERN, re.ASCII)


def check_name(name: str) -> str:
    """Return ``name`` if it may name a queue, else raise InvalidName."""
    if _NAME.fullmatch(name) is None or name in (".", ".."):
        raise InvalidName(
            "A queue name is 1 to 255 characters of A-Z a-z 0-9 . _ : @ + ~ = -, "
            "and not '.' or '..'."
        )
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a queue treats its messages. Times are in seconds; None means no limit."""

    max_length: int = 100_000
    """Messages that are ready, delayed or held together; one more is refused."""
    ttl: float | None = None
    """Longest life of a message; a message's own shorter ttl wins."""
    ack_timeout: float | None = None
    """A message held longer than this without touch is given to another session."""
    max_deliveries: int | None = None
    """A message given back after this many hand-overs becomes dead."""
    on_expire: Literal["drop", "dead"] = "drop"
    max_dead: int = 1_000
    """Dead messages kept; the oldest is dropped for the next."""


#: What a remembered key counts for beside its own bytes: the digest and the record.
KEY_OVERHEAD = 32


@dataclass(slots=True)
class KeyRecord:
    """What a key was used for: the first message, a digest of its payload, its call if any."""

    id: int
    digest: bytes
    size: int
    call: Call | None
    until: float


class Queue:
    """A named FIFO of messages. ``owner`` is the session that a transient queue ends with.

    Ready messages lie in two places: a deque in the order of their ids, where new ones go to the
    end, and a heap for those that came back. The smaller of the two heads is the oldest. A ready
    message that leaves from the middle is only marked as stale, and dropped when it would come to
    a head; a head is never stale. When there are many stale entries they are dropped at once, and
    when many messages came back they are sorted into the deque. So every operation is O(log n)
    amortised, and only few places have to be looked through for ``ahead_of``.

    Ready messages that may not be handed over yet, because what brought them here is not safe, lie
    in a third place, and are never a head.
    """

    def __init__(self, name: str, policy: Policy, owner: Session | None, now: float) -> None:
        self.name = name
        self.policy = policy
        self.owner = owner
        self.created_at = now
        self.paused_at: float | None = None
        """Since when nothing is handed over; None while it is."""
        self.held: dict[int, Message] = {}
        self.delayed: dict[int, Message] = {}
        self.dead: OrderedDict[int, Message] = OrderedDict()
        self.keys: dict[str, KeyRecord] = {}
        self.bytes = 0
        self.sent = 0
        self.delivered = 0
        self.acked = 0
        self.refused = 0
        """Messages refused because the queue was full,"""
        self.refused_at: float | None = None
        """the last of them then."""
        self._fresh: deque[Message] = deque()
        self._returned: list[tuple[int, Message]] = []
        self._stale: set[int] = set()
        self._kept_back: dict[int, Message] = {}

    @property
    def ready(self) -> int:
        """Messages that could be delivered now, or as soon as they are safe."""
        return len(self._fresh) + len(self._returned) - len(self._stale) + len(self._kept_back)

    @property
    def length(self) -> int:
        """Messages that count against ``max_length``: all but the dead."""
        ready = len(self._fresh) + len(self._returned) - len(self._stale) + len(self._kept_back)
        return ready + len(self.delayed) + len(self.held)

    def ahead_of(self, message: Message) -> int:
        """How many ready messages are older than a ready one. O(n / 8) at worst."""
        id = message.id
        before = bisect_left(self._fresh, id, key=_id)
        # This may be long, and so it is said without a loop.
        before += sum(map((id, message).__gt__, self._returned))
        before += sum(map(id.__gt__, self._kept_back))
        return before - sum(map(id.__gt__, self._stale))

    def append(self, message: Message) -> None:
        """Add a new message, ready and larger in id than all before."""
        self._fresh.append(message)

    def restore(self, message: Message) -> None:
        """Make a message ready again, in its original place."""
        message.state = State.READY
        fresh, id = self._fresh, message.id
        if id in self._stale:
            self._stale.discard(id)
        elif not fresh or fresh[-1].id < id:
            fresh.append(message)
        else:
            heapq.heappush(self._returned, (id, message))
            if len(self._returned) > _SLACK + len(fresh) // 16:
                self._sort_in()

    def keep_back(self, message: Message) -> None:
        """Make a message ready that may not be handed over yet."""
        message.state = State.READY
        self._kept_back[message.id] = message

    def let_go(self, message: Message) -> bool:
        """Let a message be handed over that was kept back; False if it was not, or is no more."""
        if self._kept_back.get(message.id) is not message:
            return False
        del self._kept_back[message.id]
        self.restore(message)
        return True

    def head(self) -> Message | None:
        """The oldest ready message that may be handed over."""
        fresh, returned = self._fresh, self._returned
        if not returned:
            return fresh[0] if fresh else None
        if not fresh or returned[0][0] < fresh[0].id:
            return returned[0][1]
        return fresh[0]

    def pop(self) -> Message:
        """Take out the oldest ready message; there must be one."""
        if not self._returned and not self._stale:
            return self._fresh.popleft()
        message = self.head()
        assert message is not None
        if self._fresh and self._fresh[0] is message:
            self._fresh.popleft()
        else:
            heapq.heappop(self._returned)
        self._drop_stale_heads()
        return message

    def remove(self, message: Message) -> None:
        """Take out a message in whatever state it is."""
        if message.state is State.HELD:
            del self.held[message.id]
        elif message.state is State.DELAYED:
            del self.delayed[message.id]
        elif message.state is State.DEAD:
            del self.dead[message.id]
        elif message.id in self._kept_back:
            del self._kept_back[message.id]
        else:
            self._stale.add(message.id)
            self._drop_stale_heads()
            if len(self._stale) > 64 + self.ready // 8:
                self._compact()

    def messages(self, state: State | None = None) -> Iterator[Message]:
        """All messages, or those in one state; in no order."""
        if state is None or state is State.READY:
            for message in self._fresh:
                if message.id not in self._stale:
                    yield message
            for _, message in self._returned:
                if message.id not in self._stale:
                    yield message
            yield from self._kept_back.values()
        if state is None or state is State.DELAYED:
            yield from self.delayed.values()
        if state is None or state is State.HELD:
            yield from self.held.values()
        if state is None or state is State.DEAD:
            yield from self.dead.values()

    def ready_after(self, id: int) -> Iterator[Message]:
        """Ready messages with a larger id, the oldest first."""
        fresh = islice(self._fresh, bisect_right(self._fresh, id, key=_id), None)
        others = (*self._returned, *self._kept_back.items())
        back = sorted((m for n, m in others if n > id), key=_id)
        for message in heapq.merge(fresh, back, key=_id):
            if message.id not in self._stale:
                yield message

    def sort_dead(self) -> None:
        """Put the dead messages into the order of their deaths, after some were put back."""
        deaths = [(m.death.number, id) for id, m in self.dead.items() if m.death is not None]
        for _, id in sorted(deaths):
            self.dead.move_to_end(id)

    def _drop_stale_heads(self) -> None:
        fresh, returned, stale = self._fresh, self._returned, self._stale
        while fresh and fresh[0].id in stale:
            stale.discard(fresh.popleft().id)
        while returned and returned[0][0] in stale:
            stale.discard(heapq.heappop(returned)[0])

    def _sort_in(self) -> None:
        """Move what came back to its place among the others."""
        back = [message for _, message in sorted(self._returned)]
        self._fresh = deque(sorted([*self._fresh, *back], key=_id))
        self._returned = []

    def _compact(self) -> None:
        stale = self._stale
        self._fresh = deque(m for m in self._fresh if m.id not in stale)
        self._returned = [entry for entry in self._returned if entry[0] not in stale]
        heapq.heapify(self._returned)
        self._stale = set()
