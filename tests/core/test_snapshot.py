import pytest

from queues.core import snapshot
from queues.core.errors import QueueNotFound
from queues.core.messages import Draft, State
from queues.core.queue import Policy

from .scene import Scene


@pytest.fixture
def scene() -> Scene:
    return Scene()


def names(scene: Scene, **fields: object) -> list[str]:
    return [queue.name for queue in scene.list_queues(**fields).queues]


def test_a_queue_with_all_its_counts(scene: Scene) -> None:
    policy = Policy(max_length=9)
    scene.create_queue("q", policy)
    server = scene.server("worker", "q")
    acked, dead, *_ = [scene.put("q", "12345") for _ in range(4)]
    scene.poll(server, limit=3)
    scene.ack([acked], token=server)
    scene.nack([dead], token=server, requeue=False)
    scene.put("q", delay=60)
    scene.sleep(1)
    scene.put("q")
    info = scene.inspect_queue("q")
    assert (info.name, info.kind, info.owner, info.policy) == ("q", "persistent", None, policy)
    assert (info.ready, info.delayed, info.held, info.dead) == (2, 1, 1, 1)
    assert (info.sent, info.delivered, info.acked) == (6, 3, 1)
    assert (info.consumers, info.waiting, info.status) == (1, 0, "running")
    assert (info.created_at, info.oldest_at) == (1_000.0, 1_000.0)
    assert info.bytes == 3 * 5 + 2 * 1


def test_only_transfers_that_still_wait_are_waiting(scene: Scene) -> None:
    server = scene.server("worker", "q", "other")
    scene.transfer(token=server, timeout=10)
    scene.transfer(token=server, timeout=10)
    assert scene.inspect_queue("q").waiting == 2
    scene.put("other")
    assert scene.inspect_queue("q").waiting == 1


def test_a_transient_queue_has_an_owner(scene: Scene) -> None:
    owner = scene.server("asker")
    name = scene.create_fresh_queue(token=owner).name
    info = scene.inspect_queue(name)
    assert (info.kind, info.owner) == ("transient", "asker")


def test_the_status_follows_the_consumers(scene: Scene) -> None:
    scene.create_queue("q")
    statuses = [scene.inspect_queue("q").status]
    server = scene.server("worker", "q", lease=10)
    statuses.append(scene.inspect_queue("q").status)
    scene.sleep(9)
    scene.ack([1], token=server)
    scene.sleep(2)
    statuses.append(scene.inspect_queue("q").status)
    scene.logout(server)
    statuses.append(scene.inspect_queue("q").status)
    scene.server("second", "q", lease=10)
    scene.sleep(10)
    statuses.append(scene.inspect_queue("q").status)
    assert statuses == [
        "never_started",
        "running",
        "crashed_or_deadlocked",
        "stopped",
        "crashed_or_deadlocked",
    ]


def test_a_held_message_with_its_holder(scene: Scene) -> None:
    server = scene.server("worker", "q")
    id = scene.put("q", correlation_id="c", headers={"h": "v"}, reply_to="nowhere")
    scene.sleep(3)
    scene.take(server)
    (info,) = scene.browse("q").messages
    assert (info.id, info.queue, info.state) == (id, "q", "held")
    assert (info.holder, info.since, info.delivery_count) == ("worker", scene.now, 1)
    assert (info.correlation_id, info.headers, info.caller) == ("c", {"h": "v"}, "gone")


def test_a_dead_message_with_its_cause(scene: Scene) -> None:
    scene.create_queue("q", Policy(on_expire="dead"))
    scene.put("q", ttl=5)
    scene.sleep(5)
    (info,) = scene.browse("q", state=State.DEAD).messages
    assert (info.cause, info.since, info.holder) == ("expired", scene.now, None)


def test_a_delayed_message_with_its_time(scene: Scene) -> None:
    scene.create_queue("q")
    scene.put("q", delay=5)
    (info,) = scene.browse("q").messages
    assert (info.state, info.due_at, info.since) == ("delayed", scene.now + 5, scene.now)


@pytest.mark.parametrize(("length", "cut"), [(snapshot.CUT, False), (snapshot.CUT + 1, True)])
def test_a_long_payload_is_cut_and_marked(scene: Scene, length: int, cut: bool) -> None:
    scene.create_queue("q")
    id = scene.put("q", "x" * length)
    (info,) = scene.browse("q").messages
    assert (len(info.payload), info.payload_cut) == (snapshot.CUT, cut)
    assert info.size == length
    whole = scene.explain(id).message
    assert (len(whole.payload), whole.payload_cut) == (length, False)


@pytest.mark.parametrize("how", ["none", "gone", "queue", "call"])
def test_whether_somebody_waits_for_the_reply(scene: Scene, how: str) -> None:
    scene.server("worker", "q")
    scene.create_queue("replies")
    if how == "call":
        scene.call("q", Draft(payload="x"), timeout=10)
    else:
        reply_to = {"none": None, "gone": "nowhere", "queue": "replies"}[how]
        scene.put("q", reply_to=reply_to)
    (info,) = scene.browse("q").messages
    assert info.caller == ("waiting" if how in ("queue", "call") else how)


def test_a_caller_that_left_is_gone(scene: Scene) -> None:
    scene.server("worker", "q")
    wait = scene.call("q", Draft(payload="x", key="k"), timeout=10)
    scene.leave_call(wait)
    (info,) = scene.browse("q").messages
    assert info.caller == "gone"


def test_messages_come_in_pages_by_id(scene: Scene) -> None:
    server = scene.server("worker", "q")
    ids = [scene.put("q") for _ in range(5)]
    scene.poll(server, limit=2)
    seen, after = [], 0
    for expected in (2, 2, 1):
        page = scene.browse("q", after=after, limit=2)
        assert len(page.messages) == expected
        seen += [m.id for m in page.messages]
        after = page.next
    assert seen == ids
    assert after is None
    assert [m.id for m in scene.browse("q", state=State.HELD).messages] == ids[:2]


def test_browsing_what_is_not_there(scene: Scene) -> None:
    with pytest.raises(QueueNotFound):
        scene.browse("nowhere")
    with pytest.raises(QueueNotFound):
        scene.inspect_queue("nowhere")


def test_queues_come_in_pages_by_name(scene: Scene) -> None:
    for name in ("b", "a2", "a1", "a3"):
        scene.create_queue(name)
    assert names(scene) == ["a1", "a2", "a3", "b"]
    page = scene.list_queues("a", limit=2)
    assert ([q.name for q in page.queues], page.next) == (["a1", "a2"], "a2")
    page = scene.list_queues("a", limit=2, after=page.next)
    assert ([q.name for q in page.queues], page.next) == (["a3"], None)


def test_queues_by_what_they_are(scene: Scene) -> None:
    server = scene.server("worker", "served")
    scene.create_queue("idle")
    fresh = scene.create_fresh_queue(token=server).name
    assert names(scene, alive=True) == ["served"]
    assert names(scene, alive=False) == [fresh, "idle"]
    assert names(scene, kind="transient") == [fresh]
    assert names(scene, kind="persistent") == ["idle", "served"]


def test_diagnostics_put_first_what_needs_attention(scene: Scene) -> None:
    scene.server("worker", "fine")
    scene.create_queue("unused")
    scene.create_queue("never")
    scene.put("never")
    crashed = scene.server("crashed", "stuck", lease=5)
    scene.put("stuck")
    scene.take(crashed)
    scene.sleep(4)
    scene.ack([1], token=crashed)
    scene.sleep(4)
    seen = scene.diagnostics()
    assert [s.queue.name for s in seen.services] == ["stuck", "never", "fine", "unused"]
    assert [(s.client, s.overdue) for s in seen.sessions] == [("crashed", True), ("worker", False)]
    assert seen.services[0].consumers == ["crashed"]
    assert [m.state for m in seen.services[0].messages] == ["held"]
    assert seen.now == scene.now


def test_diagnostics_count_what_they_do_not_list(scene: Scene) -> None:
    server = scene.server("worker", "q")
    scene.create_fresh_queue(token=server)
    scene.call("q", Draft(payload="x"), timeout=10)
    for number in range(snapshot.MAX_SERVICES + 4):
        scene.create_queue(f"extra.{number}")
    for number in range(snapshot.MAX_SESSIONS + 1):
        scene.server(f"client {number}")
    seen = scene.diagnostics()
    assert (len(seen.services), seen.services_left_out) == (snapshot.MAX_SERVICES, 5)
    assert (len(seen.sessions), seen.sessions_left_out) == (snapshot.MAX_SESSIONS, 2)
    assert (seen.reply_queues, seen.calls) == (1, 1)


def test_diagnostics_show_what_the_limits_bound() -> None:
    scene = Scene(queues=5, messages=9, sessions=7, total_bytes=1_000, trace_events=3)
    scene.server("worker", "q")
    scene.put("q", "12345")
    usage = {each.name: (each.used, each.limit) for each in scene.diagnostics().usage}
    assert usage["queues"] == (1, 5)
    assert usage["messages"] == (1, 9)
    assert usage["sessions"] == (1, 7)
    assert usage["total_bytes"] == (5, 1_000)
    assert usage["trace_events"] == (3, 3)
    assert 0 < usage["trace_bytes"][0] <= usage["trace_bytes"][1]


def test_a_session_without_its_token(scene: Scene) -> None:
    server = scene.server("worker", "b", "a", lease=20)
    scene.put("a")
    scene.take(server)
    name = scene.create_fresh_queue(token=server).name
    scene.sleep(5)
    scene.transfer(token=server, timeout=100)
    scene.sleep(50)
    (info,) = scene.diagnostics().sessions
    assert (info.client, info.lease, info.since) == ("worker", 20, 1_000.0)
    assert (info.subscriptions, info.owned, info.held) == (["b", "a"], [name], 1)
    assert (info.transferring, info.overdue, info.last_seen) == (1, False, scene.now)
    assert server not in repr(scene.diagnostics())


def test_looking_changes_nothing(scene: Scene) -> None:
    server = scene.server("worker", "q")
    id = scene.put("q")
    before = (scene.events(), scene.inspect_queue("q"), scene.browse("q"), scene.explain(id))
    scene.diagnostics()
    scene.list_queues()
    after = (scene.events(), scene.inspect_queue("q"), scene.browse("q"), scene.explain(id))
    assert before == after
    assert scene.take(server).delivery == id + 1


def test_a_page_ends_where_headers_are_many(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MAX_BATCH_BYTES", 25)
    scene.create_queue("q")
    ids = [scene.put("q", "x" * 100, headers={"name": "value"}) for _ in range(5)]
    found, after = [], 0
    while after is not None:
        page = scene.browse("q", after=after, limit=4)
        assert len(page.messages) in (1, 2)
        found += [message.id for message in page.messages]
        after = page.next
    assert found == ids


def test_a_tally_counts_what_an_action_would_touch(scene: Scene) -> None:
    server = scene.server("worker", "q")
    scene.call("q", Draft(payload="12345"), timeout=60)
    held = scene.take(server).id
    ready = [scene.put("q", "123"), scene.put("q", "12", reply_to="nowhere")]
    scene.put("q", delay=60)
    everything = scene.tally("q")
    assert (everything.messages, everything.callers) == (4, 1)
    assert everything.bytes == scene.inspect_queue("q").bytes > 0
    waiting = scene.tally("q", (State.READY, State.DELAYED))
    assert (waiting.messages, waiting.callers) == (3, 0)
    some = scene.tally("q", (State.READY,), ids=[held, *ready, ready[0], 1])
    assert some.messages == 2
    with pytest.raises(QueueNotFound):
        scene.tally("none")


def test_a_tally_leaves_the_messages_of_other_queues(scene: Scene) -> None:
    scene.create_queue("q")
    scene.create_queue("other")
    assert scene.tally("q", ids=[scene.put("other")]).messages == 0


def test_a_tally_says_what_could_be_undone_and_what_no_longer() -> None:
    scene = Scene(undo_bytes=10)
    owner = scene.server("asker")
    transient = scene.create_fresh_queue(token=owner).name
    scene.create_queue("q")
    for _ in range(3):
        scene.put("q", "1234")
        before = scene.tally("q")
        scene.purge_queue("q", undo_for=60)
    assert (before.undoable, before.forgets) == (True, 1)
    assert len(scene.list_undo()) == 2
    scene.put("q", "12345678901")
    assert (scene.tally("q").undoable, scene.tally("q").forgets) == (False, 0)
    assert not scene.tally(transient).undoable


def test_a_tally_of_a_session_is_what_it_holds_and_what_it_owns(scene: Scene) -> None:
    session = scene.server("worker", "q")
    id = next(s.id for s in scene.diagnostics().sessions)
    own = scene.create_fresh_queue(token=session).name
    scene.subscribe(own, token=session)
    scene.call("q", Draft(payload="x"), timeout=60)
    scene.put("q")
    for _ in range(2):
        scene.put(own)
    scene.poll(session, limit=3)
    found = scene.tally_session(id)
    assert (found.held.messages, found.held.callers, found.owned.messages) == (2, 1, 2)


def test_a_queue_tells_who_serves_it(scene: Scene) -> None:
    first = scene.server("first", "q")
    for number in range(snapshot.MAX_SERVERS):
        scene.server(f"later-{number}", "q")
    scene.put("q")
    held = scene.take(first).id
    report = scene.explain_queue("q")
    assert (report.queue.held, report.queue.consumers) == (1, snapshot.MAX_SERVERS + 1)
    assert [server.client for server in report.servers[:2]] == ["first", "later-0"]
    assert len(report.servers) == snapshot.MAX_SERVERS
    assert [holding.id for holding in report.servers[0].holding] == [held]
    assert report.timing is None  # nobody measures here
    with pytest.raises(QueueNotFound):
        scene.explain_queue("none")


def found_in_pages(scene: Scene, search: str) -> tuple[list[int], list[bool]]:
    """The messages on all pages of a search, and which pages stopped early."""
    found: list[int] = []
    stopped: list[bool] = []
    after: int | None = 0
    while after is not None:
        page = scene.browse("q", after=after, search=search, limit=10)
        found += [m.id for m in page.messages]
        stopped.append(page.stopped)
        after = page.next
    return found, stopped


@pytest.mark.parametrize(
    ("bound", "value", "pages"),
    [
        ("MAX_SEARCHED", 3, [True, True, False]),
        ("MAX_SEARCHED_BYTES", 250, [True, True, False]),
        ("MAX_SEARCHED_BYTES", 1, [True] * 8 + [False]),
        ("MAX_SEARCHED_BYTES", 10_000, [False]),
    ],
)
def test_a_search_stops_after_many_messages_and_goes_on_where_it_stopped(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, pages: list[bool]
) -> None:
    scene.create_queue("q")
    ids = [scene.put("q", text.ljust(100)) for text in "abaabaaab"]
    # One whose headers are long counts with them.
    scene.drop_message("q", ids[4])
    ids[4] = scene.put("q", "b", headers={"h": "x" * 98})
    monkeypatch.setattr(snapshot, bound, value)
    found, stopped = found_in_pages(scene, "b")
    assert found == [ids[1], ids[8], ids[4]]
    assert stopped == pages


def test_a_page_that_is_full_has_not_stopped(scene: Scene) -> None:
    scene.create_queue("q")
    ids = [scene.put("q", "needle") for _ in range(3)]
    page = scene.browse("q", search="needle", limit=2)
    assert (len(page.messages), page.next, page.stopped) == (2, ids[1], False)
    assert scene.browse("q", limit=2).stopped is False
