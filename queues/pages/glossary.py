"""What the words and figures of the pages mean, each in a sentence or two."""

from __future__ import annotations

from typing import NamedTuple


class Word(NamedTuple):
    """How a figure is called, and what it says."""

    label: str
    meaning: str


WORDS: dict[str, Word] = {
    # -- how things are
    "level": Word(
        "Verdict",
        "Stuck: nothing goes on by itself. Warning: worth a look. OK: as it should be.",
    ),
    "service": Word(
        "Service",
        "How the servers of the queue are doing: running, stopped in order, crashed or deadlocked "
        "(all are past the time of their next Transfer), or never started.",
    ),
    "stuck_calls": Word(
        "Stuck calls",
        "Calls whose callers wait now and for which something is wrong, the longest waiting first.",
    ),
    # -- messages
    "ready": Word("Ready", "Messages that wait for a server to take them."),
    "held": Word(
        "Held", "Messages handed to a server that has neither acked nor answered them yet."
    ),
    "delayed": Word("Delayed", "Messages that become ready at a later time."),
    "dead": Word(
        "Dead",
        "Messages that gave up: handed out too often, rejected, or expired. They are kept in their "
        "queue to look at and to replay.",
    ),
    "age": Word("Age", "Time since the message was sent."),
    "oldest": Word("Oldest", "How long ago the oldest message that is not dead was sent."),
    "oldest_ready": Word("Oldest ready", "How long ago the oldest ready message was sent."),
    "caller": Word(
        "Caller",
        "Whether somebody still waits for the reply. Gone: nobody would read it.",
    ),
    "sender": Word("Sender", "The client whose session sent it."),
    "deliveries": Word(
        "Deliveries",
        "How often the message has been handed to a server. More than 1: it came back.",
    ),
    "correlation_id": Word(
        "Correlation id", "What the sender marks a request with to find its reply."
    ),
    "reply_to": Word("Reply to", "The queue or the call that the reply goes to."),
    "key": Word("Key", "Names the sending: repeated with the same key, nothing is sent again."),
    "expires": Word(
        "Expires", "When the message is dropped, or dead, if nobody has taken it before."
    ),
    "size": Word("Size", "Bytes of payload, headers and ids."),
    "tree": Word(
        "Call tree",
        "The calls that were made while serving this request, and the request that it was made "
        "for, as their callers told the switch.",
    ),
    # -- queues
    "servers": Word("Servers", "Sessions that are subscribed to the queue."),
    "sent": Word("Sent", "Messages that have come into the queue since it was made."),
    "delivered": Word("Handed over", "Hand-overs to servers since the queue was made."),
    "acked": Word("Finished", "Messages acked or answered since the queue was made."),
    "refused": Word("Refused", "Messages that were not taken because the queue was full."),
    "bytes": Word("Bytes", "What the messages of the queue take in the memory of the switch."),
    "kind": Word(
        "Kind",
        "Persistent: there until it is destroyed. Transient: ends with the session that made it.",
    ),
    "max_length": Word("Most messages", "With this many messages the queue takes no more."),
    "ttl": Word("Time to live", "How long a message may wait, unless its sender says otherwise."),
    "on_expire": Word("When that ends", "What happens to a message whose time has run out."),
    "ack_timeout": Word(
        "Ack timeout", "How long a server may hold a message before it goes to another."
    ),
    "max_deliveries": Word(
        "Most deliveries", "After so many hand-overs without an ack a message is dead."
    ),
    "max_dead": Word("Most dead", "Of more dead messages than this the oldest are dropped."),
    # -- rates and times
    "sent_rate": Word(
        "Sent/s", "Messages that come in, a second. What is a minute ago counts little."
    ),
    "finished_rate": Word(
        "Done/s", "Messages acked or answered, a second. What is a minute ago counts little."
    ),
    "queued": Word(
        "Queued", "From being ready to the hand-over to a server, over the last 5 to 10 minutes."
    ),
    "handled": Word(
        "Handled",
        "From the hand-over to the ack or the reply, over the last 5 to 10 minutes.",
    ),
    "picked_up": Word(
        "Picked up",
        "From the reply to its receipt, for replies that go through a queue. A call gets its reply "
        "at once.",
    ),
    "p50": Word("p50", "The median: half of the messages took at most this long."),
    "p95": Word("p95", "19 of 20 messages took at most this long."),
    "p99": Word("p99", "99 of 100 messages took at most this long."),
    "method": Word("Method", "The method that JSON-RPC requests name, and how many there were."),
    # -- sessions
    "client": Word("Client", "The name that the client gave when it logged in."),
    "lease": Word("Lease", "How long the session outlives its last sign of life."),
    "transferring": Word("Transfers open", "Requests of the client that wait for messages now."),
    "last_seen": Word("Last seen", "When the client last asked for something; now if it waits."),
    "since": Word("Logged in", "How long ago the session began."),
    "holds": Word("Holds", "Messages that it has got and neither acked nor answered yet."),
    "waits_for": Word(
        "Waits for", "Calls that it made while serving, and whose replies it waits for."
    ),
    "subscriptions": Word("Subscriptions", "The queues whose messages it asks for."),
    "owned": Word("Own queues", "Its transient queues. They end with it."),
    # -- the switch
    "uptime": Word("Up for", "Time since the switch started."),
    "journal": Word(
        "Journal",
        "How persistent queues and their messages are kept in the database. Off: they end with the "
        "process. Commit: nothing is answered before it is kept. Interval: a crash loses the last "
        "moments.",
    ),
    "callers": Word("Callers waiting", "Calls whose callers wait for their replies now."),
    "reply_queues": Word(
        "Transient queues", "Queues that end with their sessions, often for replies."
    ),
    "memory": Word("Memory", "What the process of the switch takes of the machine's memory."),
    "cpu": Word("CPU", "Seconds of processor time since the start, and their share of all time."),
    "loop_lag": Word(
        "Loop lag",
        "How late the event loop was when it was last due. While it is late everybody waits.",
    ),
    "worst_loop_lag": Word(
        "Worst lag", "The longest that the event loop was late, in the last minutes."
    ),
    "descriptors": Word(
        "Descriptors", "Open files and connections, of as many as the system allows."
    ),
    "tasks": Word("Tasks", "Requests and streams that are being served."),
    "threads": Word("Threads", "Threads of the process. Waiting requests take none."),
    "trace_dropped": Word(
        "Events forgotten",
        "Events that the trace has dropped since the start to stay within its limits. Messages "
        "whose events are gone are explained less well.",
    ),
    "queues": Word("Queues", "Queues of both kinds."),
    "sessions": Word("Sessions", "Clients that are logged in."),
    "messages": Word("Messages", "Messages of all queues together, dead ones included."),
    "total_bytes": Word(
        "Total bytes", "What the texts of all messages and remembered keys take together."
    ),
    "undo_bytes": Word("Undo bytes", "What purges and destructions keep that can be undone."),
    "trace_events": Word(
        "Trace events", "The last things that happened, kept to explain messages."
    ),
    "trace_bytes": Word("Trace bytes", "What these events take."),
    "connections": Word("Connections", "Open streams, and requests of the API under way."),
    "receiving_bytes": Word(
        "Receiving bytes", "What has come of requests and frames that are not complete yet."
    ),
    # -- trace and waits
    "locked": Word(
        "Locked",
        "Part of a deadlock, or waiting for one: it never goes on by itself, however long one "
        "waits.",
    ),
    "waiting_time": Word(
        "For how long",
        "Since the call was made, or since the server was handed the message.",
    ),
}
