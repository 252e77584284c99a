from __future__ import annotations

from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client

from queues import admin
from queues.core.messages import Draft
from queues.models import Diagnostics
from tests.running import Do, running_switch

PATH = "/admin/queues/diagnostics/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def do() -> Iterator[Do[Any]]:
    with running_switch() as do:
        yield do


@pytest.fixture
def client_of(client: Client) -> Callable[..., Client]:
    """A client logged in as a new user, with or without the permission."""

    def log_in(*, permitted: bool = False, **fields: bool) -> Client:
        user = User.objects.create(username="somebody", **fields)
        if permitted:
            user.user_permissions.add(Permission.objects.get(codename="view_diagnostics"))
        client.force_login(user)
        return client

    return log_in


def test_staff_with_the_permission_see_the_switch(
    client_of: Callable[..., Client], do: Do[Any]
) -> None:
    do(lambda e: e.create_queue("foo"))
    do(lambda e: e.send("foo", Draft(payload="<script>hello</script>")))
    answer = client_of(is_staff=True, permitted=True).get(PATH)
    assert answer.status_code == 200
    assert "Called but never started" in answer.text
    assert "&lt;script&gt;hello" in answer.text
    assert "<script>hello" not in answer.text


def test_superusers_see_the_switch(client_of: Callable[..., Client], do: Do[Any]) -> None:
    assert client_of(is_staff=True, is_superuser=True).get(PATH).status_code == 200


def test_staff_without_the_permission_are_refused(
    client_of: Callable[..., Client], do: Do[Any]
) -> None:
    client = client_of(is_staff=True)
    assert client.get(PATH).status_code == 403
    assert "diagnostics" not in client.get("/admin/").text


@pytest.mark.parametrize("known", [True, False])
def test_others_are_sent_to_the_login(
    client: Client, client_of: Callable[..., Client], do: Do[Any], known: bool
) -> None:
    if known:
        client_of(permitted=True)
    answer = client.get(PATH)
    assert answer.status_code == 302
    assert answer["Location"] == f"/admin/login/?next={PATH}"


@pytest.mark.parametrize("path", ["add/", "1/change/", "1/delete/", "1/history/"])
def test_there_is_nothing_to_change(
    client_of: Callable[..., Client], do: Do[Any], path: str
) -> None:
    client = client_of(is_staff=True, is_superuser=True)
    assert client.get(PATH + path).status_code == 404


def test_the_index_links_the_page_and_offers_no_change(
    client_of: Callable[..., Client], do: Do[Any]
) -> None:
    index = client_of(is_staff=True, is_superuser=True).get("/admin/").text
    assert f'href="{PATH}"' in index
    assert f'href="{PATH}add/"' not in index


def test_without_a_switch_the_page_says_so(client_of: Callable[..., Client]) -> None:
    answer = client_of(is_staff=True, permitted=True).get(PATH)
    assert answer.status_code == 503
    assert "No switch runs in this process" in answer.text


def test_a_stuck_event_loop_is_no_crash(
    client_of: Callable[..., Client], do: Do[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(operation: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(admin, "ask", stuck)
    answer = client_of(is_staff=True, permitted=True).get(PATH)
    assert answer.status_code == 503
    assert "did not answer in time" in answer.text


def test_the_only_permission_is_to_look() -> None:
    found = Permission.objects.filter(content_type__app_label="queues")
    assert [permission.codename for permission in found] == ["view_diagnostics"]


def test_the_model_has_no_rows_and_needs_no_table() -> None:
    assert list(Diagnostics.objects.all()) == []
    assert str(Diagnostics()) == "diagnostics"
    for arguments in (["queues"], ["queues", "--all"]):
        out = StringIO()
        call_command("dumpdata", *arguments, stdout=out)
        assert out.getvalue() == "[]\n" or out.getvalue() == "[]"


def test_the_migrations_are_complete() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
