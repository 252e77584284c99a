"""A load whose every step is written down, and what must be true of a switch that was killed
under it and started again.

An operation that was answered is there, or gone, for certain. One that was not may have happened or
not, but wholly. Numbers are never used twice.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from queues.client import AsyncClient
from queues.client.errors import SwitchError

from .conftest import Server
from .wire import Answer, Client, Wire

#: Sends that the stream keeps under way.
AT_ONCE = 16


class Broken(Exception):
    """The connection ended before the answer."""


class Caller(Client):
    """A client whose connection may be cut."""

    async def request(self, method: str, path: str, body: Any = None) -> Answer:
        """As before. Raises Broken."""
        try:
            return await super().request(method, path, body)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Broken from error

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer; None if that is 404. Raises Broken."""
        answer = await self.request(method, path, body)
        if answer.status == 404:
            return None
        assert answer.status < 300, (method, path, body, answer)
        return answer.json if answer.body else True

    async def browse(self, queue: str) -> list[dict[str, Any]]:
        """All messages of a queue, in order."""
        found: list[dict[str, Any]] = []
        after = 0
        while after is not None:
            page = await self.ask("GET", f"queues/{queue}/messages?limit=1000&after={after}")
            assert page is not None, f"the queue {queue} is gone"
            found += page["messages"]
            after = page["next"]
        return found


@dataclass
class Sends:
    """What was sent to a queue, and what became of it. True is for certain, False is unanswered."""

    ids: dict[str, int | None] = field(default_factory=dict)
    """By payload."""
    keys: set[str] = field(default_factory=set)
    """Payloads that were sent under themselves as the key."""
    groups: list[list[str]] = field(default_factory=list)
    """Payloads sent by one request."""
    acked: dict[str, bool] = field(default_factory=dict)
    dead: dict[str, bool] = field(default_factory=dict)
    returned: Counter[str] = field(default_factory=Counter)
    delivered: Counter[str] = field(default_factory=Counter)


class Load:
    """Several clients of all kinds, on queues of their own whose names end in ``suffix``."""

    def __init__(
        self, server: Server, chance: random.Random, suffix: str, numbers: dict[int, str]
    ) -> None:
        self._server = server
        self._chance = chance
        self._suffix = suffix
        self._numbers = numbers
        """What each number was ever used for."""
        self._work = Sends()
        self._stream = Sends()
        self._requests = Sends()
        self._called: dict[str, bool] = {}
        self._served: defaultdict[str, set[int]] = defaultdict(set)
        self._replied: dict[str, bool] = {}
        self._queues: dict[str, dict[str, bool]] = {}
        self._callers: list[Caller] = []
        self._closing: asyncio.Task[None] | None = None
        self.answered = 0

    def _name(self, what: str) -> str:
        return f"{what}.{self._suffix}"

    def _claim(self, number: int, what: str) -> None:
        assert self._numbers.setdefault(number, what) == what, "a number was used twice"

    async def _open(self) -> Caller:
        try:
            caller = Caller(await Wire.open(self._server.port))
        except OSError as error:
            raise Broken from error
        self._callers.append(caller)
        return caller

    async def close(self) -> None:
        """Close all connections."""
        for caller in self._callers:
            caller.close()
        if self._closing is not None:
            await self._closing

    async def prepare(self) -> None:
        caller = await self._open()
        for what in ("work", "stream", "calls", "replies"):
            await caller.ask("PUT", f"queues/{self._name(what)}")

    async def run(self) -> None:
        """Go on until the switch dies."""
        await asyncio.gather(
            *(
                self._until_broken(each)
                for each in (
                    self._produce(),
                    self._consume(),
                    self._send_by_stream(),
                    self._request(),
                    *(self._call(n) for n in range(3)),
                    self._serve(),
                    self._create_and_destroy(),
                )
            )
        )

    async def _until_broken(self, work: Coroutine[Any, Any, None]) -> None:
        with suppress(Broken):
            await work

    # -- the clients --------------------------------------------------------------------------

    async def _produce(self) -> None:
        caller = await self._open()
        path = f"queues/{self._name('work')}/messages"
        sends, n = self._work, 0
        while True:
            kind = self._chance.randrange(5)
            payloads = [f"{n + i:06}" for i in range(3 if kind == 0 else 1)]
            n += len(payloads)
            sends.ids.update(dict.fromkeys(payloads))
            body: Any
            if kind == 0:
                sends.groups.append(payloads)
                body = [{"payload": payload} for payload in payloads]
            elif kind == 1:
                sends.keys.add(payloads[0])
                body = {"payload": payloads[0], "key": payloads[0]}
            else:
                body = {"payload": payloads[0]}
            answer = await caller.ask("POST", path, body)
            for payload, one in zip(payloads, answer if kind == 0 else [answer], strict=True):
                sends.ids[payload] = one["id"]
                self.answered += 1

    async def _consume(self) -> None:
        sends, queue = self._work, self._name("work")
        caller = await self._open()
        await caller.login("consumer", queue)
        acks: list[tuple[int, str]] = []
        while True:
            body = {"timeout": 0.1, "limit": 4, "ack": [id for id, _ in acks]}
            sends.acked.update({payload: False for _, payload in acks})
            answer = await caller.ask("POST", "transfer", body)
            sends.acked.update({payload: True for _, payload in acks})
            acks = []
            for message in answer["messages"]:
                id, payload = message["id"], message["payload"]
                self._claim(id, f"{queue} {payload}")
                self._claim(message["delivery"], f"delivery of {payload} in {queue}")
                sends.delivered[payload] += 1
                fate = self._chance.randrange(20)
                if fate < 10:
                    acks.append((id, payload))
                elif fate < 14:
                    sends.acked[payload] = False
                    await caller.ask("POST", "ack", {"ids": [id]})
                    sends.acked[payload] = True
                elif fate < 17:
                    await caller.ask("POST", "nack", {"ids": [id]})
                    sends.returned[payload] += 1
                elif fate < 19:
                    sends.dead[payload] = False
                    await caller.ask("POST", "nack", {"ids": [id], "requeue": False})
                    sends.dead[payload] = True
                self.answered += 1

    async def _send_by_stream(self) -> None:
        sends, queue = self._stream, self._name("stream")
        n = 0
        client = AsyncClient(self._server.tcp_url, name="stream")

        async def send() -> None:
            nonlocal n
            while True:
                n += 1
                payload = f"{n:06}"
                sends.ids[payload] = None
                key = None
                if self._chance.randrange(2):
                    sends.keys.add(payload)
                    key = payload
                try:
                    sent = await client.send(queue, payload, key=key)
                except SwitchError:
                    return
                sends.ids[payload] = sent.id
                self.answered += 1

        sending = [asyncio.create_task(send()) for _ in range(AT_ONCE)]
        await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
        # Those with a key would be tried again when the switch is back; ``check`` does that.
        for task in sending:
            task.cancel()
        for outcome in await asyncio.gather(*sending, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
        # It would wait for the switch to come back.
        self._closing = asyncio.create_task(client.close())

    async def _request(self) -> None:
        """Requests whose replies go to a queue."""
        caller = await self._open()
        path = f"queues/{self._name('calls')}/messages"
        n = 0
        while True:
            n += 1
            payload = f"request {n:06}"
            self._requests.ids[payload] = None
            body = {"payload": payload, "reply_to": self._name("replies")}
            self._requests.ids[payload] = (await caller.ask("POST", path, body))["id"]
            self.answered += 1

    async def _call(self, who: int) -> None:
        """Calls that somebody waits for."""
        caller = await self._open()
        n = 0
        while True:
            n += 1
            payload = f"call {who} {n:06}"
            self._called[payload] = False
            await self._call_once(caller, payload)
            self._called[payload] = True
            self.answered += 1

    async def _call_once(self, caller: Caller, payload: str) -> None:
        body = {"payload": payload, "key": payload, "timeout": 30, "wait_for_server": True}
        answer = await caller.ask("POST", f"call/{self._name('calls')}", body)
        assert answer["payload"] == f"reply to {payload}"

    async def _serve(self) -> None:
        caller = await self._open()
        await caller.login("server", self._name("calls"))
        replies: list[dict[str, Any]] = []
        while True:
            payloads = [reply["payload"].removeprefix("reply to ") for reply in replies]
            self._replied.update(dict.fromkeys(payloads, False))
            body = {"timeout": 0.1, "limit": 3, "replies": replies}
            answer = await caller.ask("POST", "transfer", body)
            self._replied.update(dict.fromkeys(payloads, True))
            replies = []
            for message in answer["messages"]:
                id, payload = message["id"], message["payload"]
                self._claim(id, f"{self._name('calls')} {payload}")
                self._served[payload].add(id)
                reply = {"id": id, "payload": f"reply to {payload}"}
                if self._chance.randrange(2):
                    replies.append(reply)
                else:
                    self._replied[payload] = False
                    del reply["id"]
                    await caller.ask("POST", f"messages/{id}/reply", reply)
                    self._replied[payload] = True
                self.answered += 1

    async def _create_and_destroy(self) -> None:
        caller = await self._open()
        n = 0
        while True:
            n += 1
            name = self._name(f"made.{n}")
            done = self._queues[name] = {"created": False}
            policy = {"policy": {"max_length": len(name)}}
            await caller.ask("PUT", f"queues/{name}", policy)
            done["created"] = True
            done["filled"] = False
            body = [{"payload": "1"}, {"payload": "2"}]
            await caller.ask("POST", f"queues/{name}/messages", body)
            done["filled"] = True
            if self._chance.randrange(3):
                done["destroyed"] = False
                await caller.ask("DELETE", f"queues/{name}")
                done["destroyed"] = True
            self.answered += 3

    # -- what must be true afterwards -----------------------------------------------------------

    async def check(self) -> None:
        """After the restart: look, try again what was not answered, and clean up."""
        caller = await self._open()
        await self._check_sends(caller, self._work, self._name("work"), in_order=True)
        await self._check_sends(caller, self._stream, self._name("stream"), in_order=False)
        await self._check_queues(caller)
        await self._check_requests(caller)
        await self._check_calls(caller)
        for what in ("work", "stream", "calls", "replies"):
            await caller.ask("DELETE", f"queues/{self._name(what)}")
        for name in self._queues:
            await caller.ask("DELETE", f"queues/{name}")

    async def _check_sends(self, caller: Caller, sends: Sends, queue: str, in_order: bool) -> None:
        found = await caller.browse(queue)
        there = {message["payload"]: message for message in found}
        assert len(there) == len(found), "something is there twice"
        assert there.keys() <= sends.ids.keys()
        for payload, message in there.items():
            self._claim(message["id"], f"{queue} {payload}")
        if in_order:
            ids = [there[payload]["id"] for payload in sorted(there)]
            assert ids == sorted(ids), "the order has changed"
        for payload, id in sends.ids.items():
            acked = sends.acked.get(payload)
            if acked:
                assert payload not in there, "what was acked came back"
            elif payload in there:
                message = there[payload]
                assert id is None or message["id"] == id
                dead = sends.dead.get(payload)
                assert dead is None or (message["state"] == "dead") >= dead
                assert dead is not None or message["state"] == "ready"
                count = message["delivery_count"]
                assert count >= sends.returned[payload], "a delivery is not counted"
                # Hand-overs whose answer was lost are counted, too.
                assert count <= sends.delivered[payload] + 1
            elif acked is None:
                assert id is None, "what was answered is gone"
                assert not sends.delivered[payload], "what was handed over is gone"
        for group in sends.groups:
            if all(payload not in sends.acked for payload in group):
                assert len({payload in there for payload in group}) == 1, "half a request"
        await self._check_keys(caller, sends, queue, there)

    async def _check_keys(
        self, caller: Caller, sends: Sends, queue: str, there: dict[str, dict[str, Any]]
    ) -> None:
        for payload in list(sends.keys)[-40:]:
            body = {"payload": payload, "key": payload}
            again = (await caller.ask("POST", f"queues/{queue}/messages", body))["id"]
            before = there[payload]["id"] if payload in there else sends.ids[payload]
            assert before is None or again == before, "a repeated key has sent again"
            sends.ids[payload] = again
        counts = Counter(message["payload"] for message in await caller.browse(queue))
        assert not counts or max(counts.values()) == 1, "a repeated key has sent twice"
        for payload, acked in sends.acked.items():
            assert not (acked and payload in counts), "a repeated key has sent what was acked"

    async def _check_queues(self, caller: Caller) -> None:
        for name, done in self._queues.items():
            queue = await caller.ask("GET", f"queues/{name}")
            destroyed = done.get("destroyed")
            if queue is None:
                assert destroyed is not None or not done["created"], "a queue is gone"
                continue
            assert not destroyed, "a queue came back"
            assert queue["policy"]["max_length"] == len(name)
            filled = done.get("filled")
            payloads = [message["payload"] for message in await caller.browse(name)]
            if filled:
                assert payloads == ["1", "2"]
            else:
                assert payloads in ([], ["1", "2"] if filled is False else [])

    async def _check_requests(self, caller: Caller) -> None:
        """Each request is there, or its one reply."""
        asked = Counter(m["payload"] for m in await caller.browse(self._name("calls")))
        replies = await caller.browse(self._name("replies"))
        answered = Counter(m["payload"].removeprefix("reply to ") for m in replies)
        for message in replies:
            self._claim(message["id"], f"{self._name('replies')} {message['payload']}")
        for payload, id in self._requests.ids.items():
            total = asked[payload] + answered[payload]
            assert total == 1 if id is not None else total <= 1, "neither or both"
            if self._replied.get(payload):
                assert answered[payload] == 1, "a reply is gone"
        for payload, done in self._called.items():
            assert asked[payload] <= 1
            if done or self._replied.get(payload):
                assert not asked[payload], "a request came back that has its reply"

    async def _check_calls(self, caller: Caller) -> None:
        """Everybody asks again, and no request is served under two ids."""
        serving = asyncio.create_task(self._serve())
        try:
            for payload in list(self._called)[-30:]:
                await self._call_once(caller, payload)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        for payload, ids in self._served.items():
            assert len(ids) == 1, f"{payload} was enqueued twice"


async def kill_again_and_again(server: Server, seed: int, kills: int) -> Counter[str]:
    """Kill the switch at random moments. What was done meanwhile."""
    chance = random.Random(seed)
    numbers: dict[int, str] = {}
    done: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(server.start)
    for round in range(kills):
        load = Load(server, chance, str(round), numbers)
        await load.prepare()
        moment = chance.uniform(0.02, 1.0)
        killer = loop.run_in_executor(None, _kill_after, server, moment)
        try:
            await load.run()
            await killer
            if chance.randrange(10) == 0:
                # Once more, while it starts.
                server.start(wait=False)
                await asyncio.to_thread(_kill_after, server, chance.uniform(0.3, 2.0))
                done["kills at the start"] += 1
            await asyncio.to_thread(server.start)
            await load.check()
        except BaseException:
            print(f"crash test: seed {seed}, kill {round + 1} after {moment:.3f} s", flush=True)
            raise
        finally:
            await load.close()
        done["kills"] += 1
        done["answered"] += load.answered
    done["numbers"] = len(numbers)
    return done


def _kill_after(server: Server, seconds: float) -> None:
    try:
        server.process.wait(seconds)
    except Exception:
        server.kill()
    else:
        raise AssertionError(f"The switch has ended by itself: {server.log[-2000:]}")
