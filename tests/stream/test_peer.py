"""One client on a stream: what it asks is done in order; what it does not read is bounded."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from queues.core.messages import Draft
from queues.engines.intake import STREAM_ROUND, Intake, IntakeLimits
from queues.engines.memory import MemoryEngine
from queues.protocol import frames
from queues.protocol.frames import JSON, MSGPACK
from queues.stream import peer as module
from queues.stream.peer import Peer
from queues.testing import FakeClock


class Client:
    """A peer without a connection."""

    def __init__(self, engine: MemoryEngine, clock: FakeClock) -> None:
        self.peer = Peer(engine, MSGPACK, lambda: None, lambda: None)
        self.clock = clock
        self.answers_pings = True

    async def ask(self, *operations: dict[str, Any]) -> list[dict[str, Any]]:
        """Send a frame; what there is to read when all is quiet again."""
        self.peer.receive(MSGPACK.encode(list(operations)))
        return await self.read()

    async def read(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        for _ in range(50):
            await asyncio.sleep(0)
            for frame in self.peer.data_to_send():
                found = MSGPACK.read_anything(frame)
                items += found if isinstance(found, list) else [found]
        pings = [item["ping"] for item in items if "ping" in item]
        if pings and self.answers_pings:
            self.peer.receive(MSGPACK.encode({"op": "pong", "n": pings[-1]}))
            items += await self.read()
        return [item for item in items if "ping" not in item]

    async def one(self, **operation: Any) -> Any:
        """The value of one operation, or the code of its refusal."""
        (answer,) = await self.ask({"ref": 1, **operation})
        return answer["ok"] if "ok" in answer else answer["error"]["code"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def engine(clock: FakeClock) -> AsyncIterator[MemoryEngine]:
    engine = MemoryEngine(clock=clock)
    yield engine
    engine.close()


@pytest.fixture
async def client(engine: MemoryEngine, clock: FakeClock) -> Client:
    client = Client(engine, clock)
    await client.one(op="login", client="caller")
    return client


@pytest.fixture
async def server(engine: MemoryEngine, clock: FakeClock) -> Client:
    server = Client(engine, clock)
    await server.one(op="login", client="server")
    await server.one(op="create_queue", queue="q")
    await server.one(op="subscribe", queue="q", credit=2)
    return server


async def kinds(client: Client) -> list[str]:
    return [event["kind"] for event in (await client.one(op="trace", limit=1000))["events"]]


async def test_a_call_and_its_reply(client: Client, server: Client) -> None:
    assert await client.ask({"op": "call", "ref": 5, "queue": "q", "payload": "p"}) == []
    (item,) = await server.read()
    message = item["deliver"]
    assert (message["payload"], message["sender"], message["delivery_count"]) == ("p", "caller", 1)
    assert (await server.one(op="reply", id=message["id"], payload="r"))["state"] is None
    (answer,) = await client.read()
    assert (answer["ref"], answer["ok"]["payload"], answer["ok"]["sender"]) == (5, "r", "server")


async def test_what_has_no_ref_is_not_answered_and_quiet_only_if_refused(server: Client) -> None:
    assert await server.ask({"op": "send", "queue": "q2", "payload": "x"}) == []
    (refused,) = await server.ask(
        {"op": "send", "ref": 1, "quiet": True, "queue": "missing", "payload": "x"},
        {"op": "touch", "ref": 2, "quiet": True},
    )
    assert (refused["ref"], refused["error"]["code"]) == (1, "queue_not_found")


async def test_answers_come_in_order(server: Client) -> None:
    refs = list(range(10, 90))
    answers = await server.ask(*({"op": "ping", "ref": ref} for ref in refs))
    assert [answer["ref"] for answer in answers] == refs


async def test_one_that_cannot_be_read_does_not_stop_the_others(server: Client) -> None:
    answers = await server.ask({"op": "dance", "ref": 1}, {"op": "ping", "ref": 2})
    assert [answer.get("error", {}).get("code") for answer in answers] == ["invalid_request", None]


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ({"op": "send", "queue": "no way", "payload": ""}, "invalid_name"),
        ({"op": "call", "queue": "..", "payload": ""}, "invalid_name"),
        ({"op": "call", "queue": "missing", "payload": ""}, "no_server"),
        ({"op": "inspect_queue", "queue": "missing"}, "queue_not_found"),
        ({"op": "resume", "session": "wrong"}, "invalid_request"),
        ({"op": "login", "client": "again"}, "invalid_request"),
        ({"op": "explain", "id": 5}, "message_not_found"),
        ({"op": "explain_session", "id": 5}, "session_not_found"),
        ({"op": "pause_queue", "queue": "missing"}, "queue_not_found"),
        ({"op": "requeue", "queue": "no way"}, "invalid_name"),
        ({"op": "move_messages", "queue": "q", "to": "q"}, "invalid_request"),
        ({"op": "move_messages", "queue": "q", "to": "missing"}, "queue_not_found"),
    ],
)
async def test_refusals_have_their_codes(
    server: Client, operation: dict[str, Any], code: str
) -> None:
    assert await server.one(**operation) == code


async def test_a_circle_of_calls_and_what_an_operator_does_about_it(
    client: Client, server: Client
) -> None:
    call = {"op": "call", "ref": 5, "queue": "q", "payload": "p"}
    await client.ask(call)
    (item,) = await server.read()
    outer = item["deliver"]["id"]
    await server.one(op="subscribe", queue="q", credit=1)
    await server.ask({**call, "headers": {"switch-parent": str(outer)}})
    assert (await client.one(op="explain", id=outer))["verdict"]["code"] == "deadlock"
    edges = (await client.one(op="waits_for"))["edges"]
    assert [edge["locked"] for edge in edges] == [True] * 3
    session = next(
        node["session"]
        for node in (await client.one(op="waits_for"))["nodes"]
        if node["kind"] == "server"
    )
    assert (await client.one(op="explain_session", id=session))["verdict"]["code"] == "deadlock"
    assert (await client.one(op="pause_queue", queue="q"))["paused"]
    assert await client.one(op="requeue", queue="q") == {"requeued": 1, "not_held": 0}
    await client.one(op="create_queue", queue="r")
    moved = await client.one(op="move_messages", queue="q", to="r", ids=[outer])
    assert moved == {"moved": 1, "not_movable": 0, "no_room": 0}
    (found,) = (await client.one(op="browse", queue="r", search="p"))["messages"]
    assert found["id"] == outer
    assert (await client.one(op="browse", queue="r", search="z"))["messages"] == []
    assert await client.one(op="end_session", id=session) is None
    assert [item for item in await server.read() if "closing" in item]
    assert await client.one(op="explain_session", id=session) == "session_not_found"
    assert await client.one(op="end_session", id=session) == "session_not_found"
    assert not (await client.one(op="resume_queue", queue="q"))["paused"]
    assert (await client.one(op="health"))["threads"] >= 1


async def test_a_client_may_end_its_own_session(client: Client) -> None:
    (own,) = (await client.one(op="diagnostics"))["sessions"]
    answer, closing = await client.ask({"op": "end_session", "ref": 7, "id": own["id"]})
    assert answer == {"ref": 7, "ok": None}
    assert closing["closing"]["code"] == "unknown_session"


def test_every_operation_is_carried_out() -> None:
    others = {"login", "resume", "logout", "call", "cancel", "ping", "pong"}
    kinds = {kind for name, kind in frames.OPERATIONS.items() if name not in others}
    assert set(module._BEGIN) == kinds


async def test_without_a_session(engine: MemoryEngine, clock: FakeClock) -> None:
    client = Client(engine, clock)
    assert await client.one(op="subscribe", queue="q") == "session_required"
    assert (await client.one(op="create_queue", queue="q"))["created"]
    assert (await client.one(op="send", queue="q", payload="x"))["created"]
    assert await client.one(op="resume", session="wrong") == "unknown_session"


async def test_credit_bounds_what_is_pushed_and_an_ack_gives_it_back(
    client: Client, server: Client
) -> None:
    for number in range(4):
        await client.one(op="send", queue="q", payload=str(number))
    pushed = [item["deliver"] for item in await server.read()]
    assert [message["payload"] for message in pushed] == ["0", "1"]
    items = await server.ask({"op": "ack", "ref": 1, "ids": [pushed[0]["id"]]})
    assert [item["deliver"]["payload"] for item in items if "deliver" in item] == ["2"]


async def test_a_session_without_lease_ends_with_its_connection(
    client: Client, server: Client
) -> None:
    await client.one(op="send", queue="q", payload="x")
    await server.read()
    server.peer.lost()
    assert (await client.one(op="inspect_queue", queue="q"))["ready"] == 1
    assert "disconnected" in await kinds(client)


async def test_a_session_with_a_lease_is_resumed_and_gets_again_what_it_has_not_seen(
    engine: MemoryEngine, clock: FakeClock, client: Client
) -> None:
    first = Client(engine, clock)
    session = (await first.one(op="login", client="server", lease=30))["session"]
    await first.one(op="create_queue", queue="q")
    await first.one(op="subscribe", queue="q", credit=10)
    for number in range(4):
        await client.one(op="send", queue="q", payload=str(number))
    seen = [item["deliver"] for item in await first.read()]
    await first.one(op="ack", ids=[seen[0]["id"]])
    first.peer.lost()
    clock.advance(29)
    await client.one(op="send", queue="q", payload="new")
    second = Client(engine, clock)
    items = await second.ask(
        {"op": "resume", "ref": 1, "session": session, "after": seen[1]["delivery"]}
    )
    again = [item["deliver"] for item in items if "deliver" in item]
    assert [message["payload"] for message in again] == ["2", "3", "new"]
    assert [message["delivery_count"] for message in again] == [1, 1, 1]


async def test_a_newer_stream_closes_the_older(engine: MemoryEngine, clock: FakeClock) -> None:
    older, newer = Client(engine, clock), Client(engine, clock)
    session = (await older.one(op="login", client="c"))["session"]
    assert (await newer.one(op="resume", session=session))["client"] == "c"
    (closing,) = await older.read()
    assert closing["closing"]["code"] == "superseded"
    assert older.peer.closed is not None
    assert await newer.one(op="touch") == {"touched": [], "unknown": [], "not_held": []}


async def test_a_session_that_ends_elsewhere_closes_the_connection(
    engine: MemoryEngine, server: Client, clock: FakeClock
) -> None:
    session = (await Client(engine, clock).one(op="diagnostics"))["sessions"]
    assert session
    token = next(iter(engine._switch.sessions))
    await engine.logout(session=token)
    (closing,) = await server.read()
    assert closing["closing"]["code"] == "unknown_session"


async def test_logging_out_leaves_the_connection_for_another_session(server: Client) -> None:
    assert await server.one(op="logout") is None
    assert server.peer.closed is None
    assert (await server.one(op="login", client="again"))["client"] == "again"


async def test_the_token_of_another_login_will_do(engine: MemoryEngine, clock: FakeClock) -> None:
    session = (await engine.login("by hand", 30)).session
    client = Client(engine, clock)
    client.peer.login_by_token(session)
    assert await client.one(op="touch") != "session_required"
    wrong = Client(engine, clock)
    wrong.peer.login_by_token("wrong")
    assert [item["error"]["code"] for item in await wrong.read()] == ["unknown_session"]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "call", "queue": "q", "payload": "", "timeout": 60},
        {"op": "trace", "after": 2**60, "timeout": 60},
    ],
)
async def test_what_waits_can_be_cancelled(
    client: Client, server: Client, operation: dict[str, Any]
) -> None:
    assert await client.ask({**operation, "ref": 7}) == []
    assert await client.ask({"op": "cancel", "ref": 8, "of": 7}) == [{"ref": 8, "ok": None}]
    assert await client.read() == []
    if operation["op"] == "call":
        assert "caller_gone" in await kinds(client)


async def test_a_ref_that_is_in_use_is_refused(client: Client, server: Client) -> None:
    call = {"op": "call", "ref": 7, "queue": "q", "payload": ""}
    (refused,) = await client.ask(call, call)
    assert (refused["ref"], refused["error"]["code"]) == (7, "invalid_request")
    (refused,) = await client.ask({"op": "ping", "ref": 7})
    assert refused["error"]["code"] == "invalid_request"
    # Nothing was sent for it, and the first one can still be cancelled.
    assert (await client.one(op="inspect_queue", queue="q"))["sent"] == 1
    await client.ask({"op": "cancel", "ref": 8, "of": 7})
    assert "caller_gone" in await kinds(client)


async def test_only_so_many_operations_are_under_way(
    client: Client, server: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_UNDER_WAY", 3)
    call = {"op": "call", "queue": "q", "payload": ""}
    (refused,) = await client.ask(*({**call, "ref": ref} for ref in range(1, 5)))
    assert (refused["ref"], refused["error"]["code"]) == (4, "too_many_operations")
    assert await client.one(op="ping", ref=9) is None
    await client.ask({"op": "cancel", "ref": 9, "of": 2})
    assert await client.ask({**call, "ref": 5}) == []


async def test_what_came_before_the_end_is_carried_out(client: Client, server: Client) -> None:
    sends = [{"op": "send", "queue": "q", "payload": str(n)} for n in range(5 * module.TURN)]
    client.peer.receive(MSGPACK.encode(sends))
    client.peer.finish()
    while client.peer.closed is None:
        await asyncio.sleep(0)
    assert (await client.peer._engine.inspect_queue("q")).sent == len(sends)


async def test_both_who_send_and_who_read_hear_of_the_end(engine: MemoryEngine) -> None:
    heard: list[tuple[str, object]] = []
    peer = Peer(
        engine,
        MSGPACK,
        lambda: heard.append(("wake", peer.closed)),
        lambda: heard.append(("caught up", peer.closed)),
    )
    peer.receive(MSGPACK.encode([{"op": "touch"}] * 5 * module.TURN))
    peer.finish()
    while peer.closed is None:
        await asyncio.sleep(0)
    assert {who for who, closed in heard if closed is not None} == {"wake", "caught up"}


async def test_a_stop_answers_what_waits_and_says_why_it_closes(
    engine: MemoryEngine, client: Client, server: Client
) -> None:
    await client.ask({"op": "call", "ref": 7, "queue": "q", "payload": ""})
    engine.close()
    answered, closing = await client.read()
    assert (answered["ref"], answered["error"]["code"]) == (7, "shutting_down")
    assert closing["closing"]["code"] == "shutting_down"
    assert [item for item in await server.read() if "closing" in item]


async def test_a_lost_connection_leaves_nothing_behind(
    engine: MemoryEngine, client: Client, server: Client
) -> None:
    await client.ask(
        {"op": "call", "ref": 1, "queue": "q", "payload": ""},
        {"op": "trace", "ref": 2, "after": 2**60, "timeout": 60},
        {"op": "transfer", "ref": 3, "timeout": 60},
    )
    client.peer.lost()
    server.peer.lost()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    switch = engine._switch
    assert (switch.sessions, switch._waits, switch.calls, engine.on_close) == ({}, {}, {}, set())


async def test_calls_leave_no_garbage_for_the_collector(client: Client, server: Client) -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            await client.ask({"op": "call", "ref": 5, "queue": "q", "payload": "p"})
            (item,) = await server.read()
            await server.ask({"op": "reply", "id": item["deliver"]["id"], "payload": "r"})
            assert len(await client.read()) == 1
        assert gc.collect() < 100
    finally:
        gc.enable()


# -- turns ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False], ids=["a frame", "many frames"])
async def test_one_client_has_its_turn_then_others_have(
    client: Client, server: Client, whole: bool
) -> None:
    operations = [{"op": "send", "queue": "q", "payload": "x"} for _ in range(10 * module.TURN)]
    found = [operations] if whole else [[operation] for operation in operations]
    for frame in found:
        client.peer.receive(MSGPACK.encode(frame))
    engine = client.peer._engine
    for turn in range(1, 11):
        assert (await engine.inspect_queue("q")).sent == turn * module.TURN
        await asyncio.sleep(0)


@pytest.mark.parametrize(("count", "first"), [(1, 1), (4, 4), (6, 4), (9, 5), (16, 8), (30, 15)])
async def test_half_a_frame_leaves_before_the_other_half_is_begun(
    client: Client, server: Client, count: int, first: int
) -> None:
    client.peer.receive(pings(count))
    assert answered(client) == first
    await asyncio.sleep(0)
    assert answered(client) == count - first


async def test_wrong_items_take_turns_too(client: Client, server: Client) -> None:
    client.peer.receive(MSGPACK.encode([None] * 10 * module.TURN))
    assert len(client.peer.data_to_send()) == 1
    assert client.peer._waiting
    assert len(await client.read()) == 9 * module.TURN


async def test_nothing_more_is_read_while_too_much_waits(
    engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BEHIND", 1_000)
    caught_up: list[int] = []
    peer = Peer(engine, MSGPACK, lambda: None, lambda: caught_up.append(peer._waiting_bytes))
    await engine.create_queue("q")
    frame = MSGPACK.encode([{"op": "send", "queue": "q", "payload": "x"}] * 10)
    while not peer.is_behind:
        peer.receive(frame)
    waiting = peer._waiting_bytes
    assert 1_000 < waiting <= 1_000 + len(frame)
    assert caught_up == []
    while not caught_up:
        await asyncio.sleep(0)
    assert caught_up[0] <= 500
    while peer._waiting:
        await asyncio.sleep(0)
    assert peer._waiting_bytes == 0


async def test_of_what_waits_only_one_frame_is_read(client: Client, server: Client) -> None:
    """Read operations take many times the memory of their frames, and the collector's time."""
    frame = MSGPACK.encode([{"op": "touch"}] * 10 * module.TURN)

    def read() -> int:
        # Not isinstance, which asks dead proxies of other tests for their class.
        return sum(type(each) is frames.Touch for each in gc.get_objects())

    gc.collect()  # what other tests have left
    before = read()
    for _ in range(100):
        client.peer.receive(frame)
    assert read() - before <= 10 * module.TURN


async def test_what_was_begun_waits_no_more(client: Client, server: Client) -> None:
    """However long something waits: each frame is counted out again when it is done."""
    frame = MSGPACK.encode([{"op": "touch"}] * module.TURN)
    client.peer.receive(frame)
    for _ in range(100):
        client.peer.receive(frame)
        await asyncio.sleep(0)
    assert 0 < client.peer._waiting_bytes <= 2 * len(frame)


# -- what is not read -----------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 10_000)
    monkeypatch.setattr(module, "MOST_UNREAD", 40_000)
    monkeypatch.setattr(module, "MOST_WAITING", 2_000)
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    monkeypatch.setattr(frames, "PING_EVERY", 1_000)


async def fill(client: Client, count: int, size: int = 1_000) -> list[int]:
    await client.one(op="create_queue", queue="big")
    ids = []
    for _ in range(count):
        sent = await client.one(op="send", queue="big", payload="x" * size)
        ids.append(sent["id"])
    return ids


@pytest.mark.usefixtures("small")
async def test_beyond_its_window_a_client_waits_for_its_next_answers(client: Client) -> None:
    (id,) = await fill(client, 1, size=3_000)
    client.answers_pings = False
    answers = await client.ask(*({"op": "explain", "ref": ref, "id": id} for ref in range(10)))
    assert 3 <= len(answers) < 6
    # It reads on, and gets the rest.
    client.answers_pings = True
    ping = client.peer._side._asked[0]
    more = await client.ask({"op": "pong", "n": ping})
    assert len(answers) + len(more) == 10


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("lined_up", [False, True])
async def test_the_word_that_it_has_read_on_does_not_wait_for_its_turn(
    client: Client, lined_up: bool
) -> None:
    (id,) = await fill(client, 1, size=3_000)
    client.answers_pings = False
    first = await client.ask({"op": "explain", "ref": 100, "id": id})
    ping = client.peer._side._asked[0]
    peer = client.peer
    if lined_up:
        peer.receive(MSGPACK.encode([{"op": "touch"}] * 2 * module.TURN))
    # What comes before the word fills the window.
    peer.receive(MSGPACK.encode([{"op": "explain", "ref": ref, "id": id} for ref in range(10)]))
    peer.receive(MSGPACK.encode([{"op": "pong", "n": ping}, {"op": "ping", "ref": 101}]))
    client.answers_pings = True
    refs = [item["ref"] for item in await client.read()]
    assert len(first) == 1
    assert refs == [*range(10), 101]
    assert peer.closed is None


@pytest.mark.usefixtures("small")
async def test_one_that_does_not_read_on_is_cut_off(client: Client, server: Client) -> None:
    (id,) = await fill(client, 1, size=3_000)
    client.answers_pings = False
    await client.ask(*({"op": "explain", "ref": ref, "id": id} for ref in range(10)))
    async with asyncio.timeout(5):
        while client.peer.closed is None:
            await asyncio.sleep(0.01)
    assert client.peer.closed.code == "slow_consumer"
    assert "slow_consumer" in await kinds(server)


@pytest.mark.usefixtures("small")
async def test_one_that_sends_on_without_reading_is_cut_off(client: Client) -> None:
    (id,) = await fill(client, 1, size=3_000)
    client.answers_pings = False
    await client.ask(*({"op": "explain", "ref": ref, "id": id} for ref in range(10)))
    for _ in range(5):
        await client.ask(*({"op": "explain", "ref": ref, "id": id} for ref in range(100, 130)))
    assert client.peer.closed is not None
    assert client.peer.closed.code == "slow_consumer"


@pytest.mark.usefixtures("small")
async def test_pushes_stop_at_the_window_and_go_on(client: Client, server: Client) -> None:
    await server.one(op="create_queue", queue="big")
    await fill(client, 30)
    server.answers_pings = False
    items = await server.ask({"op": "subscribe", "ref": 1, "queue": "big", "credit": 100})
    pushed = [item for item in items if "deliver" in item]
    assert 8 <= len(pushed) <= 12
    server.answers_pings = True
    ping = server.peer._side._asked[0]
    items = await server.ask({"op": "pong", "n": ping})
    assert len(pushed) + len([item for item in items if "deliver" in item]) == 30


@pytest.mark.usefixtures("small")
async def test_answers_that_pile_up_unread_cut_a_client_off_at_once(
    client: Client, server: Client
) -> None:
    await server.one(op="subscribe", queue="q", credit=100)
    client.answers_pings = False
    await client.ask(
        *({"op": "call", "ref": ref, "queue": "q", "payload": ""} for ref in range(60))
    )
    for item in await server.read():
        await server.ask({"op": "reply", "id": item["deliver"]["id"], "payload": "x" * 1_000})
        await client.read()
    assert client.peer.closed is not None
    assert client.peer.closed.code == "slow_consumer"


@pytest.mark.usefixtures("small")
async def test_one_that_reads_is_asked_on_though_there_is_nothing_to_say(client: Client) -> None:
    """A pong that comes while much is unread, and nothing new to send."""
    (id,) = await fill(client, 1, size=3_000)
    client.answers_pings = False
    await client.ask(*({"op": "explain", "ref": ref, "id": id} for ref in range(3)))
    ping = client.peer._side._asked[0]
    await client.ask(*({"op": "explain", "ref": ref, "id": id} for ref in range(3, 6)))
    client.peer.receive(MSGPACK.encode({"op": "pong", "n": ping}))
    assert client.peer._side.unread > 0
    client.answers_pings = True
    await client.read()
    assert client.peer._side.unread < 1_000


@pytest.mark.usefixtures("small")
async def test_pushes_whose_frames_are_larger_than_their_payloads(
    engine: MemoryEngine, clock: FakeClock
) -> None:
    """In JSON such a payload takes six times its bytes, and has to come all the same."""
    peer = Peer(engine, JSON, lambda: None, lambda: None)
    await engine.create_queue("q")
    await engine.send_many("q", [Draft("\x01" * 1_000) for _ in range(30)])
    found = []

    async def read() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
            assert peer._side.unread < 20_000
            for frame in peer.data_to_send():
                items = JSON.read_anything(frame)
                for item in items if isinstance(items, list) else [items]:
                    if "deliver" in item:
                        found.append(item["deliver"])
                    elif "ping" in item:
                        peer.receive(JSON.encode({"op": "pong", "n": item["ping"]}))

    login = {"op": "login", "client": "c"}
    peer.receive(JSON.encode([login, {"op": "subscribe", "queue": "q", "credit": 100}]))
    while len(found) < 30 and peer.closed is None:
        await read()
    assert peer.closed is None
    assert [message["delivery_count"] for message in found] == [1] * 30


@pytest.mark.usefixtures("small")
async def test_room_for_what_never_left_is_used_again(client: Client, server: Client) -> None:
    """Pushed and purged in one turn: nothing is written, so nothing is read, nor confirmed."""
    await server.one(op="subscribe", queue="q", credit=100)
    sends = [{"op": "send", "queue": "q", "payload": "x" * 1_000} for _ in range(15)]
    purge = {"op": "purge_queue", "queue": "q", "state": "held"}
    await client.ask(*sends, purge, {"op": "purge_queue", "queue": "q"})
    await server.read()
    await client.ask({"op": "send", "queue": "q", "payload": "last"})
    (item,) = await server.read()
    assert item["deliver"]["payload"] == "last"


@pytest.mark.usefixtures("small")
async def test_what_was_not_sent_ends_with_its_session(
    engine: MemoryEngine, client: Client, clock: FakeClock
) -> None:
    """The payloads leave in more bytes than there was room for; the rest waits in the peer."""
    peer = Peer(engine, JSON, lambda: None, lambda: None)
    await fill(client, 30)
    await engine.send_many("big", [Draft("\x01" * 1_000) for _ in range(30)])

    def frame(*operations: dict[str, Any]) -> None:
        peer.receive(JSON.encode(list(operations)))

    subscribe = {"op": "subscribe", "queue": "big", "credit": 100}
    frame({"op": "login", "client": "first"}, {"op": "purge_queue", "queue": "big"}, subscribe)
    await engine.send_many("big", [Draft("\x01" * 1_000) for _ in range(9)])
    await asyncio.sleep(0)
    assert peer._undelivered
    # Before the client is asked to wait: as if it came in the frame that filled the window.
    peer._log_out(frames.Logout())
    await asyncio.sleep(0)
    assert not peer._undelivered
    assert (await engine.inspect_queue("big")).ready == 9


# -- turns and pace ---------------------------------------------------------------------------


def pings(count: int, first: int = 0) -> bytes:
    return MSGPACK.encode([{"op": "ping", "ref": first + number} for number in range(count)])


def answered(client: Client) -> int:
    """How many answers there are to read now."""
    found = 0
    for frame in client.peer.data_to_send():
        items = MSGPACK.read_anything(frame)
        found += len(items) if isinstance(items, list) else 1
    return found


async def test_a_flood_of_one_does_not_keep_another_waiting(
    engine: MemoryEngine, clock: FakeClock
) -> None:
    flooding, modest = Client(engine, clock), Client(engine, clock)
    flooding.peer.receive(pings(1_000))
    modest.peer.receive(pings(1))
    assert answered(flooding) == module.TURN
    assert answered(modest) == 1


async def test_very_many_together_leave_the_loop_to_others(
    engine: MemoryEngine, clock: FakeClock
) -> None:
    """In one turn of the loop no more is begun than a round allows, and nobody is forgotten."""
    clients = [Client(engine, clock) for _ in range(100)]
    for client in clients:
        client.peer.receive(pings(40))
    done = [answered(client) for client in clients]
    assert sum(done) == STREAM_ROUND
    for _ in range(2 * 4_000 // STREAM_ROUND):
        await asyncio.sleep(0)
        now = [answered(client) for client in clients]
        assert sum(now) <= STREAM_ROUND + module.TURN
        assert max(now) <= module.TURN
        done = [before + more for before, more in zip(done, now, strict=True)]
    assert done == [40] * 100


async def test_a_batch_counts_as_its_messages(server: Client, client: Client) -> None:
    batch = [{"payload": "x"}] * 100
    sends = [{"op": "send_many", "ref": n, "queue": "q", "messages": batch} for n in range(3)]
    client.peer.receive(MSGPACK.encode(sends))
    assert answered(client) == 1
    server.peer.receive(pings(200))
    turns = 0
    while not answered(client):
        await asyncio.sleep(0)
        turns += 1
    assert turns > 4, "what it has taken beyond its turn, others get first"


async def test_one_that_is_too_fast_waits_and_is_refused_nothing(clock: FakeClock) -> None:
    engine = MemoryEngine(clock=clock)
    engine.intake = Intake(IntakeLimits(operation_rate=100), asyncio.get_running_loop().call_soon)
    client = Client(engine, clock)
    began = asyncio.get_running_loop().time()
    client.peer.receive(pings(150))
    found = answered(client)
    async with asyncio.timeout(10):
        while found < 150:
            await asyncio.sleep(0.01)
            found += answered(client)
    assert asyncio.get_running_loop().time() - began > 0.3
    assert not engine.intake.streams.others_wait
    client.peer.lost()
    engine.close()


async def test_too_many_logins_are_refused_and_the_connection_goes_on(
    engine: MemoryEngine, clock: FakeClock
) -> None:
    engine.intake = Intake(IntakeLimits(login_rate=1), asyncio.get_running_loop().call_soon)
    client = Client(engine, clock)
    assert "session" in await client.one(op="login", client="a")
    await client.one(op="logout")
    assert await client.one(op="login", client="a") == "rate_limited"
    clock.advance(1)
    assert "session" in await client.one(op="login", client="a")
