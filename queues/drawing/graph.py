"""The graph of waits: callers at the left, then what they wait for, and so on to the right.

An arrow leads to what is waited for. One that is part of a deadlock, or waits for one, is thick,
has two heads, and says "locked". What closes a circle leaves its box at the right and comes back
to its target below all the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from queues.core.answers import WaitEdge, WaitGraph, WaitNode
from queues.core.verdict import duration

from .layers import Arrangement, Arrow, Place, arrange, closing_arrows
from .names import short_names
from .svg import cut, element, image, number, plain, words

#: Sizes in pixels: a box, the room between layers, what is above and below a box.
BOX = 132
BETWEEN = 128
TALL = 44
GAP = 20
#: Between the arrows that leave a box; each has its words there.
PORT = 32
#: Between the ways of arrows that lead back, and most ways side by side.
LANE = 24
SIDE = 7
_MOST_SIDES = 18
LETTER = 6.7
FONT = 11
#: Callers, or servers, of the same service that are drawn one by one; more are folded.
MOST_ALIKE = 6

#: Where a node leads to, if anywhere.
Link = Callable[[WaitNode], str | None]


@dataclass(slots=True)
class _Box:
    """A node as it is drawn; ``folded`` counts the nodes that it stands for, if more than one."""

    key: str
    node: WaitNode
    folded: int = 0
    locked: bool = False
    outs: list[Arrow] = field(default_factory=list)
    ins: list[Arrow] = field(default_factory=list)

    @property
    def height(self) -> float:
        """What its arrows need."""
        return max(TALL, PORT * len(self.outs) + 8, 10 * len(self.ins) + 8)

    @property
    def label(self) -> str:
        """Its name for people."""
        if self.folded:
            return f"{self.folded} more {self.node.kind}" + ("" if self.folded == 1 else "s")
        return plain(self.node.label)


def draw(graph: WaitGraph, *, now: float, label: str, link: Link = lambda node: None) -> str:
    """SVG of the graph as it is ``now``; ``link`` says where a node leads to.

    Callers that wait for nothing but the same service, and servers that wait for nothing, are
    folded where there are many; those that are locked, and then those that wait longest, stay.
    """
    boxes, bundles = _bundled(graph)
    for arrow in bundles:
        boxes[arrow[0]].outs.append(arrow)
        boxes[arrow[1]].ins.append(arrow)
    arranged = arrange({key: box.height for key, box in boxes.items()}, list(bundles), gap=GAP)
    return _Picture(boxes, bundles, arranged, now).svg(label, link)


def circles(graph: WaitGraph) -> list[list[WaitEdge]]:
    """The deadlocks: for each arrow that closes a circle of locked waits the shortest way round,
    from its target back to it."""
    edges: dict[Arrow, WaitEdge] = {}
    for edge in graph.edges:
        if edge.locked:
            edges.setdefault((edge.source, edge.target), edge)
    ways: dict[str, list[Arrow]] = {}
    for arrow in edges:
        ways.setdefault(arrow[0], []).append(arrow)
    found = []
    for closing in closing_arrows([node.key for node in graph.nodes], edges):
        came: dict[str, Arrow] = {}
        todo = [closing[1]]
        for key in todo:
            for arrow in ways.get(key, ()):
                if arrow[1] not in came:
                    came[arrow[1]] = arrow
                    todo.append(arrow[1])
        circle = [closing]
        while circle[-1][0] != closing[1]:
            circle.append(came[circle[-1][0]])
        found.append([edges[arrow] for arrow in reversed(circle)])
    return found


def _bundled(graph: WaitGraph) -> tuple[dict[str, _Box], dict[Arrow, list[WaitEdge]]]:
    """What is drawn: boxes by key, and the edges between each two of them, the oldest first."""
    nodes = {node.key: node for node in graph.nodes}
    stand_in = _folded(graph, nodes)
    boxes: dict[str, _Box] = {}
    for node in graph.nodes:
        key = stand_in.get(node.key, node.key)
        if key == node.key:
            boxes[key] = _Box(key, node)
        elif key in boxes:
            boxes[key].folded += 1
        else:
            boxes[key] = _Box(key, node, folded=1)
    bundles: dict[Arrow, list[WaitEdge]] = {}
    for edge in sorted(graph.edges, key=lambda edge: edge.since):
        source = stand_in.get(edge.source, edge.source)
        target = stand_in.get(edge.target, edge.target)
        bundles.setdefault((source, target), []).append(edge)
        if edge.locked:
            boxes[source].locked = boxes[target].locked = True
    return boxes, bundles


def _folded(graph: WaitGraph, nodes: dict[str, WaitNode]) -> dict[str, str]:
    """Keys of nodes that are not drawn by themselves, with that of the box in their place."""
    targets: dict[str, set[str]] = {}
    sources: dict[str, set[str]] = {}
    rank: dict[str, tuple[bool, float]] = {}
    for edge in graph.edges:
        targets.setdefault(edge.source, set()).add(edge.target)
        sources.setdefault(edge.target, set()).add(edge.source)
        for key in (edge.source, edge.target):
            rank[key] = min(rank.get(key, (True, edge.since)), (not edge.locked, edge.since))
    alike: dict[tuple[str, str], list[str]] = {}
    for key, node in nodes.items():
        ahead, behind = targets.get(key, set()), sources.get(key, set())
        if node.kind == "caller" and len(ahead) == 1 and not behind:
            alike.setdefault(("callers", min(ahead)), []).append(key)
        elif node.kind == "server" and len(behind) == 1 and not ahead:
            alike.setdefault(("servers", min(behind)), []).append(key)
    stand_in = {}
    for (what, service), keys in alike.items():
        if len(keys) > MOST_ALIKE:
            keys.sort(key=lambda key: rank[key])
            for key in keys[MOST_ALIKE - 1 :]:
                stand_in[key] = f"{what}\0{service}"
    return stand_in


class _Picture:
    """Draws boxes and arrows at their places."""

    def __init__(
        self,
        boxes: dict[str, _Box],
        bundles: dict[Arrow, list[WaitEdge]],
        arranged: Arrangement,
        now: float,
    ) -> None:
        self._boxes = boxes
        self._bundles = bundles
        self._arranged = arranged
        self._now = now
        self._names = short_names(edge.message for edges in bundles.values() for edge in edges)
        places = arranged.places
        self._margin = 4.0 + (_side(len(arranged.back) - 1) if arranged.back else 0)
        layers = max((place.layer for place in places.values()), default=0) + 1
        self._width = 2 * self._margin + layers * BOX + (layers - 1) * BETWEEN
        self._bottom = arranged.height + 8
        # Arrows leave and reach a box in the order of where they go to and come from.
        for box in boxes.values():
            box.outs.sort(key=lambda arrow: self._toward(arrow, 0))
            box.ins.sort(key=lambda arrow: self._toward(arrow, -1))

    def svg(self, label: str, link: Link) -> str:
        """The whole picture."""
        drawn = []
        lane = 0
        for arrow in self._bundles:
            if arrow in self._arranged.back:
                drawn.append(self._back(arrow, lane))
                lane += 1
            else:
                drawn.append(self._forward(arrow))
        # The words of all arrows are above the lines of all.
        parts = [line for line, _ in drawn] + [text for _, text in drawn]
        parts += [self._box(box, link(box.node)) for box in self._boxes.values()]
        circles = len(self._arranged.back)
        told = (
            f"{_count(len(self._boxes), 'box', 'boxes')}, "
            f"{_count(len(self._bundles), 'arrow', 'arrows')}, "
            f"{_count(circles, 'of them leads', 'of them lead')} back. "
            "The table says the same."
        )
        return image(
            "".join(parts),
            width=self._width,
            height=self._bottom + LANE * lane + 8,
            class_="graph",
            title=label,
            description=told,
            role="group",
        )

    def _left(self, layer: int) -> float:
        return self._margin + layer * (BOX + BETWEEN)

    def _toward(self, arrow: Arrow, end: int) -> tuple[float, float]:
        """Where the first (0) or the last (-1) piece of an arrow comes from or goes to."""
        way = self._arranged.through.get(arrow)
        if way is None:  # it leads back, below all others
            return (1.0, 0.0)
        place = way[end] if way else self._arranged.places[arrow[1 if end == 0 else 0]]
        return (0.0, place.y)

    def _port(self, arrow: Arrow, end: int) -> float:
        """The height at which an arrow leaves (0) or reaches (1) its box."""
        box = self._boxes[arrow[end]]
        all_ = box.ins if end else box.outs
        apart = min(PORT, (box.height - 8) / len(all_))
        middle = self._arranged.places[arrow[end]].y + 4
        return middle + (all_.index(arrow) - (len(all_) - 1) / 2) * apart

    def _forward(self, arrow: Arrow) -> tuple[str, str]:
        places = self._arranged.places
        x, y = self._left(places[arrow[0]].layer) + BOX, self._port(arrow, 0)
        path = f"M{number(x)} {number(y)}"
        stops = [
            *self._arranged.through[arrow],
            Place(places[arrow[1]].layer, self._port(arrow, 1)),
        ]
        last = len(stops) - 1
        for at, stop in enumerate(stops):
            to_x = self._left(stop.layer) - (9 if at == last else 0)
            to_y = stop.y if at == last else stop.y + 4
            bend = (x + to_x) / 2
            path += f"C{number(bend)} {number(y)} {number(bend)} {number(to_y)} "
            path += f"{number(to_x)} {number(to_y)}"
            if at < last:
                path += f"h{BOX}"
                to_x += BOX
            x, y = to_x, to_y
        return self._arrow(arrow, path, x, y)

    def _back(self, arrow: Arrow, lane: int) -> tuple[str, str]:
        places = self._arranged.places
        side = _side(lane)
        x, y = self._left(places[arrow[0]].layer) + BOX, self._port(arrow, 0)
        to_x, to_y = self._left(places[arrow[1]].layer) - 9, self._port(arrow, 1)
        below = self._bottom + LANE * lane + 14
        path = (
            f"M{number(x)} {number(y)}h{number(side - 6)}q6 0 6 6V{number(below - 6)}q0 6 -6 6"
            f"H{number(to_x + 9 - side + 6)}q-6 0 -6 -6V{number(to_y + 6)}q0 -6 6 -6"
            f"H{number(to_x)}"
        )
        return self._arrow(arrow, path, to_x, to_y, at=((x + to_x) / 2, below - 5))

    def _arrow(
        self,
        arrow: Arrow,
        path: str,
        x: float,
        y: float,
        *,
        at: tuple[float, float] | None = None,
    ) -> tuple[str, str]:
        """An arrow along a path that ends at a point; and its words, at the start of its way, or
        at a point of their own."""
        edges = self._bundles[arrow]
        locked = any(edge.locked for edge in edges)
        colour = "bad" if locked else "calm"
        line = element(
            "path",
            d=path,
            class_=colour,
            stroke="currentColor",
            stroke_width=3.0 if locked else 1.5,
            fill="none",
        )
        head = f"M{number(x)} {number(y - 5)}l9 5l-9 5z"
        if locked:
            head += f"M{number(x - 9)} {number(y - 5)}l9 5l-9 5z"
        head = element("path", d=head, class_=colour, fill="currentColor")
        if at is None:
            start = self._port(arrow, 0)
            left = self._left(self._arranged.places[arrow[0]].layer) + BOX + 4
            # On the side that the arrow does not bend to.
            rises = self._toward(arrow, 0)[1] + 4 < start - 4
            # Two heads are taller than a line, and the words may be long enough to meet them.
            above = -8 if locked else -5
            text = self._words(edges, locked, left, start + (13 if rises else above), "start")
        else:
            text = self._words(edges, locked, *at, "middle")
        names = " → ".join(self._boxes[key].label for key in arrow)
        told = f"{names}: {self._said(edges)}{', locked' if locked else ''}"
        return element("g", element("title", words(told)), line, head, class_="wait"), text

    def _words(
        self, edges: Sequence[WaitEdge], locked: bool, x: float, y: float, anchor: str
    ) -> str:
        shown = _brief(self._now - edges[0].since)
        if len(edges) == 1:
            shown = f"{self._names[edges[0].message]} {shown}"
        else:
            shown = f"{len(edges)}× {shown}"
        if locked:
            shown += " locked"
        return element(
            "text",
            element("tspan", words(shown), class_="bad" if locked else "ink", fill="currentColor"),
            class_="halo",
            x=x,
            y=y,
            font_size=FONT,
            font_weight="600" if locked else None,
            text_anchor=anchor,
            stroke_width=3,
            stroke_linejoin="round",
            paint_order="stroke",
        )

    def _said(self, edges: Sequence[WaitEdge]) -> str:
        oldest = duration(self._now - edges[0].since)
        if len(edges) == 1:
            return f"message {edges[0].message} for {oldest}"
        return f"{len(edges)} messages, the oldest, {edges[0].message}, for {oldest}"

    def _box(self, box: _Box, href: str | None) -> str:
        place = self._arranged.places[box.key]
        left, top = self._left(place.layer), place.y - box.height / 2 + 4
        middle = left + BOX / 2
        service = box.node.kind == "service"
        frame = element(
            "rect",
            class_="node bad" if box.locked else "node",
            x=left,
            y=top,
            width=BOX,
            height=box.height,
            rx=0 if service else 10,
            stroke_width=2 if box.locked else 1,
        )
        bar = (
            element(
                "path",
                d=f"M{number(left + 4)} {number(top)}v{number(box.height)}",
                class_="calm",
                stroke="currentColor",
            )
            if service
            else ""
        )
        shown = cut(box.label, int((BOX - 18) / LETTER)) or "(no name)"
        y = top + box.height / 2
        texts = (
            element(
                "text",
                words(box.node.kind),
                class_="calm",
                fill="currentColor",
                x=middle,
                y=y - 5,
                font_size=10,
                text_anchor="middle",
            ),
            element(
                "text",
                words(shown),
                class_="link" if href is not None and not box.folded else "ink",
                fill="currentColor",
                x=middle,
                y=y + 11,
                font_size=FONT,
                font_weight="600",
                text_anchor="middle",
            ),
        )
        told = element("title", words(f"{box.node.kind} {box.label}"))
        if href is None or box.folded:
            return element("g", told, frame, bar, *texts)
        return element("a", told, frame, bar, *texts, href=href)


def _side(lane: int) -> float:
    """How far from a box a way back turns."""
    return 10 + SIDE * (min(lane, _MOST_SIDES - 1) + 1)


def _brief(seconds: float) -> str:
    """A duration without its smaller unit."""
    return " ".join(duration(seconds).split(" ")[:2])


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
