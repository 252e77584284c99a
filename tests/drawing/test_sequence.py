from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from queues.core.events import Event
from queues.drawing.sequence import mscgen
from queues.drawing.story import MOST_STEPS

from .events import HOSTILE, KINDS, event_lists

CALL = [
    Event(1, 1_000.0, "sent", "foo", 5, "web", "hello"),
    Event(2, 1_000.25, "delivered", "foo", 5, "cat"),
    Event(3, 1_012.5, "sent", "call.9", 6, "cat", 'he said "no\\yes"'),
    Event(4, 1_012.5, "replied", "foo", 5, "cat"),
    Event(5, 1_012.5, "queue_destroyed", "foo", None, None, "0 messages"),
]


def test_a_call_as_mscgen_text() -> None:
    assert mscgen(CALL) == (
        "# A message sequence chart of the message switch. Times are UTC.\n"
        "msc {\n"
        '  hscale="1.2", wordwraparcs="on";\n'
        '  l0 [label="client\\nweb"], l1 [label="queue\\nfoo"], l2 [label="client\\ncat"];\n'
        '  l0 => l1 [label="5 sent hello\\n00:16:40.000"];\n'
        '  l1 =>> l2 [label="5 handed over\\n00:16:40.250"];\n'
        '  ... [label="12 s later"];\n'
        '  l2 >> l0 [label="5 answered he said \\"no∖yes\\"\\n00:16:52.500"];\n'
        '  l1 note l1 [label="destroyed 0 messages\\n00:16:52.500"];\n'
        "}\n"
    )


def test_mscgen_text_names_the_messages_in_full() -> None:
    assert "# …789 is message 1866000123456789\n" in mscgen(
        [Event(1, 1.0, "acked", "q", 1_866_000_123_456_789, "c")]
    )


def test_mscgen_text_says_what_it_leaves_out() -> None:
    events = [Event(n, 1.0, "acked", "q", n, "c") for n in range(MOST_STEPS + 7)]
    assert '--- [label="7 events before these are not shown"];' in mscgen(events)


def test_mscgen_text_of_nothing() -> None:
    assert 'label="nothing happened"' in mscgen([])


def accepted(text: str, directory: Path) -> str:
    """What mscgen draws."""
    program = shutil.which("mscgen")
    if program is None:
        pytest.skip("mscgen is not installed; `make tools` installs it")
    out = directory / "chart.svg"
    done = subprocess.run(
        [program, "-T", "svg", "-i", "-", "-o", str(out)],
        input=text.encode(),
        check=False,
        capture_output=True,
        timeout=30,
    )
    assert done.returncode == 0, (done.stdout.decode(errors="replace"), text)
    return out.read_text(errors="replace")


def test_mscgen_draws_a_call(tmp_path: Path) -> None:
    drawn = accepted(mscgen(CALL), tmp_path)
    texts = unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", drawn)))
    for words in ("web", "foo", "5 sent hello", "12 s later", 'he said "no∖yes"'):
        assert words in texts, words


def test_mscgen_draws_every_kind_with_hostile_texts(tmp_path: Path) -> None:
    for queue in (None, HOSTILE):
        for client in (None, HOSTILE):
            events = [
                Event(n, float(n), kind, queue, n or None, client, HOSTILE)
                for n, kind in enumerate(KINDS)
            ]
            accepted(mscgen(events), tmp_path)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=event_lists(max_size=12))
def test_mscgen_accepts_any_events(events: list[Event], tmp_path: Path) -> None:
    accepted(mscgen(events), tmp_path)
