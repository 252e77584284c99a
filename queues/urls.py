"""The pages of the switch."""

from __future__ import annotations

from django.urls import path

from .pages import health, live, services, trace, waits

app_name = "queues"

urlpatterns = [
    path("", services.overview, name="overview"),
    path("queues/", services.queues, name="queues"),
    path("queues/<str:name>/", services.queue, name="queue"),
    path("messages/<int:id>/", services.message, name="message"),
    path("sessions/", services.sessions, name="sessions"),
    path("sessions/<int:id>/", services.session, name="session"),
    path("waits/", waits.waits, name="waits"),
    path("trace/", trace.trace, name="trace"),
    path("trace/chart.svg", trace.chart_svg, name="trace-svg"),
    path("trace/chart.mscgen", trace.chart_mscgen, name="trace-mscgen"),
    path("health/", health.health, name="health"),
    path("live/", live.not_here, name="live"),
    path("favicon.ico", services.icon, name="icon"),
]
