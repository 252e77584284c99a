"""The stream: the operations of the switch as frames, whatever carries the bytes.

A frame holds one item or a list of items, as JSON or as MessagePack. The client sends operations,
``{"op": ..., "ref": ..., ...}``; the switch sends answers, ``{"ref": ..., "ok": ...}`` or ``{"ref":
..., "error": {...}}``, and what it has to say by itself::

    {"deliver": {...}}   a message of a subscribed queue, now held by the session
    {"ping": n}          asks for {"op": "pong", "n": n}, so as to know what was read
    {"closing": {...}}   why the switch closes the connection: a code and a detail
    {"piece": ..., "more": true}
                         a part of a frame that is too large for one message of a WebSocket

An operation without ``ref`` is not answered; one that is ``quiet`` only if it is refused.

``SwitchSide`` and ``ClientSide`` are the two ends of a connection without its bytes: frames in,
items out, and the other way round. They wait for nothing and know no time.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, ClassVar, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from queues.core.errors import InvalidRequest, PayloadTooLarge, SwitchError
from queues.core.limits import MAX_LEASE
from queues.core.messages import Delivery

from . import operations as forms

SUBPROTOCOLS = ("switch.v1.msgpack", "switch.v1.json")
#: Largest frame in bytes that the switch reads where it decides itself.
MAX_FRAME = 16 * 2**20
#: Largest WebSocket message that the switch reads, in bytes: what Daphne lets through.
MAX_WEBSOCKET_FRAME = 2**20
#: A frame to a WebSocket that has more bytes leaves in pieces of so many bytes or characters.
PIECE = 128 * 2**10
#: Items leave together up to this many bytes; a larger one leaves alone.
BATCH_BYTES = 256 * 2**10
#: Sent bytes after which the switch asks how far the client has read.
PING_EVERY = 256 * 2**10
#: Operations that one frame may hold.
MAX_ITEMS = 100_000
#: A frame with something wrong in it is looked at item by item if it has no more bytes than this,
MAX_WRONG_FRAME = 2**20
#: and no more items.
MAX_WRONG_ITEMS = 10_000

Ref = Annotated[int, Meta(ge=0, le=2**53)]
Text = str


class Request(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="op",
):
    """Base of those operations that have no form to build on.

    The others repeat its two fields: a Struct has one base with fields.
    """

    ref: Ref | None = None
    """Comes back with the answer; without it there is none."""
    quiet: bool = False
    """Whether only a refusal is answered."""


class Login(Request, frozen=True, kw_only=True, tag="login"):
    """Start a session on this connection. With a lease of 0 it ends with the connection."""

    client: forms.Label
    lease: Annotated[float, Meta(ge=0, le=MAX_LEASE)] = 0.0


class Resume(forms.Resume, frozen=True, kw_only=True, tag_field="op", tag="resume"):
    """Go on with a session here."""

    ref: Ref | None = None
    quiet: bool = False


class Logout(Request, frozen=True, kw_only=True, tag="logout"):
    """End the session."""


class Touch(forms.Touch, frozen=True, kw_only=True, tag_field="op", tag="touch"):
    """Renew the ack timeout of messages."""

    ref: Ref | None = None
    quiet: bool = False


class CreateQueue(forms.CreateQueue, frozen=True, kw_only=True, tag_field="op", tag="create_queue"):
    """Make sure that a queue exists."""

    ref: Ref | None = None
    quiet: bool = False
    queue: Text


class CreateFreshQueue(
    forms.CreateQueue, frozen=True, kw_only=True, tag_field="op", tag="create_fresh_queue"
):
    """Make a transient queue."""

    ref: Ref | None = None
    quiet: bool = False


class ChangeQueue(forms.ChangeQueue, frozen=True, kw_only=True, tag_field="op", tag="change_queue"):
    """Change a queue's policy."""

    ref: Ref | None = None
    quiet: bool = False
    queue: Text


class DestroyQueue(Request, frozen=True, kw_only=True, tag="destroy_queue"):
    """Drop a queue and its messages."""

    queue: Text


class PurgeQueue(forms.Purge, frozen=True, kw_only=True, tag_field="op", tag="purge_queue"):
    """Drop messages in one state."""

    ref: Ref | None = None
    quiet: bool = False
    queue: Text


class ReplayDead(forms.Replay, frozen=True, kw_only=True, tag_field="op", tag="replay_dead"):
    """Make dead messages ready again."""

    ref: Ref | None = None
    quiet: bool = False
    queue: Text


class PauseQueue(Request, frozen=True, kw_only=True, tag="pause_queue"):
    """Hand out no message of a queue."""

    queue: Text


class ResumeQueue(Request, frozen=True, kw_only=True, tag="resume_queue"):
    """Hand out messages again."""

    queue: Text


class Requeue(forms.Requeue, frozen=True, kw_only=True, tag_field="op", tag="requeue"):
    """Take held messages from their holders."""

    ref: Ref | None = None
    quiet: bool = False
    queue: Text


class MoveMessages(forms.Move, frozen=True, kw_only=True, tag_field="op", tag="move_messages"):
    """Put messages into another queue."""

    ref: Ref | None = None
    quiet: bool = False
    queue: Text


class ListQueues(forms.QueuePage, frozen=True, kw_only=True, tag_field="op", tag="list_queues"):
    """A page of queues."""

    ref: Ref | None = None
    quiet: bool = False


class InspectQueue(Request, frozen=True, kw_only=True, tag="inspect_queue"):
    """A queue as it is."""

    queue: Text


class Browse(forms.MessagePage, frozen=True, kw_only=True, tag_field="op", tag="browse"):
    """A page of a queue's messages."""

    ref: Ref | None = None
    quiet: bool = False
    queue: Text


class Send(forms.Send, frozen=True, kw_only=True, tag_field="op", tag="send"):
    """Send a message."""

    ref: Ref | None = None
    quiet: bool = False
    queue: Text


class SendMany(Request, frozen=True, kw_only=True, tag="send_many"):
    """Send messages; each has its own outcome."""

    queue: Text
    messages: forms.SendMany


class DropMessage(Request, frozen=True, kw_only=True, tag="drop_message"):
    """Delete a message."""

    queue: Text
    id: forms.Id


class Subscribe(forms.Subscribe, frozen=True, kw_only=True, tag_field="op", tag="subscribe"):
    """Consume a queue."""

    ref: Ref | None = None
    quiet: bool = False
    queue: Text


class Unsubscribe(Request, frozen=True, kw_only=True, tag="unsubscribe"):
    """Stop consuming."""

    queue: Text


class Transfer(forms.Transfer, frozen=True, kw_only=True, tag_field="op", tag="transfer"):
    """Ack, reply, and hand over messages or wait for some."""

    ref: Ref | None = None
    quiet: bool = False


class Ack(forms.Ack, frozen=True, kw_only=True, tag_field="op", tag="ack"):
    """Finish held messages."""

    ref: Ref | None = None
    quiet: bool = False


class Nack(forms.Nack, frozen=True, kw_only=True, tag_field="op", tag="nack"):
    """Give held messages back, or reject them."""

    ref: Ref | None = None
    quiet: bool = False


class Reply(forms.ReplyBody, frozen=True, kw_only=True, tag_field="op", tag="reply"):
    """Answer a held request and ack it."""

    ref: Ref | None = None
    quiet: bool = False
    id: forms.Id


class Explain(Request, frozen=True, kw_only=True, tag="explain"):
    """Where a message is and why."""

    id: forms.Id


class Call(forms.Call, frozen=True, kw_only=True, tag_field="op", tag="call"):
    """Send a request and wait for its reply."""

    ref: Ref | None = None
    quiet: bool = False
    queue: Text


class ExplainSession(Request, frozen=True, kw_only=True, tag="explain_session"):
    """What a session holds and waits for, and why."""

    id: forms.Id


class EndSession(Request, frozen=True, kw_only=True, tag="end_session"):
    """End a session, named by its id."""

    id: forms.Id


class WaitsFor(Request, frozen=True, kw_only=True, tag="waits_for"):
    """Who waits for whom."""


class Incident(Request, frozen=True, kw_only=True, tag="incident"):
    """All that the switch knows of itself, without what messages carry."""


class Health(Request, frozen=True, kw_only=True, tag="health"):
    """How the switch itself is doing."""


class Diagnostics(Request, frozen=True, kw_only=True, tag="diagnostics"):
    """The whole switch at one instant."""


class Trace(forms.TraceQuery, frozen=True, kw_only=True, tag_field="op", tag="trace"):
    """Events after a number."""

    ref: Ref | None = None
    quiet: bool = False


class Cancel(Request, frozen=True, kw_only=True, tag="cancel"):
    """Give up an operation that waits: it gets no answer. A message handed to it stays held."""

    of: Ref


class Ping(Request, frozen=True, kw_only=True, tag="ping"):
    """Does nothing: its answer says that everything before it is done."""


class Pong(Request, frozen=True, kw_only=True, tag="pong"):
    """Answers a ping of the switch. Is not answered."""

    n: forms.Id


Operation = (
    Login
    | Resume
    | Logout
    | Touch
    | CreateQueue
    | CreateFreshQueue
    | ChangeQueue
    | DestroyQueue
    | PurgeQueue
    | ReplayDead
    | PauseQueue
    | ResumeQueue
    | Requeue
    | MoveMessages
    | ListQueues
    | InspectQueue
    | Browse
    | Send
    | SendMany
    | DropMessage
    | Subscribe
    | Unsubscribe
    | Transfer
    | Ack
    | Nack
    | Reply
    | Explain
    | Call
    | ExplainSession
    | EndSession
    | WaitsFor
    | Health
    | Incident
    | Diagnostics
    | Trace
    | Cancel
    | Ping
    | Pong
)

#: The operations by name.
OPERATIONS: dict[str, type[Operation]] = {
    str(kind.__struct_config__.tag): kind for kind in get_args(Operation)
}


class Answer(Struct):
    """An operation was carried out."""

    ref: int
    ok: Any


class Refusal(Struct):
    """An operation was refused. ``ref`` is None where it could not be read."""

    ref: int | None
    error: dict[str, Any]


class Deliver(Struct):
    """A message for the session."""

    deliver: Delivery


class Asking(Struct):
    """Asks for a pong."""

    ping: int


class Piece(Struct):
    """A part of a frame, as text or bytes; the last has no ``more``."""

    piece: str | bytes
    more: bool


class Closing(Struct):
    """Why the connection is closed."""

    closing: dict[str, Any]


class FromSwitch(Struct):
    """Any item that a client may get."""

    ref: int | None = None
    ok: Raw | UnsetType = UNSET
    error: dict[str, Any] | UnsetType = UNSET
    deliver: Delivery | UnsetType = UNSET
    ping: int | UnsetType = UNSET
    closing: dict[str, Any] | UnsetType = UNSET
    piece: Any = UNSET
    more: bool = False


class Unreadable(Struct):
    """What stands in for an operation that could not be read."""

    ref: int | None
    error: SwitchError


class Codec:
    """One way to write items as bytes: ``json`` or ``msgpack``."""

    def __init__(self, name: Literal["json", "msgpack"]) -> None:
        library: Any = msgspec.json if name == "json" else msgspec.msgpack
        self.name = name
        self.subprotocol = f"switch.v1.{name}"
        self.text = name == "json"
        self.encode: Callable[[Any], bytes] = library.Encoder().encode
        self.read_operations: Callable[[bytes | str], Any] = library.Decoder(
            Operation | Annotated[list[Operation], Meta(max_length=MAX_ITEMS)]
        ).decode
        self.read_anything: Callable[[bytes | str], Any] = library.Decoder().decode
        self.read_items: Callable[[bytes], Any] = library.Decoder(
            FromSwitch | list[FromSwitch]
        ).decode
        self._library = library
        self._answers: dict[Any, Callable[[bytes | Raw], Any]] = {}

    def read_answer(self, data: bytes | Raw, kind: Any) -> Any:
        """The value of an answer. Raises msgspec.DecodeError."""
        decode = self._answers.get(kind)
        if decode is None:
            decode = self._answers[kind] = self._library.Decoder(kind).decode
        return decode(data)

    def join(self, items: list[bytes]) -> bytes:
        """Written items as one frame."""
        if len(items) == 1:
            return items[0]
        if self.text:
            return b"[" + b",".join(items) + b"]"
        count = len(items)
        head = bytes((0x90 | count,)) if count < 16 else b"\xdd" + count.to_bytes(4, "big")
        return head + b"".join(items)


JSON = Codec("json")
MSGPACK = Codec("msgpack")


def codec_of_frame(data: bytes) -> Codec:
    """The codec that a frame is written in, told by its first byte."""
    return JSON if data[:1] in (b"{", b"[", b" ", b"\n", b"\t", b"\r") else MSGPACK


class FrameTooLarge(PayloadTooLarge):
    """An operation that does not fit into a frame of this transport. Raised by ``ClientSide``."""


class _Outbox:
    """Written items that wait to leave together."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._items: list[bytes] = []
        self.bytes = 0

    def put(self, item: bytes) -> None:
        self._items.append(item)
        self.bytes += len(item)

    def frames(self, largest: int) -> list[bytes]:
        """All of them as frames, each of no more than ``largest`` bytes unless it is one item."""
        items, self._items = self._items, []
        whole, self.bytes = self.bytes, 0
        if not items:
            return []
        join = self._codec.join
        if whole + len(items) + 5 <= largest:
            return [join(items)]
        frames: list[bytes] = []
        batch: list[bytes] = []
        size = 5
        for item in items:
            if batch and size + len(item) + 1 > largest:
                frames.append(join(batch))
                batch, size = [], 5
            batch.append(item)
            size += len(item) + 1
        frames.append(join(batch))
        return frames


class SwitchSide:
    """The switch's end of a connection."""

    def __init__(self, codec: Codec, largest: int | None = None) -> None:
        self.codec = codec
        self._encode = codec.encode
        self._largest = largest
        """Frames of more bytes leave in pieces."""
        self.unread = 0
        """Bytes written and not known to have been read."""
        self._out = _Outbox(codec)
        self._written = 0
        self._confirmed = 0
        self._asked: tuple[int, int] | None = None
        """The ping that has not been answered, and the bytes that its answer confirms."""

    @property
    def has_output(self) -> bool:
        """Whether ``data_to_send`` has something."""
        return self._out.bytes > 0

    @property
    def awaits_pong(self) -> bool:
        """Whether the client has yet to say that it has read on."""
        return self._asked is not None

    def receive(self, data: bytes | str) -> Iterable[Any]:
        """The operations of a frame; Unreadable stands for what is none. Pongs are dealt with.

        Those of a frame with something wrong in it are read one by one as they are taken, since
        that takes much longer.
        """
        try:
            items = self.codec.read_operations(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._read_wrong_frame(data, error)
        except TypeError:
            return [_unreadable(None, "MessagePack is bytes, not text.")]
        if type(items) is not list:
            items = [items]
        for item in items:
            if type(item) is Pong:
                return [i for i in items if type(i) is not Pong or self._confirm(i)]
        return items

    def _read_wrong_frame(self, data: bytes | str, error: Exception) -> Iterable[Any]:
        if len(data) <= MAX_WRONG_FRAME:
            try:
                items = self.codec.read_anything(data)
            except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as unreadable:
                error = unreadable
            except RecursionError:
                return [_unreadable(None, "The frame is nested too deeply.")]
            else:
                items = items if type(items) is list else [items]
                if len(items) <= MAX_WRONG_ITEMS:
                    return self._one_by_one(items)
        return [_unreadable(None, f"The frame cannot be read: {error}.")]

    def _one_by_one(self, items: list[Any]) -> Iterator[Any]:
        for item in items:
            ref = item.get("ref") if isinstance(item, dict) else None
            if type(ref) is not int or not 0 <= ref <= 2**53:
                ref = None
            try:
                operation = msgspec.convert(item, Operation)
            except (msgspec.ValidationError, RecursionError) as error:
                yield _unreadable(ref, f"The operation is not as declared: {error}.")
            else:
                if type(operation) is not Pong or self._confirm(operation):
                    yield operation

    def _confirm(self, pong: Pong) -> bool:
        """Take note of what was read; False, since there is nothing else to do."""
        if self._asked is not None and pong.n == self._asked[0]:
            read = self._asked[1]
            self.unread -= read - self._confirmed
            self._confirmed = read
            self._asked = None
        return False

    def _put(self, item: Any) -> None:
        data = self._encode(item)
        self._out.put(data)
        self.unread += len(data)

    def answer(self, ref: int, value: Any) -> None:
        """An operation was carried out."""
        self._put(Answer(ref, value))

    def refuse(self, ref: int | None, error: SwitchError) -> None:
        """An operation was refused."""
        fields = {"code": error.code, "detail": error.detail, **error.extra}
        self._put(Refusal(ref, fields))

    def deliver(self, delivery: Delivery) -> None:
        """Push a message."""
        self._put(Deliver(delivery))

    def close(self, error: SwitchError) -> None:
        """Say why the connection is about to be closed."""
        self._put(Closing({"code": error.code, "detail": error.detail}))

    def data_to_send(self) -> list[bytes]:
        """The frames to send now."""
        self._written += self._out.bytes
        if self._asked is None and self._written - self._confirmed >= PING_EVERY:
            # Its answer confirms what goes before it; who has not read it cannot know its number.
            number = secrets.randbits(48)
            self._asked = (number, self._written)
            before = self._out.bytes
            self._put(Asking(number))
            self._written += self._out.bytes - before
        ready = self._out.frames(BATCH_BYTES)
        if self._largest is not None and any(len(frame) > self._largest for frame in ready):
            return [piece for frame in ready for piece in self._pieces(frame)]
        return ready

    def _pieces(self, frame: bytes) -> list[bytes]:
        assert self._largest is not None
        if len(frame) <= self._largest:
            return [frame]
        whole: str | bytes = frame.decode() if self.codec.text else frame
        encode = self.codec.encode
        starts = range(0, len(whole), PIECE)
        return [encode(Piece(whole[i : i + PIECE], i + PIECE < len(whole))) for i in starts]


def last_words(codec: Codec, error: SwitchError) -> bytes:
    """The frame for a client that is not let in."""
    return codec.encode(Closing({"code": error.code, "detail": error.detail, **error.extra}))


def _unreadable(ref: int | None, detail: str) -> Unreadable:
    return Unreadable(ref, InvalidRequest(detail.encode(errors="replace").decode()))


class ClientSide:
    """A client's end of a connection."""

    def __init__(self, codec: Codec, largest: int) -> None:
        self.codec = codec
        self._out = _Outbox(codec)
        self._largest = largest
        self._pieces: list[bytes] = []

    @property
    def has_output(self) -> bool:
        """Whether ``data_to_send`` has something."""
        return self._out.bytes > 0

    def request(self, operation: Operation) -> None:
        """Ask for an operation.

        Raises InvalidRequest for text that UTF-8 cannot say, FrameTooLarge.
        """
        self.request_written(self.write(operation))

    def write(self, operation: Operation) -> bytes:
        """An operation as bytes. Raises InvalidRequest, FrameTooLarge."""
        try:
            item = self.codec.encode(operation)
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                "The text has a lone surrogate, which UTF-8 cannot say."
            ) from error
        if len(item) > self._largest:
            raise FrameTooLarge(f"A frame may have at most {self._largest} bytes.")
        return item

    def request_written(self, item: bytes) -> None:
        """Ask for an operation that has been written before."""
        self._out.put(item)

    def receive(self, data: bytes) -> list[FromSwitch]:
        """The items of a frame; pings are answered. Raises msgspec.DecodeError."""
        try:
            items = self.codec.read_items(data)
        except msgspec.DecodeError:
            if self.codec.text or codec_of_frame(data).text is False:
                raise
            # The switch does not let us in, and does not know yet how we speak.
            items = JSON.read_items(data)
        if type(items) is not list:
            items = [items]
        for item in items:
            if item.ping is not UNSET:
                self.request(Pong(n=item.ping))
            elif item.piece is not UNSET:
                return self._receive_piece(item)
        return items

    def _receive_piece(self, item: FromSwitch) -> list[FromSwitch]:
        part = item.piece
        if not isinstance(part, str | bytes):
            raise msgspec.DecodeError("A piece is neither text nor bytes.")
        self._pieces.append(part.encode() if isinstance(part, str) else part)
        if item.more:
            return []
        whole, self._pieces = b"".join(self._pieces), []
        return self.receive(whole)

    def data_to_send(self) -> list[bytes]:
        """The frames to send now."""
        return self._out.frames(min(self._largest, BATCH_BYTES))


class TooLarge(Struct):
    """A frame on a plain socket had more bytes than may be read; they were skipped."""

    size: int


class LengthPrefixed:
    """Frames on a plain socket: each after its length, four bytes with the highest first.

    What is not complete is kept in the parts that it came in: a buffer that grows with each of them
    took 1.5 ms of 900 kB, where joining them takes 0.1.
    """

    #: A length above this is no length at all: the peer speaks something else.
    _NONSENSE: ClassVar[int] = 2**28
    #: Smaller parts are put together, since each takes memory of its own.
    _SMALL: ClassVar[int] = 4_096

    def __init__(self, largest: int = MAX_FRAME) -> None:
        self._largest = largest
        self._size: int | None = None
        """Bytes of the next frame, once its length is here."""
        self._parts: list[bytes | bytearray] = []
        self._kept = 0
        self._skip = 0

    @property
    def kept(self) -> int:
        """Bytes of a frame that is not complete."""
        return self._kept

    def receive(self, data: bytes) -> list[bytes | TooLarge]:
        """The frames that are complete now.

        Raises InvalidRequest when what came cannot be a length: the framing is lost.
        """
        frames: list[bytes | TooLarge] = []
        start, end = 0, len(data)
        while start < end:
            if self._skip:
                skipped = min(self._skip, end - start)
                self._skip -= skipped
                start += skipped
                continue
            if self._size is None:
                head = data[start : start + 4 - self._kept]
                start += len(head)
                whole = self._whole(head, 4)
                if whole is None:
                    break
                size = int.from_bytes(whole, "big")
                if size > self._NONSENSE:
                    raise InvalidRequest("This is no frame: it begins with its length, four bytes.")
                if size > self._largest:
                    frames.append(TooLarge(size))
                    self._skip = size
                    continue
                self._size = size
            rest = data[start : start + self._size - self._kept]
            start += len(rest)
            frame = self._whole(rest, self._size)
            if frame is None:
                break
            frames.append(frame)
            self._size = None
        return frames

    def _whole(self, part: bytes, size: int) -> bytes | None:
        """All ``size`` bytes, if ``part`` is the last of them; else it is kept."""
        if len(part) == size:
            return part
        self._kept += len(part)
        if len(part) >= self._SMALL:
            self._parts.append(part)
        elif self._parts and isinstance(self._parts[-1], bytearray):
            self._parts[-1] += part
        else:
            self._parts.append(bytearray(part))
        if self._kept < size:
            return None
        whole = b"".join(self._parts)
        self._parts.clear()
        self._kept = 0
        return whole


def length_prefixed(frames: list[bytes]) -> bytes:
    """Frames as they go over a plain socket."""
    if len(frames) == 1:
        return len(frames[0]).to_bytes(4, "big") + frames[0]
    return b"".join(part for f in frames for part in (len(f).to_bytes(4, "big"), f))
