"""System checks, so that a wrong setting shows at start and in ``manage.py check``."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from .conf import intake, journal, limits, listen, undo_seconds


@register("queues")
def check_limits(**kwargs: Any) -> list[CheckMessage]:
    """``SWITCH_LIMITS`` names known limits and gives positive numbers."""
    try:
        limits()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="queues.E001")]
    return []


@register("queues")
def check_intake(**kwargs: Any) -> list[CheckMessage]:
    """``SWITCH_INTAKE`` names known limits and gives numbers."""
    try:
        intake()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="queues.E005")]
    return []


@register("queues")
def check_listen(**kwargs: Any) -> list[CheckMessage]:
    """``SWITCH_LISTEN`` names addresses of known kinds."""
    try:
        listen()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="queues.E002")]
    return []


@register("queues")
def check_undo_seconds(**kwargs: Any) -> list[CheckMessage]:
    """``SWITCH_UNDO_SECONDS`` is a number, 0 or more."""
    try:
        undo_seconds()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="queues.E003")]
    return []


@register("queues")
def check_journal(**kwargs: Any) -> list[CheckMessage]:
    """The settings of the journal name a mode, a time and a database that there are."""
    try:
        journal()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="queues.E004")]
    return []
