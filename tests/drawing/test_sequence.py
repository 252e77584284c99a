from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings

from queues.core.events import Event
from queues.drawing.sequence import GUTTER, HEAD, draw, mscgen, svg
from queues.drawing.story import MOST_LIFELINES, MOST_STEPS, tell

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


# -- SVG ----------------------------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def steps(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [g for g in root.iter(f"{SVG}g") if g.get("class", "").startswith("step")]


def shown(element: ElementTree.Element) -> str:
    """The texts of an element that are drawn."""
    return " | ".join("".join(each.itertext()) for each in element.iter(f"{SVG}text"))


def test_a_call_as_svg() -> None:
    root = parsed(svg(tell(CALL), label="A call"))
    assert root.findtext(f"{SVG}title") == "A call"
    assert root.findtext(f"{SVG}desc") == "4 steps, between: web, foo, cat."
    assert [shown(step) for step in steps(root)] == [
        "5 sent hello",
        "5 handed over",
        '5 answered he said "no\\yes"',
        "destroyed 0 messages",
    ]
    assert [step.findtext(f"{SVG}title") for step in steps(root)][2] == (
        '00:16:52.500 5 answered: cat → web: he said "no\\yes"'
    )
    assert "00:16:40.000 | .250 | 12 s later | 00:16:52.500 | .500 | client | web" in shown(root)


def ends(step: ElementTree.Element) -> tuple[float, float]:
    """Where an arrow begins and ends."""
    line = step.find(f"{SVG}path")
    assert line is not None
    found = re.fullmatch(r"M([\d.]+) [\d.]+H([\d.]+)", line.attrib["d"])
    assert found is not None
    return float(found[1]), float(found[2])


def test_arrows_go_between_their_lifelines() -> None:
    root = parsed(draw(tell(CALL), label="A call").body)
    web, foo, cat = 76.0, 340.0, 604.0
    sent, delivered, replied = (ends(step) for step in steps(root)[:3])
    assert sent == (web + 5, foo - 5)
    assert delivered == (foo + 5, cat - 5)
    assert replied == (cat - 5, web + 5)


def test_a_message_is_held_from_its_hand_over_to_its_end() -> None:
    root = parsed(draw(tell(CALL), label="A call").body)
    (hold,) = root.findall(f"{SVG}rect[@class='hold']")
    rows = [float(step.attrib["transform"].split()[1][:-1]) for step in steps(root)]
    assert float(hold.attrib["y"]) - rows[1] == 23
    assert float(hold.attrib["height"]) == rows[2] - rows[1]
    root = parsed(draw(tell(CALL[:2]), label="A call").body)
    (hold,) = root.findall(f"{SVG}rect[@class='hold']")
    bottom = float(hold.attrib["y"]) + float(hold.attrib["height"])
    assert bottom == float(root.attrib["height"]), "it holds on"


def test_a_step_at_which_time_stands_still() -> None:
    root = parsed(draw(tell(CALL), label="A call", step=2).body)
    classes = [step.attrib["class"] for step in steps(root)]
    assert classes == ["step", "step current", "step later", "step later"]
    (hold,) = root.findall(f"{SVG}rect[@class='hold']")
    root = parsed(draw(tell(CALL), label="A call", step=1).body)
    (later,) = root.findall(f"{SVG}rect[@class='hold later']")
    assert hold.attrib["data-first"] == later.attrib["data-first"] == "2"


def test_the_three_parts_fit_together() -> None:
    story = tell(CALL)
    drawing = draw(story, label="A call")
    heads, times, body = map(parsed, (drawing.heads, drawing.times, drawing.body))
    whole = parsed(svg(story, label="A call"))
    assert float(heads.attrib["width"]) == GUTTER + float(body.attrib["width"])
    assert heads.attrib["width"] == whole.attrib["width"]
    assert times.attrib["height"] == body.attrib["height"]
    assert HEAD + float(body.attrib["height"]) == float(whole.attrib["height"])
    assert body.attrib["role"] == "img"
    assert heads.attrib["aria-hidden"] == times.attrib["aria-hidden"] == "true"


def test_it_says_what_it_leaves_out() -> None:
    events = [Event(n, 1.0, "acked", "q", n, "c") for n in range(MOST_STEPS + 7)]
    text = svg(tell(events), label="Many")
    assert "7 events before these are not shown" in text
    assert len(steps(parsed(text))) == MOST_STEPS


def test_nothing_as_svg() -> None:
    assert "nothing happened" in shown(parsed(svg(tell([]), label="Nothing")))


def test_the_file_is_self_contained_and_a_page_needs_no_styles_inside() -> None:
    story = tell(CALL)
    assert "<style>" in svg(story, label="A call")
    drawing = draw(story, label="A call")
    for part in (drawing.heads, drawing.times, drawing.body):
        assert "<style" not in part
        assert 'style="' not in part
    assert not re.search(r"(href|src|url\()", svg(story, label="A call"))


@settings(max_examples=150)
@given(event_lists())
def test_any_events_give_a_picture_inside_its_frame(events: list[Event]) -> None:
    story = tell(events)
    root = parsed(svg(story, label="Anything"))
    assert len(steps(root)) == len(story.steps)
    for step in steps(root):
        for line in step.iter(f"{SVG}path"):
            start = re.match(r"M(-?[\d.]+) ", line.attrib["d"])
            assert start is not None
            assert 0 <= float(start[1]) <= float(root.attrib["width"]) - GUTTER
    drawing = draw(story, label="Anything", step=3)
    for part in (drawing.heads, drawing.times, drawing.body):
        parsed(part)
    assert svg(tell(events), label="Anything") == svg(story, label="Anything")


def test_the_largest_chart_is_small_enough_for_a_page() -> None:
    events = [
        Event(n, n / 10, "sent", "q" * 200 + str(n % 15), 2**52 + n, f"{n % 15}" * 100, "<" * 80)
        for n in range(10_000)
    ]
    story = tell(events)
    assert len(story.lifelines) == MOST_LIFELINES
    assert len(svg(story, label="Much")) < 400_000
