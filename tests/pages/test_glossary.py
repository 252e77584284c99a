"""Every figure is explained, and every explanation is of a figure."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from queues.pages.glossary import WORDS
from tests.running import Do

TEMPLATES = settings.BASE_DIR / "templates" / "queues"
ASKED = re.compile(r'{% term "(\w+)"')


def test_every_word_is_used_and_every_word_that_is_used_is_there(do: Do[Any]) -> None:
    used = {w for file in TEMPLATES.glob("*.html") for w in ASKED.findall(file.read_text())}
    used |= {usage.name for usage in do(lambda e: e.health()).usage}
    assert used == set(WORDS)


@pytest.mark.parametrize("word", WORDS.values())
def test_a_meaning_is_a_sentence(word: Any) -> None:
    assert word.meaning.endswith(".")
    assert word.label[0].isupper() or word.label[0] == "p"
    assert len(word.meaning) < 250


def test_a_page_has_the_meaning_of_each_of_its_words_once(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    for path in ("/", "/queues/", "/queues/foo/", "/sessions/", "/health/"):
        content = client.get(path).content.decode()
        for word in set(re.findall(r'popovertarget="([\w-]+)"', content)):
            assert content.count(f'id="{word}"') == 1, (path, word)
