"""The pages of the switch."""

from __future__ import annotations

from django.urls import URLPattern

app_name = "queues"

urlpatterns: list[URLPattern] = []
