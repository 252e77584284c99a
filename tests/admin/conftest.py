"""A switch with something to act on, and users with every combination of permissions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from queues.core.messages import Draft
from queues.engines.base import Engine
from tests.running import Do, running_switch

HOME = "/admin/queues/diagnostics/"

VIEW, OPERATE = "view_diagnostics", "operate_switch"
#: Users by name: whether they are staff, and their permissions.
USERS: dict[str, tuple[bool, tuple[str, ...]]] = {
    "guest": (False, (VIEW, OPERATE)),
    "clerk": (True, ()),
    "viewer": (True, (VIEW,)),
    "blind": (True, (OPERATE,)),
    "operator": (True, (VIEW, OPERATE)),
    "root": (True, ()),
}


@pytest.fixture
def do() -> Iterator[Do[Any]]:
    """Run one of the engine's coroutines."""
    with running_switch() as do:
        yield do


@pytest.fixture
def as_user() -> Callable[..., Client]:
    """A client logged in as one of USERS; as nobody without a name."""

    def log_in(name: str = "", **options: Any) -> Client:
        client = Client(**options)
        if name:
            staff, permissions = USERS[name]
            user, made = User.objects.get_or_create(
                username=name, is_staff=staff, is_superuser=name == "root"
            )
            if made:
                user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
            client.force_login(user)
        return client

    return log_in


@pytest.fixture
def operator(as_user: Callable[..., Client]) -> Client:
    """Somebody who may look and act."""
    return as_user("operator")


@dataclass
class Scene:
    """Ids in a switch: messages of ``foo`` by their state, a session, and an undo of ``bar``."""

    do: Do[Any]
    call: int
    ready: int
    delayed: int
    held: int
    dead: int
    session: int
    undo: int

    def states(self, queue: str = "foo") -> dict[int, str]:
        """The messages of a queue and their states."""
        listed = self.do(lambda e: e.browse(queue))
        return {message.id: str(message.state) for message in listed.messages}

    def fingerprint(self) -> tuple[Any, ...]:
        """Changes whenever anything does."""
        trace = self.do(lambda e: e.trace(limit=0))
        return trace.next, [undo.id for undo in self.do(lambda e: e.list_undo())]


@pytest.fixture
def scene(do: Do[Any]) -> Scene:
    """``foo`` has one message in each state, and a call; ``bar`` is empty and has been purged."""

    async def build(engine: Engine) -> Scene:
        for name in ("foo", "bar"):
            await engine.create_queue(name)
        token = (await engine.login("worker", 60)).session
        await engine.subscribe("foo", session=token)
        held = (await engine.send("foo", Draft(payload="held"))).id
        dead = (await engine.send("foo", Draft(payload="dead"))).id
        await engine.transfer(session=token, limit=2)
        await engine.nack([dead], session=token, requeue=False)
        engine.start_call("foo", Draft(payload="call"), timeout=60, then=lambda wait: None)
        ready = (await engine.send("foo", Draft(payload="<b>ready</b>"))).id
        delayed = (await engine.send("foo", Draft(payload="delayed", delay=60))).id
        await engine.send("bar", Draft(payload="bar"))
        undo = (await engine.purge_queue("bar", undo_for=60)).undo
        assert undo is not None
        found = [m.id for m in (await engine.browse("foo")).messages]
        (call,) = set(found) - {held, dead, ready, delayed}
        (session,) = (await engine.diagnostics()).sessions
        return Scene(do, call, ready, delayed, held, dead, session.id, undo.id)

    found: Scene = do(build)
    return found
