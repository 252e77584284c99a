"""The bounds of a switch, each with its default."""

from __future__ import annotations

from dataclasses import dataclass

#: Longest lease of an HTTP session, in seconds.
MAX_LEASE = 3600.0
#: Longest time a Transfer, a call or a trace may wait, in seconds.
MAX_WAIT = 300.0
#: Most messages in one Transfer.
MAX_BATCH = 1_000
#: Bytes of payloads and headers after which an answer takes no further message.
MAX_BATCH_BYTES = 4 * 2**20
#: Longest ttl, delay or ack timeout, in seconds (about ten years).
MAX_SECONDS = 315_360_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the switch keeps at most. Reaching a limit is a refusal with its own code."""

    payload_bytes: int = 2**20
    """UTF-8 bytes of one payload."""
    header_bytes: int = 64 * 2**10
    """UTF-8 bytes of one message's header names and values together."""
    queues: int = 100_000
    queue_length: int = 10_000_000
    """Highest ``max_length`` that a policy may ask for, and that of a queue made without one."""
    messages: int = 10_000_000
    """Messages of all queues together. A small one takes about half a kilobyte of memory, which
    ``total_bytes`` knows nothing of."""
    sessions: int = 10_000
    subscriptions: int = 10_000
    """Subscriptions of one session."""
    total_bytes: int = 2**30
    """Payloads, headers, ids and remembered keys of all messages together."""
    trace_events: int = 20_000
    trace_bytes: int = 12 * 2**20
    key_window: float = 300.0
    """Seconds for which a key is remembered."""
    undo_bytes: int = 64 * 2**20
    """What purges and destructions that can be undone may keep."""
