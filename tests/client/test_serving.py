import asyncio
import contextvars
import math
import threading

import pytest

from queues.client import serving
from queues.client.errors import HandlerError, OutcomeUnknown, Unreachable
from queues.client.serving import Server
from queues.client.session import Session
from queues.core.answers import ReplyOutcome, ReplyResult, TransferResult
from queues.core.errors import NotHolder, PayloadTooLarge, QueueFull, UnknownSession
from queues.core.messages import Delivery
from queues.protocol import operations as forms

from .fakes import FakeTransport, brings, delivery, skips_time


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


async def echo(message: Delivery) -> str:
    return message.payload


class Serving:
    """A server that runs while the block does."""

    def __init__(self, transport, function, *, concurrency: int = 1, grace: float = 5.0) -> None:
        self.session = Session(transport, "server", 30.0)
        self.server = Server(self.session, "q", function, concurrency, grace)

    async def __aenter__(self) -> "Serving":
        self.task = asyncio.create_task(self.server.run())
        return self

    async def __aexit__(self, *_) -> None:
        if not self.task.done():
            self.task.cancel()
        await asyncio.wait([self.task])
        if not self.task.cancelled():
            self.task.result()


def carried(transport: FakeTransport) -> list[list[forms.TransferReply]]:
    return [form.replies for form in transport.forms("transfer")]


async def settled(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


@skips_time
async def test_it_creates_subscribes_serves_and_logs_out(transport):
    transport.on("transfer", brings(delivery(1, "hello")))
    async with Serving(transport, echo):
        await settled(lambda: len(transport.forms("transfer")) == 2)
    assert [name for name in transport.names if name != "inspect_queue"] == [
        "login",
        "create_queue",
        "subscribe",
        "transfer",
        "transfer",
        "logout",
    ]
    assert carried(transport)[1] == [forms.TransferReply(id=1, payload="hello")]


@skips_time
async def test_a_served_request_is_one_round_trip(transport):
    transport.on("transfer", *(brings(delivery(id, str(id))) for id in range(1, 11)))
    async with Serving(transport, echo):
        await settled(lambda: len(transport.forms("transfer")) == 11)
    assert "reply" not in transport.names
    assert [[reply.payload for reply in replies] for replies in carried(transport)] == [
        [],
        *([str(id)] for id in range(1, 11)),
    ]


@skips_time
async def test_so_it_is_with_many_at_once(transport):
    transport.on(
        "transfer",
        brings(*(delivery(id) for id in range(1, 9))),
        brings(*(delivery(id) for id in range(9, 17))),
    )
    async with Serving(transport, echo, concurrency=16):
        await settled(lambda: len(transport.forms("transfer")) == 3)
    assert "reply" not in transport.names
    assert [len(replies) for replies in carried(transport)] == [0, 8, 8]


@skips_time
async def test_it_takes_no_more_than_it_can_work_on(transport):
    release = asyncio.Event()

    async def slow(message: Delivery) -> str:
        await release.wait()
        return ""

    transport.on("transfer", brings(delivery(1)), brings(delivery(2), delivery(3)))
    async with Serving(transport, slow, concurrency=3):
        await settled(lambda: len(transport.forms("transfer")) == 2)
        await asyncio.sleep(100)
        assert [form.limit for form in transport.forms("transfer")] == [3, 2]
        release.set()
        await settled(lambda: len(transport.forms("transfer")) == 3)
        assert transport.forms("transfer")[2].limit == 3


@skips_time
async def test_a_reply_does_not_wait_for_an_open_transfer(transport):
    now = asyncio.get_running_loop().time

    async def slow(message: Delivery) -> str:
        await asyncio.sleep(1)
        return "done"

    transport.on("transfer", brings(delivery(1)))
    async with Serving(transport, slow, concurrency=2):
        started = now()
        await settled(lambda: "reply" in transport.names)
        assert now() - started < 1.1
        assert len(transport.forms("transfer")) == 2, "it is still open"
    assert transport.forms("reply") == [forms.ReplyBody(payload="done")]


@skips_time
async def test_messages_are_touched_while_a_function_works_on_them(transport):
    async def slow(message: Delivery) -> str:
        await asyncio.sleep(35)
        return ""

    transport.on("transfer", brings(delivery(1)))
    async with Serving(transport, slow) as running:
        await settled(lambda: len(transport.forms("transfer")) == 2)
        assert transport.forms("touch") == [forms.Touch(ids=[1])] * 3
        assert running.session.in_hand == {1}
        # The answer to the second Transfer says that the reply arrived.
        await settled(lambda: not running.session.in_hand)


# -- what functions do ----------------------------------------------------------------------------


class NoSuchUser(Exception):
    pass


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("No text.")


class Forgetful(HandlerError):
    def __init__(self) -> None:
        pass


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (ValueError("Bad."), forms.Error(code="value_error", detail="Bad.")),
        (NoSuchUser(), forms.Error(code="no_such_user", detail="")),
        (OSError(2, "None"), forms.Error(code="file_not_found_error", detail="[Errno 2] None")),
        (HandlerError("mine", "Own."), forms.Error(code="mine", detail="Own.")),
        (HandlerError("", "x" * 20_000), forms.Error(code="handler_error", detail="x" * 10_000)),
        (Unreachable("Away."), forms.Error(code="unreachable", detail="Away.")),
        (ValueError("\ud800"), forms.Error(code="value_error", detail="?")),
        (HandlerError(404, "Own."), forms.Error(code="404", detail="Own.")),
        (HandlerError("mine", None), forms.Error(code="mine", detail="")),
        (HandlerError("mine", ValueError("Bad.")), forms.Error(code="mine", detail="Bad.")),
        (HandlerError("mine", Unspeakable()), forms.Error(code="handler_error", detail="ANY")),
        (Unspeakable(), forms.Error(code="unspeakable", detail="ANY")),
        (Forgetful(), forms.Error(code="forgetful", detail="ANY")),
        (StopIteration(), forms.Error(code="runtime_error", detail="ANY")),
        (5, forms.Error(code="type_error", detail="The handler returned int, not str.")),
        ("\ud800", forms.Error(code="unicode_encode_error", detail="ANY")),
        (None, None),
        ("text", None),
        (Text("text"), None),
    ],
)
@pytest.mark.parametrize("threaded", [False, True])
@skips_time
async def test_what_a_function_does_is_the_reply(transport, outcome, error, threaded):
    def function(message: Delivery) -> str:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def coroutine_function(message: Delivery) -> str:
        return function(message)

    transport.on("transfer", brings(delivery(1)))
    async with Serving(transport, function if threaded else coroutine_function):
        await settled(lambda: len(transport.forms("transfer")) == 2)
    ((reply,),) = carried(transport)[1:]
    if error is None:
        assert reply == forms.TransferReply(id=1, payload=outcome or "")
        assert type(reply.payload) is str, "no other can be written"
    else:
        assert reply.error.code == error.code
        assert error.detail in (reply.error.detail, "ANY")


class Odd(BaseException):
    pass


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (SystemExit(3), "system_exit"),
        (KeyboardInterrupt(), "keyboard_interrupt"),
        (Odd(), "odd"),
        (asyncio.CancelledError(), "cancelled_error"),
    ],
)
@pytest.mark.parametrize("threaded", [False, True])
@skips_time
async def test_a_function_ends_nothing_but_itself(transport, raised, code, threaded):
    def function(message: Delivery) -> str:
        raise raised

    async def coroutine_function(message: Delivery) -> str:
        raise raised

    transport.on("transfer", brings(delivery(1)))
    async with Serving(transport, function if threaded else coroutine_function) as running:
        await settled(lambda: len(transport.forms("transfer")) == 3)
        assert running.session.in_hand == set()
    assert carried(transport)[1][0].error.code == code


@skips_time
async def test_a_function_that_awaits_what_was_cancelled_has_failed(transport):
    async def function(message: Delivery) -> str:
        other = asyncio.create_task(asyncio.sleep(1000))
        other.cancel()
        await other
        return ""

    transport.on("transfer", brings(delivery(1)))
    async with Serving(transport, function):
        await settled(lambda: len(transport.forms("transfer")) == 2)
    assert carried(transport)[1][0].error.code == "cancelled_error"


@skips_time
async def test_any_callable_may_be_the_function(transport):
    class Greeter:
        async def __call__(self, message: Delivery) -> str:
            return "hello " + message.payload

    transport.on("transfer", brings(delivery(1, "you")))
    async with Serving(transport, Greeter()):
        await settled(lambda: len(transport.forms("transfer")) == 2)
    assert carried(transport)[1][0].payload == "hello you"


async def test_blocking_functions_run_in_as_many_threads_as_asked_for(transport):
    names = set()
    variable = contextvars.ContextVar("variable", default="")
    variable.set("inherited")
    all_there = threading.Barrier(3)

    def function(message: Delivery) -> str:
        all_there.wait(10)
        names.add(threading.current_thread().name)
        return variable.get()

    transport.on("transfer", brings(*(delivery(id) for id in (1, 2, 3))))
    async with Serving(transport, function, concurrency=3):
        await settled(
            lambda: sum(map(len, carried(transport))) + transport.names.count("reply") == 3
        )
    assert all(name.startswith("serve q") for name in names)
    replies = [reply for replies in carried(transport) for reply in replies]
    replies += transport.forms("reply")
    assert {reply.payload for reply in replies} == {"inherited"}


# -- replies that do not arrive -------------------------------------------------------------------


def refuses(code: str) -> object:
    def answer(operation) -> TransferResult:
        outcomes = [
            ReplyOutcome(request=reply.id, code=code, detail="Refused.")
            for reply in operation.form.replies
        ]
        return TransferResult(messages=[], next=operation.form.after, replies=outcomes)

    return answer


@skips_time
async def test_a_reply_waits_for_room_in_its_queue(transport):
    transport.on("transfer", brings(delivery(1, "hello")), refuses("queue_full"))
    full = QueueFull("Full.", retry_after=2)
    transport.on("reply", full, full)
    async with Serving(transport, echo) as running:
        await settled(lambda: transport.names.count("reply") == 3)
        await settled(lambda: not running.session.in_hand)
    assert transport.forms("reply") == [forms.ReplyBody(payload="hello")] * 3


@skips_time
async def test_a_reply_that_is_too_large_becomes_an_error(transport):
    transport.on("transfer", brings(delivery(1, "hello")), refuses("payload_too_large"))
    transport.on("reply", PayloadTooLarge("Too large."))
    async with Serving(transport, echo) as running:
        await settled(lambda: transport.names.count("reply") == 2)
        await settled(lambda: not running.session.in_hand)
    error = forms.Error(code="payload_too_large", detail="Too large.")
    assert transport.forms("reply")[1] == forms.ReplyBody(error=error)


@skips_time
async def test_a_large_reply_travels_alone(transport):
    large = "x" * (serving.MAX_CARRIED + 1)
    half = "x" * (serving.MAX_CARRIED // 2 + 1)
    messages = [delivery(1, large), delivery(2, half)]
    transport.on("transfer", brings(*messages))
    async with Serving(transport, echo, concurrency=3) as running:
        await settled(lambda: len(transport.forms("transfer")) >= 3)
        await settled(lambda: not running.session.in_hand)
    assert transport.forms("reply") == [forms.ReplyBody(payload=large)]
    assert [[reply.id for reply in replies] for replies in carried(transport)[:2]] == [[], [2]]


@skips_time
async def test_a_reply_that_has_no_room_does_not_wait_for_the_transfer(transport):
    now = asyncio.get_running_loop().time
    half = "x" * (serving.MAX_CARRIED // 2 + 1)
    transport.on("transfer", brings(*(delivery(id, half) for id in (1, 2, 3))))
    async with Serving(transport, echo, concurrency=3):
        started = now()
        await settled(lambda: transport.names.count("reply") == 2)
        assert now() - started < 1
        assert len(transport.forms("transfer")) == 2, "it is still open"
    assert [reply.id for reply in carried(transport)[1]] == [1]
    assert transport.forms("transfer")[1].limit == 3


@skips_time
async def test_errors_need_room_too(transport):
    async def fail(message: Delivery) -> str:
        raise HandlerError("bad", "x" * serving.MAX_DETAIL)

    count = serving.MAX_CARRIED // serving.MAX_DETAIL
    transport.on("transfer", brings(*(delivery(id) for id in range(1, count + 3))))
    async with Serving(transport, fail, concurrency=count + 2):
        await settled(lambda: transport.names.count("reply") == 2)
        assert len(carried(transport)[1]) == count


@skips_time
async def test_a_reply_does_not_wait_for_one_that_finds_no_room(transport):
    def answer(operation) -> TransferResult:
        outcome = ReplyOutcome(request=1, code="queue_full", detail="Refused.")
        return TransferResult(messages=[delivery(2, "b")], next=3, replies=[outcome])

    def reply(operation) -> ReplyResult:
        if operation.id == 1:
            raise QueueFull("Full.", retry_after=2)
        return ReplyResult(id=9)

    transport.on("transfer", brings(delivery(1, "a")), answer)
    transport.on("reply", *[reply] * 20)
    async with Serving(transport, echo):
        await settled(lambda: "b" in [form.payload for form in transport.forms("reply")])
        assert transport.names.count("reply") <= 3


@pytest.mark.parametrize("state", ["caller_gone", "no_reply_to", "unknown", None])
@skips_time
async def test_a_reply_that_nobody_waits_for_is_done(transport, state):
    def answer(operation) -> TransferResult:
        outcome = ReplyOutcome(request=1, state=state)
        if state is None:
            outcome = ReplyOutcome(request=1, code=NotHolder.code, detail="Not yours.")
        return TransferResult(messages=[], next=operation.form.after, replies=[outcome])

    transport.on("transfer", brings(delivery(1)), answer)
    async with Serving(transport, echo) as running:
        await settled(lambda: len(transport.forms("transfer")) == 3)
        assert running.session.in_hand == set()
    assert "reply" not in transport.names
    assert carried(transport)[2] == []


@skips_time
async def test_replies_are_carried_again_when_the_answer_got_lost(transport):
    cut_off = OutcomeUnknown("Cut off.")
    transport.on(
        "transfer", brings(delivery(1, "hello")), cut_off, Unreachable("Away."), UnknownSession("?")
    )
    async with Serving(transport, echo):
        await settled(lambda: len(transport.forms("transfer")) == 5)
    hello = [forms.TransferReply(id=1, payload="hello")]
    assert carried(transport) == [[], hello, hello, hello, hello]
    assert transport.names.count("login") == 2


# -- stopping -------------------------------------------------------------------------------------


@skips_time
async def test_functions_may_finish_when_it_stops(transport):
    begun = asyncio.Event()

    async def slow(message: Delivery) -> str:
        begun.set()
        await asyncio.sleep(3)
        return "done"

    transport.on("transfer", brings(delivery(1)))
    async with Serving(transport, slow, grace=5):
        await begun.wait()
    assert transport.forms("reply") == [forms.ReplyBody(payload="done")]
    assert transport.names[-1] == "logout"


async def _stop(serving: Serving, times: int) -> None:
    for _ in range(times):
        serving.task.cancel()
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(("grace", "times"), [(5, 1), (0, 1), (math.inf, 2)])
@skips_time
async def test_what_is_not_done_in_time_goes_back(transport, grace, times):
    outcomes = []
    begun = asyncio.Event()

    async def endless(message: Delivery) -> str:
        begun.set()
        try:
            await asyncio.sleep(math.inf)
        finally:
            outcomes.append("cancelled")
        return ""

    transport.on("transfer", brings(delivery(1)))
    async with Serving(transport, endless, grace=grace) as running:
        await begun.wait()
        await _stop(running, times)
        await asyncio.wait([running.task])
    assert outcomes == ["cancelled"]
    assert "reply" not in transport.names
    assert transport.names[-1] == "logout"


@skips_time
async def test_replies_that_were_ready_are_sent_when_it_stops(transport):
    async def work(message: Delivery) -> str:
        if message.id == 1:
            # Ready while the Transfer that shall carry it has not begun.
            asyncio.get_running_loop().call_soon(running.task.cancel)
        return "done"

    transport.on("transfer", brings(delivery(1), delivery(2)))
    async with Serving(transport, work, concurrency=4) as running:
        await asyncio.wait([running.task])
    sent = [reply.payload for replies in carried(transport) for reply in replies]
    sent += [form.payload for form in transport.forms("reply")]
    assert sent.count("done") >= 2


def test_concurrency_is_at_least_one():
    with pytest.raises(ValueError, match="concurrency"):
        Server(Session(FakeTransport(), "server", 30.0), "q", echo, 0, 0)
