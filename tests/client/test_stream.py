"""The client on a stream, against a scripted switch."""

import asyncio
import logging
import math
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from queues.client import AsyncClient, OutcomeUnknown, Unreachable, channel
from queues.client.channel import Channel, SocketChannel
from queues.client.stream import StreamTransport
from queues.client.transport import Operation
from queues.core.answers import ReplyResult, SendResult
from queues.core.messages import Delivery
from queues.protocol import operations as forms
from queues.protocol.reading import KEEPALIVE

from .fakes import SILENCE, Peer, Refused, StreamSwitch, delivery, stream_switch

LARGE = "x" * 700_000


@pytest.fixture
async def switch(tmp_path: Path) -> AsyncIterator[StreamSwitch]:
    async with stream_switch(tmp_path) as switch:
        yield switch


@pytest.fixture
async def web_switch() -> AsyncIterator[StreamSwitch]:
    async with stream_switch() as switch:
        yield switch


def channel_of(client: AsyncClient) -> Channel:
    assert isinstance(client._transport, StreamTransport)
    assert client._transport._channel is not None
    return client._transport._channel


async def open_channel(switch: StreamSwitch, delivered: Any = lambda _: None) -> SocketChannel:
    made = SocketChannel(switch.url, delivered, path=switch.url.removeprefix("unix://"))
    await made.open()
    return made


def sending(payload: str = "") -> Operation[SendResult]:
    return Operation(name="send", answer=SendResult, queue="q", form=forms.Send(payload=payload))


def replying() -> Operation[ReplyResult]:
    return Operation(name="reply", answer=ReplyResult, id=1, form=forms.ReplyBody())


# -- sessions -------------------------------------------------------------------------------------


async def test_a_login_that_is_cancelled_takes_its_connection_with_it(switch: StreamSwitch):
    def first(op: dict[str, Any], peer: Peer) -> Any:
        del switch.hooks["login"]
        switch._usual(op, peer)
        return SILENCE

    switch.hooks["login"] = first
    async with AsyncClient(switch.url) as client:
        login = asyncio.create_task(client.login())
        await switch.came(lambda: switch.of("login"))
        login.cancel()
        await asyncio.wait([login])
        assert login.cancelled()
        assert (await client.login()).session == "session 2"
        await asyncio.wait_for(switch.peers[0].ended.wait(), 30)


async def test_closing_ends_a_connection_that_is_being_made(switch: StreamSwitch):
    client = AsyncClient(switch.url)
    task = asyncio.create_task(client.create("q"))
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises((RuntimeError, Unreachable)):
        await task
    for peer in switch.peers:
        await asyncio.wait_for(peer.ended.wait(), 30)
    assert switch.of("login") == []
    assert client._session._keeper is None


@pytest.mark.parametrize("lease", [0.0, 30.0])
async def test_a_session_that_is_gone_is_not_tried_by_every_operation(
    switch: StreamSwitch, lease: float
):
    def hang(op: dict[str, Any], peer: Peer) -> Any:
        return SILENCE if peer.number == 1 else switch._usual(op, peer)

    def refuse(op: dict[str, Any], peer: Peer) -> Any:
        raise Refused("unknown_session")

    switch.lease = lease
    switch.hooks = {"call": hang, "resume": refuse}
    async with AsyncClient(switch.url, wait=30) as client:
        calls = [asyncio.create_task(client.call("q", "", key=str(n))) for n in range(50)]
        await switch.came(lambda: len(switch.of("call")) == 50)
        switch.peers[0].cut()
        await asyncio.gather(*calls)
        assert len(switch.of("resume")) == (1 if lease else 0)
        assert len(switch.peers) == (3 if lease else 2)


# -- connections ----------------------------------------------------------------------------------


async def test_an_operation_on_a_connection_that_is_gone(switch: StreamSwitch):
    def resume(op: dict[str, Any], peer: Peer) -> Any:
        peer.send({"ref": op["ref"], "ok": switch._usual(op, peer)})
        peer.writer.write(b"\0\0\0\1\xc1")  # no frame; it comes together with the answer
        return SILENCE

    switch.lease = 30.0
    switch.hooks["resume"] = resume
    async with AsyncClient(switch.url, lease=30.0) as client:
        await client.login()
        switch.peers[0].cut()
        await channel_of(client).lost
        with pytest.raises(Unreachable):
            await asyncio.wait_for(client.create("q"), 10)
        refused: list[Exception] = []
        channel_of(client).tell(replying(), refused.append)
        assert [type(error) for error in refused] == [Unreachable]


async def test_a_close_frame_ends_the_connection_before_tcp_does(web_switch: StreamSwitch):
    async with AsyncClient(web_switch.url) as client:
        await client.create("q")
        first = channel_of(client)
        (peer,) = web_switch.peers
        assert peer.websocket is not None
        peer.websocket.send_close(1001)
        peer.writer.write(b"".join(peer.websocket.data_to_send()))
        await asyncio.wait_for(first.lost, 10)
        await asyncio.wait_for(client.create("q"), 10)
        assert len(web_switch.peers) == 2


async def test_what_never_left_is_unreachable(switch: StreamSwitch):
    made = await open_channel(switch)
    switch.hooks["send"] = lambda op, peer: SILENCE
    sent = asyncio.create_task(made.ask(sending()))
    await switch.came(lambda: switch.of("send"))
    made.pause_writing()
    waiting = [asyncio.create_task(made.ask(sending(str(n)))) for n in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    switch.peers[0].cut()
    results = await asyncio.gather(sent, *waiting, return_exceptions=True)
    assert [type(result) for result in results] == [OutcomeUnknown, Unreachable, Unreachable]


async def test_what_is_given_up_before_it_leaves_is_not_asked_for(switch: StreamSwitch):
    made = await open_channel(switch)
    made.pause_writing()
    tasks = [asyncio.create_task(made.ask(sending(str(n)))) for n in range(2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    made.resume_writing()
    await tasks[1]
    assert [op.get("payload") for _, op in switch.ops] == ["1"]
    await made.close()


async def test_closing_does_not_wait_for_a_switch_that_reads_nothing(
    switch: StreamSwitch, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(channel, "CLOSE_TIMEOUT", 0.1)
    made = await open_channel(switch)
    while not switch.peers:
        await asyncio.sleep(0)
    switch.peers[0].reads.clear()
    tasks = [asyncio.create_task(made.ask(sending(LARGE))) for _ in range(20)]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await made.close()
        await asyncio.wait(tasks)


async def test_a_pong_overtakes_operations_that_wait(switch: StreamSwitch):
    heard = asyncio.Event()
    made = await open_channel(switch, lambda _: heard.set())
    await made.ask(sending())
    (peer,) = switch.peers
    peer.reads.clear()
    tasks = [asyncio.create_task(made.ask(sending(LARGE + str(n)))) for n in range(20)]
    while not made._paused:
        await asyncio.sleep(0)
    peer.send({"ping": 1}, {"deliver": delivery(1)})
    await heard.wait()
    await asyncio.sleep(0)
    peer.reads.set()
    await asyncio.gather(*tasks)
    names = switch.names(1)[1:]
    assert names.count("send") == 20
    assert names.index("pong") < 5
    sent = [op["payload"] for op in switch.of("send")[1:]]
    assert sent == [LARGE + str(n) for n in range(20)]
    await made.close()


async def test_what_was_told_is_asked_about_in_time(
    switch: StreamSwitch, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(channel, "ANSWER_TIMEOUT", 0.1)
    monkeypatch.setattr(channel, "LOOK", 0.01)
    switch.hooks["ping"] = lambda op, peer: SILENCE
    made = await open_channel(switch)
    refused: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    made.tell(replying(), refused.set_result)
    assert isinstance(await asyncio.wait_for(refused, 30), OutcomeUnknown)
    assert made.lost.done()


async def test_a_host_that_is_dead_is_noticed(web_switch: StreamSwitch):
    async with AsyncClient(web_switch.url) as client:
        await client.login()
        connection = channel_of(client)._transport.get_extra_info("socket")
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for name, value in KEEPALIVE.items():
            if hasattr(socket, name):
                option = getattr(socket, name)
                assert connection.getsockopt(socket.IPPROTO_TCP, option) == value


# -- serving --------------------------------------------------------------------------------------


async def test_a_server_hears_again_after_a_break_at_its_start(switch: StreamSwitch):
    async def function(message: Delivery) -> str:
        return "done"

    def look(op: dict[str, Any], peer: Peer) -> Any:
        del switch.hooks["inspect_queue"]
        peer.cut()
        return SILENCE

    switch.hooks["inspect_queue"] = look
    async with AsyncClient(switch.url) as client:
        serving = asyncio.create_task(client.serve("q", function))
        await switch.came(lambda: "subscribe" in switch.names(2))
        switch.peers[1].deliver(delivery(1))
        await switch.came(lambda: switch.of("reply"))
        serving.cancel()
        await asyncio.wait([serving])


async def test_a_server_that_stops_begins_nothing_more(switch: StreamSwitch):
    begun = []
    may_end = threading.Event()

    def function(message: Delivery) -> str:
        begun.append(message.id)
        may_end.wait(30)
        return "done"

    async with AsyncClient(switch.url) as client:
        serving = asyncio.create_task(client.serve("q", function, concurrency=2, grace=30))
        await switch.came(lambda: switch.of("inspect_queue"))
        peer = switch.peers[0]
        peer.deliver(delivery(1))
        while not begun:
            await asyncio.sleep(0.001)
        serving.cancel()
        await switch.came(lambda: [op["credit"] for op in switch.of("subscribe")] == [2, 0])
        peer.deliver(delivery(2))
        await switch.came(lambda: [op["ids"] for op in switch.of("nack")] == [[2]])
        may_end.set()
        await asyncio.wait([serving])
    assert begun == [1]
    (reply,) = switch.of("reply")
    assert (reply["id"], reply["payload"]) == (1, "done")


async def test_a_server_that_has_stopped_answers_nothing(
    switch: StreamSwitch, caplog: pytest.LogCaptureFixture
):
    def logout(op: dict[str, Any], peer: Peer) -> None:
        peer.deliver(delivery(1))

    begun = []
    switch.hooks["logout"] = logout
    async with AsyncClient(switch.url) as client:
        serving = asyncio.create_task(
            client.serve("q", lambda message: begun.append(message.id), grace=0)
        )
        await switch.came(lambda: switch.of("inspect_queue"))
        serving.cancel()
        with caplog.at_level(logging.WARNING):
            await asyncio.wait([serving])
    assert begun == []
    assert switch.of("reply") == []
    assert caplog.text == ""


async def test_a_server_stops_while_the_switch_is_away(switch: StreamSwitch):
    begun = asyncio.Event()

    async def endless(message: Delivery) -> None:
        begun.set()
        await asyncio.sleep(math.inf)

    async with AsyncClient(switch.url) as client:
        serving = asyncio.create_task(client.serve("q", endless, grace=0))
        await switch.came(lambda: switch.of("inspect_queue"))
        switch.peers[0].deliver(delivery(1))
        await begun.wait()
        switch.hooks["login"] = lambda op, peer: peer.cut() or SILENCE
        switch.peers[0].cut()
        await switch.came(lambda: len(switch.of("login")) >= 2)
        serving.cancel()
        async with asyncio.timeout(30):
            await asyncio.wait([serving])
