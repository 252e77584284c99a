"""The operations of the protocol over HTTP, one view for each path; see also ``operators``."""

from __future__ import annotations

from django.http import HttpResponse, HttpResponseBase
from msgspec import UNSET
from rest_framework.request import Request
from rest_framework.response import Response

from queues.core import errors, messages
from queues.core.answers import (
    AckResult,
    LoginResult,
    MessageList,
    NackResult,
    QueueCreated,
    QueueInfo,
    QueueList,
    ReplyResult,
    SendOutcome,
    SendResult,
    TouchResult,
    TransferResult,
)
from queues.core.messages import Response as CallResponse
from queues.engines import get_engine
from queues.protocol import operations as forms

from . import examples
from .base import ProtocolView, token
from .operation import operation
from .parsers import is_json


class Login(ProtocolView):
    """``login``."""

    @operation(
        id="login",
        summary="Login",
        session="unused",
        body=forms.Login,
        answers={201: LoginResult},
        errors=(errors.TooManySessions,),
        request_example=examples.LOGIN,
        answer_example=examples.LOGIN_RESULT,
    )
    async def post(self, request: Request, body: forms.Login) -> Response:
        """Start a session. It ends `lease` seconds after the last request that carries its token;
        an open Transfer keeps it alive. Its end destroys its transient queues and gives back what
        it holds."""
        engine = get_engine()
        engine.intake.login(request.META.get("REMOTE_ADDR", ""), engine.now())
        return Response(
            await engine.login(body.client, forms.LEASE if body.lease is UNSET else body.lease),
            status=201,
        )


class Logout(ProtocolView):
    """``logout``."""

    @operation(id="logout", summary="Logout", session="required", answers={204: None})
    async def post(self, request: Request) -> Response:
        """End the session now."""
        await get_engine().logout(session=token(request))
        return Response(status=204)


class Touch(ProtocolView):
    """``touch``."""

    @operation(
        id="touch",
        summary="Still working on it",
        session="required",
        body=forms.Touch,
        answers={200: TouchResult},
        request_example=examples.IDS,
        answer_example=examples.TOUCH_RESULT,
    )
    async def post(self, request: Request, body: forms.Touch) -> Response:
        """Renew the session's lease, and the ack timeout of the messages named."""
        return Response(await get_engine().touch(body.ids, session=token(request)))


class Queues(ProtocolView):
    """``queues``."""

    @operation(
        id="list_queues",
        summary="List queues",
        session="unused",
        query=forms.QueuePage,
        answers={200: QueueList},
        answer_example=examples.QUEUE_LIST,
    )
    async def get(self, request: Request, query: forms.QueuePage) -> Response:
        """A page of queues by name. Give `next` as `after` for the page that follows."""
        return Response(
            await get_engine().list_queues(
                query.prefix,
                alive=query.alive,
                kind=query.kind,
                after=query.after,
                limit=query.limit,
            )
        )

    @operation(
        id="create_fresh_queue",
        summary="Create a transient queue",
        session="required",
        body=forms.CreateQueue,
        answers={201: QueueCreated},
        errors=(errors.TooManyQueues,),
        request_example={},
        answer_example=examples.FRESH_QUEUE,
    )
    async def post(self, request: Request, body: forms.CreateQueue) -> Response:
        """Make a queue with a fresh name that ends with the session. Anybody may send to it; only
        its owner may subscribe to it, change or destroy it."""
        created = await get_engine().create_fresh_queue(body.full_policy(), session=token(request))
        return Response(created, status=201)


class Queue(ProtocolView):
    """``queues/{name}``."""

    @operation(
        id="create_queue",
        summary="Create a queue",
        body=forms.CreateQueue,
        answers={201: QueueCreated, 200: QueueCreated},
        errors=(
            errors.InvalidName,
            errors.PolicyDiffers,
            errors.NameTaken,
            errors.TooManyQueues,
        ),
        request_example=examples.POLICY,
        answer_example=examples.QUEUE_CREATED,
    )
    async def put(self, request: Request, name: str, body: forms.CreateQueue) -> Response:
        """Make sure that the queue exists: 201 if it is new, 200 if it was there. Without a
        policy an existing one is left as it is; with another than it has, this is refused."""
        created = await get_engine().create_queue(name, body.full_policy(), session=token(request))
        return Response(created, status=201 if created.created else 200)

    @operation(
        id="change_queue",
        summary="Change a queue's policy",
        body=forms.ChangeQueue,
        answers={200: QueueInfo},
        errors=(errors.InvalidName, errors.QueueNotFound, errors.NotOwner),
        request_example=examples.POLICY,
        answer_example=examples.QUEUE,
    )
    async def patch(self, request: Request, name: str, body: forms.ChangeQueue) -> Response:
        """Change the fields given. A new ttl or ack timeout holds for messages sent or handed
        over from now on."""
        return Response(
            await get_engine().change_queue(name, body.policy.changes(), session=token(request))
        )

    @operation(
        id="inspect_queue",
        summary="Inspect a queue",
        session="unused",
        answers={200: QueueInfo},
        errors=(errors.InvalidName, errors.QueueNotFound),
        answer_example=examples.QUEUE,
    )
    async def get(self, request: Request, name: str) -> Response:
        """A queue as it is. Changes nothing."""
        return Response(await get_engine().inspect_queue(name))

    @operation(
        id="destroy_queue",
        summary="Destroy a queue",
        answers={204: None},
        errors=(errors.InvalidName, errors.QueueNotFound, errors.NotOwner),
    )
    async def delete(self, request: Request, name: str) -> Response:
        """Drop the queue and its messages. A later ack of one of them finds it unknown;
        subscriptions stay, for a queue of the same name."""
        await get_engine().destroy_queue(name, session=token(request))
        return Response(status=204)


class Messages(ProtocolView):
    """``queues/{name}/messages``."""

    @operation(
        id="browse",
        summary="Browse messages",
        session="unused",
        query=forms.MessagePage,
        answers={200: MessageList},
        errors=(errors.InvalidName, errors.QueueNotFound),
        answer_example=examples.MESSAGE_LIST,
    )
    async def get(self, request: Request, name: str, query: forms.MessagePage) -> Response:
        """A page of messages, oldest first. Changes nothing. Long payloads are cut and marked;
        give `next` as `after` for the page that follows.

        `search` asks for those with this text in the payload, the correlation id, a header, the
        key, or the name of the sender or the holder, or with this id. A page of a search may be
        empty and have a `next`: so far it has looked."""
        return Response(
            await get_engine().browse(
                name,
                state=query.state,
                after=query.after,
                limit=query.limit,
                search=query.search or None,
            )
        )

    @operation(
        id="send",
        summary="Send",
        body=forms.Send | forms.SendMany,
        payload_form=forms.Send,
        answers={201: SendResult, 200: SendResult | list[SendOutcome]},
        errors=(
            errors.InvalidName,
            errors.QueueNotFound,
            errors.KeyReused,
            errors.PayloadTooLarge,
            errors.QueueFull,
            errors.SwitchFull,
        ),
        request_example=examples.SEND,
        answer_example=examples.SEND_RESULT,
    )
    async def post(
        self, request: Request, name: str, body: forms.Send | list[forms.Send]
    ) -> Response:
        """Put a message into a queue. 201, or 200 with the first id if its `key` is remembered.

        A JSON list sends several: 200 with one outcome for each, in order, some of which may be
        refusals. A body of any other type than JSON is the payload itself; the other fields are
        then query parameters."""
        engine = get_engine()
        session = token(request)
        if isinstance(body, forms.Send):
            sent = await engine.send(name, body, session=session)
            return Response(sent, status=201 if sent.created else 200)
        return Response(await engine.send_many(name, body, session=session))


class Subscription(ProtocolView):
    """``subscriptions/{name}``."""

    @operation(
        id="subscribe",
        summary="Subscribe",
        session="required",
        answers={204: None},
        errors=(
            errors.InvalidName,
            errors.QueueNotFound,
            errors.NotOwner,
            errors.TooManySubscriptions,
        ),
    )
    async def put(self, request: Request, name: str) -> Response:
        """Make the session a consumer of the queue. Transfers already open join in."""
        await get_engine().subscribe(name, session=token(request))
        return Response(status=204)

    @operation(
        id="unsubscribe",
        summary="Unsubscribe",
        session="required",
        answers={204: None},
        errors=(errors.InvalidName,),
    )
    async def delete(self, request: Request, name: str) -> Response:
        """Stop consuming; what the session holds it still holds. No error if there was no
        subscription."""
        await get_engine().unsubscribe(name, session=token(request))
        return Response(status=204)


class Transfer(ProtocolView):
    """``transfer``."""

    @operation(
        id="transfer",
        summary="Transfer",
        session="required",
        body=forms.Transfer,
        answers={200: TransferResult},
        request_example=examples.TRANSFER,
        answer_example=examples.TRANSFER_RESULT,
    )
    async def post(self, request: Request, body: forms.Transfer) -> Response:
        """Ack and reply, then hand over messages of the subscribed queues, or wait up to
        `timeout` seconds for some.

        With `after`, messages that the session holds under a higher delivery number come again
        first, so a lost answer loses nothing; a newer Transfer with `after` ends this one
        (`superseded`). Refused acks and replies are reported in the answer, which then comes at
        once."""
        return Response(
            await get_engine().transfer(
                session=token(request),
                after=body.after,
                timeout=body.timeout,
                limit=body.limit,
                acks=body.ack,
                replies=body.replies,
            )
        )


class Ack(ProtocolView):
    """``ack``."""

    @operation(
        id="ack",
        summary="Ack",
        session="required",
        body=forms.Ack,
        answers={200: AckResult},
        errors=(errors.NotHolder,),
        request_example=examples.IDS,
        answer_example=examples.ACK_RESULT,
    )
    async def post(self, request: Request, body: forms.Ack) -> Response:
        """Finish held messages. An id that is unknown, or acked before, is no error."""
        return Response(await get_engine().ack(body.ids, session=token(request)))


class Nack(ProtocolView):
    """``nack``."""

    @operation(
        id="nack",
        summary="Nack",
        session="required",
        body=forms.Nack,
        answers={200: NackResult},
        errors=(errors.NotHolder,),
        request_example=examples.NACK,
        answer_example=examples.NACK_RESULT,
    )
    async def post(self, request: Request, body: forms.Nack) -> Response:
        """Give held messages back, ready again after `delay` seconds; or, with `requeue` false,
        reject them as dead."""
        return Response(
            await get_engine().nack(
                body.ids, session=token(request), delay=body.delay, requeue=body.requeue
            )
        )


class Reply(ProtocolView):
    """``messages/{id}/reply``."""

    @operation(
        id="reply",
        summary="Reply",
        session="required",
        body=forms.ReplyBody,
        answers={200: ReplyResult},
        errors=(
            errors.NotHolder,
            errors.PayloadTooLarge,
            errors.QueueFull,
            errors.SwitchFull,
        ),
        request_example={"payload": "hello"},
        answer_example={"id": examples.MESSAGE_ID + 9, "state": None},
    )
    async def post(self, request: Request, id: int, body: forms.ReplyBody) -> Response:
        """Send the response to a held request and ack it, as one step. `state` says why nobody
        gets the response; if the reply queue is full nothing happens."""
        reply = messages.Reply(id, body.payload, body.headers, body.error)
        return Response(await get_engine().reply(reply, session=token(request)))


class Call(ProtocolView):
    """``call/{name}``."""

    @operation(
        id="call",
        summary="Call",
        body=forms.Call,
        payload_form=forms.Call,
        answers={200: CallResponse},
        errors=(
            errors.InvalidName,
            errors.QueueNotFound,
            errors.NameTaken,
            errors.KeyReused,
            errors.PayloadTooLarge,
            errors.QueueFull,
            errors.SwitchFull,
            errors.TooManyQueues,
            errors.HandlerFailed,
            errors.NoServer,
            errors.CallTimeout,
        ),
        request_example=examples.CALL,
        answer_example=examples.CALL_RESPONSE,
    )
    async def post(self, request: Request, name: str, body: forms.Call) -> HttpResponseBase:
        """Send a request and wait for its reply: an RPC in one request.

        The message expires after `timeout` seconds, so no server starts work for a caller that
        has given up. With `wait_for_server` the queue is created if need be and the call waits
        for a server to come. A body of any other type than JSON is the payload itself; the other
        fields are then query parameters, and the answer is the reply's payload as text/plain."""
        response = await get_engine().call(
            name,
            body,
            timeout=body.timeout,
            wait_for_server=body.wait_for_server,
            session=token(request),
        )
        if is_json(request.content_type):
            return Response(response)
        return HttpResponse(response.payload, content_type="text/plain; charset=utf-8")
