"""The pages of the switch."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "queues"

urlpatterns = [
    path("", views.overview, name="overview"),
    path("queues/", views.queues, name="queues"),
    path("queues/<str:name>/", views.queue, name="queue"),
    path("messages/<int:id>/", views.message, name="message"),
    path("sessions/", views.sessions, name="sessions"),
    path("favicon.ico", views.icon, name="icon"),
]
