"""Message sequence charts: as SVG, and as text for ``mscgen``."""

from __future__ import annotations

from collections.abc import Iterable

from queues.core.events import Event
from queues.core.verdict import duration

from .story import Lifeline, Step, Story, clock, tell
from .svg import cut, plain

#: Letters of a name at the head of a lifeline, and of a payload, in mscgen text.
NAME_LETTERS = 28
TEXT_LETTERS = 48

_ARCS = {
    "sent": "=>",
    "delivered": "=>>",
    "replied": ">>",
    "dropped": "-x",
    "call_timeout": "-x",
    "caller_gone": "-x",
}


def mscgen(events: Iterable[Event], around: Iterable[Event] = ()) -> str:
    """The chart of some events in the language of the program ``mscgen``.

    ``around`` are other events of the same trace: they may tell who sent a request whose reply
    is in the chart. mscgen has no way to write a backslash; a similar sign stands for it.
    """
    story = tell(events, around)
    lines = ["# A message sequence chart of the message switch. Times are UTC."]
    named = {
        step.message: step.event.message
        for step in story.steps
        if step.message is not None and step.message.startswith("…")
    }
    lines += [f"# {short} is message {id}" for short, id in named.items()]
    lines.append("msc {")
    columns = max(1, len(story.lifelines))
    lines.append(f'  hscale="{max(1.0, columns * 0.4):g}", wordwraparcs="on";')
    heads = ", ".join(
        f'l{place} [label="{_quoted(_head(each))}"]' for place, each in enumerate(story.lifelines)
    )
    lines.append(f"  {heads or 'l0'};")
    if story.left_out:
        lines.append(f'  --- [label="{story.left_out} events before these are not shown"];')
    if not story.steps:
        lines.append('  --- [label="nothing happened"];')
    for step in story.steps:
        if step.gap is not None:
            lines.append(f'  ... [label="{duration(step.gap)} later"];')
        lines.append(f"  {_arc(step, story)};")
    lines.append("}")
    return "\n".join(lines) + "\n"


def _head(lifeline: Lifeline) -> str:
    return f"{lifeline.kind}\n{cut(lifeline.label, NAME_LETTERS)}"


def _arc(step: Step, story: Story) -> str:
    words = [step.message, step.word, cut(step.text, TEXT_LETTERS)]
    label = " ".join(filter(None, words)) + "\n" + clock(step.event.at)
    attributes = f'[label="{_quoted(label)}"]'
    if step.target is None:
        box = "box" if story.lifelines[step.source].kind == "client" else "note"
        return f"l{step.source} {box} l{step.source} {attributes}"
    arc = _ARCS.get(step.event.kind, "->")
    return f"l{step.source} {arc} l{step.target} {attributes}"


def _quoted(text: str) -> str:
    """Inside the quotes of mscgen: a line break is written ``\\n``, and a quote is escaped."""
    lines = (plain(line).replace("\\", "∖").replace('"', '\\"') for line in text.split("\n"))
    return "\\n".join(lines)
