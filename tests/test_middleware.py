from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.test import Client, RequestFactory

from queues.middleware import POLICY, content_security_policy


def test_the_policy_allows_nothing_inline_and_no_other_host() -> None:
    directives = dict(part.strip().split(" ", 1) for part in POLICY.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["frame-ancestors"] == "'none'"
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    assert "*" not in POLICY


@pytest.mark.parametrize("path", ["/", "/nothing/", "/api/v1/docs/", "/static/queues/page.css"])
def test_every_page_carries_it(client: Client, path: str) -> None:
    assert client.get(path)["Content-Security-Policy"] == POLICY


def test_a_page_of_a_foreign_host_carries_it_too(client: Client) -> None:
    answer = client.get("/", headers={"host": "evil.example"})
    assert answer.status_code == 400
    assert answer["Content-Security-Policy"] == POLICY
    assert b"names a host that is not served here" in answer.content


def test_a_view_may_set_its_own() -> None:
    def view(request: object) -> HttpResponse:
        return HttpResponse(headers={"Content-Security-Policy": "sandbox"})

    answer = content_security_policy(view)(RequestFactory().get("/"))
    assert answer["Content-Security-Policy"] == "sandbox"
