import time

import msgspec
import pytest

from queues import text
from queues.core.answers import (
    Diagnostics,
    Holding,
    MessageInfo,
    MessageReport,
    Quantiles,
    QueueInfo,
    ServiceInfo,
    SessionInfo,
    StuckCall,
    Timing,
    Usage,
)
from queues.core.errors import QueueFull
from queues.core.events import Event
from queues.core.messages import State
from queues.core.queue import Policy
from queues.core.verdict import Finding, Verdict

NOW = 1_000.0
EVIL = 'x\x1b[31m\r\n\x07\u202e\x9b2J\\"é'
SHOWN = 'x\\x1b[31m\\r\\n\\x07\\u202e\\x9b2J\\\\"é'


def queue(name: str, status: str, **fields) -> QueueInfo:
    return QueueInfo(
        **{
            "name": name,
            "kind": "persistent",
            "owner": None,
            "status": status,
            "verdict": Verdict(
                code="idle", level="ok", sentence="All is well.", next_step="Nothing."
            ),
            "paused": False,
            "ready": 0,
            "delayed": 0,
            "held": 0,
            "dead": 0,
            "consumers": 0,
            "waiting": 0,
            "oldest_at": None,
            "bytes": 0,
            "sent": 1,
            "delivered": 0,
            "acked": 0,
            "refused": 0,
            "created_at": 0.0,
            "policy": Policy(),
            **fields,
        }
    )


def message(id: int, state: State = State.READY, **fields) -> MessageInfo:
    return MessageInfo(
        **{
            "id": id,
            "queue": "q",
            "state": state,
            "since": NOW - 5,
            "payload": "hello",
            "payload_cut": False,
            "size": 5,
            "correlation_id": None,
            "reply_to": None,
            "headers": {},
            "key": None,
            "error": None,
            "sender": "cli",
            "sent_at": NOW - 65,
            "expires_at": None,
            "delivery_count": 0,
            "holder": None,
            "caller": "none",
            "due_at": None,
            "cause": None,
            **fields,
        }
    )


def test_nothing_that_steers_a_terminal_gets_through():
    assert text.printable(EVIL) == SHOWN
    assert text.printable("\ud800") == "\\ud800"
    for point in (*range(0x20), *range(0x7F, 0xA0), 0x200B, 0x202E, 0x2028, 0xFEFF):
        assert chr(point) not in text.printable(f"a{chr(point)}b")


def test_long_texts_are_cut():
    assert text.printable("x" * 10, 10) == "x" * 10
    assert text.printable("x" * 11, 10) == "x" * 10 + "…"


def test_a_table_of_queues():
    rows = [queue("foo", "running", ready=12, consumers=1), queue("longer.name", "stopped")]
    assert list(text.queue_table(rows, text.plain)) == [
        "QUEUE        SERVICE  READY  DELAYED  HELD  DEAD  CONSUMERS",
        "foo          running     12        0     0     0          1",
        "longer.name  stopped      0        0     0     0          0",
    ]


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        (
            message(7, caller="waiting"),
            '7  ready 5.0 s, sent 1 min 5 s ago by cli, its caller waits: "hello"',
        ),
        (
            message(7, caller="gone", sender=None),
            '7  ready 5.0 s, sent 1 min 5 s ago by somebody, its caller is gone: "hello"',
        ),
        (
            message(7, State.HELD, holder=EVIL),
            f'7  held 5.0 s by {SHOWN}, sent 1 min 5 s ago by cli, no reply wanted: "hello"',
        ),
        (
            message(7, State.DEAD, cause="rejected", payload=EVIL),
            f'7  dead 5.0 s (rejected), sent 1 min 5 s ago by cli, no reply wanted: "{SHOWN}"',
        ),
        (
            message(7, State.DELAYED, due_at=NOW + 30, sender=EVIL),
            f'7  delayed 30 s more, sent 1 min 5 s ago by {SHOWN}, no reply wanted: "hello"',
        ),
    ],
)
def test_a_message_in_one_line(shown, line):
    assert text.message_line(shown, NOW) == line


def diagnosed(*services: ServiceInfo, **fields) -> Diagnostics:
    return Diagnostics(
        **{
            "now": NOW,
            "started_at": NOW - 200,
            "services": list(services),
            "services_left_out": 0,
            "reply_queues": 1,
            "calls": 1,
            "stuck": [],
            "sessions": [],
            "sessions_left_out": 0,
            "usage": [
                Usage(name="queues", used=3, limit=10),
                Usage(name="sessions", used=1, limit=10),
                Usage(name="total_bytes", used=12_345, limit=2**30),
            ],
            **fields,
        }
    )


def service(queue: QueueInfo, *messages: MessageInfo, consumers=()) -> ServiceInfo:
    return ServiceInfo(queue=queue, consumers=list(consumers), messages=list(messages))


def session(id: int, client: str, **fields) -> SessionInfo:
    return SessionInfo(
        **{
            "id": id,
            "client": client,
            "lease": 30.0,
            "verdict": verdict("listening", "It waits for messages."),
            "since": 0.0,
            "last_seen": NOW,
            "transferring": 0,
            "overdue": False,
            "subscriptions": [],
            "held": 0,
            "holding": [],
            "calls": [],
            "owned": [],
            **fields,
        }
    )


def verdict(code: str, sentence: str, level: str = "ok", **fields) -> Verdict:
    return Verdict(code=code, level=level, sentence=sentence, next_step="Look.", **fields)


def test_diagnostics_group_services_by_how_they_do():
    silent = session(3, "cr", last_seen=NOW - 40, overdue=True, held=2, subscriptions=["crashed"])
    report = diagnosed(
        service(queue("run", "running", held=1), consumers=["a", EVIL]),
        service(queue("gone", "stopped")),
        service(queue("new", "never_started", ready=2), message(7, caller="waiting")),
        service(queue("unused", "never_started", sent=0)),
        service(queue("crashed", "crashed_or_deadlocked", ready=1, held=1, dead=3, delayed=2)),
        services_left_out=4,
        sessions=[silent],
    )
    assert list(text.diagnostics(report, text.plain)) == [
        (
            "Up 3 min 20 s: 3 queues (1 transient), 1 session, 1 caller waiting, "
            "12,345 of 1,073,741,824 bytes."
        ),
        "",
        "Services crashed or deadlocked",
        "  crashed: 1 ready, 2 delayed, 1 held, 3 dead",
        "    7 more",
        "",
        "Services called but never started",
        "  new: 2 ready",
        '    7  ready 5.0 s, sent 1 min 5 s ago by cli, its caller waits: "hello"',
        "    1 more",
        "",
        "Services stopped",
        "  gone: empty",
        "",
        "Services running",
        f"  run: 1 held; served by a, {SHOWN}",
        "    1 more",
        "",
        "Queues that nobody has used yet",
        "  unused: empty",
        "",
        "4 more services are not shown.",
        "",
        "Sessions past the time of their next Transfer",
        "  cr: silent for 40 s, holds 2",
    ]


def test_why_a_message_is_where_it_is():
    held = verdict("held", f"{EVIL} has it.")
    events = [
        Event(1, NOW, "sent", "q", 7, "cli", EVIL),
        Event(2, NOW, "delivered", "q", 7, EVIL),
    ]
    report = MessageReport(id=7, message=message(7, payload=EVIL), verdict=held, events=events)
    lines = list(text.report(report, text.plain))
    assert lines[:4] == [
        f"{SHOWN} has it.",
        "Look.",
        "Queue q, 5 bytes, no reply wanted.",
        f'Payload "{SHOWN}"',
    ]
    assert [line.split(" ", 3)[3] for line in lines[4:]] == [
        f'sent 7 q by cli "{SHOWN}"',
        f"delivered 7 q by {SHOWN}",
    ]


def test_an_ended_message_has_only_its_events():
    acked = verdict("acked", "It was acked.")
    report = MessageReport(id=7, message=None, verdict=acked, events=[])
    assert list(text.report(report, text.plain)) == ["It was acked.", "Look."]


def test_a_verdict_with_what_else_is_true_and_its_evidence(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    link = {"message": 7, "queue": "a", "state": "held", "holder": EVIL}
    found = verdict(
        "waiting_on_call",
        "It waits.",
        also=[Finding(code="redelivered", sentence=f"It came back from {EVIL}.")],
        evidence={
            "holder": EVIL,
            "since": 61.9996,
            "at": 3_600.0,
            "left_at": 0.5,
            "last_holders": ["a (nack)", "b (logout)"],
            "chain": [link, {**link, "message": 8, "state": "ready", "holder": None}],
            "end": "never_started",
            "end_evidence": {"queue": "b", "since": 7.0},
            "ack_timeout": 90.0,
            "delivery_count": 0,
            "expires_at": None,
            "reply_to": "",
        },
    )
    assert list(text.verdict(found, text.plain)) == [
        "It waits.",
        "Look.",
        f"Also: It came back from {SHOWN}.",
        f"  holder: {SHOWN}",
        "  since: 00:01:01.999",
        "  time: 01:00:00.000",
        "  left: 00:00:00.500",
        "  last holders: a (nack), b (logout)",
        f"  chain: 7 of a (held by {SHOWN}), 8 of a (ready)",
        "  end: never_started",
        "  end queue: b",
        "  end since: 00:00:07.000",
        "  ack timeout: 1 min 30 s",
        "  delivery count: 0",
    ]


def test_why_a_queue_is_as_it_is():
    shown = queue("q", "stopped", ready=2, dead=1, consumers=1, verdict=verdict("x", "It is."))
    assert list(text.queue_report(shown, text.plain)) == [
        "It is.",
        "Look.",
        "Queue q, stopped: 2 ready, 0 delayed, 0 held, 1 dead; 1 server.",
    ]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({}, "q is full."),
        ({"verdict": None}, "q is full."),
        ({"verdict": "surprise"}, "q is full."),
        (
            {"verdict": {"sentence": "It holds 3.", "next_step": "Wait."}},
            "q is full. It holds 3. Wait.",
        ),
        ({"verdict": {"sentence": "q is full.", "next_step": "Wait."}}, "q is full. Wait."),
    ],
)
def test_a_refusal_says_why_once(extra, said):
    assert text.refusal(QueueFull("q is full.", **extra)) == said


def test_sessions_in_a_table():
    holding = Holding(id=7, queue="q", since=0.0)
    lines = text.session_table(
        [
            session(10, "worker", held=3, calls=[holding], last_seen=NOW - 90),
            session(9, EVIL * 9, verdict=verdict("silent", EVIL, "stuck")),
        ],
        NOW,
        text.plain,
    )
    header, first, second = lines
    assert header.split() == ["ID", "CLIENT", "LEVEL", "HELD", "CALLS", "QUEUES", "SEEN", "WHY"]
    assert first.split("  ")[0] == "10"
    assert " ".join(first.split()) == "10 worker ok 3 1 0 1 min 30 s It waits for messages."
    assert second.startswith(" 9  ")
    assert second.endswith(f"0.0 s  {SHOWN}")


def quantiles(p95):
    return Quantiles(count=1, p50=p95, p95=p95, p99=p95)


def test_the_services_what_is_stuck_first():
    timing = Timing(
        queued=quantiles(None),
        handled=quantiles(0.0123),
        picked_up=quantiles(None),
        sent_rate=12.34,
        finished_rate=0.0,
        methods=[],
    )
    fine = service(queue("fine", "running", consumers=2, held=1))
    slow = service(
        queue(
            "b.slow",
            "running",
            oldest_at=NOW - 75,
            ready=9,
            verdict=verdict("queued", "They wait.", "warning"),
        )
    )
    slow.timing = timing
    stuck = service(
        queue("z.stuck", "never_started", dead=4, verdict=verdict("never_started", EVIL, "stuck"))
    )
    waiting = [
        StuckCall(id=7, queue="q", caller=None, since=0.0, verdict=verdict("x", "X.", level))
        for level in ("stuck", "warning")
    ]
    report = diagnosed(fine, slow, stuck, services_left_out=2, stuck=waiting)
    rows = [" ".join(line.split()) for line in text.top(report, text.plain)]
    assert rows == [
        "Up 3 min 20 s: 3 queues, 1 session, 1 caller waiting, 1 of them stuck.",
        "",
        "LEVEL SERVICE READY HELD DEAD SERVERS SENT/S DONE/S P95 OLDEST WHY",
        f"stuck z.stuck 0 0 4 0 - - - - {SHOWN}",
        "warning b.slow 9 0 0 0 12.3 0.0 12.3 ms 1 min 15 s They wait.",
        "ok fine 0 1 0 2 - - - - All is well.",
        "2 more services are not shown.",
    ]


def test_colours_add_nothing_but_colour():
    plain = "\n".join(text.diagnostics(diagnosed(service(queue("q", "running"))), text.plain))
    colourful = "\n".join(
        text.diagnostics(diagnosed(service(queue("q", "running"))), text.coloured)
    )
    assert colourful != plain
    for code in ("1", "2", "31", "32", "33", "0"):
        colourful = colourful.replace(f"\x1b[{code}m", "")
    assert colourful == plain


def test_the_samples_are_answers_of_the_switch():
    report = diagnosed(service(queue("q", "running"), message(7)))
    assert msgspec.convert(msgspec.to_builtins(report), Diagnostics) == report
