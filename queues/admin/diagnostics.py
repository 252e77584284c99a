"""The views of the admin: to look, and to act after a confirmation.

Who may see the diagnostics sees the pages; who may also operate the switch finds actions there.
The views are synchronous, as the admin is; only they use the database, never the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from functools import wraps
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, resolve_url
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods, require_safe

from queues.conf import undo_seconds
from queues.core.answers import QueueInfo, QueueKind
from queues.core.errors import (
    InvalidRequest,
    MessageNotFound,
    QueueNotFound,
    SessionNotFound,
    SwitchError,
    Unavailable,
    UndoNotFound,
)
from queues.core.messages import State
from queues.engines import ask, get_engine
from queues.engines.base import Engine
from queues.models import Diagnostics
from queues.pages.base import number
from queues.pages.payload import show
from queues.pages.services import LONGEST_SEARCH, PAGE
from queues.templatetags.switch import links_into

from . import log
from .actions import (
    GROUPS,
    QUEUE_ACTIONS,
    Action,
    Choice,
    Destroy,
    Drop,
    EndSession,
    MessagesAction,
    Move,
    Pause,
    Purge,
    Replay,
    Requeue,
    Resume,
    Undo,
)

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Diagnostics]
else:
    ModelAdmin = admin.ModelAdmin

View = Callable[..., HttpResponse]

#: Names that the field for another queue proposes.
MOST_PROPOSED = 500

_PAGES = "admin:queues_diagnostics_"
_OVERVIEW = f"{_PAGES}changelist"
#: Fields that a confirmation takes along.
_CARRIED = ("id", "group", "back", "from_message")
_NOT_FOUND = (QueueNotFound, MessageNotFound, SessionNotFound, UndoNotFound)
_NO_ANSWER = (TimeoutError, CancelledError)
#: What a whole group of messages is offered.
_GROUP_ACTIONS: dict[str, list[type[MessagesAction]]] = {
    "waiting": [Move, Purge],
    "ready": [Move, Purge],
    "delayed": [Move, Purge],
    "held": [Requeue, Purge],
    "dead": [Replay, Move, Purge],
}


@admin.register(Diagnostics)
class DiagnosticsAdmin(ModelAdmin):
    """Pages to look at the switch and to act on it; nothing to add, change or delete."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Diagnostics | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Diagnostics | None = None) -> bool:
        """Nobody."""
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whoever may operate the switch and see what that does."""
        may: bool = request.user.has_perm("queues.operate_switch")
        return may and self.has_view_permission(request)

    def get_urls(self) -> list[URLPattern]:
        """All pages, those to look at and those that act."""

        def url(route: str, view: View, name: str) -> URLPattern:
            return path(route, self.admin_site.admin_view(view), name=f"queues_diagnostics_{name}")

        look, act = self._to_look, self._to_act
        return [
            url("", look(self.changelist_view), "changelist"),
            url("queues/", look(self.queues_view), "queues"),
            url("queues/<str:name>/", look(self.queue_view), "queue"),
            url("queues/<str:name>/<slug:verb>/", act(self.queue_action), "queue_action"),
            url("messages/<int:id>/", look(self.message_view), "message"),
            url("sessions/", look(self.sessions_view), "sessions"),
            url("sessions/<int:id>/", look(self.session_view), "session"),
            url("sessions/<int:id>/end/", act(self.session_action), "session_end"),
            url("undo/<int:id>/", act(self.undo_action), "undo"),
            url("log/", look(self.log_view), "log"),
            # What the admin's own lists of recent actions link.
            url("<str:object_id>/change/", look(self.target_view), "change"),
            url("<str:object_id>/history/", look(self.target_log_view), "history"),
        ]

    # -- to look --------------------------------------------------------------------------

    def _to_look(self, view: View) -> View:
        return require_safe(self._answering(self.has_view_permission, view))

    def _answering(self, allowed: Callable[[HttpRequest], bool], view: View) -> View:
        """The view for those who may, with a page for each refusal of the switch."""

        @wraps(view)
        def answer(request: HttpRequest, **fields: Any) -> HttpResponse:
            if not allowed(request):
                raise PermissionDenied
            try:
                return view(request, **fields)
            except _NOT_FOUND as error:
                return self._page(request, "refused", "Not here", 404, error=error)
            except (Unavailable, *_NO_ANSWER) as error:
                return self._page(request, "refused", "No answer", 503, error=error)

        return answer

    def _page(
        self, request: HttpRequest, template: str, title: str, status: int = 200, **context: Any
    ) -> HttpResponse:
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "may_act": self.has_operate_permission(request),
            **context,
        }
        page = TemplateResponse(request, f"admin/queues/{template}.html", context, status=status)
        with links_into(_PAGES):
            return page.render()

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The whole switch, what needs attention first, and what may be undone."""

        async def look(engine: Engine) -> dict[str, Any]:
            diagnostics = await engine.diagnostics()
            return {
                "diagnostics": diagnostics,
                "health": await engine.health(),
                "now": diagnostics.now,
                "undoable": await engine.list_undo(),
            }

        context = {**ask(look), **(extra_context or {})}
        return self._page(request, "diagnostics", "Diagnostics", here="overview", **context)

    def queues_view(self, request: HttpRequest) -> HttpResponse:
        """A page of queues by name."""
        prefix, after = request.GET.get("prefix", ""), request.GET.get("after", "")
        kinds: dict[str, QueueKind | None] = {"transient": "transient", "all": None}
        kind = kinds.get(request.GET.get("kind", ""), "persistent")
        return self._page(
            request,
            "queues",
            "Queues",
            here="queues",
            listed=ask(lambda e: e.list_queues(prefix, kind=kind, after=after, limit=PAGE)),
            prefix=prefix,
            kind=kind or "all",
            after=after,
            now=get_engine().now(),
        )

    def queue_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """A queue and a page of its messages, some of which may be chosen."""
        tab = request.GET.get("state", "")
        state = State(tab) if tab in list(State) else None
        search = request.GET.get("search", "")[:LONGEST_SEARCH]
        after = number(request.GET.get("after", ""))

        async def look(engine: Engine) -> dict[str, Any]:
            report = await engine.explain_queue(name)
            return {
                "report": report,
                "queue": report.queue,
                "listed": await engine.browse(
                    name, state=state, after=after, limit=PAGE, search=search or None
                ),
                "undoable": [undo for undo in await engine.list_undo() if undo.queue == name],
                "now": engine.now(),
            }

        context = ask(look)
        info = context["queue"]
        back = request.GET.copy()
        back.pop("choose", None)
        return self._page(
            request,
            "queue",
            name,
            here="queues",
            state=state,
            search=search,
            after=after,
            all_chosen=request.GET.get("choose") == "all",
            back=back.urlencode(),
            back_here=urlencode({"back": back.urlencode()}),
            chosen_actions=_chosen_actions(info, state),
            queue_actions=[Resume if info.paused else Pause, Destroy],
            groups=list(_groups(info, state)),
            **context,
        )

    def message_view(self, request: HttpRequest, id: int) -> HttpResponse:
        """Where a message is, why, and what happened to it."""

        async def look(engine: Engine) -> dict[str, Any]:
            report = await engine.explain(id)
            context: dict[str, Any] = {"report": report, "now": engine.now()}
            if report.message is not None:
                info = await engine.inspect_queue(report.message.queue)
                context["actions"] = _chosen_actions(info, report.message.state)
            return context

        context = ask(look)
        message = context["report"].message
        if message is not None:
            context["shown"] = show(message.payload, request.GET.get("as", ""))
        return self._page(request, "message", f"Message {id}", here="queues", **context)

    def sessions_view(self, request: HttpRequest) -> HttpResponse:
        """Who is logged in, the overdue first."""
        diagnostics = ask(lambda engine: engine.diagnostics())
        return self._page(
            request,
            "sessions",
            "Sessions",
            here="sessions",
            diagnostics=diagnostics,
            now=diagnostics.now,
        )

    def session_view(self, request: HttpRequest, id: int) -> HttpResponse:
        """A session, what it holds and what it waits for."""
        session = ask(lambda engine: engine.explain_session(id))
        now = get_engine().now()
        title = f"Session {id}"
        return self._page(request, "session", title, here="sessions", session=session, now=now)

    def log_view(self, request: HttpRequest) -> HttpResponse:
        """Who did what, the newest first."""
        key = request.GET.get("of", "")
        pages = Paginator(log.entries(key), PAGE)
        page = pages.get_page(request.GET.get("page"))
        rows = [(entry, log.page_of(entry.object_id or "")) for entry in page]
        return self._page(request, "log", "Log", here="log", page=page, rows=rows, key=key)

    def target_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """On to the page of what an entry of the log names."""
        page = log.page_of(unquote(object_id))
        if page is None:
            raise Http404
        return redirect(page)

    def target_log_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """On to the log of what an entry of it names."""
        key = unquote(object_id)
        if log.page_of(key) is None:
            raise Http404
        of = QueryDict(mutable=True)
        of["of"] = key
        return redirect(f"{reverse('admin:queues_diagnostics_log')}?{of.urlencode()}")

    # -- to act ---------------------------------------------------------------------------

    def _to_act(self, view: View) -> View:
        """A view that confirms on GET, and acts on POST only."""
        methods = require_http_methods(["GET", "HEAD", "POST"])
        return methods(self._answering(self.has_operate_permission, view))

    def queue_action(self, request: HttpRequest, name: str, verb: str) -> HttpResponse:
        """Do something to a queue, or to some of its messages."""
        kind = QUEUE_ACTIONS.get(verb)
        if kind is None:
            raise Http404
        fields = request.POST if request.method == "POST" else request.GET
        page = reverse("admin:queues_diagnostics_queue", args=(name,))
        back = _with_query(page, QueryDict(fields.get("back", "")))
        try:
            choice = Choice(
                queue=name,
                ids=_ids(fields),
                group=fields.get("group", ""),
                target=fields.get("target", "").strip(),
                undo_for=undo_seconds(),
            )
            action = kind(choice)
        except InvalidRequest as error:
            messages.error(request, error.detail)
            return redirect(back)
        if "from_message" in fields and len(choice.ids) == 1:
            back = reverse("admin:queues_diagnostics_message", args=choice.ids)
        proposed: list[QueueInfo] = []
        if kind is Move and request.method != "POST":
            proposed = ask(lambda e: e.list_queues(kind="persistent", limit=MOST_PROPOSED)).queues
        return self._act(
            request,
            action,
            back,
            after=_OVERVIEW if kind is Destroy else back,
            # A name is mistyped easily: then it is asked for again.
            otherwise=_with_query(request.path, fields) if kind is Move else back,
            hidden=[(key, value) for key in _CARRIED for value in fields.getlist(key)],
            proposed=proposed,
        )

    def session_action(self, request: HttpRequest, id: int) -> HttpResponse:
        """End a session."""
        try:
            session = ask(lambda engine: engine.explain_session(id))
        except SessionNotFound as error:
            messages.error(request, error.detail)
            return redirect("admin:queues_diagnostics_sessions")
        return self._act(
            request,
            EndSession(id, session.client),
            reverse("admin:queues_diagnostics_session", args=(id,)),
            after="admin:queues_diagnostics_sessions",
        )

    def undo_action(self, request: HttpRequest, id: int) -> HttpResponse:
        """Restore what was removed."""
        info = next((undo for undo in ask(lambda e: e.list_undo()) if undo.id == id), None)
        if info is None:
            messages.error(request, "It can no longer be undone.")
            return redirect(_OVERVIEW)
        return self._act(
            request,
            Undo(info),
            _OVERVIEW,
            after=reverse("admin:queues_diagnostics_queue", args=(info.queue,)),
        )

    def _act(
        self,
        request: HttpRequest,
        action: Action,
        back: str,
        *,
        after: str,
        otherwise: str | None = None,
        **context: Any,
    ) -> HttpResponse:
        """Ask first, on GET; carry it out and write it down, on POST.

        ``back`` is where who does not want it goes, ``after`` where it leads, and ``otherwise``
        where a refusal leads, ``back`` by default.
        """
        if request.method != "POST":
            plan = ask(action.plan)
            return self._page(
                request,
                "confirm",
                plan.question,
                action=action,
                plan=plan,
                source=log.page_of(action.target.key),
                back=resolve_url(back),
                **context,
            )
        entry = log.begin(request.user, action)
        try:
            done = ask(action.carry_out)
        except _NO_ANSWER:
            messages.error(
                request, "The switch did not answer in time: look whether it was done after all."
            )
            return redirect(back)
        except SwitchError as error:
            entry.delete()
            messages.error(request, error.detail)
            return redirect(otherwise or back)
        log.finish(entry, done)
        said = number(request.POST.get("said", str(done.messages)))
        differs = "" if said == done.messages else f" The confirmation said {said:,}."
        messages.success(request, done.sentence + differs)
        for left in done.left:
            messages.warning(request, left)
        return redirect(after)


def _chosen_actions(queue: QueueInfo, state: State | None) -> list[type[MessagesAction]]:
    """What can be done to messages of a queue that are in one state, or in any."""
    if queue.kind == "transient":
        return [Drop]
    offered: tuple[type[MessagesAction], ...] = (Requeue, Replay, Move, Drop)
    return [action for action in offered if state is None or state in action.applies_to]


def _groups(
    queue: QueueInfo, state: State | None
) -> Iterator[tuple[str, str, int, list[type[MessagesAction]]]]:
    """The groups of messages that can be acted on as a whole: name, words, count, actions."""
    if queue.kind == "transient":
        return
    counts = {
        State.READY: queue.ready,
        State.DELAYED: queue.delayed,
        State.HELD: queue.held,
        State.DEAD: queue.dead,
    }
    for group in ("waiting", "held", "dead") if state is None else (state.value,):
        count = sum(counts[each] for each in GROUPS[group])
        if count:
            yield group, " and ".join(GROUPS[group]), count, _GROUP_ACTIONS[group]


def _ids(fields: QueryDict) -> tuple[int, ...]:
    """The ids of a form, each once. Raises InvalidRequest."""
    try:
        return tuple(dict.fromkeys(map(int, fields.getlist("id"))))
    except ValueError:
        raise InvalidRequest("The ids of messages are whole numbers.") from None


def _with_query(page: str, fields: QueryDict) -> str:
    """A page with the fields of a form that belong into its address."""
    query = fields.copy()
    for name in ("csrfmiddlewaretoken", "said"):
        query.pop(name, None)
    return f"{page}?{query.urlencode()}" if query else page
