"""The paths of the protocol, served without Django's middleware. See ``handler``."""

from __future__ import annotations

from django.urls import path

from . import health, views

app_name = "switch-api"
PREFIX = "api/v1/"

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
    path(PREFIX + "login", views.Login.as_view()),
    path(PREFIX + "logout", views.Logout.as_view()),
    path(PREFIX + "touch", views.Touch.as_view()),
    path(PREFIX + "queues", views.Queues.as_view()),
    path(PREFIX + "queues/<str:name>", views.Queue.as_view()),
    path(PREFIX + "queues/<str:name>/purge", views.Purge.as_view()),
    path(PREFIX + "queues/<str:name>/replay", views.Replay.as_view()),
    path(PREFIX + "queues/<str:name>/messages", views.Messages.as_view()),
    path(PREFIX + "queues/<str:name>/messages/<int:id>", views.DropMessage.as_view()),
    path(PREFIX + "subscriptions/<str:name>", views.Subscription.as_view()),
    path(PREFIX + "transfer", views.Transfer.as_view()),
    path(PREFIX + "ack", views.Ack.as_view()),
    path(PREFIX + "nack", views.Nack.as_view()),
    path(PREFIX + "messages/<int:id>", views.Message.as_view()),
    path(PREFIX + "messages/<int:id>/reply", views.Reply.as_view()),
    path(PREFIX + "call/<str:name>", views.Call.as_view()),
    path(PREFIX + "diagnostics", views.Overview.as_view()),
    path(PREFIX + "trace", views.Trace.as_view()),
]
