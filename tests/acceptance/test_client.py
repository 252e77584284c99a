"""What the client library promises, against a real switch."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from queues.client import (
    AsyncClient,
    CallTimeout,
    Client,
    Delivery,
    Error,
    Handler,
    HandlerError,
    OutcomeUnknown,
    RemoteError,
    Send,
    Unreachable,
)
from queues.client.http import HttpTransport
from queues.core.errors import NoServer, QueueFull, QueueNotFound

from .conftest import ROOT, Server
from .proxy import proxy


async def echo(message: Delivery) -> str:
    return message.payload


def over_http(url: str, **options: Any) -> AsyncClient:
    """A client that uses no stream, where that makes a difference."""
    return AsyncClient(transport=HttpTransport(url), **options)


@asynccontextmanager
async def serving(
    client: AsyncClient, queue: str, function: Handler = echo, concurrency: int = 1
) -> AsyncIterator[None]:
    """A server that runs while the block does."""
    task = asyncio.create_task(client.serve(queue, function, concurrency=concurrency, grace=0))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def eventually(condition: Callable, timeout: float = 20.0) -> None:
    """Poll an async condition until it holds."""
    async with asyncio.timeout(timeout):
        while not await condition():
            await asyncio.sleep(0.01)


async def events(client: AsyncClient, *kinds: str) -> list:
    """All events of these kinds that the trace has."""
    found = []
    after = 0
    while (page := await client.trace(after=after, limit=1000)).events:
        found += [event for event in page.events if event.kind in kinds]
        after = page.next
    return found


# -- RPC ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", ["hello", "", "ünï\0cödé \U0001f600\r\n", "x" * 1_000_000])
async def test_a_call_and_its_reply(server: Server, payload: str):
    async with AsyncClient(server.url, name="caller") as client, serving(client, "echo"):
        response = await client.call("echo", payload, wait_for_server=True, headers={"a": "b"})
        assert response.payload == payload
        assert response.sender == "caller"


async def test_a_function_sees_the_whole_request(server: Server):
    seen: list[Delivery] = []

    async def look(message: Delivery) -> None:
        seen.append(message)

    async with AsyncClient(server.url, name="caller") as client, serving(client, "look", look):
        await client.call(
            "look", "p", wait_for_server=True, headers={"a": "b"}, correlation_id="c", key="k"
        )
    (message,) = seen
    assert (message.queue, message.payload, message.headers) == ("look", "p", {"a": "b"})
    assert (message.sender, message.correlation_id, message.key) == ("caller", "c", "k")
    assert message.delivery_count == 1


async def test_a_failed_handler_is_a_remote_error(server: Server):
    async def fail(message: Delivery) -> str:
        raise HandlerError("no_such_user", "Nobody has that name.")

    async with AsyncClient(server.url) as client, serving(client, "fail", fail):
        with pytest.raises(RemoteError) as caught:
            await client.call("fail", "x", wait_for_server=True)
        assert caught.value.error.code == "no_such_user"
        assert str(caught.value) == "no_such_user: Nobody has that name."
        assert caught.value.id is not None


async def test_a_timed_out_call_says_why(server: Server):
    async with AsyncClient(server.url) as client:
        with pytest.raises(NoServer):
            await client.call("nobody", "x")
        with pytest.raises(CallTimeout) as caught:
            await client.call("nobody", "x", timeout=0.2, wait_for_server=True)
        verdict = caught.value.verdict
        assert verdict is not None
        assert verdict.code == "never_started"
        assert "no server has ever subscribed to nobody" in str(caught.value)
        report = await client.explain(caught.value.id or 0)
        assert report.message is None, "no server starts work for a caller that has given up"


async def test_a_reply_does_not_wait_for_a_poll(server: Server):
    async def slow(message: Delivery) -> str:
        await asyncio.sleep(0.2)
        return message.payload

    async with (
        AsyncClient(server.url) as client,
        serving(client, "slow", slow, concurrency=8),
    ):
        await client.call("slow", "", wait_for_server=True)
        started = time.monotonic()
        answers = await asyncio.gather(*(client.call("slow", str(n)) for n in range(8)))
        assert [answer.payload for answer in answers] == [str(n) for n in range(8)]
        assert time.monotonic() - started < 10, "a Transfer stays open for 25 s"


# -- messages -------------------------------------------------------------------------------------


async def test_rpc_by_hand_as_the_specification_has_it(server: Server):
    async with AsyncClient(server.url) as caller, AsyncClient(server.url) as callee:
        await callee.create("service")
        await callee.subscribe("service")
        reply_to = (await caller.create()).name
        await caller.subscribe(reply_to)
        sent = await caller.send("service", "ping", reply_to=reply_to)
        request = await callee.receive()
        assert request is not None
        assert (request.id, request.payload) == (sent.id, "ping")
        await callee.reply(request.id, "pong")
        response = await caller.receive()
        assert response is not None
        assert (response.payload, response.correlation_id) == ("pong", str(sent.id))
        assert (await caller.ack(response.id)).acked == [response.id]
    async with AsyncClient(server.url) as client:
        assert reply_to not in [queue.name for queue in await client.list()]


async def test_ack_nack_dead_and_replay(server: Server):
    async with AsyncClient(server.url) as client:
        await client.create("jobs", max_deliveries=2, max_length=3)
        outcomes = await client.send_many("jobs", [Send(payload=str(n)) for n in range(4)])
        assert [outcome.code for outcome in outcomes] == [None, None, None, "queue_full"]
        with pytest.raises(QueueFull) as caught:
            await client.send("jobs", "x")
        assert caught.value.extra["retry_after"] > 0
        await client.subscribe("jobs")
        first = await client.receive()
        assert first is not None
        await client.nack(first.id, requeue=False)
        second = await client.receive()
        assert second is not None
        await client.ack(second.id)
        third = await client.receive()
        assert third is not None
        await client.nack(third.id)
        third_again = await client.receive()
        assert third_again is not None
        assert (third_again.id, third_again.delivery_count) == (third.id, 2)
        await client.nack(third.id)
        dead = await client.browse("jobs", "dead")
        assert [(message.payload, message.cause) for message in dead.messages] == [
            ("0", "rejected"),
            ("2", "max_deliveries"),
        ]
        assert (await client.replay("jobs")).replayed == 2
        await client.drop("jobs", first.id)
        again = await client.receive()
        assert again is not None
        assert (again.id, again.delivery_count) == (third.id, 1)
        await client.reply(again.id, error=Error(code="enough"))
        assert (await client.inspect("jobs")).acked == 2
        await client.change("jobs", max_length=1)
        await client.send("jobs", "x")
        assert (await client.purge("jobs")).purged == 1
        await client.destroy("jobs")
        with pytest.raises(QueueNotFound):
            await client.send("jobs", "x")


async def test_an_iteration_over_messages(server: Server):
    async with AsyncClient(server.url) as client:
        await client.create("stream")
        await client.subscribe("stream")
        await client.send_many("stream", [Send(payload=str(n)) for n in range(20)])
        seen = []
        async for message in client.transfer(limit=7, timeout=0.2):
            seen.append(message.payload)
            await client.ack(message.id)
        assert seen == [str(n) for n in range(20)]
        assert (await client.inspect("stream")).held == 0


async def test_the_answer_of_a_transfer_got_lost(server: Server):
    async with proxy(server.port) as between, over_http(between.url) as client:
        await client.create("lossy")
        await client.subscribe("lossy")
        sent = await client.send("lossy", "precious")
        between.lose = True
        message = await client.receive(timeout=20)
        assert message is not None
        assert (message.id, message.delivery_count) == (sent.id, 1)
        assert between.lost == 1
        await client.ack(message.id)


async def test_the_answer_of_a_send_got_lost(server: Server):
    async with proxy(server.port) as between, over_http(between.url) as client:
        await client.create("sends")
        await client.login()
        between.lose = True
        with pytest.raises(OutcomeUnknown):
            await client.send("sends", "once")
        assert (await client.inspect("sends")).ready == 1

        between.lose = True
        sent = await client.send("sends", "with a key", key="k")
        assert between.lost == 2
        assert not sent.created, "the first attempt had arrived"
        assert (await client.inspect("sends")).ready == 2


async def test_the_answer_of_a_call_got_lost(server: Server):
    handled = []

    async def count(message: Delivery) -> str:
        handled.append(message.payload)
        return message.payload

    async with (
        AsyncClient(server.url) as callee,
        serving(callee, "counted", count),
        proxy(server.port) as between,
        over_http(between.url) as client,
    ):
        await client.call("counted", "warm", wait_for_server=True)
        between.lose = True
        with pytest.raises(OutcomeUnknown):
            await client.call("counted", "without a key")
        between.lose = True
        assert (await client.call("counted", "with a key", key="k")).payload == "with a key"
        assert between.lost == 2
    assert handled == ["warm", "without a key", "with a key"]


async def test_the_answer_to_a_reply_got_lost(server: Server):
    async with proxy(server.port) as between, over_http(between.url) as callee:
        handled = []

        async def lossy(message: Delivery) -> str:
            handled.append(message.payload)
            between.lose = True
            return message.payload

        async with serving(callee, "lossy.replies", lossy), AsyncClient(server.url) as client:
            for n in range(3):
                answer = await client.call("lossy.replies", str(n), wait_for_server=True)
                assert answer.payload == str(n)
        assert handled == ["0", "1", "2"]


# -- leases ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [{}, {"ack_timeout": 0.6}])
async def test_a_message_is_kept_while_a_function_works_on_it(server: Server, policy: dict):
    queue = f"slow{len(policy)}"

    async def slow(message: Delivery) -> str:
        # Not luck: the lease of one second must pass more than twice.
        await asyncio.sleep(2.5)
        return str(message.delivery_count)

    async with (
        AsyncClient(server.url, name=f"slow {queue}", lease=1.0) as callee,
        AsyncClient(server.url) as client,
    ):
        await client.create(queue, **policy)
        async with serving(callee, queue, slow):
            assert (await client.call(queue, "x", wait_for_server=True)).payload == "1"
            gone = await events(client, "lease_expired", "released")
            assert [event for event in gone if event.client == callee.name] == []


async def test_a_message_is_kept_while_an_iteration_works_on_it(server: Server):
    async with AsyncClient(server.url, lease=1.0) as client:
        await client.create("kept", ack_timeout=1.0)
        await client.subscribe("kept")
        await client.send("kept", "x")
        message = await client.receive()
        assert message is not None
        await asyncio.sleep(2.5)
        assert (await client.ack(message.id)).acked == [message.id]


async def test_a_session_that_lapsed_is_begun_anew(server: Server):
    async with over_http(server.url, name="sleeper", lease=1.0) as client:
        await client.create("lapsed")
        await client.subscribe("lapsed")

        async def lapsed() -> bool:
            gone = await asyncio.to_thread(lease_expired, server.url, "sleeper")
            return bool(gone)

        await eventually(lapsed)
        sent = await client.send("lapsed", "x")
        message = await client.receive(timeout=10)
        assert message is not None
        assert message.id == sent.id
        await client.ack(message.id)


def lease_expired(url: str, name: str) -> list:
    with Client(url) as client:
        page = client.trace(limit=1000)
        found = list(page.events)
        while page.events:
            page = client.trace(after=page.next, limit=1000)
            found += page.events
    return [event for event in found if event.kind == "lease_expired" and event.client == name]


# -- a switch that comes and goes -----------------------------------------------------------------


async def test_nobody_there(stopped_server: Server):
    async with AsyncClient(stopped_server.url) as client:
        with pytest.raises(Unreachable, match="Connection refused"):
            await client.call("echo", "x")


async def test_a_server_started_before_the_switch_waits_for_it(stopped_server: Server):
    async with (
        AsyncClient(stopped_server.url) as callee,
        serving(callee, "early"),
        AsyncClient(stopped_server.url, wait=60) as client,
    ):
        call = asyncio.create_task(client.call("early", "x", timeout=60, wait_for_server=True))
        await asyncio.sleep(0.3)
        assert not call.done()
        await asyncio.to_thread(stopped_server.start)
        assert (await call).payload == "x"


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_restart_is_survived(fresh_server: Server, how: str):
    async with (
        AsyncClient(fresh_server.url, wait=30) as callee,
        serving(callee, "echo"),
        AsyncClient(fresh_server.url, wait=30) as client,
    ):
        await client.create("mine", max_length=5)
        await client.subscribe("mine")
        await client.call("echo", "before", wait_for_server=True)
        for n in range(2):
            receiving = asyncio.create_task(client.receive())
            await asyncio.to_thread(getattr(fresh_server, how))
            with pytest.raises(Unreachable):
                async with AsyncClient(fresh_server.url) as hasty:
                    await hasty.diagnostics()
            await asyncio.to_thread(fresh_server.start)
            response = await client.call("echo", str(n), wait_for_server=True)
            assert response.payload == str(n)
            # The queue is there again, with its policy, and so is the subscription.
            await client.send("mine", str(n))
            message = await receiving
            assert message is not None
            assert message.payload == str(n)
            assert (await client.inspect("mine")).policy.max_length == 5
            await client.ack(message.id)


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_call_that_a_restart_cut_off(fresh_server: Server, how: str):
    attempts = []

    async def stubborn(message: Delivery) -> str:
        attempts.append(message.payload)
        if len(attempts) == 1:
            await asyncio.sleep(1000)
        return message.payload

    async with (
        AsyncClient(fresh_server.url, wait=30) as client,
        serving(client, "cut", stubborn, concurrency=2),
    ):
        call = asyncio.create_task(client.call("cut", "x", wait_for_server=True))
        while not attempts:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(getattr(fresh_server, how))
        with pytest.raises(OutcomeUnknown):
            await call
        await asyncio.to_thread(fresh_server.start)


async def test_a_call_with_a_key_is_not_repeated_after_a_restart(fresh_server: Server):
    attempts = []

    async def stubborn(message: Delivery) -> str:
        attempts.append(message.payload)
        if len(attempts) == 1:
            await asyncio.sleep(1000)
        return message.payload

    async with (
        AsyncClient(fresh_server.url) as client,
        serving(client, "keyed", stubborn, concurrency=2),
    ):
        call = asyncio.create_task(
            client.call("keyed", "x", timeout=60, wait_for_server=True, key="k")
        )
        while not attempts:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(fresh_server.kill)
        await asyncio.to_thread(fresh_server.start)
        with pytest.raises(OutcomeUnknown):
            await call
        assert attempts == ["x"], "the switch has forgotten the key"


@pytest.fixture
def lasting_server(tmp_path: Path) -> Iterator[Server]:
    """A switch that keeps everything in its database."""
    server = Server(tmp_path, SWITCH_JOURNAL="commit")
    server.migrate()
    server.start()
    yield server
    server.kill()


async def test_a_call_with_a_key_goes_on_after_a_crash_that_forgets_nothing(lasting_server: Server):
    begun, back = asyncio.Event(), asyncio.Event()
    attempts = []

    async def patient(message: Delivery) -> str:
        attempts.append(message.payload)
        begun.set()
        await back.wait()
        return message.payload

    async with (
        AsyncClient(lasting_server.url) as client,
        serving(client, "keyed", patient, concurrency=2),
    ):
        call = asyncio.create_task(
            client.call("keyed", "x", timeout=60, wait_for_server=True, key="k")
        )
        await begun.wait()
        await asyncio.to_thread(lasting_server.kill)
        await asyncio.to_thread(lasting_server.start)
        back.set()
        assert (await call).payload == "x"
        assert attempts == ["x"], "the handler that has the request goes on with it"


async def test_a_lost_transient_queue_is_told(fresh_server: Server):
    async with AsyncClient(fresh_server.url, wait=30) as client:
        name = (await client.create()).name
        await client.subscribe(name)
        receiving = asyncio.create_task(client.receive())
        await asyncio.to_thread(fresh_server.restart)
        with pytest.raises(QueueNotFound, match=name):
            await receiving


async def test_a_switch_that_stops_is_no_disaster(fresh_server: Server, caplog):
    async with (
        AsyncClient(fresh_server.url) as callee,
        serving(callee, "echo"),
        AsyncClient(fresh_server.url) as client,
    ):
        await client.call("echo", "x", wait_for_server=True)
        await asyncio.to_thread(fresh_server.stop)
    assert fresh_server.process.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
    assert "Traceback" not in fresh_server.log
    assert "Traceback" not in caplog.text


# -- clients that come and go ---------------------------------------------------------------------

_CLIENT = """
import sys
from queues.client import Client
client = Client(sys.argv[1], name="victim", lease=1.0)
client.create("victims")
def hang(message):
    print("holding", flush=True)
    import time
    time.sleep(1000)
client.serve("victims", hang)
"""

_CONSUMER = """
import sys
from queues.client import Client
client = Client(sys.argv[1], name="consumer", lease=1.0)
transient = client.create().name
client.subscribe(transient)
client.subscribe("precious")
held = [client.receive(limit=3).id for _ in range(3)]
print(transient, *held, flush=True)
client.receive()
"""


async def test_what_a_killed_client_held_goes_to_the_next_in_order(server: Server):
    async with AsyncClient(server.url) as client:
        await client.create("precious")
        first = [(await client.send("precious", str(n))).id for n in range(3)]
        victim = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-c", _CONSUMER, server.url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert victim.stdout is not None
        line = (await asyncio.to_thread(victim.stdout.readline)).decode().split()
        assert [int(id) for id in line[1:]] == first

        async def polls() -> bool:
            return (await client.inspect("precious")).waiting == 1

        await eventually(polls)
        victim.kill()
        await asyncio.to_thread(victim.wait)
        victim.stdout.close()
        last = (await client.send("precious", "3")).id

        async def given_up() -> bool:
            return bool(await asyncio.to_thread(lease_expired, server.url, "consumer"))

        await eventually(given_up)
        with pytest.raises(QueueNotFound):
            await client.inspect(line[0])
        await client.subscribe("precious")
        received = []
        async for message in client.transfer(limit=10, timeout=0.2):
            received.append((message.id, message.payload))
            await client.ack(message.id)
        assert received == [(id, str(n)) for n, id in enumerate([*first, last])]


async def test_a_killed_server_loses_nothing(server: Server):
    async with AsyncClient(server.url) as client:
        victim = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-c", _CLIENT, server.url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        call = asyncio.create_task(
            client.call("victims", "precious", timeout=60, wait_for_server=True)
        )
        assert victim.stdout is not None
        assert await asyncio.to_thread(victim.stdout.readline) == b"holding\n"
        victim.kill()
        await asyncio.to_thread(victim.wait)
        victim.stdout.close()
        async with serving(client, "victims"):
            assert (await call).payload == "precious"


async def test_a_caller_that_leaves_takes_its_request_with_it(server: Server):
    async with AsyncClient(server.url) as client:
        call = asyncio.create_task(client.call("left", "x", wait_for_server=True))

        async def waits() -> bool:
            with suppress(QueueNotFound):
                messages = (await client.browse("left")).messages
                return [message.caller for message in messages] == ["waiting"]
            return False

        await eventually(waits)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call

        async def gone() -> bool:
            return (await client.browse("left")).messages == []

        await eventually(gone)


def test_many_threads_share_a_client(server: Server):
    with Client(server.url) as callee, Client(server.url) as client:
        thread = threading.Thread(
            target=callee.serve, args=("shared", lambda m: m.payload), kwargs={"concurrency": 8}
        )
        thread.start()
        client.call("shared", "", wait_for_server=True)

        def calls(n: int) -> list[str]:
            return [client.call("shared", f"{n}.{k}").payload for k in range(20)]

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(calls, range(16)))
        assert answers == [[f"{n}.{k}" for k in range(20)] for n in range(16)]
        callee.close()
        thread.join()


def test_a_blocking_function_may_call(server: Server):
    with Client(server.url) as client:

        def outer(message: Delivery) -> str:
            return client.call("inner", message.payload, wait_for_server=True).payload + "!"

        threads = [
            threading.Thread(target=client.serve, args=("outer", outer)),
            threading.Thread(target=client.serve, args=("inner", lambda m: m.payload.upper())),
        ]
        for thread in threads:
            thread.start()
        assert client.call("outer", "x", wait_for_server=True).payload == "X!"
        client.close()
        for thread in threads:
            thread.join()


def test_blocking_iteration(server: Server):
    with Client(server.url) as client:
        client.create("blocking")
        client.subscribe("blocking")
        client.send_many("blocking", [Send(payload=str(n)) for n in range(5)])
        seen = []
        for message in client.transfer(limit=2, timeout=0.2):
            client.ack(message.id)
            seen.append(message.payload)
        assert seen == list("01234")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_leaks(server: Server):
    def use() -> None:
        with Client(server.url) as callee, Client(server.url) as client:
            thread = threading.Thread(target=callee.serve, args=("leaks", lambda m: m.payload))
            thread.start()
            client.call("leaks", "x", wait_for_server=True)
            client.create()
            with pytest.raises(CallTimeout):
                client.call("leaks.none", "x", wait_for_server=True, timeout=0.1)
            callee.close()
            thread.join()

    use()
    files, threads = open_files(), threading.active_count()
    for _ in range(5):
        use()
    assert open_files() <= files
    assert threading.active_count() <= threads
    with Client(server.url) as client:
        left = [session.client for session in client.diagnostics().sessions]
        assert client.name not in left


async def test_no_task_is_left(server: Server):
    before = asyncio.all_tasks()
    async with AsyncClient(server.url) as client, serving(client, "tasks", concurrency=4):
        await asyncio.gather(
            *(client.call("tasks", str(n), wait_for_server=True) for n in range(50))
        )
        receiving = asyncio.create_task(client.receive())
        await asyncio.sleep(0)
        receiving.cancel()
        await asyncio.wait([receiving])
    assert asyncio.all_tasks() == before


def test_a_child_process_makes_its_own_client(server: Server):
    script = (
        "import os, sys\n"
        "from queues.client import Client\n"
        "client = Client(sys.argv[1])\n"
        "client.create('forked')\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    with Client(sys.argv[1]) as own:\n"
        "        own.send('forked', 'from the child')\n"
        "    os._exit(0)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0\n"
        "print(client.inspect('forked').ready)\n"
        "client.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, server.url],
        cwd=ROOT,
        env={**os.environ},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")
