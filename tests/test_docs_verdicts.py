"""The table of verdicts in docs/protocol.md: every code there is, each with its evidence."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from queues.core import verdict as module
from queues.core.messages import PARENT, Draft, Reply
from queues.core.queue import Policy
from queues.core.verdict import Verdict

from .core.scene import Scene

ROOT = Path(__file__).resolve().parent.parent
SECTION = re.search(
    r"^## Verdicts\n(.*?)^## ",
    (ROOT / "docs" / "protocol.md").read_text(),
    re.DOTALL | re.MULTILINE,
)
assert SECTION is not None

#: By code what its evidence may be: the names that are always there, and all.
Evidence = tuple[set[str], set[str]]


def documented() -> dict[str, list[Evidence]]:
    found: dict[str, list[Evidence]] = {}
    assert SECTION is not None
    rows = SECTION[1].partition("| code | of |")[2].partition("\n\n")[0]
    for row in rows.splitlines()[2:]:
        codes, _, _, evidence = row.strip("| ").split(" | ")
        names = re.findall(r"`([a-z_]+)(\??)`", evidence)
        always = {name for name, optional in names if not optional}
        for code in re.findall(r"`([a-z_]+)`", codes):
            found.setdefault(code, []).append((always, {name for name, _ in names}))
    return found


def constants(node: ast.expr) -> Iterator[str]:
    """The texts that an expression may be."""
    if isinstance(node, ast.Constant):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from constants(node.body)
        yield from constants(node.orelse)


def given() -> set[str]:
    """The codes that the source has: what is passed as ``code``, by name or to ``_plain``.

    Where that is a variable, what is assigned to it, and the keys of the dict it is looked up in.
    """
    codes: set[str] = set()
    tree = ast.parse(Path(module.__file__).read_text())
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        inside = list(ast.walk(function))
        assigned = {
            target.id: node.value
            for node in inside
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in [node for node in inside if isinstance(node, ast.Call)]:
            passed = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
            if isinstance(call.func, ast.Name) and call.func.id == "_plain":
                passed.append(call.args[1])
            for value in passed:
                found = set(constants(value))
                if isinstance(value, ast.Name) and value.id in assigned:
                    found |= set(constants(assigned[value.id]))
                    for test in [node for node in inside if isinstance(node, ast.Compare)]:
                        table = assigned.get(getattr(test.comparators[0], "id", ""))
                        if getattr(test.left, "id", "") == value.id and isinstance(table, ast.Dict):
                            found |= {key.value for key in table.keys if key is not None}  # type: ignore[attr-defined]
                copied = isinstance(value, ast.Attribute) and value.attr == "code"
                inner = isinstance(value, ast.Name) and value.id == "code"
                assert found or copied or inner, ast.unparse(call)
                codes |= found
    return codes


def test_the_table_has_every_code_and_no_other() -> None:
    assert given() == set(documented())


def test_the_table_has_every_level() -> None:
    assert SECTION is not None
    for level in module.Level.__args__:  # type: ignore[attr-defined]
        assert f"`{level}`" in SECTION[1]


# -- the evidence ---------------------------------------------------------------------------------


Situation = Callable[[Scene], Verdict]

SITUATIONS: list[tuple[str, Situation]] = []


def shows(code: str) -> Callable[[Situation], Situation]:
    """Declare the code of the verdict in a situation."""

    def declare(situation: Situation) -> Situation:
        SITUATIONS.append((code, situation))
        return situation

    return declare


def of_message(scene: Scene, id: int) -> Verdict:
    found: Verdict = scene.explain(id).verdict
    return found


def of_queue(scene: Scene) -> Verdict:
    found: Verdict = scene.inspect_queue("q").verdict
    return found


def of_session(scene: Scene) -> Verdict:
    (session,) = scene.diagnostics().sessions
    found: Verdict = session.verdict
    return found


def called(scene: Scene, name: str, parent: int | None = None) -> int:
    headers = {} if parent is None else {PARENT: str(parent)}
    id: int = scene.call(name, Draft("x", headers=headers), timeout=100).call.request
    return id


@shows("store_down")
def store_down(scene: Scene) -> Verdict:
    scene.create_queue("q")
    scene.switch.store_down_since = scene.now
    return of_queue(scene)


@shows("deadlock")
def deadlock(scene: Scene) -> Verdict:
    scene.server("a", "q")
    first = called(scene, "q")
    scene.take("token of a")
    called(scene, "q", first)
    scene.sleep(5)
    return of_message(scene, first)


@shows("waiting_on_call")
def waiting_on_call(scene: Scene) -> Verdict:
    scene.server("a", "q")
    scene.server("b", "r")
    first = called(scene, "q")
    scene.take("token of a")
    called(scene, "r", first)
    return of_message(scene, first)


@shows("paused")
def paused(scene: Scene) -> Verdict:
    scene.create_queue("q")
    scene.pause_queue("q")
    return of_queue(scene)


@shows("caller_gone")
def caller_gone(scene: Scene) -> Verdict:
    scene.server("a", "q")
    wait = scene.call("q", Draft("x", key="k"), timeout=100)
    scene.leave_call(wait)
    return of_message(scene, wait.call.request)


@shows("never_started")
def never_started(scene: Scene) -> Verdict:
    scene.create_queue("q")
    return of_message(scene, scene.put("q"))


@shows("server_left")
def server_left(scene: Scene) -> Verdict:
    scene.logout(scene.server("a", "q"))
    return of_message(scene, scene.put("q"))


@shows("servers_silent")
def servers_silent(scene: Scene) -> Verdict:
    server = scene.server("a", "q", lease=10)
    id = scene.put("q")
    scene.sleep(9)
    scene.ack([1], token=server)
    scene.sleep(5)
    return of_message(scene, id)


@shows("queued")
def queued(scene: Scene) -> Verdict:
    scene.server("a", "q")
    return of_message(scene, scene.put("q"))


@shows("queued")
def queued_behind_others(scene: Scene) -> Verdict:
    server = scene.server("a", "q")
    scene.put("q")
    scene.take(server)
    return of_message(scene, scene.put("q"))


@shows("delayed")
def delayed(scene: Scene) -> Verdict:
    scene.create_queue("q")
    return of_message(scene, scene.put("q", delay=5))


@shows("held")
def held(scene: Scene) -> Verdict:
    server = scene.server("a", "q", lease=10)
    id = scene.put("q")
    scene.take(server)
    return of_message(scene, id)


@shows("held_silent")
def held_silent(scene: Scene) -> Verdict:
    verdict = held(scene)
    assert verdict.code == "held"
    scene.sleep(9)
    scene.ack([1], token="token of a")
    scene.sleep(9)
    return of_queue(scene)


def returned(scene: Scene, policy: Policy, *, then_held: bool = False) -> int:
    scene.create_queue("q", policy)
    server = scene.server("a", "q")
    id = scene.put("q")
    for _ in range(2):
        scene.take(server)
        scene.nack([id], token=server)
    if then_held:
        scene.take(server)
    return id


@shows("redelivered")
def redelivered(scene: Scene) -> Verdict:
    return of_message(scene, returned(scene, Policy(), then_held=True))


@shows("about_to_die")
def about_to_die(scene: Scene) -> Verdict:
    return of_message(scene, returned(scene, Policy(max_deliveries=3), then_held=True))


@shows("dead")
def dead(scene: Scene) -> Verdict:
    return of_message(scene, returned(scene, Policy(max_deliveries=2)))


@shows("expired")
def expired_and_kept(scene: Scene) -> Verdict:
    scene.create_queue("q", Policy(on_expire="dead"))
    id = scene.put("q", ttl=5)
    scene.sleep(5)
    return of_message(scene, id)


@shows("expired")
def expired(scene: Scene) -> Verdict:
    scene.create_queue("q")
    id = scene.put("q", ttl=5)
    scene.sleep(5)
    return of_message(scene, id)


@shows("acked")
def acked(scene: Scene) -> Verdict:
    server = scene.server("a", "q")
    id = scene.put("q")
    scene.take(server)
    scene.ack([id], token=server)
    return of_message(scene, id)


@shows("replied")
def replied(scene: Scene) -> Verdict:
    server = scene.server("a", "q")
    id = called(scene, "q")
    scene.take(server)
    scene.reply(Reply(id, "y"), token=server)
    return of_message(scene, id)


@shows("dropped")
def dropped(scene: Scene) -> Verdict:
    scene.create_queue("q")
    id = scene.put("q")
    scene.drop_message("q", id)
    return of_message(scene, id)


@shows("purged")
def purged(scene: Scene) -> Verdict:
    scene.create_queue("q")
    id = scene.put("q")
    scene.purge_queue("q")
    return of_message(scene, id)


@shows("destroyed")
def destroyed(scene: Scene) -> Verdict:
    scene.create_queue("q")
    id = scene.put("q")
    scene.destroy_queue("q")
    return of_message(scene, id)


@shows("forgotten")
def forgotten(scene: Scene) -> Verdict:
    scene.server("a", "q")
    wait = scene.call("q", Draft("x"), timeout=5)
    scene.destroy_queue("q")
    for number in range(20_000):
        scene.login(str(number), "c", 100)
        scene.logout(str(number))
    scene.sleep(5)
    found: Verdict = wait.verdict
    return found


@shows("queue_full")
def queue_full(scene: Scene) -> Verdict:
    scene.create_queue("q", Policy(max_length=1))
    scene.put("q")
    return of_queue(scene)


@shows("idle")
def idle(scene: Scene) -> Verdict:
    scene.server("a", "q")
    return of_queue(scene)


@shows("unused")
def unused(scene: Scene) -> Verdict:
    scene.create_queue("q")
    return of_queue(scene)


@shows("no_server")
def no_server(scene: Scene) -> Verdict:
    scene.logout(scene.server("a", "q"))
    return of_queue(scene)


@shows("silent")
def silent(scene: Scene) -> Verdict:
    server = scene.server("a", "q", lease=10)
    scene.sleep(9)
    scene.ack([1], token=server)
    scene.sleep(5)
    return of_session(scene)


@shows("working")
def working(scene: Scene) -> Verdict:
    held(scene)
    return of_session(scene)


@shows("between_requests")
def between_requests(scene: Scene) -> Verdict:
    scene.login("a", "a", 10)
    return of_session(scene)


@shows("listening")
def listening(scene: Scene) -> Verdict:
    scene.stream("a", "q")
    return of_session(scene)


@shows("connected")
def connected(scene: Scene) -> Verdict:
    scene.stream("a")
    return of_session(scene)


@pytest.mark.parametrize(
    ("code", "situation"), SITUATIONS, ids=[each.__name__ for _, each in SITUATIONS]
)
def test_the_evidence_is_as_documented(code: str, situation: Situation) -> None:
    verdict = situation(Scene())
    assert verdict.code == code
    names = set(verdict.evidence)
    assert any(always <= names <= every for always, every in documented()[code]), names


def test_dead_messages_are_told_beside_something_else() -> None:
    scene = Scene()
    server = scene.server("a", "q")
    id = scene.put("q")
    scene.take(server)
    scene.nack([id], token=server, requeue=False)
    assert [finding.code for finding in of_queue(scene).also] == ["dead_messages"]
    assert documented()["dead_messages"] == [(set(), set())]


def test_every_documented_code_is_shown_here() -> None:
    assert {code for code, _ in SITUATIONS} | {"dead_messages"} == set(documented())
