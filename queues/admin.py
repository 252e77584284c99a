"""The diagnostics page in the admin, for staff who have its permission."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from queues.core.errors import Unavailable
from queues.engines import ask

from .models import Diagnostics

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Diagnostics]
else:
    ModelAdmin = admin.ModelAdmin


@admin.register(Diagnostics)
class DiagnosticsAdmin(ModelAdmin):
    """One page to look at; nothing to add, change or delete."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Diagnostics | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Diagnostics | None = None) -> bool:
        """Nobody."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """The one page."""
        view = self.admin_site.admin_view(self.changelist_view)
        return [path("", view, name="queues_diagnostics_changelist")]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The whole switch, what needs attention first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": "Diagnostics",
            "opts": self.opts,
            **(extra_context or {}),
        }
        status = 200
        try:
            context["diagnostics"] = ask(lambda engine: engine.diagnostics())
        except (Unavailable, TimeoutError, CancelledError) as error:
            context["error"] = error
            status = 503
        return TemplateResponse(request, "admin/queues/diagnostics.html", context, status=status)
