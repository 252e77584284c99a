"""The numbers of a switch in the forms that Prometheus reads.

What has no label goes through prometheus_client. A thousand queues have some twenty thousand
samples, which would take it a hundred milliseconds of the event loop: those are written here, in
pieces, with others getting their turn in between. Names of queues need no escaping.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client import exposition as text_format
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from queues.core.answers import Quantiles, Timing
from queues.core.metrics import Metrics, QueueNumbers, Sum

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"

LEVELS = {"ok": 0, "warning": 1, "stuck": 2}
STATES = ("ready", "held", "delayed", "dead")


@dataclass(frozen=True)
class Family:
    """A metric of every queue. ``samples`` gives, for one queue, what follows ``queue="..."`` among
    the labels, and the value."""

    name: str
    kind: str
    help: str
    samples: Callable[[QueueNumbers], Iterable[tuple[str, float]]]


def _one(
    value: Callable[[QueueNumbers], float],
) -> Callable[[QueueNumbers], list[tuple[str, float]]]:
    return lambda queue: [("", value(queue))]


def _quantiles(
    which: Callable[[Timing], Quantiles],
) -> Callable[[QueueNumbers], list[tuple[str, float]]]:
    def samples(queue: QueueNumbers) -> list[tuple[str, float]]:
        if queue.timing is None:
            return []
        found = which(queue.timing)
        values = (("0.5", found.p50), ("0.95", found.p95), ("0.99", found.p99))
        return [(f',quantile="{q}"', value) for q, value in values if value is not None]

    return samples


QUEUE_FAMILIES = (
    Family(
        "switch_queue_messages",
        "gauge",
        "Messages in the queue, by state.",
        lambda q: [(f',state="{state}"', getattr(q, state)) for state in STATES],
    ),
    Family(
        "switch_queue_bytes",
        "gauge",
        "Bytes that the messages of the queue take.",
        _one(lambda q: q.bytes),
    ),
    Family(
        "switch_queue_consumers",
        "gauge",
        "Sessions that consume the queue.",
        _one(lambda q: q.consumers),
    ),
    Family(
        "switch_queue_oldest_seconds",
        "gauge",
        "How long ago the oldest ready message was sent; 0 if there is none.",
        _one(lambda q: 0 if q.oldest_at is None else q.at - q.oldest_at),
    ),
    Family(
        "switch_queue_level",
        "gauge",
        "How urgent the verdict on the queue is: 0 ok, 1 warning, 2 stuck.",
        _one(lambda q: LEVELS[q.level]),
    ),
    Family(
        "switch_queue_sent",
        "counter",
        "Messages sent to the queue.",
        _one(lambda q: q.sent),
    ),
    Family(
        "switch_queue_delivered",
        "counter",
        "Hand-overs of the queue's messages to consumers.",
        _one(lambda q: q.delivered),
    ),
    Family(
        "switch_queue_finished",
        "counter",
        "Messages of the queue that were acked or replied to.",
        _one(lambda q: q.finished),
    ),
    Family(
        "switch_queue_refused",
        "counter",
        "Messages refused because the queue was full.",
        _one(lambda q: q.refused),
    ),
    Family(
        "switch_queue_queued_seconds",
        "summary",
        "From being ready to the hand-over, of the messages finished in the last minutes.",
        _quantiles(lambda timing: timing.queued),
    ),
    Family(
        "switch_queue_handled_seconds",
        "summary",
        "From the hand-over to the ack or the reply, in the last minutes.",
        _quantiles(lambda timing: timing.handled),
    ),
    Family(
        "switch_queue_picked_up_seconds",
        "summary",
        "From the reply to its receipt, where it goes through a queue, in the last minutes.",
        _quantiles(lambda timing: timing.picked_up),
    ),
)

# Reads /proc when asked; the registry of its own keeps it from that of the process.
_process = ProcessCollector(registry=None)


class SwitchCollector(Collector):
    """What is not told queue by queue."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        found = self._metrics
        yield GaugeMetricFamily(
            "switch_start_time_seconds",
            "When the switch started, in seconds since the epoch.",
            found.started_at,
        )
        yield CounterMetricFamily("switch_sent", "Messages sent.", found.sent)
        yield CounterMetricFamily(
            "switch_delivered", "Hand-overs of messages to sessions.", found.delivered
        )
        yield CounterMetricFamily(
            "switch_finished", "Messages acked or replied to.", found.finished
        )
        yield GaugeMetricFamily("switch_sessions", "Sessions.", found.sessions)
        yield GaugeMetricFamily(
            "switch_calls_waiting", "Calls whose caller waits now.", found.calls
        )
        yield CounterMetricFamily(
            "switch_trace_dropped",
            "Events that the trace had to forget to stay within its limits.",
            found.trace_dropped,
        )
        yield GaugeMetricFamily(
            "switch_store_down",
            "1 while the database does not take what must survive a restart, else 0.",
            float(found.store_down),
        )
        yield GaugeMetricFamily(
            "switch_loop_lag_seconds",
            "How late the event loop was when it was last looked at.",
            found.loop_lag,
        )
        yield GaugeMetricFamily(
            "switch_loop_lag_worst_seconds",
            "The same, the worst of the last minutes.",
            found.worst_loop_lag,
        )
        used = GaugeMetricFamily(
            "switch_limit_used", "What is in use of each limit.", labels=["limit"]
        )
        limit = GaugeMetricFamily(
            "switch_limit", "The limits, as the settings have them.", labels=["limit"]
        )
        for each in found.usage:
            used.add_metric([each.name], each.used)
            limit.add_metric([each.name], each.limit)
        yield used
        yield limit
        yield from self._others()

    def _others(self) -> Iterator[Metric]:
        groups = {"left_out": self._metrics.left_out, "transient": self._metrics.transient}

        def family(name: str, help: str, value: Callable[[Sum], float]) -> Metric:
            metric = GaugeMetricFamily(name, help, labels=["group"])
            for group, found in groups.items():
                metric.add_metric([group], value(found))
            return metric

        yield family(
            "switch_other_queues",
            "Queues without a label of their own: transient ones, and those left out because "
            "there are too many.",
            lambda found: found.queues,
        )
        messages = GaugeMetricFamily(
            "switch_other_messages", "Their messages, by state.", labels=["group", "state"]
        )
        for group, found in groups.items():
            for state in STATES:
                messages.add_metric([group, state], getattr(found, state))
        yield messages
        yield family("switch_other_bytes", "Bytes that these take.", lambda found: found.bytes)
        yield family(
            "switch_other_consumers", "Subscriptions to them.", lambda found: found.consumers
        )
        yield family(
            "switch_other_oldest_seconds",
            "How long ago the oldest ready message of them was sent; 0 if there is none.",
            lambda found: 0 if found.oldest_at is None else self._metrics.now - found.oldest_at,
        )


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header asks for the OpenMetrics form."""
    kinds = (each.partition(";")[0].strip() for each in accept.split(","))
    return "application/openmetrics-text" in kinds


async def render(metrics: Metrics, *, as_openmetrics: bool) -> bytes:
    """The numbers as text, in the form whose type is OPENMETRICS or TEXT."""
    parts = []
    for family in QUEUE_FAMILIES:
        parts.append("".join(_lines(family, metrics.queues, as_openmetrics)))
        await asyncio.sleep(0)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SwitchCollector(metrics))
    registry.register(_process)
    encode = openmetrics.generate_latest if as_openmetrics else text_format.generate_latest
    # The end, which OpenMetrics marks, is in the last part.
    return "".join(parts).encode() + encode(registry)


def _lines(family: Family, queues: list[QueueNumbers], as_openmetrics: bool) -> Iterator[str]:
    sample = f"{family.name}_total" if family.kind == "counter" else family.name
    name = family.name if as_openmetrics else sample
    yield f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n"
    for queue in queues:
        for labels, value in family.samples(queue):
            yield f'{sample}{{queue="{queue.name}"{labels}}} {value}\n'
