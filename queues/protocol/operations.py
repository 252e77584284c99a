"""The form of every request, declared once.

Decoding is strict: no coercion, no unknown fields, every number and string within its range.
Answers need no declaration of their own: they are the classes of ``queues.core.answers``.

Bodies are JSON; a query string gives the same types, its values read from text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from queues.core.answers import QueueKind
from queues.core.errors import InvalidRequest
from queues.core.limits import MAX_BATCH, MAX_LEASE, MAX_SECONDS, MAX_WAIT
from queues.core.messages import State
from queues.core.queue import NAME_PATTERN, Policy

#: Lease of a session over HTTP that asks for none, in seconds.
LEASE = 30.0
#: Most ids, replies or messages in one request.
MAX_LIST = 10_000
#: Messages that a subscription on a stream may hold where it does not say.
CREDIT = 100
#: Headers of one message.
MAX_HEADERS = 64
#: Most queues, messages or events in one page.
MAX_PAGE = 1_000

Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Ids = Annotated[list[Id], Meta(max_length=MAX_LIST)]
# "$" alone would let a trailing newline pass.
Name = Annotated[
    str,
    Meta(pattern=f"^{NAME_PATTERN}$(?!\\n)", extra_json_schema={"not": {"enum": [".", ".."]}}),
]
Label = Annotated[str, Meta(min_length=1, max_length=255)]
Wait = Annotated[float, Meta(ge=0, le=MAX_WAIT)]
Seconds = Annotated[float, Meta(gt=0, le=MAX_SECONDS)]
Count = Annotated[int, Meta(ge=1, le=2**53)]
PageSize = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
Headers = Annotated[dict[Label, str], Meta(max_length=MAX_HEADERS)]


class Form(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all requests."""


class Error(Form, frozen=True, kw_only=True):
    """How a handler failed. ``code`` is the handler's own."""

    code: Label
    detail: Annotated[str, Meta(max_length=10_000)] = ""


class Login(Form, frozen=True, kw_only=True):
    """Start a session. ``client`` names the program for people; ``lease`` is in seconds, by default
    30."""

    client: Label
    lease: Annotated[float, Meta(ge=1, le=MAX_LEASE)] | UnsetType = UNSET


class Resume(Form, frozen=True, kw_only=True):
    """Go on with a session on another stream; push again what it holds above delivery number
    ``after``."""

    session: Label
    after: Id | None = None


class Touch(Form, frozen=True, kw_only=True):
    """Renew the lease, and the ack timeout of the messages named."""

    ids: Ids = []


class PolicyChange(Form, frozen=True, kw_only=True):
    """The fields of a queue's policy that are to change. Times are in seconds; null: no limit."""

    max_length: Count | UnsetType = UNSET
    ttl: Seconds | UnsetType | None = UNSET
    ack_timeout: Seconds | UnsetType | None = UNSET
    max_deliveries: Count | UnsetType | None = UNSET
    on_expire: Literal["drop", "dead"] | UnsetType = UNSET
    max_dead: Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType = UNSET

    def changes(self) -> dict[str, object]:
        """The given fields only."""
        return {
            name: value
            for name in self.__struct_fields__
            if (value := getattr(self, name)) is not UNSET
        }


class CreateQueue(Form, frozen=True, kw_only=True):
    """Make a queue. What ``policy`` leaves out has its default; no policy accepts any."""

    policy: PolicyChange | None = None

    def full_policy(self) -> Policy | None:
        """The policy asked for, or None."""
        return None if self.policy is None else Policy(**self.policy.changes())  # type: ignore[arg-type]


class ChangeQueue(Form, frozen=True, kw_only=True):
    """Change a queue's policy."""

    policy: PolicyChange


class Purge(Form, frozen=True, kw_only=True):
    """Drop the messages in one state; without ``state`` those ready or delayed."""

    state: State | None = None


class Replay(Form, frozen=True, kw_only=True):
    """Make dead messages ready again: those named, or all."""

    ids: Ids | None = None


class Requeue(Form, frozen=True, kw_only=True):
    """Take held messages from their holders: those named, or all."""

    ids: Ids | None = None


class Move(Form, frozen=True, kw_only=True):
    """Put messages into the queue ``to``: those named, or all in one state; without either those
    ready or delayed."""

    to: Name
    ids: Ids | None = None
    state: State | None = None

    def __post_init__(self) -> None:
        if self.ids is not None and self.state is not None:
            raise ValueError("`ids` and `state` exclude each other")


class Send(Form, frozen=True, kw_only=True):
    """A message to send, as the core takes it. ``ttl`` and ``delay`` are in seconds."""

    payload: str
    correlation_id: Annotated[str, Meta(max_length=1_024)] | None = None
    reply_to: Name | None = None
    ttl: Seconds | None = None
    delay: Annotated[float, Meta(ge=0, le=MAX_SECONDS)] = 0.0
    headers: Headers = {}
    key: Label | None = None

    error: ClassVar[None] = None


SendMany = Annotated[list[Send], Meta(min_length=1, max_length=MAX_BATCH)]


class Call(Form, frozen=True, kw_only=True):
    """A request, as the core takes it, whose reply is waited for up to ``timeout`` seconds."""

    payload: str
    timeout: Annotated[float, Meta(gt=0, le=MAX_WAIT)] = 30.0
    wait_for_server: bool = False
    correlation_id: Annotated[str, Meta(max_length=1_024)] | None = None
    headers: Headers = {}
    key: Label | None = None

    # The switch sets them.
    reply_to: ClassVar[None] = None
    ttl: ClassVar[None] = None
    delay: ClassVar[float] = 0.0
    error: ClassVar[None] = None


class ReplyBody(Form, frozen=True, kw_only=True):
    """The answer to a held request, in a path that names it."""

    payload: str = ""
    headers: Headers = {}
    error: Error | None = None


class TransferReply(ReplyBody, frozen=True, kw_only=True):
    """An answer to a held request, as the core takes it."""

    id: Id


class Transfer(Form, frozen=True, kw_only=True):
    """Ack, reply, and then hand over messages or wait for some. ``timeout`` is in seconds."""

    after: Id | None = None
    timeout: Wait = 0.0
    limit: Annotated[int, Meta(ge=1, le=MAX_BATCH)] = 1
    ack: Ids = []
    replies: Annotated[list[TransferReply], Meta(max_length=MAX_LIST)] = []


class Ack(Form, frozen=True, kw_only=True):
    """Finish held messages."""

    ids: Ids


class Nack(Form, frozen=True, kw_only=True):
    """Give held messages back, ready after ``delay`` seconds; or reject them as dead."""

    ids: Ids
    delay: Annotated[float, Meta(ge=0, le=MAX_SECONDS)] = 0.0
    requeue: bool = True


class Subscribe(Form, frozen=True, kw_only=True):
    """How to consume a queue on a stream: messages are pushed while the session holds fewer than
    ``credit`` of it; with 0 none are, and Transfer asks for them."""

    credit: Annotated[int, Meta(ge=0, le=MAX_LIST)] = CREDIT


class NoQuery(Form, frozen=True, kw_only=True):
    """A query string without fields."""


class QueuePage(Form, frozen=True, kw_only=True):
    """Which queues to list: by prefix, with (or without) a consumer, of one kind."""

    prefix: Annotated[str, Meta(max_length=255)] = ""
    alive: bool | None = None
    kind: QueueKind | None = None
    after: Annotated[str, Meta(max_length=255)] = ""
    limit: PageSize = 100


class MessagePage(Form, frozen=True, kw_only=True):
    """Which messages of a queue to list: in one state, and with a text in them."""

    state: State | None = None
    search: Annotated[str, Meta(max_length=1_000)] = ""
    after: Id = 0
    limit: PageSize = 100


class TraceQuery(Form, frozen=True, kw_only=True):
    """Events after a number; wait up to ``timeout`` seconds if there are none."""

    after: Id = 0
    limit: PageSize = 100
    timeout: Wait = 0.0


T = TypeVar("T")

_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def decode(body: bytes, form: type[T]) -> T:
    """Read a JSON body. Raises InvalidRequest with what is wrong and where."""
    decoder = _decoders.get(form)
    if decoder is None:
        decoder = _decoders[form] = msgspec.json.Decoder(form)
    try:
        return decoder.decode(body)  # type: ignore[no-any-return]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not as declared: {error}.") from error
    except RecursionError as error:
        raise InvalidRequest("The body is nested too deeply.") from error


def decode_payload(body: bytes) -> str:
    """Read a body that is the payload itself. Raises InvalidRequest if it is not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("The payload is not UTF-8 text.") from error


def query_fields(query: str) -> dict[str, str]:
    """The fields of a query string. Raises InvalidRequest."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as error:
        raise InvalidRequest("The query string is not UTF-8, or has too many fields.") from error
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise InvalidRequest("The query string has a field twice.")
    return fields


def convert(fields: Mapping[str, str], form: type[T]) -> T:
    """Read values given as text. Raises InvalidRequest with what is wrong and where."""
    try:
        return msgspec.convert(fields, form, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The query string is not as declared: {error}.") from error


def decode_query(query: str, form: type[T]) -> T:
    """Read a query string. Raises InvalidRequest with what is wrong and where."""
    return convert(query_fields(query), form)


_encoder = msgspec.json.Encoder()


def encode(answer: Any) -> bytes:
    """Write an answer as JSON."""
    return _encoder.encode(answer)
