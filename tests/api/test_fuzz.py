"""Any bytes in headers, names, cursors and bodies: the answer is a coded one, and never 500."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from queues.api.handler import ApiHandler
from queues.core.errors import BY_CODE
from queues.engines import install
from queues.engines.memory import MemoryEngine
from queues.protocol.frames import JSON, MSGPACK, OPERATIONS
from queues.stream.peer import Peer
from queues.testing import FakeClock

from .asgi import Exchange

HTTP_ONLY = {
    "not_found",
    "method_not_allowed",
    "unsupported_media_type",
    "invalid_host",
    "cross_site",
}
SETTINGS = settings(max_examples=300)

latin = st.text(st.characters(max_codepoint=255), max_size=60)
#: What a header may hold by the time that a web server passes it on, and more.
values = st.one_of(
    latin,
    st.sampled_from(
        [
            "Bearer ",
            "Bearer x",
            "bearer\tx",
            "application/json",
            "text/plain; charset=x",
            "gzip",
            "chunked",
            "-1",
            "9" * 50,
            "localhost:x",
            "[::1",
            "http://",
        ]
    ),
)
names = st.sampled_from(
    [
        "authorization",
        "content-type",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "host",
        "origin",
        "sec-fetch-site",
        "accept",
        "cookie",
        "x-forwarded-host",
        "if-none-match",
        "range",
    ]
)
headers = st.dictionaries(names, values, max_size=4)
segments = st.text(st.characters(codec="utf-8", exclude_characters="?#"), max_size=300)
numbers = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    latin,
    st.sampled_from(["", "0x10", "1_000", "١٢", "9" * 400, "null", "true", "1e3"]),
)
#: JSON of any shape, also very deep, and what is nearly JSON.
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
FIELDS = [
    "payload",
    "client",
    "lease",
    "ids",
    "policy",
    "after",
    "timeout",
    "limit",
    "ack",
    "replies",
    "to",
    "state",
    "headers",
    "ttl",
    "delay",
    "key",
    "reply_to",
    "error",
]
forms = st.dictionaries(st.sampled_from(FIELDS), trees, max_size=4)


def _deep(depth: int, opening: str) -> bytes:
    return (opening * depth).encode()


bodies = st.one_of(
    forms.map(msgspec.json.encode),
    trees.map(msgspec.json.encode),
    st.builds(
        _deep, st.integers(1, 30_000), st.sampled_from(["[", '{"a":', '{"payload":', "[[[{"])
    ),
    st.binary(max_size=200),
    st.sampled_from([b'{"payload": "\\ud800"}', b'{"payload": "\xff"}', b"\xef\xbb\xbf{}", b"NaN"]),
)
PATHS = [
    ("POST", "login"),
    ("POST", "touch"),
    ("PUT", "queues/q"),
    ("PATCH", "queues/q"),
    ("POST", "queues"),
    ("POST", "queues/q/messages"),
    ("POST", "queues/q/purge"),
    ("POST", "queues/q/move"),
    ("POST", "queues/q/requeue"),
    ("POST", "transfer"),
    ("POST", "ack"),
    ("POST", "nack"),
    ("POST", "messages/1/reply"),
    ("POST", "call/q"),
]
LISTS = ["queues", "queues/q/messages", "trace"]


def answer_to(
    method: str, target: str, body: bytes = b"", fields: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Status and JSON of the answer of a new switch with a queue ``q``, which has a message."""

    async def run() -> tuple[int, Any]:
        engine = MemoryEngine(clock=FakeClock())
        install(engine)
        try:
            handler = ApiHandler("queues.api.urls")
            for each, path, content in (
                ("PUT", "queues/q", b""),
                ("POST", "queues/q/messages", b"x"),
            ):
                setup = Exchange(handler, each, f"/api/v1/{path}", content)
                assert (await setup.run()).status == 201
            exchange = Exchange(handler, method, f"/api/v1/{target}", body, fields)
            task = asyncio.ensure_future(exchange.run())
            for _ in range(20):
                await asyncio.sleep(0)
            engine.close()  # which ends what waits
            answer = await asyncio.wait_for(task, 20)
            is_json = "json" in answer.headers.get("content-type", "")
            return answer.status, answer.json if is_json and answer.body else None
        finally:
            install(None)

    return asyncio.run(run())


def check(answer: tuple[int, Any]) -> None:
    status, content = answer
    assert status != 500, content
    if status >= 400:
        assert content["code"] in {*BY_CODE, *HTTP_ONLY} - {"internal_error"}
        assert content["detail"]


@SETTINGS
@given(st.sampled_from(PATHS), headers, bodies)
def test_headers_and_bodies(path: tuple[str, str], fields: dict[str, str], body: bytes) -> None:
    check(answer_to(*path, body, fields))


@SETTINGS
@given(
    st.sampled_from(["GET", "PUT", "DELETE", "POST", "PATCH"]),
    st.sampled_from(
        [
            "queues/{}",
            "queues/{}/messages",
            "call/{}",
            "subscriptions/{}",
            "messages/{}",
            "sessions/{}",
            "{}",
        ]
    ),
    segments,
)
def test_names(method: str, path: str, name: str) -> None:
    check(answer_to(method, path.format(name)))


@SETTINGS
@given(
    st.sampled_from(LISTS),
    st.dictionaries(
        st.sampled_from(
            ["after", "limit", "timeout", "state", "prefix", "alive", "search", "kind"]
        ),
        numbers,
        max_size=4,
    ),
)
def test_cursors(path: str, query: dict[str, str]) -> None:
    check(answer_to("GET", f"{path}?{urlencode(query)}"))


@SETTINGS
@given(st.sampled_from(LISTS), st.binary(max_size=80))
def test_query_strings(path: str, query: bytes) -> None:
    check(answer_to("GET", f"{path}?{query.decode('latin-1')}"))


operations = st.fixed_dictionaries(
    {"op": st.sampled_from(sorted(OPERATIONS)), "ref": st.integers(0, 3)},
    optional={
        "queue": st.sampled_from(["q", "r", "."]) | st.text(max_size=4),
        "id": trees,
        **dict.fromkeys(FIELDS, trees),
        "payload": st.text(max_size=8),
    },
)


@SETTINGS
@given(
    st.sampled_from([JSON, MSGPACK]),
    st.lists(st.lists(operations, max_size=4) | trees | st.binary(max_size=60), max_size=5),
)
def test_operations_on_a_stream(codec: Any, said: list[Any]) -> None:
    """Also those that have the right form by half."""

    async def run() -> list[Any]:
        engine = MemoryEngine(clock=FakeClock())
        peer = Peer(engine, codec, lambda: None, lambda: None)
        found: list[Any] = []
        for each in said:
            try:
                frame = each if isinstance(each, bytes) else codec.encode(each)
            except (OverflowError, UnicodeEncodeError):
                continue  # larger than any number of MessagePack
            peer.receive(frame)
            for _ in range(10):
                await asyncio.sleep(0)
            for answer in peer.data_to_send():
                items = codec.read_anything(answer)
                found += items if isinstance(items, list) else [items]
        peer.lost()
        assert engine.on_close == set()
        engine.close()
        return found

    for item in asyncio.run(run()):
        assert item.get("error", {}).get("code") != "internal_error", item
