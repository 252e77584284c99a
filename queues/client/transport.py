"""What travels between a client and the switch, whatever carries it."""

from __future__ import annotations

from typing import Any, Generic, Literal, Protocol, TypeVar

from msgspec import Struct

T = TypeVar("T")

OperationName = Literal[
    "login",
    "resume",
    "logout",
    "touch",
    "create_queue",
    "create_fresh_queue",
    "change_queue",
    "destroy_queue",
    "purge_queue",
    "replay_dead",
    "pause_queue",
    "resume_queue",
    "requeue",
    "move_messages",
    "list_queues",
    "inspect_queue",
    "browse",
    "send",
    "send_many",
    "drop_message",
    "subscribe",
    "unsubscribe",
    "transfer",
    "ack",
    "nack",
    "explain",
    "reply",
    "call",
    "explain_session",
    "end_session",
    "waits_for",
    "diagnostics",
    "trace",
    "health",
    "incident",
]


class Operation(Struct, Generic[T], kw_only=True):
    """One request: its name, what it is about, its form of ``queues.protocol``, its answer."""

    name: OperationName
    answer: type[T]
    queue: str | None = None
    id: int | None = None
    form: Any = None
    wait: float = 0.0
    """Seconds that the switch may wait for something before it answers."""
    login: bool = False
    """Whether a session is needed, or wanted so that the switch can name the sender."""
    repeatable: bool = True
    """Whether doing it twice is the same as doing it once."""
    keyed: bool = False
    """Whether that is so only because of a key, which the switch forgets when it restarts."""


class Transport(Protocol):
    """A way to a switch. Used from one event loop."""

    @property
    def pushes(self) -> bool:
        """Whether messages are pushed, as far as is known."""

    async def perform(self, operation: Operation[T], token: str | None) -> T:
        """Do one operation, for the session ``token`` if there is one.

        Raises the refusal; Unreachable when nothing was sent; OutcomeUnknown when it was sent
        and no answer came; BadAnswer.
        """

    def another(self) -> Transport:
        """A way to the same switch for another session."""

    async def close(self) -> None:
        """Close all connections."""
