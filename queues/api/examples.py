"""Requests and answers as the API documents show them; a test reads each with its type."""

from __future__ import annotations

from typing import Any

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
QUEUE: dict[str, Any] = {
    "name": "thumbnails",
    "kind": "persistent",
    "owner": None,
    "status": "running",
    "ready": 1,
    "delayed": 0,
    "held": 1,
    "dead": 0,
    "consumers": 1,
    "waiting": 0,
    "oldest_at": NOW - 2.5,
    "bytes": 34,
    "sent": 20,
    "delivered": 19,
    "acked": 18,
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
MESSAGE_LIST = {"messages": [MESSAGE], "next": None}
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
VERDICT = {
    "code": "never_started",
    "sentence": "The message has waited for 2.5 s; no server has ever subscribed to thumbnails.",
    "next_step": "Start a server for thumbnails.",
    "evidence": {"sent_at": NOW - 2.5, "ready": 1, "held": 0, "delivery_count": 0},
}
EVENT = {
    "number": MESSAGE_ID,
    "at": NOW - 2.5,
    "kind": "sent",
    "queue": "thumbnails",
    "message": MESSAGE_ID,
    "client": "shop-12",
    "detail": "hello",
}
MESSAGE_REPORT = {"id": MESSAGE_ID, "message": MESSAGE, "verdict": VERDICT, "events": [EVENT]}
TRACE = {"events": [EVENT], "next": MESSAGE_ID, "dropped": 0}
DIAGNOSTICS: Any = {
    "now": NOW,
    "started_at": NOW - 3600.0,
    "services": [
        {"queue": QUEUE, "consumers": ["thumbnailer-4711"], "messages": [MESSAGE]},
    ],
    "services_left_out": 0,
    "reply_queues": 1,
    "calls": 1,
    "sessions": [
        {
            "client": "thumbnailer-4711",
            "lease": 30.0,
            "since": NOW - 60.0,
            "last_seen": NOW,
            "transferring": 1,
            "overdue": False,
            "subscriptions": ["thumbnails"],
            "held": 1,
            "owned": [],
        }
    ],
    "sessions_left_out": 0,
    "usage": [{"name": "queues", "used": 2, "limit": 100000}],
}

#: What some refusals carry beside code and detail.
REFUSALS: dict[str, dict[str, Any]] = {
    "timeout": {"id": MESSAGE_ID, "verdict": VERDICT},
    "handler_failed": {
        "id": MESSAGE_ID,
        "error": {"code": "exit_1", "detail": "no such picture"},
    },
    **{
        code: {"retry_after": 1}
        for code in ("queue_full", "switch_full", "too_many_queues", "too_many_sessions")
    },
}
