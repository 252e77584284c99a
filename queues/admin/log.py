"""The admin's log of what operators did."""

from __future__ import annotations

import re

from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet
from django.urls import reverse

from queues.models import Diagnostics

from .actions import Action, Done

_KEY = re.compile(r"queue/(?P<queue>[^/]+)(/message/(?P<message>\d+))?|session/(?P<session>\d+)")


def begin(user: AbstractBaseUser | AnonymousUser, action: Action) -> LogEntry:
    """Write down what is about to be done, so that nothing is done that could not be."""
    assert user.pk is not None  # somebody is logged in
    return LogEntry.objects.create(
        user_id=user.pk,
        content_type=ContentType.objects.get_for_model(Diagnostics),
        object_id=action.target.key,
        object_repr=_cut(action.target.label),
        action_flag=DELETION if action.removes else CHANGE,
        change_message=f"{action.verb}: its outcome is not known.",
    )


def finish(entry: LogEntry, done: Done) -> None:
    """Write down what was done."""
    entry.change_message = " ".join([done.sentence, *done.left])
    entry.save(update_fields=["change_message"])


def entries(key: str = "") -> QuerySet[LogEntry]:
    """The log, the newest first: of everything, or of a queue with its messages, or a session."""
    found = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(Diagnostics))
    if key:
        found = found.filter(Q(object_id=key) | Q(object_id__startswith=f"{key}/"))
    return found.select_related("user").order_by("-action_time", "-pk")


def page_of(key: str) -> str | None:
    """The address of what a key of the log names; None if it names nothing."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    if match["session"]:
        return reverse("admin:queues_diagnostics_session", args=(match["session"],))
    if match["message"]:
        return reverse("admin:queues_diagnostics_message", args=(match["message"],))
    return reverse("admin:queues_diagnostics_queue", args=(match["queue"],))


def _cut(label: str) -> str:
    """A label that fits into its column."""
    return label if len(label) <= 200 else label[:199] + "…"
