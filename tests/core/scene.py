"""A switch and a clock that moves when told, for tests that read as a story."""

from __future__ import annotations

from typing import Any

from queues.core.answers import TransferResult
from queues.core.limits import Limits
from queues.core.messages import PARENT, Delivery, Draft
from queues.core.switch import Switch
from queues.core.waits import CallWait, Stream

FIRST_ID = 100


class Scene:
    """Every operation of the switch, at the time that it is here."""

    def __init__(self, **limits: Any) -> None:
        self.now = 1_000.0
        self.switch = Switch(first_id=FIRST_ID, now=self.now, limits=Limits(**limits))

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self.switch, operation)
        return lambda *args, **fields: method(*args, now=self.now, **fields)

    def sleep(self, seconds: float) -> None:
        """Let time pass; the switch is told."""
        self.now += seconds
        self.switch.advance(self.now)

    def server(self, client: str, *queues: str, lease: float = 30.0) -> str:
        """The token of a new session, subscribed to queues that are made where they are not."""
        token = f"token of {client}"
        self.login(token, client, lease)
        for name in queues:
            self.create_queue(name)
            self.subscribe(name, token=token)
        return token

    def stream(
        self,
        client: str,
        *queues: str,
        credit: int = 1,
        lease: float = 0.0,
        room: int = 1_000,
    ) -> Stream:
        """The stream of a new session, subscribed to queues that are made where they are not."""
        stream: Stream
        login, stream = self.open_stream(f"token of {client}", client, lease, room=room)
        for name in queues:
            self.create_queue(name)
            self.subscribe(name, token=login.session, credit=credit)
        return stream

    def resume(self, token: str, after: int | None = 0, room: int = 1_000) -> Stream:
        """A new stream of a session."""
        stream: Stream
        _, stream = self.resume_stream(token, after=after, room=room)
        return stream

    def pushed(self, stream: Stream) -> list[int]:
        """Ids of the messages that a stream is pushed now."""
        return [message.id for message in self.switch.take(stream)]

    def put(self, name: str, payload: str = "x", **fields: Any) -> int:
        """Send a message; its id."""
        id: int = self.send(name, Draft(payload=payload, **fields)).id
        return id

    def ask(
        self, name: str, *, inside: int | None = None, token: str | None = None, timeout: float = 60
    ) -> CallWait:
        """A call, made while serving the request ``inside``."""
        headers = None if inside is None else {PARENT: str(inside)}
        wait: CallWait = self.call(
            name, Draft("x", headers=headers), timeout=timeout, token=token, wait_for_server=True
        )
        return wait

    def serve(self, token: str, name: str, *, inside: int | None = None) -> int:
        """A call to a queue that the session serves alone, and takes; the id of the request."""
        request = self.ask(name, inside=inside).call.request
        assert self.take(token).id == request
        return request

    def poll(self, token: str, **fields: Any) -> TransferResult:
        """A Transfer that is answered at once."""
        wait = self.transfer(token=token, **fields)
        result: TransferResult = self.collect(wait)
        return result

    def take(self, token: str, **fields: Any) -> Delivery:
        """Poll for exactly one message."""
        (message,) = self.poll(token, **fields).messages
        return message

    def ids(self, token: str, **fields: Any) -> list[int]:
        """Ids of the messages that a Transfer gets."""
        return [message.id for message in self.poll(token, **fields).messages]

    def events(self) -> list[tuple[str, int | None, str | None]]:
        """Kind, message and detail of all that happened."""
        return [(e.kind, e.message, e.detail) for e in self.switch.trace.after(0, 10**6).events]
