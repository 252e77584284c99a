"""What a page shows, for tests of pages."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from django.test import Client

from queues.core.messages import Draft
from tests.running import Do

SCRIPT = "<script>alert(1)</script>"


def live(client: Client, path: str, status: int = 200) -> str:
    """The part of a page that follows the switch, as markup."""
    answer = client.get(path)
    assert answer.status_code == status, path
    content = answer.content.decode()
    start = content.index('<div id="live"')
    return content[start : content.index('<div class="word"', start)]


def text(client: Client, path: str, status: int = 200) -> str:
    """The same without its tags, every white space a single blank."""
    return plain(live(client, path, status))


def plain(markup: str) -> str:
    """Markup without its tags, every white space a single blank."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", markup)))


def send(do: Do[Any], queue: str, payload: str = "hello", **fields: Any) -> int:
    """The id of a new message."""
    sent = do(lambda e: e.send(queue, Draft(payload=payload, **fields)))
    return int(sent.id)


def login(do: Do[Any], client: str, *queues: str, lease: float = 60) -> str:
    """The token of a new session, subscribed to queues that are made where they are not."""
    token = str(do(lambda e: e.login(client, lease)).session)
    for name in queues:
        do(lambda e, name=name: e.create_queue(name))
        do(lambda e, name=name: e.subscribe(name, session=token))
    return token
