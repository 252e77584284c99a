"""Who waits for whom: the graph of waits, and the same as a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import mark_safe

from queues.core.answers import WaitEdge, WaitNode
from queues.drawing import graph
from queues.engines import ask, get_engine

from .base import page

#: Deadlocks that are told one by one.
MOST_CIRCLES = 5
#: What the graph calls callers that it cannot tell apart.
NO_SESSION = "a caller without a session"


@dataclass(frozen=True, slots=True)
class End:
    """Somebody or something that waits or is waited for."""

    kind: str
    label: str
    address: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """One waits for another."""

    edge: WaitEdge
    source: End
    target: End


@page
def waits(request: HttpRequest) -> HttpResponse:
    """Callers, services and servers, the deadlocks first."""
    found = ask(lambda engine: engine.waits_for())
    now = get_engine().now()
    picture = graph.draw(found, now=now, label="Who waits for whom", link=address)
    circles = graph.circles(found)
    ends = {node.key: End(node.kind, node.label, address(node)) for node in found.nodes}

    def rows(edges: Iterable[WaitEdge]) -> list[Row]:
        return [Row(edge, ends[edge.source], ends[edge.target]) for edge in edges]

    context = {
        "here": "waits",
        "graph": found,
        "picture": mark_safe(picture),  # noqa: S308 -- the drawing escapes what it shows
        "circles": [rows(circle) for circle in circles[:MOST_CIRCLES]],
        "more_circles": max(0, len(circles) - MOST_CIRCLES),
        "rows": rows(sorted(found.edges, key=lambda edge: (not edge.locked, edge.since))),
        "locked": any(edge.locked for edge in found.edges),
        "now": now,
    }
    return render(request, "queues/waits.html", context)


def address(node: WaitNode) -> str | None:
    """The page of a node: of the queue, of the session, or what the caller has done lately."""
    if node.kind == "service":
        return reverse("queues:queue", args=[node.label])
    if node.session is not None:
        return reverse("queues:session", args=[node.session])
    if node.label == NO_SESSION:
        return None
    return reverse("queues:trace") + "?" + urlencode({"client": node.label})
