"""A session that outlives its token: it logs in again, and restores what it had."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from msgspec import UNSET

from queues.core.answers import (
    LoginResult,
    QueueCreated,
    QueueInfo,
    TouchResult,
    TransferResult,
)
from queues.core.errors import (
    QueueNotFound,
    ShuttingDown,
    SwitchError,
    TooManySessions,
    UnknownSession,
)
from queues.core.messages import Delivery
from queues.protocol import operations as forms
from queues.protocol.frames import FrameTooLarge

from .backoff import Backoff
from .errors import OutcomeUnknown, Unreachable
from .stream import StreamTransport
from .transport import Operation, Transport

T = TypeVar("T")

logger = logging.getLogger("queues.client")

#: An operation that was cut off is repeated, if it may be, for at least this many seconds.
REPEAT_FOR = 5.0
#: Seconds that a Transfer stays open when there is nothing to receive.
POLL = 25.0
#: What ends an attempt to restore a session; another attempt may succeed.
_AGAIN = (Unreachable, OutcomeUnknown, ShuttingDown, UnknownSession)
#: Seconds between two looks at a session that has nothing to lose.
IDLE = 10.0
#: Sessions that may turn out to be unknown before an operation pauses, or is given up.
MAX_LOGINS = 3


@dataclass(frozen=True, slots=True)
class _Subscription:
    """What a subscription asks for, and the queue's ack timeout in seconds."""

    credit: int
    ack_timeout: float | None


class Session:
    """One session of a client at the switch. It logs in when first needed.

    While it has something to lose (a message in hand, a transient queue) it touches by itself,
    three times in a lease or in the shortest ack timeout. A mere subscription is no reason: a
    consumer that asks for nothing shall not look alive. When the switch no longer knows the
    session, it logs in again, creates the persistent queues again that it created, and
    subscribes again.
    """

    def __init__(self, transport: Transport, client: str, lease: float | None) -> None:
        self.client = client
        self.lease = lease
        self.in_hand: set[int] = set()
        """Ids of messages that somebody works on; they are touched too."""
        self.waiting: set[int] = set()
        """Ids of messages that wait until those in hand are done; touched as long as any is."""
        self._transport = transport
        self._current: LoginResult | None = None
        self._instance: int | None = None
        """The lives of the switch that the session is, or was, in, which know each other's keys."""
        self._lock = asyncio.Lock()
        self._created: dict[str, forms.PolicyChange | None] = {}
        self._fresh: set[str] = set()
        self._subscriptions: dict[str, _Subscription] = {}
        """By name of the queue."""
        self._lost: dict[str, SwitchError] = {}
        """Subscriptions that could not be restored, and why."""
        self._after = 0
        self._seen_at = 0.0
        """When what waits was last known to be held."""
        self._keeper: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def _time(self) -> float:
        """The loop's time. Asking for the loop is a system call on Python 3.11: done once."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop.time()

    # -- operations ---------------------------------------------------------------------------

    async def perform(
        self,
        operation: Operation[T],
        *,
        wait: float = 0.0,
        repeat_for: float = REPEAT_FOR,
        renew: Callable[[Operation[T], float], Operation[T]] | None = None,
    ) -> T:
        """Do an operation, logging in first if it wants a session.

        While the switch cannot be reached, or has no room for a session, try again for ``wait``
        seconds. What was cut off is repeated, if that is safe, for at least ``repeat_for``
        seconds; by its key only as long as the switch has not forgotten that in a restart.
        ``renew`` makes the operation of a later attempt, or of one after a login, from that given
        and the seconds that have passed.
        Raises the refusal; Unreachable, OutcomeUnknown.
        """
        now = self._time
        begun = now()
        ends = begun + wait
        attempt = operation
        as_given = self._current is not None
        backoff: Backoff | None = None
        cut_off: OutcomeUnknown | None = None
        sent_to: int | None = None
        unknown = 0
        while True:
            if self._closed:
                raise RuntimeError("The client is closed.")
            token = None
            failure: SwitchError
            try:
                if self._current is not None:
                    token = self._current.session
                elif operation.login:
                    token = await self._logged_in()
                if renew is not None and not as_given:
                    attempt = renew(operation, now() - begun)
                as_given = False
                if cut_off is not None and operation.keyed and self._instance != sent_to:
                    # The switch was restarted, and may have forgotten the key.
                    raise cut_off
                sent_to = self._instance
                return await self._transport.perform(attempt, token)
            except UnknownSession as error:
                self._forget(token)
                unknown += 1
                if unknown <= MAX_LOGINS:
                    continue
                failure = error
            except (Unreachable, TooManySessions) as error:
                failure = error
            except (OutcomeUnknown, ShuttingDown) as error:
                if error is cut_off:
                    raise
                failure = error
                if isinstance(error, ShuttingDown) and operation.name == "call":
                    # It may have come while the call waited for its reply.
                    failure = OutcomeUnknown("The switch stopped before the reply came.")
                if isinstance(failure, OutcomeUnknown):
                    if not operation.repeatable:
                        raise failure from error
                    if cut_off is None:
                        cut_off = failure
                        ends = max(ends, now() + repeat_for)
            backoff = backoff or Backoff()
            pause = backoff.next()
            if now() + pause > ends:
                raise cut_off or failure
            await asyncio.sleep(pause)

    async def login(self, *, wait: float = 0.0) -> LoginResult:
        """Log in, unless that has been done. Raises TooManySessions, Unreachable."""
        await self.perform(
            Operation(name="touch", answer=TouchResult, form=forms.Touch(), login=True), wait=wait
        )
        assert self._current is not None
        return self._current

    async def create(
        self, name: str, policy: forms.PolicyChange | None, *, wait: float = 0.0
    ) -> QueueCreated:
        """Create a persistent queue, now and whenever the switch has forgotten it."""
        created = await self.perform(_create(name, policy), wait=wait)
        self._created[name] = policy
        return created

    async def create_fresh(
        self, policy: forms.PolicyChange | None, *, wait: float = 0.0
    ) -> QueueCreated:
        """Create a transient queue, which lasts as long as the switch knows the session."""
        created = await self.perform(
            Operation(
                name="create_fresh_queue",
                answer=QueueCreated,
                form=forms.CreateQueue(policy=policy),
                login=True,
                repeatable=False,
            ),
            wait=wait,
        )
        self._fresh.add(created.name)
        return created

    def destroyed(self, name: str) -> None:
        """Do not create the queue again."""
        self._created.pop(name, None)
        self._fresh.discard(name)

    @property
    def pushes(self) -> bool:
        """Whether messages are pushed."""
        return self._transport.pushes

    def on_delivery(self, deliver: Callable[[Delivery], None]) -> None:
        """Where pushed messages go."""
        if isinstance(self._transport, StreamTransport):
            self._transport.on_delivery = deliver

    def tell(self, operation: Operation[Any], refused: Callable[[SwitchError], None]) -> bool:
        """Do an operation now, if its answer matters only in case it is refused.

        False when this transport cannot do that, or not with an operation this large.
        """
        if not isinstance(self._transport, StreamTransport) or self._current is None:
            return False
        try:
            self._transport.tell(operation, self._current.session, refused)
        except FrameTooLarge:
            return False
        return True

    async def stay_connected(self) -> None:
        """Wait until the stream breaks, and connect again, with the subscriptions there were.

        Raises QueueNotFound when one did not survive a restart of the switch.
        """
        if isinstance(self._transport, StreamTransport):
            await self._transport.disconnected()
        await self.touch(wait=math.inf)
        if self._lost:
            raise self._lost.pop(next(iter(self._lost)))

    @property
    def survives(self) -> bool:
        """Whether the session outlives its connection."""
        return self._current is not None and self._current.lease > 0

    async def subscribe(self, name: str, *, credit: int = 0, wait: float = 0.0) -> None:
        """Consume a queue, now and after every new login.

        Where messages are pushed, they are while the session holds fewer than ``credit`` of them.
        """
        await self.perform(self._subscribe(name, credit), wait=wait)
        self._lost.pop(name, None)
        # Before anything else is asked: the connection may break then, and this be restored.
        self._subscriptions[name] = _Subscription(credit, None)
        info = await self.perform(
            Operation(name="inspect_queue", answer=QueueInfo, queue=name, login=True), wait=wait
        )
        if name in self._subscriptions:
            self._subscriptions[name] = _Subscription(credit, info.policy.ack_timeout)
        self._start_keeper()

    def pause(self, name: str) -> None:
        """Have no more messages of a queue pushed, now and after every new login."""
        subscription = self._subscriptions.get(name)
        if subscription is not None and self._transport.pushes:
            self._subscriptions[name] = replace(subscription, credit=0)
            self.tell(self._subscribe(name, 0), lambda refused: None)

    async def unsubscribe(self, name: str, *, wait: float = 0.0) -> None:
        """Stop consuming a queue."""
        self._subscriptions.pop(name, None)
        self._lost.pop(name, None)
        await self.perform(
            Operation(name="unsubscribe", answer=type(None), queue=name, login=True), wait=wait
        )

    async def transfer(
        self,
        *,
        limit: int = 1,
        timeout: float = POLL,
        replies: Iterable[forms.TransferReply] = (),
        wait: float = math.inf,
    ) -> TransferResult:
        """Receive messages; one Transfer at a time. ``timeout`` is in seconds.

        What the switch handed over in an answer that got lost comes again.
        Raises QueueNotFound when a subscription did not survive a restart of the switch.
        """
        carried = list(replies)

        def operation(*_: object) -> Operation[TransferResult]:
            # After a new login the numbers start from nothing, and there may be news of
            # subscriptions: hence anew for each attempt.
            patience = 0.0 if self._lost else timeout
            form = forms.Transfer(after=self._after, timeout=patience, limit=limit, replies=carried)
            return Operation(
                name="transfer", answer=TransferResult, form=form, wait=patience, login=True
            )

        result = await self.perform(operation(), wait=wait, renew=operation)
        self._after = result.next
        if not result.messages and self._lost:
            raise self._lost.pop(next(iter(self._lost)))
        return result

    async def touch(self, ids: Iterable[int] = (), *, wait: float = 0.0) -> TouchResult:
        """Renew the lease, and the ack timeout of the messages."""
        return await self.perform(
            Operation(
                name="touch", answer=TouchResult, form=forms.Touch(ids=list(ids)), login=True
            ),
            wait=wait,
        )

    def put_by(self, ids: Iterable[int]) -> None:
        """Messages have arrived that nobody works on yet."""
        self.waiting.update(ids)
        self._seen_at = self._time()

    async def check_waiting(self) -> None:
        """Forget of the messages that wait those that the switch may have given to others."""
        if self.waiting and self._time() - self._seen_at >= self._interval():
            await self._touch_held(all=True, wait=math.inf)

    async def close(self, *, timeout: float = 2.0) -> None:
        """Log out if logged in; what the session holds goes back to its queues.

        ``timeout`` is in seconds; if the switch is away that long, the lease ends the session.
        Operations that are still waiting get a RuntimeError.
        """
        self._closed = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._current is None:
            return
        token, self._current = self._current.session, None
        await self._log_out(token, timeout)

    async def _log_out(self, token: str, timeout: float = 2.0) -> None:
        with contextlib.suppress(SwitchError, TimeoutError):
            async with asyncio.timeout(timeout):
                await self._transport.perform(Operation(name="logout", answer=type(None)), token)

    # -- logging in ---------------------------------------------------------------------------

    async def _logged_in(self) -> str:
        """The token of the session, logging in if nobody else does."""
        async with self._lock:
            if self._current is None:
                await self._login()
            assert self._current is not None
            return self._current.session

    def _forget(self, token: str | None) -> None:
        if self._current is not None and self._current.session == token:
            logger.info("The switch no longer knows the session of %s.", self.client)
            self._current = None

    async def _login(self) -> None:
        form = forms.Login(client=self.client, lease=UNSET if self.lease is None else self.lease)
        try:
            current = await self._transport.perform(
                Operation(name="login", answer=LoginResult, form=form), None
            )
            await self._restore(current.session)
        except OutcomeUnknown as error:
            # The operation that needs the session has not been sent.
            raise Unreachable(error.detail) from error
        if self._closed:
            # Meanwhile; then there was nothing to log out.
            await self._log_out(current.session)
            raise RuntimeError("The client is closed.")
        self._after = 0
        # The switch has made ready again what the session before held.
        self.waiting.clear()
        self._current = current
        self._instance = current.instance
        self._start_keeper()

    async def _restore(self, token: str) -> None:
        """Create and subscribe what an earlier session of this client had."""
        for name, policy in list(self._created.items()):
            if name not in self._created:
                continue  # destroyed meanwhile
            try:
                await self._transport.perform(_create(name, policy), token)
            except _AGAIN:
                raise
            except SwitchError as error:
                logger.warning("The queue %s was not created again: %s", name, error)
        for name in list(self._subscriptions):
            if name not in self._subscriptions:
                continue  # unsubscribed meanwhile
            try:
                subscribe = self._subscribe(name, self._subscriptions[name].credit)
                await self._transport.perform(subscribe, token)
            except _AGAIN:
                raise
            except SwitchError as error:
                if name not in self._subscriptions:
                    continue
                self._subscriptions.pop(name, None)
                why = (
                    QueueNotFound(f"The transient queue {name} ended with its session.")
                    if name in self._fresh
                    else error
                )
                self._lost[name] = why
                logger.warning("Not subscribed to %s again: %s", name, why)
        self._fresh.clear()

    def _subscribe(self, name: str, credit: int) -> Operation[None]:
        form = forms.Subscribe(credit=credit) if self._transport.pushes else None
        return Operation(name="subscribe", answer=type(None), queue=name, form=form, login=True)

    # -- keeping it alive ---------------------------------------------------------------------

    def _start_keeper(self) -> None:
        """Begin to touch, at the interval that suits the subscriptions there are now."""
        if self._keeper is not None and self._keeper is not asyncio.current_task():
            self._keeper.cancel()
            self._keeper = None
        if self._keeper is None and not self._closed:
            self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.client}")

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._interval())
            if not (self.in_hand or self._fresh):
                continue
            try:
                await self._touch_held()
            except SwitchError as error:
                logger.info("The session of %s was not kept: %s", self.client, error)

    async def _touch_held(self, *, all: bool = False, wait: float = 0.0) -> None:
        """Touch what is in hand, and what waits for that; forget what is no longer held."""
        begun = self._time()
        waiting = list(self.waiting) if all or self.in_hand else []
        touched = await self.touch([*self.in_hand, *waiting], wait=wait)
        if waiting:
            self._seen_at = begun
        for id in (*touched.unknown, *touched.not_held):
            for held in (self.in_hand, self.waiting):
                if id in held:
                    held.discard(id)
                    logger.warning("Message %d was taken back while %s had it.", id, self.client)

    def _interval(self) -> float:
        lease = 0.0 if self._current is None else self._current.lease
        ends = [each.ack_timeout for each in self._subscriptions.values()]
        times = [time for time in (lease, *ends) if time]
        return min(times) / 3 if times else IDLE


def _create(name: str, policy: forms.PolicyChange | None) -> Operation[QueueCreated]:
    return Operation(
        name="create_queue",
        answer=QueueCreated,
        queue=name,
        form=forms.CreateQueue(policy=policy),
        login=True,
    )
