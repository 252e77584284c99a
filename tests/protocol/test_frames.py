"""Frames: what is read, what is refused, and what leaves together."""

from __future__ import annotations

import contextlib
import math
import random
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from queues.core.errors import InvalidRequest, PayloadTooLarge
from queues.core.messages import Delivery
from queues.protocol import frames
from queues.protocol.frames import (
    BATCH_BYTES,
    JSON,
    MAX_WRONG_FRAME,
    MAX_WRONG_ITEMS,
    MSGPACK,
    OPERATIONS,
    PING_EVERY,
    ClientSide,
    Codec,
    FrameTooLarge,
    LengthPrefixed,
    SwitchSide,
    TooLarge,
    Unreadable,
    codec_of_frame,
    length_prefixed,
)

codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])

#: What each operation needs beside its name.
NEEDS: dict[str, dict[str, Any]] = {
    "login": {"client": "c"},
    "resume": {"session": "s"},
    "create_queue": {"queue": "q"},
    "change_queue": {"queue": "q", "policy": {}},
    "destroy_queue": {"queue": "q"},
    "purge_queue": {"queue": "q"},
    "replay_dead": {"queue": "q"},
    "pause_queue": {"queue": "q"},
    "resume_queue": {"queue": "q"},
    "requeue": {"queue": "q"},
    "move_messages": {"queue": "q", "to": "r"},
    "inspect_queue": {"queue": "q"},
    "browse": {"queue": "q"},
    "send": {"queue": "q", "payload": "p"},
    "send_many": {"queue": "q", "messages": [{"payload": "p"}]},
    "drop_message": {"queue": "q", "id": 1},
    "subscribe": {"queue": "q"},
    "unsubscribe": {"queue": "q"},
    "ack": {"ids": [1]},
    "nack": {"ids": [1]},
    "reply": {"id": 1},
    "explain": {"id": 1},
    "explain_session": {"id": 1},
    "end_session": {"id": 1},
    "call": {"queue": "q", "payload": "p"},
    "cancel": {"of": 1},
    "pong": {"n": 1},
}


def read(side: SwitchSide, *items: Any) -> list[Any]:
    """What the switch's end makes of some items, as a frame."""
    return list(side.receive(side.codec.encode(list(items) if len(items) != 1 else items[0])))


def sent(side: SwitchSide) -> list[list[Any]]:
    """The items of each frame to send."""
    found = [side.codec.read_anything(frame) for frame in side.data_to_send()]
    return [frame if isinstance(frame, list) else [frame] for frame in found]


@codecs
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_can_be_read(codec: Codec, name: str) -> None:
    side = SwitchSide(codec)
    operations = read(side, {"op": name, "ref": 3, **NEEDS.get(name, {})})
    if name == "pong":
        assert operations == []
    else:
        (operation,) = operations
        assert (type(operation), operation.ref, operation.quiet) == (OPERATIONS[name], 3, False)


@codecs
def test_a_frame_may_hold_a_list(codec: Codec) -> None:
    operations = read(SwitchSide(codec), {"op": "ping", "ref": 1}, {"op": "logout"})
    assert operations == [frames.Ping(ref=1), frames.Logout()]


@codecs
@pytest.mark.parametrize(
    ("wrong", "ref"),
    [
        ({"op": "dance", "ref": 5}, 5),
        ({"op": "ping", "ref": -1}, None),
        ({"op": "ping", "ref": 2**60}, None),
        ({"op": "ping", "ref": "x"}, None),
        ({"op": "ping", "ref": 5, "more": 1}, 5),
        ({"op": "call", "ref": 5, "queue": "q"}, 5),
        ({"op": "call", "ref": 5, "queue": "q", "payload": 5}, 5),
        ({"op": "call", "ref": 5, "queue": "q", "payload": "", "timeout": 0}, 5),
        ({"op": "ack", "ref": 5, "ids": [-1]}, 5),
        ({"op": "move_messages", "ref": 5, "queue": "q"}, 5),
        ({"op": "move_messages", "ref": 5, "queue": "q", "to": "r", "ids": [], "state": "dead"}, 5),
        ({"ref": 5}, 5),
        ("ping", None),
        (None, None),
        (5, None),
    ],
)
def test_a_wrong_operation_is_refused_and_those_beside_it_are_not(
    codec: Codec, wrong: Any, ref: int | None
) -> None:
    refused, fine = read(SwitchSide(codec), wrong, {"op": "ping", "ref": 9})
    assert isinstance(refused, Unreadable)
    assert (refused.ref, refused.error.code) == (ref, "invalid_request")
    assert fine == frames.Ping(ref=9)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_seconds_are_finite(number: float) -> None:
    (refused,) = read(
        SwitchSide(MSGPACK), {"op": "send", "ref": 1, "queue": "q", "payload": "", "ttl": number}
    )
    assert isinstance(refused, Unreadable)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xff", b"[" * 100_000, b'{"op":"ping","x":"\\ud800"}', b"\x00", b"{}{}"],
)
def test_what_is_no_json_is_refused_without_a_ref(data: bytes) -> None:
    (refused,) = list(SwitchSide(JSON).receive(data))
    assert isinstance(refused, Unreadable)
    assert refused.ref is None


@pytest.mark.parametrize(
    "data", [b"", b"\x82", b"\xc1", b"\x91" * 100_000, b"\x81\xa2op\xa1\xff", b"\xde\xff\xff"]
)
def test_what_is_no_msgpack_is_refused_without_a_ref(data: bytes) -> None:
    (refused,) = list(SwitchSide(MSGPACK).receive(data))
    assert isinstance(refused, Unreadable)
    assert refused.ref is None


@codecs
def test_the_codec_shows_in_the_first_byte(codec: Codec) -> None:
    for item in ({"op": "ping"}, [{"op": "ping"}], [{"op": "ping"}] * 20, [{}] * 70_000):
        assert codec_of_frame(codec.encode(item)) is codec


# -- what goes out --------------------------------------------------------------------------------


@codecs
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 300])
def test_items_leave_together(codec: Codec, count: int) -> None:
    side = SwitchSide(codec)
    for ref in range(count):
        side.answer(ref, None)
    assert sent(side) == [[{"ref": ref, "ok": None} for ref in range(count)]]
    assert not side.has_output
    assert sent(side) == []


def test_a_batch_is_split_and_a_larger_item_leaves_alone() -> None:
    side = SwitchSide(MSGPACK)
    side.answer(1, "x" * 10)
    side.answer(2, "x" * 2 * BATCH_BYTES)
    side.answer(3, "x" * (BATCH_BYTES - 100))
    side.answer(4, "x" * 200)
    batches = [[item.get("ref") for item in frame] for frame in sent(side)]
    assert batches == [[1], [2], [3], [4, None]]  # the last is the ping


@codecs
def test_a_refusal_carries_code_detail_and_the_rest(codec: Codec) -> None:
    side = SwitchSide(codec)
    side.refuse(None, InvalidRequest("No.", hint=1))
    side.close(InvalidRequest("Bye."))
    assert sent(side) == [
        [
            {"ref": None, "error": {"code": "invalid_request", "detail": "No.", "hint": 1}},
            {"closing": {"code": "invalid_request", "detail": "Bye."}},
        ]
    ]


def test_what_is_unread_is_counted_until_a_pong_says_otherwise() -> None:
    side = SwitchSide(MSGPACK)
    side.answer(1, "x" * (PING_EVERY + 1))
    ping = sent(side)[-1][-1]["ping"]
    before = side.unread
    assert read(side, {"op": "pong", "n": ping + 1}) == []
    assert side.unread == before  # not the one that was asked
    side.answer(2, "x" * 50)
    read(side, {"op": "pong", "n": ping})
    assert 50 < side.unread < 200
    read(side, {"op": "pong", "n": ping})
    assert 50 < side.unread < 200


def test_one_ping_at_a_time() -> None:
    side = SwitchSide(MSGPACK)
    pings = []
    for ref in range(5):
        side.answer(ref, "x" * PING_EVERY)
        pings += [item["ping"] for frame in sent(side) for item in frame if "ping" in item]
    assert len(pings) == 1
    read(side, {"op": "pong", "n": pings[0]})
    side.answer(9, "")
    assert any("ping" in item for frame in sent(side) for item in frame)


def test_a_ping_cannot_be_guessed() -> None:
    """From what a client can count, that is."""
    pings = set()
    for _ in range(3):
        side = SwitchSide(MSGPACK)
        side.answer(1, "x" * PING_EVERY)
        pings |= {item["ping"] for frame in sent(side) for item in frame if "ping" in item}
    assert len(pings) == 3


def test_text_is_no_messagepack() -> None:
    (refused,) = SwitchSide(MSGPACK).receive("ping")
    assert isinstance(refused, Unreadable)
    assert refused.error.code == "invalid_request"


@codecs
@pytest.mark.parametrize(
    "items",
    [[None] * (MAX_WRONG_ITEMS + 1), [None, "x" * MAX_WRONG_FRAME], [{"op": "ping"}] * 100_001],
    ids=["items", "bytes", "operations"],
)
def test_a_large_frame_with_something_wrong_is_refused_as_a_whole(
    codec: Codec, items: list[Any]
) -> None:
    (refused,) = read(SwitchSide(codec), *items)
    assert isinstance(refused, Unreadable)
    assert refused.ref is None


@codecs
def test_what_is_wrong_is_looked_at_only_when_it_is_taken(codec: Codec) -> None:
    looked = []

    class Looking(SwitchSide):
        def _confirm(self, pong: frames.Pong) -> bool:
            looked.append(pong.n)
            return super()._confirm(pong)

    items = [None, {"op": "pong", "n": 1}, None, {"op": "pong", "n": 2}, None]
    operations = iter(Looking(codec).receive(codec.encode(items)))
    for seen in ([], [1], [1, 2]):
        assert isinstance(next(operations), Unreadable)
        assert looked == seen


# -- the client's end -----------------------------------------------------------------------------


@codecs
def test_both_ends_understand_each_other(codec: Codec) -> None:
    client, switch = ClientSide(codec, 2**20), SwitchSide(codec)
    client.request(frames.Call(ref=1, queue="q", payload="é\0"))
    client.request(frames.Ack(ids=[5]))
    (frame,) = client.data_to_send()
    call, ack = switch.receive(frame)
    assert (call.payload, ack.ids) == ("é\0", [5])
    switch.answer(1, {"a": 1})
    switch.deliver(Delivery(1, 2, "q", "p", 3.0, 1))
    answered, delivered = client.receive(switch.data_to_send()[0])
    assert codec.read_answer(answered.ok, dict[str, int]) == {"a": 1}
    assert delivered.deliver == Delivery(1, 2, "q", "p", 3.0, 1)
    assert delivered.ok is UNSET


@codecs
def test_a_frame_too_large_for_a_websocket_comes_in_pieces(codec: Codec) -> None:
    client, switch = ClientSide(codec, 2**20), SwitchSide(codec, 2**20)
    payload = '"é\\\x01' * 300_000
    switch.answer(1, payload)
    switch.answer(2, None)
    written = switch.data_to_send()
    assert len(written) > 5
    assert all(len(frame) <= 2**20 for frame in written)
    items = [item for frame in written for item in client.receive(frame)]
    assert codec.read_answer(items[0].ok, str) == payload
    assert items[1].ref == 2


def test_a_client_answers_pings() -> None:
    client = ClientSide(JSON, 2**20)
    client.receive(b'[{"ping": 7}, {"ref": 1, "ok": null}]')
    assert SwitchSide(JSON).receive(client.data_to_send()[0]) == []


def test_what_does_not_fit_or_cannot_be_said_is_refused_before_it_is_sent() -> None:
    client = ClientSide(MSGPACK, 1_000)
    with pytest.raises(FrameTooLarge):
        client.request(frames.Send(queue="q", payload="x" * 1_000))
    with pytest.raises(InvalidRequest):
        client.request(frames.Send(queue="q", payload="\ud800"))
    assert issubclass(FrameTooLarge, PayloadTooLarge)
    assert client.data_to_send() == []


# -- plain sockets --------------------------------------------------------------------------------


def test_frames_are_found_wherever_the_bytes_are_cut() -> None:
    sent = [b"", b"a", b"bc" * 300, b"", b"d"]
    data = length_prefixed(sent)
    for size in (1, 2, 3, 5, 7, 1000):
        framing = LengthPrefixed(1_000)
        found = []
        for start in range(0, len(data), size):
            found += framing.receive(data[start : start + size])
        assert found == sent


def test_a_frame_that_is_too_large_is_skipped() -> None:
    data = length_prefixed([b"x" * 100, b"ok"])
    for size in (1, 3, 50, 1000):
        framing = LengthPrefixed(10)
        found = []
        for start in range(0, len(data), size):
            found += framing.receive(data[start : start + size])
        assert found == [TooLarge(100), b"ok"]


def test_what_cannot_be_a_length_is_an_error() -> None:
    with pytest.raises(InvalidRequest):
        LengthPrefixed().receive(b"GET / HTTP/1.1\r\n")


# -- anything -------------------------------------------------------------------------------------


def mutated(rng: random.Random, seeds: list[bytes]) -> bytes:
    """Some frame with something wrong."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(0, 4)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[place:place] = rng.randbytes(rng.randint(1, 4))
            case 1:
                del data[place : place + rng.randint(1, 8)]
            case 2:
                data[place : place + 1] = rng.randbytes(1)
            case 3:
                other = rng.choice(seeds)
                data[place:] = other[rng.randrange(len(other)) :]
            case _:
                data[place:place] = rng.choice([b"[" * 50, b"\x91" * 50, b"\xff", b"null", b"\xcb"])
    return bytes(data)


def fuzz(codec: Codec, inputs: int, seed: int) -> int:
    """Feed mutated frames to both ends; returns how many were refused."""
    rng = random.Random(seed)
    seeds = [codec.encode({"op": name, "ref": 3, **NEEDS.get(name, {})}) for name in OPERATIONS]
    seeds += [codec.join(rng.sample(seeds, 5)), codec.encode({"ref": 1, "ok": {"a": []}})]
    switch, client, framing = SwitchSide(codec), ClientSide(codec, 2**20), LengthPrefixed(64)
    refused = 0
    for _ in range(inputs):
        data = mutated(rng, seeds)
        for item in switch.receive(data):
            if isinstance(item, Unreadable):
                refused += 1
                switch.refuse(item.ref, item.error)
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            client.receive(data)
        try:
            framing.receive(data)
        except InvalidRequest:
            framing = LengthPrefixed(64)
        switch.data_to_send()
        client.data_to_send()
    return refused


@codecs
def test_nothing_breaks_the_parsers(codec: Codec) -> None:
    assert fuzz(codec, 20_000, seed=1) > 10_000


if __name__ == "__main__":
    seed = random.SystemRandom().randrange(2**32)
    for each in (JSON, MSGPACK):
        print(f"{each.name}: seed {seed}, 1000000 inputs, {fuzz(each, 1_000_000, seed)} refused")
