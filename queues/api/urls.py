"""The paths of the protocol, served without Django's middleware. See ``handler``."""

from __future__ import annotations

from django.urls import path

from . import health, operators, views

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
    path(PREFIX + "queues/<str:name>/purge", operators.Purge.as_view()),
    path(PREFIX + "queues/<str:name>/replay", operators.Replay.as_view()),
    path(PREFIX + "queues/<str:name>/pause", operators.Pause.as_view()),
    path(PREFIX + "queues/<str:name>/resume", operators.Resume.as_view()),
    path(PREFIX + "queues/<str:name>/requeue", operators.Requeue.as_view()),
    path(PREFIX + "queues/<str:name>/move", operators.Move.as_view()),
    path(PREFIX + "queues/<str:name>/messages", views.Messages.as_view()),
    path(PREFIX + "queues/<str:name>/messages/<int:id>", operators.DropMessage.as_view()),
    path(PREFIX + "subscriptions/<str:name>", views.Subscription.as_view()),
    path(PREFIX + "transfer", views.Transfer.as_view()),
    path(PREFIX + "ack", views.Ack.as_view()),
    path(PREFIX + "nack", views.Nack.as_view()),
    path(PREFIX + "messages/<int:id>", operators.Message.as_view()),
    path(PREFIX + "messages/<int:id>/reply", views.Reply.as_view()),
    path(PREFIX + "call/<str:name>", views.Call.as_view()),
    path(PREFIX + "sessions/<int:id>", operators.Session.as_view()),
    path(PREFIX + "waits", operators.Waits.as_view()),
    path(PREFIX + "diagnostics", operators.Overview.as_view()),
    path(PREFIX + "trace", operators.Trace.as_view()),
    path(PREFIX + "health", operators.Health.as_view()),
    path(PREFIX + "incident", operators.Incident.as_view(), name="incident"),
]
