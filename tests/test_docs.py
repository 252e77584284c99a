"""The documents say what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from django.contrib import admin
from django.urls import URLPattern

from queues import urls as pages
from queues.api import urls
from queues.api.operation import Operation, operation_of
from queues.core.errors import BY_CODE
from queues.core.limits import Limits
from queues.core.queue import Policy
from queues.engines.intake import IntakeLimits
from queues.models import Diagnostics

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "docs" / "pages.md").read_text()
#: Addresses that are no pages: what pages load, what only acts, and what leads on to another.
NO_PAGES = {"live", "icon", "undo", "change", "history"}
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()


def operations() -> list[tuple[str, Operation]]:
    """Every operation with its request line as the document writes it."""
    found = []
    for pattern in urls.urlpatterns:
        view = getattr(pattern.callback, "cls", None)
        path = re.sub(r"<\w+:(\w+)>", r"{\1}", str(pattern.pattern)).removeprefix(urls.PREFIX)
        for method in ("get", "post", "put", "patch", "delete"):
            declared = operation_of(getattr(view, method, None))
            if declared is not None:
                found.append((f"{method.upper()} {path}", declared))
    return found


@pytest.mark.parametrize(("request_line", "declared"), operations(), ids=lambda v: str(v)[:30])
def test_an_operation_is_documented_with_every_answer(
    request_line: str, declared: Operation
) -> None:
    match = re.search(rf"^#### {declared.id}\n(.*?)(?=^##|\Z)", PROTOCOL, re.DOTALL | re.MULTILINE)
    assert match is not None, declared.id
    section = match[1]
    assert f"`{request_line}" in section
    assert f"session: {declared.session}" in section
    documented = {
        int(status): set(re.findall(r"`([a-z_]+)`", answer))
        for status, answer in re.findall(r"^\| (\d{3}) \| (.*) \|$", section, re.MULTILINE)
    }
    statuses = set(declared.answers) | {error.status for error in declared.errors}
    assert set(documented) == statuses
    for error in declared.errors:
        assert error.code in documented[error.status]


def test_every_code_is_documented() -> None:
    for code in BY_CODE:
        assert f"`{code}`" in PROTOCOL, code


def test_every_limit_is_documented() -> None:
    for field in fields(Limits):
        assert f"`{field.name}`" in PROTOCOL, field.name
    for field in fields(IntakeLimits):
        assert f"| `{field.name}` | {field.default:,.0f} " in PROTOCOL, field.name
    for field in fields(Policy):
        assert f"`{field.name}`" in PROTOCOL, field.name


def test_every_page_is_described() -> None:
    def check(under: str, patterns: list[URLPattern]) -> None:
        for pattern in patterns:
            name = str(pattern.name).removeprefix("queues_diagnostics_")
            address = under + re.sub(r"<\w+:(\w+)>", r"{\1}", str(pattern.pattern))
            assert name in NO_PAGES or f"`{address}`" in PAGES, address

    check("/", pages.urlpatterns)
    diagnostics = admin.site.get_model_admin(Diagnostics)
    own = (p for p in diagnostics.get_urls() if str(p.name).startswith("queues_diagnostics_"))
    check("/admin/queues/diagnostics/", list(own))


def test_every_picture_of_a_page_is_shown_in_every_look() -> None:
    there = {path.name for path in (ROOT / "docs" / "images" / "pages").iterdir()}
    shown = re.findall(r'\[<img src="images/pages/([^"]+)"[^>]*>\]\(images/pages/([^)]+)\)', PAGES)
    assert all(picture == opened for picture, opened in shown)
    assert {picture for picture, _ in shown} == there
    names = {re.sub(r"-(desktop|phone)-(light|dark)\.webp$", "", name) for name in there}
    looks = ("desktop-light", "desktop-dark", "phone-light", "phone-dark")
    assert there == {f"{name}-{look}.webp" for name in names for look in looks}


@pytest.mark.parametrize("path", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=str)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), target
