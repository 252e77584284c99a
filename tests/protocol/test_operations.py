"""Requests are read strictly; whatever is not as declared is refused by a coded error."""

from __future__ import annotations

import contextlib
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queues.core.errors import InvalidRequest
from queues.core.queue import Policy
from queues.protocol import operations as forms
from queues.protocol.operations import decode, decode_payload, decode_query, encode

REFUSED = [
    (forms.Login, b"{}"),
    (forms.Login, b""),
    (forms.Login, b"null"),
    (forms.Login, b"[]"),
    (forms.Login, b'{"client": 5}'),
    (forms.Login, b'{"client": ""}'),
    (forms.Login, b'{"client": "a", "surprise": 1}'),
    (forms.Login, b'{"client": "a", "lease": "30"}'),
    (forms.Login, b'{"client": "a", "lease": true}'),
    (forms.Login, b'{"client": "a", "lease": 0.5}'),
    (forms.Login, b'{"client": "a", "lease": 3601}'),
    (forms.Login, b'{"client": "a", "lease": 1e999}'),
    (forms.Login, b'{"client": "a", "lease": NaN}'),
    (forms.Login, b'{"client": "\xff"}'),
    (forms.Login, b'{"client": "\\ud800"}'),
    (forms.Login, b'{"client": "\\udc00x"}'),
    (forms.Login, b'{"client": ' + b"[" * 100_000),
    (forms.Login, b"[" * 100_000),
    (forms.Send, b'{"payload": 5}'),
    (forms.Send, b'{"payload": null}'),
    (forms.Send, b'{"payload": "x", "ttl": 0}'),
    (forms.Send, b'{"payload": "x", "ttl": -1}'),
    (forms.Send, b'{"payload": "x", "delay": -0.1}'),
    (forms.Send, b'{"payload": "x", "reply_to": "a b"}'),
    (forms.Send, b'{"payload": "x", "reply_to": "a\\n"}'),
    (forms.Send, b'{"payload": "x", "reply_to": ""}'),
    (forms.Send, b'{"payload": "x", "headers": {"a": 1}}'),
    (forms.Send, b'{"payload": "x", "headers": {"": "1"}}'),
    (forms.Send, b'{"payload": "x", "headers": []}'),
    (forms.Send, b'{"payload": "x", "key": ""}'),
    (forms.SendMany, b"[]"),
    (forms.Transfer, b'{"after": -1}'),
    (forms.Transfer, b'{"after": 1.5}'),
    (forms.Transfer, b'{"after": 99999999999999999999999}'),
    (forms.Transfer, b'{"limit": 0}'),
    (forms.Transfer, b'{"limit": 1001}'),
    (forms.Transfer, b'{"timeout": 301}'),
    (forms.Transfer, b'{"timeout": -1}'),
    (forms.Transfer, b'{"timeout": Infinity}'),
    (forms.Transfer, b'{"replies": [{"payload": "x"}]}'),
    (forms.Ack, b"{}"),
    (forms.Ack, b'{"ids": [true]}'),
    (forms.Ack, b'{"ids": ["1"]}'),
    (forms.Ack, b'{"ids": [-1]}'),
    (forms.Call, b'{"payload": "x", "timeout": 0}'),
    (forms.CreateQueue, b'{"policy": {"ttl": 0}}'),
    (forms.CreateQueue, b'{"policy": {"max_length": 0}}'),
    (forms.CreateQueue, b'{"policy": {"max_length": null}}'),
    (forms.CreateQueue, b'{"policy": {"on_expire": "burn"}}'),
    (forms.Purge, b'{"state": "gone"}'),
    (forms.Requeue, b'{"ids": ["1"]}'),
    (forms.Move, b"{}"),
    (forms.Move, b'{"to": "a b"}'),
    (forms.Move, b'{"to": ""}'),
    (forms.Move, b'{"to": "q", "state": "gone"}'),
    (forms.Move, b'{"to": "q", "ids": [1], "state": "dead"}'),
    (forms.Send, encode({"payload": "x", "headers": {str(n): "" for n in range(65)}})),
]


@pytest.mark.parametrize(("form", "body"), REFUSED)
def test_what_is_not_as_declared_is_refused(form: type[object], body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(body, form)
    assert caught.value.code == "invalid_request"
    assert "\n" not in caught.value.detail


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for form in (forms.Login, forms.Send, forms.Transfer, forms.CreateQueue):
        with contextlib.suppress(InvalidRequest):
            decode(body, form)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_payload_is_byte_exact(payload: str) -> None:
    body = encode({"payload": payload})
    assert decode(body, forms.Send).payload == payload
    assert decode_payload(payload.encode()) == payload


@pytest.mark.parametrize("body", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"a\xe2\x82"])
def test_a_payload_that_is_not_utf_8_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_payload(body)


def test_a_number_may_lack_its_fraction() -> None:
    assert decode(b'{"client": "a", "lease": 5}', forms.Login).lease == 5.0


def test_a_policy_change_tells_null_from_left_out() -> None:
    change = decode(b'{"policy": {"ttl": null, "max_dead": 0}}', forms.ChangeQueue)
    assert change.policy.changes() == {"ttl": None, "max_dead": 0}


def test_a_policy_is_filled_with_defaults() -> None:
    created = decode(b'{"policy": {"ttl": 5}}', forms.CreateQueue)
    assert created.full_policy() == Policy(ttl=5.0)
    assert decode(b"{}", forms.CreateQueue).full_policy() is None


def test_a_reply_with_an_error() -> None:
    body = b'{"id": 3, "error": {"code": "oops", "detail": "why"}}'
    reply = decode(body, forms.TransferReply)
    assert reply.error is not None
    assert (reply.error.code, reply.error.detail) == ("oops", "why")


def test_a_query_reads_values_from_text() -> None:
    page = decode_query("prefix=a&alive=true&limit=5&kind=transient", forms.QueuePage)
    assert (page.prefix, page.alive, page.limit, page.kind) == ("a", True, 5, "transient")
    assert decode_query("prefix=5&after=null", forms.QueuePage).after == "null"


def test_any_text_may_be_searched_for() -> None:
    for text in ("null", "true", "5", " ", "\0", "é€😀&=", ""):
        query = urlencode({"search": text})
        assert decode_query(query, forms.MessagePage).search == text
    with pytest.raises(InvalidRequest):
        decode_query(urlencode({"search": "x" * 1_001}), forms.MessagePage)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=ten",
        "alive=perhaps",
        "surprise=1",
        "limit=1&limit=2",
        "prefix=%ff",
        "prefix=%ed%a0%80",
        "&".join(f"a{i}=1" for i in range(101)),
    ],
)
def test_a_query_that_is_not_as_declared_is_refused(query: str) -> None:
    with pytest.raises(InvalidRequest):
        decode_query(query, forms.QueuePage)


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "1e999", "0x10", ""])
def test_a_query_number_is_finite_and_in_range(text: str) -> None:
    with pytest.raises(InvalidRequest):
        decode_query(f"timeout={text}", forms.TraceQuery)


def test_answers_are_written_from_their_classes() -> None:
    assert msgspec.json.decode(encode(Policy(ttl=1.5))) == {
        "max_length": 100_000,
        "ttl": 1.5,
        "ack_timeout": None,
        "max_deliveries": None,
        "on_expire": "drop",
        "max_dead": 1000,
    }
