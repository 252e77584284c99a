"""Where the nodes of a graph go when its arrows are to run from left to right.

The usual four steps: arrows that close a circle are set aside, each node goes into the layer after
all that lead to it, the nodes of a layer are put into an order with few crossings, and each comes
as near to the middle of its neighbours as there is room. An arrow over several layers holds a
place in each between.

What no arrow connects is arranged by itself, one below the other: each would else keep a distance
that only the others need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

#: How often the order and the heights are improved.
_ROUNDS = 6

Arrow = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is: its layer from the left, and its middle from the top in pixels."""

    layer: int
    y: float


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The places of nodes, the arrows that close a circle, and what the others pass on their way:
    the layer and the height for each layer between."""

    places: dict[str, Place]
    back: list[Arrow]
    through: dict[Arrow, list[Place]]
    height: float


def arrange(heights: Mapping[str, float], arrows: Sequence[Arrow], *, gap: float) -> Arrangement:
    """Places for nodes of these heights, at least ``gap`` pixels between those of a layer.

    Circles come last, since their arrows lead back below all others.
    """
    parts = [_arranged(*part, gap) for part in _parts(heights, arrows)]
    parts.sort(key=lambda part: bool(part.back))
    places: dict[str, Place] = {}
    through: dict[Arrow, list[Place]] = {}
    top = 0.0
    for part in parts:
        places |= {node: Place(at.layer, at.y + top) for node, at in part.places.items()}
        for arrow, way in part.through.items():
            through[arrow] = [Place(at.layer, at.y + top) for at in way]
        top += part.height + gap
    return Arrangement(
        places=places,
        back=[arrow for part in parts for arrow in part.back],
        through=through,
        height=max(0.0, top - gap),
    )


def _parts(
    heights: Mapping[str, float], arrows: Sequence[Arrow]
) -> list[tuple[dict[str, float], list[Arrow]]]:
    """The nodes that arrows connect, with their heights and these arrows."""
    beside: dict[str, list[str]] = {node: [] for node in heights}
    for source, target in arrows:
        beside[source].append(target)
        beside[target].append(source)
    part_of: dict[str, int] = {}
    parts: list[tuple[dict[str, float], list[Arrow]]] = []
    for root in heights:
        if root in part_of:
            continue
        part_of[root] = len(parts)
        todo = [root]
        for node in todo:
            for each in beside[node]:
                if each not in part_of:
                    part_of[each] = len(parts)
                    todo.append(each)
        parts.append(({}, []))
    for node, height in heights.items():
        parts[part_of[node]][0][node] = height
    for arrow in arrows:
        parts[part_of[arrow[0]]][1].append(arrow)
    return parts


def _arranged(heights: Mapping[str, float], arrows: Sequence[Arrow], gap: float) -> Arrangement:
    back = dict.fromkeys(closing_arrows(list(heights), arrows))
    forward = [arrow for arrow in dict.fromkeys(arrows) if arrow not in back]
    layer_of = _layers(list(heights), forward)

    # An arrow over several layers becomes a chain of short ones, through nodes without height.
    layers: list[list[str]] = [[] for _ in range(max(layer_of.values(), default=-1) + 1)]
    for node, layer in layer_of.items():
        layers[layer].append(node)
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    chains: dict[Arrow, list[str]] = {}
    tall = dict(heights)
    for source, target in forward:
        chain = [source]
        for layer in range(layer_of[source] + 1, layer_of[target]):
            name = f"{len(chains)}\0{layer}"
            layers[layer].append(name)
            tall[name] = 0.0
            chain.append(name)
        chains[source, target] = chain[1:]
        chain.append(target)
        for one, other in pairwise(chain):
            after.setdefault(one, []).append(other)
            before.setdefault(other, []).append(one)

    _order(layers, before, after)
    ys = _spread(layers, before, after, tall, gap)
    top = min((ys[node] - tall[node] / 2 for node in ys), default=0.0)
    return Arrangement(
        places={node: Place(layer_of[node], ys[node] - top) for node in heights},
        back=list(back),
        through={
            arrow: [Place(layer_of[arrow[0]] + 1 + at, ys[name] - top) for at, name in enumerate(c)]
            for arrow, c in chains.items()
        },
        height=max((ys[node] + tall[node] / 2 for node in ys), default=0.0) - top,
    )


def closing_arrows(nodes: Sequence[str], arrows: Iterable[Arrow]) -> list[Arrow]:
    """The arrows that lead back to a node on the way to their own. Without them there is no
    circle."""
    after: dict[str, list[str]] = {}
    reached = set()
    for source, target in dict.fromkeys(arrows):
        after.setdefault(source, []).append(target)
        if source != target:
            reached.add(target)
    back = []
    done: set[str] = set()
    on_way: set[str] = set()
    for root in sorted(nodes, key=lambda node: node in reached):
        way = [(root, iter(after.get(root, ())))] if root not in done else []
        on_way.add(root)
        while way:
            node, rest = way[-1]
            following = next(rest, None)
            if following is None:
                way.pop()
                on_way.discard(node)
                done.add(node)
            elif following in on_way:
                back.append((node, following))
            elif following not in done:
                on_way.add(following)
                way.append((following, iter(after.get(following, ()))))
    return back


def _layers(nodes: Sequence[str], arrows: Sequence[Arrow]) -> dict[str, int]:
    """For each node the length of the longest way that leads to it. The arrows make no circle."""
    after: dict[str, list[str]] = {}
    left = dict.fromkeys(nodes, 0)
    for source, target in arrows:
        after.setdefault(source, []).append(target)
        left[target] += 1
    layers = dict.fromkeys(nodes, 0)
    todo = [node for node in nodes if left[node] == 0]
    for node in todo:
        for target in after.get(node, ()):
            layers[target] = max(layers[target], layers[node] + 1)
            left[target] -= 1
            if left[target] == 0:
                todo.append(target)
    return layers


_Near = Mapping[str, Sequence[str]]


def _order(layers: list[list[str]], before: _Near, after: _Near) -> None:
    """Sort each layer by the places of its neighbours, to and fro."""
    for turn in range(_ROUNDS):
        near, walk = (before, layers[1:]) if turn % 2 == 0 else (after, layers[-2::-1])
        place = {node: at for layer in layers for at, node in enumerate(layer)}
        for layer in walk:
            layer.sort(key=_middle(near, place))
            place.update((node, at) for at, node in enumerate(layer))


def _middle(near: _Near, place: Mapping[str, float]) -> Callable[[str], float]:
    """The mean place of a node's neighbours; its own where it has none."""

    def middle(node: str) -> float:
        found = near.get(node)
        return sum(place[each] for each in found) / len(found) if found else place[node]

    return middle


def _spread(
    layers: list[list[str]], before: _Near, after: _Near, tall: Mapping[str, float], gap: float
) -> dict[str, float]:
    """The middle of each node: near to its neighbours', and clear of those of its layer."""
    ys: dict[str, float] = {}
    for layer in layers:
        ys.update(_clear(layer, dict.fromkeys(layer, 0.0), tall, gap))
    for turn in range(_ROUNDS):
        near, walk = (before, layers[1:]) if turn % 2 == 0 else (after, layers[-2::-1])
        for layer in walk:
            middle = _middle(near, ys)
            ys.update(_clear(layer, {node: middle(node) for node in layer}, tall, gap))
    return ys


def _clear(
    layer: Sequence[str], wanted: Mapping[str, float], tall: Mapping[str, float], gap: float
) -> dict[str, float]:
    """Heights as near to the wanted ones as their order and the gaps allow.

    Pushing all that is too near downwards is one way, upwards another. The mean of two ways that
    keep the gaps keeps them, too.
    """
    down: list[float] = []
    for at, node in enumerate(layer):
        least = down[-1] + _apart(layer[at - 1], node, tall, gap) if at else wanted[node]
        down.append(max(wanted[node], least))
    up: list[float] = []
    for at in range(len(layer) - 1, -1, -1):
        node = layer[at]
        most = up[-1] - _apart(node, layer[at + 1], tall, gap) if up else wanted[node]
        up.append(min(wanted[node], most))
    up.reverse()
    return {node: (one + other) / 2 for node, one, other in zip(layer, down, up, strict=True)}


def _apart(one: str, other: str, tall: Mapping[str, float], gap: float) -> float:
    return (tall[one] + tall[other]) / 2 + gap
