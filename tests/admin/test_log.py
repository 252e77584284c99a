from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.auth.models import User

from queues.admin import log
from queues.admin.actions import Action, Choice, Done, Drop, EndSession, Pause

pytestmark = pytest.mark.django_db

LONGEST = "L" * 255


@pytest.fixture
def write() -> Callable[[Action], LogEntry]:
    user = User.objects.create(username="somebody")
    return lambda action: log.begin(user, action)


def test_an_entry_says_who_and_what_before_and_the_outcome_after(
    write: Callable[[Action], LogEntry],
) -> None:
    entry = write(Drop(Choice(queue="foo", ids=(7,))))
    entry.refresh_from_db()
    assert entry.user.get_username() == "somebody"
    assert entry.object_repr == "message 7 of queue foo"
    assert entry.action_flag == DELETION
    assert entry.get_change_message() == "Drop: its outcome is not known."
    log.finish(entry, Done(sentence="Dropped it.", messages=1, left=["Not this."]))
    entry.refresh_from_db()
    assert entry.get_change_message() == "Dropped it. Not this."


def test_only_what_removes_something_is_a_deletion(write: Callable[[Action], LogEntry]) -> None:
    assert write(Pause(Choice(queue="foo"))).action_flag == CHANGE


def test_the_longest_names_fit(write: Callable[[Action], LogEntry]) -> None:
    for action in (Pause(Choice(queue=LONGEST)), EndSession(1, "\x00" * 300)):
        entry = write(action)
        assert len(entry.object_repr) == 200
        assert entry.object_repr.endswith("…")
        assert "\x00" not in entry.object_repr


def test_the_log_of_a_queue_is_that_of_its_messages_too(
    write: Callable[[Action], LogEntry],
) -> None:
    queue, message, other, session = (
        write(action)
        for action in (
            Pause(Choice(queue="foo")),
            Drop(Choice(queue="foo", ids=(7,))),
            Pause(Choice(queue="foo.bar")),
            EndSession(7, "worker"),
        )
    )
    assert list(log.entries()) == [session, other, message, queue]
    assert list(log.entries("queue/foo")) == [message, queue]
    assert list(log.entries("queue/foo/message/7")) == [message]
    assert list(log.entries("session/7")) == [session]
    assert list(log.entries("session/70")) == []


@pytest.mark.parametrize(
    ("key", "page"),
    [
        ("queue/foo", "queues/foo/"),
        ("queue/a:b@c+d~e=f", "queues/a:b@c+d~e=f/"),
        ("queue/foo/message/7", "messages/7/"),
        ("session/7", "sessions/7/"),
        ("queue/", None),
        ("queue/foo/message/x", None),
        ("session/7/", None),
        ("1", None),
    ],
)
def test_what_a_key_names_has_a_page(key: str, page: str | None) -> None:
    expected = None if page is None else f"/admin/queues/diagnostics/{page}"
    assert log.page_of(key) == expected
