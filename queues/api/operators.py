"""The operations for those who look after the switch: seeing why, and doing something about it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from django.http import HttpResponse, HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from queues import incident
from queues.core import answers, errors
from queues.core.events import TraceReport
from queues.engines import get_engine
from queues.protocol import operations as forms
from queues.protocol.operations import encode

from . import examples
from .base import ProtocolView, token
from .operation import operation

_OF_A_QUEUE = (errors.InvalidName, errors.QueueNotFound, errors.NotOwner)


class Purge(ProtocolView):
    """``queues/{name}/purge``."""

    @operation(
        id="purge_queue",
        summary="Purge a queue",
        body=forms.Purge,
        answers={200: answers.PurgeResult},
        errors=_OF_A_QUEUE,
        request_example={"state": "dead"},
        answer_example={"purged": 12, "undo": None},
    )
    async def post(self, request: Request, name: str, body: forms.Purge) -> Response:
        """Drop the messages in one state; without `state` those ready or delayed. For good:
        `undo` is null here; only the admin keeps what it purges for a time."""
        return Response(await get_engine().purge_queue(name, body.state, session=token(request)))


class Replay(ProtocolView):
    """``queues/{name}/replay``."""

    @operation(
        id="replay_dead",
        summary="Replay dead messages",
        body=forms.Replay,
        answers={200: answers.ReplayResult},
        errors=_OF_A_QUEUE,
        request_example=examples.IDS,
        answer_example={"replayed": 1, "not_dead": 0, "no_room": 0},
    )
    async def post(self, request: Request, name: str, body: forms.Replay) -> Response:
        """Make dead messages ready again in their original places, delivery count 0 and without
        expiry: those named, or all; as many as the queue has room for."""
        return Response(await get_engine().replay_dead(name, body.ids, session=token(request)))


class Pause(ProtocolView):
    """``queues/{name}/pause``."""

    @operation(
        id="pause_queue",
        summary="Pause a queue",
        answers={200: answers.QueueInfo},
        errors=_OF_A_QUEUE,
        answer_example=examples.PAUSED_QUEUE,
    )
    async def post(self, request: Request, name: str) -> Response:
        """Hand out no message of the queue until it is resumed. It takes messages as before; what
        is held stays held, and can be acked and replied to. No error if it was paused."""
        return Response(await get_engine().pause_queue(name, session=token(request)))


class Resume(ProtocolView):
    """``queues/{name}/resume``."""

    @operation(
        id="resume_queue",
        summary="Resume a queue",
        answers={200: answers.QueueInfo},
        errors=_OF_A_QUEUE,
        answer_example=examples.QUEUE,
    )
    async def post(self, request: Request, name: str) -> Response:
        """Hand out the messages of a paused queue again. No error if it was not paused."""
        return Response(await get_engine().resume_queue(name, session=token(request)))


class Requeue(ProtocolView):
    """``queues/{name}/requeue``."""

    @operation(
        id="requeue",
        summary="Requeue held messages",
        body=forms.Requeue,
        answers={200: answers.RequeueResult},
        errors=_OF_A_QUEUE,
        request_example=examples.IDS,
        answer_example={"requeued": 1, "not_held": 0},
    )
    async def post(self, request: Request, name: str, body: forms.Requeue) -> Response:
        """Take held messages, those named or all, from their holders: they are ready again in
        their original places, whatever `max_deliveries` says. What the holder does with them later
        is refused as `not_holder`."""
        return Response(await get_engine().requeue(name, body.ids, session=token(request)))


class Move(ProtocolView):
    """``queues/{name}/move``."""

    @operation(
        id="move_messages",
        summary="Move messages to another queue",
        body=forms.Move,
        answers={200: answers.MoveResult},
        errors=_OF_A_QUEUE,
        request_example={"to": "thumbnails.later", "ids": [examples.MESSAGE_ID]},
        answer_example={"moved": 1, "not_movable": 0, "no_room": 0},
    )
    async def post(self, request: Request, name: str, body: forms.Move) -> Response:
        """Put messages into the queue `to`: those named in `ids`, or all in one `state`, or without
        either those ready or delayed; the oldest first, as many as it has room for. They keep
        their ids and their place by them. Dead ones are ready there, delivery count 0 and without
        expiry; held ones cannot be moved."""
        return Response(
            await get_engine().move_messages(
                name, body.to, ids=body.ids, state=body.state, session=token(request)
            )
        )


class DropMessage(ProtocolView):
    """``queues/{name}/messages/{id}``."""

    @operation(
        id="drop_message",
        summary="Drop a message",
        answers={204: None},
        errors=(errors.InvalidName, errors.QueueNotFound, errors.MessageNotFound),
    )
    async def delete(self, request: Request, name: str, id: int) -> Response:
        """Delete a message in whatever state it is: for operators. Its holder's later ack finds
        it unknown."""
        await get_engine().drop_message(name, id, session=token(request))
        return Response(status=204)


class Message(ProtocolView):
    """``messages/{id}``."""

    @operation(
        id="explain",
        summary="Why",
        session="unused",
        answers={200: answers.MessageReport},
        errors=(errors.MessageNotFound,),
        answer_example=examples.MESSAGE_REPORT,
    )
    async def get(self, request: Request, id: int) -> Response:
        """Where a message is, since when, who holds it, and what to do. One that has ended is
        explained from the trace, while that lasts. `tree` has the calls that it was made for and
        those that were made for it."""
        return Response(await get_engine().explain(id))


class Session(ProtocolView):
    """``sessions/{id}``."""

    @operation(
        id="explain_session",
        summary="A session",
        session="unused",
        answers={200: answers.SessionInfo},
        errors=(errors.SessionNotFound,),
        answer_example=examples.SESSION,
    )
    async def get(self, request: Request, id: int) -> Response:
        """What a session holds, which calls its handlers wait for, and why. The id is the number
        that names it here and in the diagnostics; the token is a secret and shown nowhere."""
        return Response(await get_engine().explain_session(id))

    @operation(
        id="end_session",
        summary="End a session",
        session="unused",
        answers={204: None},
        errors=(errors.SessionNotFound,),
    )
    async def delete(self, request: Request, id: int) -> Response:
        """End somebody's session: what it holds goes to others, its transient queues go away. Its
        client finds `unknown_session` and must log in again."""
        await get_engine().end_session(id)
        return Response(status=204)


class Waits(ProtocolView):
    """``waits``."""

    @operation(
        id="waits_for",
        summary="Who waits for whom",
        session="unused",
        answers={200: answers.WaitGraph},
        answer_example=examples.WAITS,
    )
    async def get(self, request: Request) -> Response:
        """A graph: callers wait for services to reply, services for servers to finish what they
        hold. `locked` edges belong to a deadlock, or wait for one. At most 200 edges; `left_out`
        counts the others."""
        return Response(await get_engine().waits_for())


class Overview(ProtocolView):
    """``diagnostics``."""

    @operation(
        id="diagnostics",
        summary="Diagnostics",
        session="unused",
        answers={200: answers.Diagnostics},
        answer_example=examples.DIAGNOSTICS,
    )
    async def get(self, request: Request) -> Response:
        """The whole switch at one instant: services running, called but never started, or
        crashed; their oldest messages and where their time goes; calls that something is wrong
        with; sessions; limits in use."""
        return Response(await get_engine().diagnostics())


class Trace(ProtocolView):
    """``trace``."""

    @operation(
        id="trace",
        summary="Trace",
        session="unused",
        query=forms.TraceQuery,
        answers={200: TraceReport},
        answer_example=examples.TRACE,
    )
    async def get(self, request: Request, query: forms.TraceQuery) -> Response:
        """Events after a number, oldest first; if there are none, wait up to `timeout` seconds
        for one. Give `next` as `after` to go on; `dropped` counts what the ring lost between."""
        return Response(
            await get_engine().trace(after=query.after, limit=query.limit, timeout=query.timeout)
        )


class Incident(ProtocolView):
    """``incident``."""

    @operation(
        id="incident",
        summary="Incident bundle",
        session="unused",
        answers={200: incident.Incident},
        answer_example=examples.INCIDENT,
    )
    async def get(self, request: Request) -> HttpResponseBase:
        """All that the switch knows of itself, to attach to a report: settings, health, services,
        sessions, the queues with their verdicts, the last events. Payloads are told by their length
        and the beginning of their SHA-256; values of headers and keys are left out."""
        bundle = await incident.collect(get_engine())
        name = f"switch-incident-{datetime.fromtimestamp(bundle.at, UTC):%Y%m%dT%H%M%SZ}.json"
        return HttpResponse(
            msgspec.json.format(encode(bundle), indent=2),
            content_type="application/json",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


class Health(ProtocolView):
    """``health``."""

    @operation(
        id="health",
        summary="Health of the switch",
        session="unused",
        answers={200: answers.Health},
        answer_example=examples.HEALTH,
    )
    async def get(self, request: Request) -> Response:
        """The process of the switch: its memory, CPU seconds, descriptors, how late its event loop
        is, the limits in use, and samples of the last minutes."""
        return Response(await get_engine().health())
