"""Message sequence charts: as SVG, and as text for ``mscgen``.

Time runs downwards, a lifeline for each client and each queue. What an arrow means is said by its
line, its head and a word; its colour repeats it. A box on a client's lifeline is the time for
which it held a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from queues.core.events import Event
from queues.core.verdict import duration

from .story import Hold, Lifeline, Step, Story, clock, tell
from .svg import cut, element, image, number, plain, width, words

#: Sizes in pixels: the column of times, the heads, a step, a silence, and half a head.
GUTTER = 88
HEAD = 50
ROW = 34
GAP = 26
HALF = 76
#: Pixels between lifelines: at least, at most, and what all should fit into.
NARROW, WIDE, ROOM = 168, 264, 1_140
#: Pixels of a letter of the fixed width that all texts have.
LETTER = 6.7
FONT = 11
#: Where in its row an arrow is.
_LINE = 23
#: Letters in a note on a lifeline.
_NOTE_LETTERS = 32
#: Boxes of messages that a client holds at the same time, side by side.
_LEVELS = 3

#: Letters of a name at the head of a lifeline, and of a payload, in mscgen text.
NAME_LETTERS = 28
TEXT_LETTERS = 48

_Head = Literal["full", "open", "cross"]
#: How arrows look: colour, dashes, head.
_LOOKS: dict[str, tuple[str, str | None, _Head]] = {
    "sent": ("busy", None, "full"),
    "delivered": ("ink", None, "open"),
    "replied": ("good", "6 3", "full"),
    "acked": ("good", "6 3", "open"),
    "released": ("warn", "2 3", "open"),
    "died": ("bad", None, "cross"),
    "dropped": ("bad", "2 3", "cross"),
    "call_timeout": ("bad", "2 3", "cross"),
    "caller_gone": ("bad", "2 3", "cross"),
    "lease_expired": ("bad", None, "open"),
    "slow_consumer": ("bad", None, "open"),
    "moved": ("ink", "6 3", "open"),
}
_PLAIN_LOOK: tuple[str, str | None, _Head] = ("calm", "1 3", "open")

#: The colours of a file of its own; pages have theirs in chart.css.
STYLE = """
.chart{font-family:ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.busy{color:#2457b3}.ink{color:#16202b}.good{color:#18794a}.warn{color:#8f5200}
.bad{color:#b42318}.calm{color:#566372}
.lifeline{stroke:#8793a0}.head,.hold,.note{fill:#fff;stroke:#566372}
.halo{stroke:#fff}.paper{fill:#fff}.hit{fill:none}
@media (prefers-color-scheme:dark){
.busy{color:#86b0f5}.ink{color:#e4e9ee}.good{color:#58c78c}.warn{color:#efb355}
.bad{color:#ff8a7a}.calm{color:#9aa7b4}
.lifeline{stroke:#5b6875}.head,.hold,.note{fill:#161e26;stroke:#9aa7b4}
.halo{stroke:#161e26}.paper{fill:#161e26}}
""".replace("\n", "")


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart in three pictures that scroll together: the heads stay in sight above, the times at
    the left."""

    heads: str
    times: str
    body: str


def draw(story: Story, *, label: str, step: int | None = None) -> Drawing:
    """The chart for a page. ``step`` is that, from 1 on, at which time stands still: it is marked,
    and those after it are faint."""
    layout = _Layout(story)
    said = f"{_steps(story)}. The table of events says the same."
    return Drawing(
        heads=image(_heads(layout), width=layout.width, height=HEAD, class_="chart"),
        times=image(_times(layout), width=GUTTER, height=layout.height, class_="chart"),
        body=image(
            _body(layout, step),
            width=layout.width - GUTTER,
            height=layout.height,
            class_="chart",
            title=label,
            description=said,
        ),
    )


def svg(story: Story, *, label: str) -> str:
    """The chart as a file of its own, with its colours."""
    layout = _Layout(story)
    height = HEAD + layout.height
    parts = element("style", STYLE)
    paper = element("rect", class_="paper", width=layout.width, height=height)
    content = [
        paper,
        element("g", _body(layout, None), transform=f"translate({GUTTER} {HEAD})"),
        element("g", _times(layout), transform=f"translate(0 {HEAD})"),
        _heads(layout),
    ]
    return image(
        "".join(content),
        width=layout.width,
        height=height,
        class_="chart",
        title=label,
        description=f"{_steps(story)}.",
        parts=parts,
    )


class _Layout:
    """Where lifelines and steps are."""

    def __init__(self, story: Story) -> None:
        self.story = story
        spans = max(1, len(story.lifelines) - 1)
        column = min(WIDE, max(NARROW, (ROOM - GUTTER - 2 * HALF) // spans))
        self.xs = [HALF + place * column for place in range(max(1, len(story.lifelines)))]
        self.width = GUTTER + self.xs[-1] + HALF
        if len(self.xs) == 1:
            self.width += HALF  # a note needs more room than a head
        self.ys: list[int] = []
        y = ROW if story.left_out or not story.steps else 4
        for step in story.steps:
            if step.gap is not None:
                y += GAP
            self.ys.append(y)
            y += ROW
        self.height = y + 10


def _steps(story: Story) -> str:
    names = ", ".join(each.label for each in story.lifelines)
    count = f"{len(story.steps)} step{'' if len(story.steps) == 1 else 's'}"
    before = f", {story.left_out} before these left out" if story.left_out else ""
    return f"{count}{before}, between: {names or 'nobody'}"


def _heads(layout: _Layout) -> str:
    parts = []
    for x, lifeline in zip(layout.xs, layout.story.lifelines, strict=False):
        parts.append(_head(GUTTER + x, lifeline))
    return "".join(parts)


def _head(x: float, lifeline: Lifeline) -> str:
    shown = cut(lifeline.label, int((2 * HALF - 16) / LETTER))
    box = element(
        "rect",
        class_="head",
        x=x - HALF + 3,
        y=4,
        width=2 * HALF - 6,
        height=HEAD - 10,
        rx=10 if lifeline.kind == "client" else 0,
    )
    bar = (
        element(
            "path",
            d=f"M{number(x - HALF + 7)} 4v{HEAD - 10}",
            class_="calm",
            stroke="currentColor",
            fill="none",
        )
        if lifeline.kind == "queue"
        else ""
    )
    return element(
        "g",
        element("title", words(f"{lifeline.kind} {lifeline.label}")),
        box,
        bar,
        _text(x, 19, lifeline.kind, "calm", anchor="middle", size=10),
        _text(x, 35, shown or "(no name)", "ink", anchor="middle", size=FONT, bold=True),
        data_key=f"{lifeline.kind} {lifeline.label}",
    )


def _times(layout: _Layout) -> str:
    parts = []
    second = None
    for y, step in zip(layout.ys, layout.story.steps, strict=True):
        whole = clock(step.event.at)
        if step.gap is not None:
            later = f"{duration(step.gap)} later"
            parts.append(_text(GUTTER - 8, y - 9, later, "warn", anchor="end", size=10))
        same = whole[:8] == second and step.gap is None
        second = whole[:8]
        shown = whole[8:] if same else whole
        key = f"t{step.event.number}"
        parts.append(
            _text(GUTTER - 8, y + _LINE + 4, shown, "calm", anchor="end", size=10, key=key)
        )
    return "".join(parts)


def _body(layout: _Layout, current: int | None) -> str:
    story = layout.story
    height = layout.height
    parts = []
    for y, step in zip(layout.ys, story.steps, strict=True):
        if step.gap is not None:
            line = f"M0 {number(y - GAP / 2)}h{number(layout.width - GUTTER)}"
            parts.append(
                element(
                    "path", class_="warn", d=line, stroke="currentColor", stroke_dasharray="1 5"
                )
            )
    lines = "".join(f"M{number(x)} 0v{height}" for x in layout.xs)
    parts.append(element("path", class_="lifeline", d=lines, fill="none"))
    parts += _holds(layout, story.holds, current)
    if story.left_out:
        parts.append(_text(8, _LINE, _left_out(story), "calm"))
    elif not story.steps:
        parts.append(_text(8, _LINE, "nothing happened", "calm"))
    for place, step in enumerate(story.steps, 1):
        when = ""
        if current is not None and place >= current:
            when = " current" if place == current else " later"
        parts.append(_step(layout, place - 1, step, when))
    return "".join(parts)


def _holds(layout: _Layout, holds: Sequence[Hold], current: int | None) -> list[str]:
    parts = []
    busy: dict[tuple[int, int], int | None] = {}
    for hold in holds:
        level = 0
        while level < _LEVELS - 1:
            until = busy.get((hold.lifeline, level), -1)
            if until is not None and until <= hold.first:
                break
            level += 1
        busy[hold.lifeline, level] = hold.last
        top = layout.ys[hold.first] + _LINE
        bottom = layout.height if hold.last is None else layout.ys[hold.last] + _LINE
        x = layout.xs[hold.lifeline] - 3 + 4 * level
        later = current is not None and hold.first >= current
        parts.append(
            element(
                "rect",
                class_="hold later" if later else "hold",
                data_first=str(hold.first + 1),
                x=x,
                y=top,
                width=6,
                height=max(0, bottom - top),
            )
        )
    return parts


def _step(layout: _Layout, place: int, step: Step, when: str) -> str:
    colour, dashes, head = _LOOKS.get(step.event.kind, _PLAIN_LOOK)
    start = layout.xs[step.source]
    if step.target is None:
        drawn = _note(layout, start, step, colour)
    elif step.target == step.source:
        drawn = _loop(layout, start, step, colour, dashes)
    else:
        drawn = _arrow(start, layout.xs[step.target], step, colour, dashes, head)
    hit = element("rect", class_="hit", width=layout.width - GUTTER, height=ROW)
    return element(
        "g",
        element("title", words(layout.story.said(step))),
        hit,
        drawn,
        class_=f"step{when}",
        data_key=f"e{step.event.number}",
        data_message=None if step.event.message is None else str(step.event.message),
        transform=f"translate(0 {layout.ys[place]})",
    )


def _arrow(
    start: float, end: float, step: Step, colour: str, dashes: str | None, head: _Head
) -> str:
    right = 1 if end > start else -1
    start += 5 * right
    end -= 5 * right
    line = element(
        "path",
        d=f"M{number(start)} {_LINE}H{number(end)}",
        class_=colour,
        stroke="currentColor",
        stroke_width=1.5,
        stroke_dasharray=dashes,
        fill="none",
    )
    tip = number(end)
    back = -8 * right
    if head == "full":
        point = element(
            "path", d=f"M{tip} {_LINE}l{back} -4.5v9z", class_=colour, fill="currentColor"
        )
    else:
        d = (
            f"M{number(end + back)} {_LINE - 5}L{tip} {_LINE}l{back} 5"
            if head == "open"
            else f"M{number(end - 5)} {_LINE - 5}l10 10m0 -10l-10 10"
        )
        point = element(
            "path", d=d, class_=colour, stroke="currentColor", stroke_width=1.5, fill="none"
        )
    letters = int((abs(end - start) - 12) / LETTER)
    label = _label((start + end) / 2, step, colour, letters, anchor="middle")
    return line + point + label


def _loop(layout: _Layout, x: float, step: Step, colour: str, dashes: str | None) -> str:
    side = 1 if x < layout.xs[-1] or len(layout.xs) == 1 else -1
    line = element(
        "path",
        d=f"M{number(x + 5 * side)} {_LINE - 5}h{18 * side}v10h{-16 * side}m{4 * side} -4l"
        f"{-4 * side} 4l{4 * side} 4",
        class_=colour,
        stroke="currentColor",
        stroke_width=1.5,
        stroke_dasharray=dashes,
        fill="none",
    )
    anchor = "start" if side > 0 else "end"
    letters = int((NARROW - 40) / LETTER)
    return line + _label(x + 30 * side, step, colour, letters, anchor=anchor, down=10)


def _note(layout: _Layout, x: float, step: Step, colour: str) -> str:
    shown = cut(_words(step), _NOTE_LETTERS)
    wide = max(40.0, width(shown) * LETTER + 14)
    left = min(max(2.0, x - wide / 2), layout.width - GUTTER - wide - 2)
    box = element("rect", class_="note", x=left, y=6, width=wide, height=ROW - 11, rx=3)
    return box + _text(left + wide / 2, 22, shown, colour, anchor="middle")


def _words(step: Step) -> str:
    return " ".join(filter(None, (step.message, step.word, step.text)))


def _label(x: float, step: Step, colour: str, letters: int, *, anchor: str, down: float = 0) -> str:
    """Which message, what happened, and the payload, as far as there is room."""
    first = " ".join(filter(None, (step.message, step.word)))
    shown = cut(first, letters)
    spans = element("tspan", words(shown), class_=colour, fill="currentColor", font_weight="600")
    left = letters - width(shown) - 1
    if step.text and left > 2:
        rest = words(cut(step.text, left))
        spans += " " + element("tspan", rest, class_="ink", fill="currentColor")
    return element(
        "text",
        spans,
        class_="halo",
        x=x,
        y=_LINE - 7 + down,
        font_size=FONT,
        text_anchor=anchor,
        stroke_width=3,
        stroke_linejoin="round",
        paint_order="stroke",
    )


def _text(
    x: float,
    y: float,
    text: str,
    colour: str,
    *,
    anchor: str = "start",
    size: float = FONT,
    bold: bool = False,
    key: str | None = None,
) -> str:
    return element(
        "text",
        words(text),
        class_=colour,
        fill="currentColor",
        x=x,
        y=y,
        font_size=size,
        font_weight="600" if bold else None,
        text_anchor=anchor,
        data_key=key,
    )


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
        f'l{place} [label="{_quoted(_entity(each))}"]' for place, each in enumerate(story.lifelines)
    )
    lines.append(f"  {heads or 'l0'};")
    if story.left_out:
        lines.append(f'  --- [label="{_left_out(story)}"];')
    if not story.steps:
        lines.append('  --- [label="nothing happened"];')
    for step in story.steps:
        if step.gap is not None:
            lines.append(f'  ... [label="{duration(step.gap)} later"];')
        lines.append(f"  {_arc(step, story)};")
    lines.append("}")
    return "\n".join(lines) + "\n"


def _entity(lifeline: Lifeline) -> str:
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


def _left_out(story: Story) -> str:
    if story.left_out == 1:
        return "1 event before these is not shown"
    return f"{story.left_out} events before these are not shown"
