"""Requests and answers as the API documents show them; a test reads each with its type."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from queues.core.limits import Limits

MESSAGE_ID = 1_889_785_610_240_000
NOW = 1_802_240_000.0

LOGIN = {"client": "thumbnailer-4711", "lease": 30}
LOGIN_RESULT = {
    "session": "9rT1yq0mO3vJ6b2kX8sD5wHcFzLnA4eP",
    "client": "thumbnailer-4711",
    "lease": 30.0,
    "instance": 1895825408000000,
}
IDS = {"ids": [MESSAGE_ID]}
NACK = {"ids": [MESSAGE_ID], "delay": 5, "requeue": True}
ACK_RESULT: Any = {"acked": [MESSAGE_ID], "unknown": [], "not_held": []}
NACK_RESULT: Any = {"released": [MESSAGE_ID], "unknown": [], "not_held": []}
TOUCH_RESULT: Any = {"touched": [MESSAGE_ID], "unknown": [], "not_held": []}
POLICY = {"policy": {"max_length": 1000, "ack_timeout": 60}}
QUEUE_CREATED = {"name": "thumbnails", "created": True}
FRESH_QUEUE = {"name": f"fresh.{MESSAGE_ID}", "created": True}
VERDICT: dict[str, Any] = {
    "code": "never_started",
    "level": "stuck",
    "sentence": "The message has waited for 2.5 s; no server has ever subscribed to thumbnails.",
    "next_step": "Start a server for thumbnails.",
    "evidence": {"queue": "thumbnails", "since": NOW - 2.5},
    "also": [],
}
HELD: dict[str, Any] = {
    "code": "held",
    "level": "ok",
    "sentence": "thumbnailer-4711 has been working on the message for 2.5 s; it is connected, and "
    "has made no call for it that the switch knows of.",
    "next_step": "Wait for thumbnailer-4711, or see what it is doing.",
    "evidence": {
        "holder": "thumbnailer-4711",
        "since": NOW - 2.5,
        "last_seen": NOW,
        "delivery_count": 1,
        "ack_timeout": None,
    },
    "also": [],
}
PAUSED: dict[str, Any] = {
    "code": "paused",
    "level": "warning",
    "sentence": "An operator paused thumbnails 3 min 20 s ago: it takes messages and hands none "
    "out.",
    "next_step": "Resume the queue: POST queues/thumbnails/resume.",
    "evidence": {"queue": "thumbnails", "since": NOW - 200.0, "ready": 0},
    "also": [{"code": "held", "sentence": HELD["sentence"]}],
}
QUEUE_FULL: dict[str, Any] = {
    "code": "queue_full",
    "level": "stuck",
    "sentence": "thumbnails is full: it holds 1,000 messages, its max_length; 3 messages were "
    "refused, the last 0.0 s ago.",
    "next_step": "Start more servers, let senders wait, or raise max_length: "
    "PATCH queues/thumbnails.",
    "evidence": {
        "queue": "thumbnails",
        "length": 1000,
        "max_length": 1000,
        "refused": 3,
        "last_refused_at": NOW,
    },
    "also": [],
}
NO_SERVER: dict[str, Any] = {
    "code": "server_left",
    "level": "stuck",
    "sentence": "thumbnails has had 1 server, and the last, thumbnailer-4711, left 3 min 20 s ago "
    "(logout).",
    "next_step": "Start a server for thumbnails again.",
    "evidence": {
        "queue": "thumbnails",
        "client": "thumbnailer-4711",
        "left_at": NOW - 200.0,
        "reason": "logout",
        "servers_ever": 1,
    },
    "also": [],
}
QUEUE: dict[str, Any] = {
    "name": "thumbnails",
    "kind": "persistent",
    "owner": None,
    "status": "running",
    "verdict": HELD,
    "paused": False,
    "ready": 0,
    "delayed": 0,
    "held": 1,
    "dead": 0,
    "consumers": 1,
    "waiting": 0,
    "oldest_at": None,
    "bytes": 34,
    "sent": 19,
    "delivered": 19,
    "acked": 18,
    "refused": 0,
    "created_at": NOW - 3600.0,
    "policy": {
        "max_length": 100000,
        "ttl": None,
        "ack_timeout": None,
        "max_deliveries": None,
        "on_expire": "drop",
        "max_dead": 1000,
    },
}
PAUSED_QUEUE = {**QUEUE, "verdict": PAUSED, "paused": True}
QUEUE_LIST = {"queues": [QUEUE], "next": None}
SEND = {
    "payload": "hello",
    "correlation_id": "42",
    "reply_to": f"fresh.{MESSAGE_ID}",
    "key": "order-7",
}
SEND_RESULT = {"id": MESSAGE_ID, "created": True}
MESSAGE: dict[str, Any] = {
    "id": MESSAGE_ID,
    "queue": "thumbnails",
    "state": "ready",
    "since": NOW - 2.5,
    "payload": "hello",
    "payload_cut": False,
    "size": 17,
    "correlation_id": "42",
    "reply_to": f"fresh.{MESSAGE_ID}",
    "headers": {},
    "key": None,
    "error": None,
    "sender": "shop-12",
    "sent_at": NOW - 2.5,
    "expires_at": NOW + 27.5,
    "delivery_count": 0,
    "holder": None,
    "caller": "waiting",
    "due_at": None,
    "cause": None,
}
MESSAGE_LIST = {"messages": [MESSAGE], "next": None, "stopped": False}
TRANSFER = {
    "after": MESSAGE_ID + 1,
    "timeout": 20,
    "limit": 10,
    "replies": [{"id": MESSAGE_ID, "payload": "done"}],
}
TRANSFER_RESULT = {
    "messages": [
        {
            "id": MESSAGE_ID + 7,
            "delivery": MESSAGE_ID + 8,
            "queue": "thumbnails",
            "payload": "hello",
            "correlation_id": "42",
            "reply_to": f"fresh.{MESSAGE_ID}",
            "headers": {},
            "key": None,
            "sender": "shop-12",
            "sent_at": NOW - 0.2,
            "expires_at": None,
            "delivery_count": 1,
            "error": None,
        }
    ],
    "next": MESSAGE_ID + 8,
    "superseded": False,
    "acks": None,
    "replies": [
        {"request": MESSAGE_ID, "id": MESSAGE_ID + 6, "state": None, "code": None, "detail": None}
    ],
}
CALL = {"payload": "hello", "timeout": 10}
CALL_RESPONSE = {
    "id": MESSAGE_ID + 6,
    "request": MESSAGE_ID,
    "payload": "hello",
    "correlation_id": str(MESSAGE_ID),
    "headers": {},
    "sender": "thumbnailer-4711",
    "sent_at": NOW,
    "error": None,
}
EVENT = {
    "number": MESSAGE_ID,
    "at": NOW - 2.5,
    "kind": "sent",
    "queue": "thumbnails",
    "message": MESSAGE_ID,
    "client": "shop-12",
    "detail": "hello",
    "parent": MESSAGE_ID - 9,
}
TREE: dict[str, Any] = {
    "id": MESSAGE_ID - 9,
    "queue": "albums",
    "sent_at": NOW - 3.0,
    "caller": "browser-1",
    "state": "held",
    "holder": "shop-12",
    "waiting": True,
    "calls": [
        {
            "id": MESSAGE_ID,
            "queue": "thumbnails",
            "sent_at": NOW - 2.5,
            "caller": "shop-12",
            "state": "ready",
            "holder": None,
            "waiting": True,
            "calls": [],
        }
    ],
}
MESSAGE_REPORT = {
    "id": MESSAGE_ID,
    "message": MESSAGE,
    "verdict": VERDICT,
    "events": [EVENT],
    "tree": TREE,
}
TRACE = {"events": [EVENT], "next": MESSAGE_ID, "dropped": 0}
SESSION: dict[str, Any] = {
    "id": MESSAGE_ID - 100,
    "client": "thumbnailer-4711",
    "lease": 30.0,
    "verdict": {
        "code": "working",
        "level": "ok",
        "sentence": "thumbnailer-4711 holds 1 message, the oldest for 2.5 s.",
        "next_step": "Wait, or see what it is doing.",
        "evidence": {
            "client": "thumbnailer-4711",
            "since": NOW - 60.0,
            "last_seen": NOW,
            "held": 1,
            "subscriptions": 1,
            "lease": 30.0,
            "oldest_held": MESSAGE_ID,
            "oldest_held_since": NOW - 2.5,
        },
        "also": [],
    },
    "since": NOW - 60.0,
    "last_seen": NOW,
    "transferring": 1,
    "overdue": False,
    "subscriptions": ["thumbnails"],
    "held": 1,
    "holding": [{"id": MESSAGE_ID, "queue": "thumbnails", "since": NOW - 2.5}],
    "calls": [],
    "owned": [],
}
WAITS: dict[str, Any] = {
    "nodes": [
        {"key": "caller shop-12", "kind": "caller", "label": "shop-12", "session": None},
        {"key": "queue thumbnails", "kind": "service", "label": "thumbnails", "session": None},
        {
            "key": f"session {MESSAGE_ID - 100}",
            "kind": "server",
            "label": "thumbnailer-4711",
            "session": MESSAGE_ID - 100,
        },
    ],
    "edges": [
        {
            "source": "caller shop-12",
            "target": "queue thumbnails",
            "message": MESSAGE_ID,
            "since": NOW - 2.6,
            "locked": False,
        },
        {
            "source": "queue thumbnails",
            "target": f"session {MESSAGE_ID - 100}",
            "message": MESSAGE_ID,
            "since": NOW - 2.5,
            "locked": False,
        },
    ],
    "left_out": 0,
}
USAGE = [{"name": "queues", "used": 2, "limit": 100000}]
QUANTILES = {"count": 18, "p50": 0.002, "p95": 0.011, "p99": 0.02}
NOTHING = {"count": 0, "p50": None, "p95": None, "p99": None}
TIMING: dict[str, Any] = {
    "queued": QUANTILES,
    "handled": QUANTILES,
    "picked_up": NOTHING,
    "sent_rate": 0.06,
    "finished_rate": 0.06,
    "methods": [{"method": "thumbnail.make", "handled": QUANTILES, "total": 18}],
}
DIAGNOSTICS: Any = {
    "now": NOW,
    "started_at": NOW - 3600.0,
    "services": [
        {
            "queue": QUEUE,
            "consumers": ["thumbnailer-4711"],
            "messages": [MESSAGE],
            "timing": TIMING,
        },
    ],
    "services_left_out": 0,
    "reply_queues": 1,
    "calls": 1,
    "stuck": [
        {
            "id": MESSAGE_ID,
            "queue": "thumbnails",
            "caller": "shop-12",
            "since": NOW - 2.5,
            "verdict": VERDICT,
        }
    ],
    "sessions": [SESSION],
    "sessions_left_out": 0,
    "usage": USAGE,
}
HEALTH: dict[str, Any] = {
    "now": NOW,
    "started_at": NOW - 3600.0,
    "version": "0.1.0",
    "memory": 70_000_000,
    "cpu": 12.5,
    "descriptors": 24,
    "descriptor_limit": 1024,
    "threads": 1,
    "tasks": 5,
    "loop_lag": 0.0002,
    "worst_loop_lag": 0.004,
    "journal": "commit",
    "store_down_since": None,
    "trace_dropped": 0,
    "usage": USAGE,
    "history": [
        {
            "at": NOW - 1.0,
            "sent": 40,
            "delivered": 39,
            "finished": 38,
            "memory": 70_000_000,
            "loop_lag": 0.0002,
        }
    ],
}
INCIDENT: dict[str, Any] = {
    "format": 1,
    "at": NOW,
    "surroundings": {
        "python": "3.11.7",
        "system": "Linux 6.1.0 x86_64",
        "packages": {"django-message-switch": "0.1.0", "django": "5.2.19"},
        "servers": ["daphne"],
        "debug": False,
        "listen": ["unix:///run/switch.sock"],
    },
    "limits": asdict(Limits()),
    "health": HEALTH,
    "diagnostics": DIAGNOSTICS,
    "waits_for": WAITS,
    "queues": [QUEUE],
    "more_queues": False,
    "trace": [{**EVENT, "detail": "(left out)"}],
}

#: What some refusals carry beside code and detail.
REFUSALS: dict[str, dict[str, Any]] = {
    "timeout": {"id": MESSAGE_ID, "verdict": VERDICT},
    "handler_failed": {
        "id": MESSAGE_ID,
        "error": {"code": "exit_1", "detail": "no such picture"},
    },
    "no_server": {"verdict": NO_SERVER},
    "queue_full": {"retry_after": 1, "verdict": QUEUE_FULL},
    **{
        code: {"retry_after": 1}
        for code in (
            "switch_full",
            "too_many_queues",
            "too_many_sessions",
            "too_many_subscriptions",
            "rate_limited",
            "too_many_connections",
        )
    },
}
