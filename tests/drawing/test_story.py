from __future__ import annotations

import pytest
from hypothesis import given, settings

from queues.core.events import Event
from queues.core.messages import PARENT, Draft, Reply
from queues.drawing import story as stories
from queues.drawing.story import (
    MOST_LIFELINES,
    MOST_STEPS,
    RECENT,
    WORDS,
    Story,
    of_call,
    responses,
    tell,
)
from tests.core.scene import Scene

from .events import KINDS, event_lists, events_of


def shown(story: Story) -> list[tuple[str, ...]]:
    """The steps as tuples: from, word, to, text."""
    names = [each.label for each in story.lifelines]
    return [
        tuple(
            filter(
                None,
                (
                    names[step.source],
                    step.word,
                    None if step.target is None else names[step.target],
                    step.text,
                ),
            )
        )
        for step in story.steps
    ]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def called(scene: Scene) -> tuple[str, int]:
    """A call that a server of foo holds: the server's token and the request."""
    web = scene.server("web", lease=90)
    server = scene.server("cat", "foo", lease=90)
    scene.call("foo", Draft("hello"), timeout=30, token=web)
    return server, scene.take(server).id


def test_a_call_and_its_answer(scene: Scene) -> None:
    server, id = called(scene)
    scene.reply(Reply(id=id, payload="HELLO"), token=server)
    story = tell(events_of(scene)[4:])
    assert shown(story) == [
        ("web", "sent", "foo", "hello"),
        ("foo", "handed over", "cat"),
        ("cat", "answered", "web", "HELLO"),
    ]
    assert [(h.lifeline, h.first, h.last) for h in story.holds] == [(2, 1, 2)]


def test_the_caller_may_be_known_from_events_around(scene: Scene) -> None:
    server, id = called(scene)
    scene.reply(Reply(id=id, payload="HELLO"), token=server)
    events = events_of(scene)
    assert shown(tell(events[-1:], events)) == [("cat", "answered", "web", "HELLO")]
    assert shown(tell(events[-2:-1], events)) == [("cat", "sent", "web", "HELLO")]
    assert shown(tell(events[-2:])) == [("cat", "answered", "a caller", "HELLO")]
    assert shown(tell(events[-1:])) == [("cat", "answered", "foo")]


def test_a_caller_without_a_session(scene: Scene) -> None:
    server = scene.server("cat", "foo")
    scene.call("foo", Draft("hello"), timeout=30)
    scene.reply(Reply(id=scene.take(server).id, payload="HELLO"), token=server)
    assert ("cat", "answered", "no session", "HELLO") in shown(tell(events_of(scene)))


def test_an_answer_through_a_queue(scene: Scene) -> None:
    web = scene.server("web", "back")
    server = scene.server("cat", "foo")
    poll = scene.transfer(token=web, timeout=30)
    scene.send("foo", Draft("hello", reply_to="back"), token=web)
    request = scene.take(server)
    scene.reply(Reply(id=request.id, payload="HELLO"), token=server)
    assert poll.done
    events = events_of(scene)
    assert shown(tell(events[-5:])) == [
        ("web", "sent", "foo", "hello"),
        ("foo", "handed over", "cat"),
        ("cat", "sent", "back", "HELLO"),
        ("back", "handed over", "web"),
        ("cat", "answered", "foo"),
    ]
    (response,) = responses(events).values()
    assert (response.queue, response.detail) == ("back", "HELLO")
    assert of_call(events, request.id) == events[-5:]


def test_an_answer_that_nobody_waits_for(scene: Scene) -> None:
    server, id = called(scene)
    scene.sleep(31)
    assert scene.reply(Reply(id=id, payload="HELLO"), token=server).state == "caller_gone"
    assert shown(tell(events_of(scene)))[-2:] == [
        ("web", "call timed out", "foo"),
        ("cat", "answered", "foo", "nobody waits for it"),
    ]


def test_a_message_sent_just_before_is_no_response(scene: Scene) -> None:
    server, id = called(scene)
    scene.sleep(31)
    scene.send("foo", Draft("other"), token=server)
    scene.sleep(0.1)
    scene.reply(Reply(id=id, payload="HELLO"), token=server)
    story = tell(events_of(scene))
    assert shown(story)[-2:] == [
        ("cat", "sent", "foo", "other"),
        ("cat", "answered", "foo", "nobody waits for it"),
    ]


def test_what_becomes_of_messages(scene: Scene) -> None:
    server = scene.server("cat", "foo", "bar")
    first, second = scene.put("foo", "one"), scene.put("foo", "two")
    scene.take(server)
    scene.nack([first], token=server)
    scene.take(server)
    scene.nack([first], requeue=False, token=server)
    scene.move_messages("foo", "bar", ids=[second])
    scene.drop_message("bar", second)
    assert shown(tell(events_of(scene)))[-7:] == [
        ("no session", "sent", "foo", "two"),
        ("foo", "handed over", "cat"),
        ("cat", "given back", "foo", "nack"),
        ("foo", "handed over", "cat"),
        ("foo", "gave up", "rejected"),
        ("foo", "moved", "bar"),
        ("bar", "dropped", "operator"),
    ]


def nested(scene: Scene) -> tuple[int, int]:
    """web calls foo, whose handler calls bar for it; somebody else calls bar, too."""
    server, outer = called(scene)
    second = scene.server("dog", "bar")
    draft = Draft("inner", headers={PARENT: str(outer)})
    scene.call("bar", draft, timeout=30)
    scene.call("bar", Draft("other"), timeout=30)
    inner = scene.take(second).id
    scene.reply(Reply(id=inner, payload="INNER"), token=second)
    scene.reply(Reply(id=outer, payload="OUTER"), token=server)
    return outer, inner


def test_a_handlers_call_comes_from_the_handler(scene: Scene) -> None:
    nested(scene)
    story = tell(events_of(scene))
    assert ("cat", "sent", "bar", "inner") in shown(story)
    assert ("dog", "answered", "cat", "INNER") in shown(story)


def test_a_tree_of_calls_is_found_from_any_of_its_messages(scene: Scene) -> None:
    outer, inner = nested(scene)
    events = events_of(scene)
    tree = of_call(events, outer)
    assert [step[1:] for step in shown(tell(tree))] == [
        ("sent", "foo", "hello"),
        ("handed over", "cat"),
        ("sent", "bar", "inner"),
        ("handed over", "dog"),
        ("answered", "cat", "INNER"),
        ("answered", "web", "OUTER"),
    ]
    assert of_call(events, inner) == tree
    for response in responses(events).values():
        assert of_call(events, response.message or 0) == tree
    assert of_call(events, 7) == []


def test_calls_that_name_each_other_as_parent_end() -> None:
    events = [
        Event(1, 1.0, "sent", "q", 5, None, None, 6),
        Event(2, 1.0, "sent", "q", 6, None, None, 5),
    ]
    assert of_call(events, 5) == events


def test_long_silences_are_told(scene: Scene) -> None:
    scene.server("web")
    scene.sleep(12)
    scene.server("cat")
    assert [step.gap for step in tell(events_of(scene)).steps] == [None, 12.0]


def test_messages_are_named_by_the_digits_that_tell_them_apart() -> None:
    def names(*ids: int) -> list[str | None]:
        events = [Event(n, 1.0, "acked", "q", id, "c") for n, id in enumerate(ids)]
        return [step.message for step in tell(events).steps]

    assert names(1_866_000_123_456_789, 1_866_000_123_456_790) == ["…789", "…790"]
    assert names(1_866_000_123_456_789, 1_866_000_999_456_789) == ["…3456789", "…9456789"]
    assert names(1234, 17) == ["1234", "17"]


def test_of_many_steps_the_last_are_told() -> None:
    events = [Event(n, 1.0, "acked", "q", n, "c") for n in range(MOST_STEPS + 7)]
    story = tell(events)
    assert len(story.steps) == MOST_STEPS
    assert story.left_out == 7
    assert story.steps[-1].event.number == MOST_STEPS + 6


def test_of_many_lifelines_the_least_busy_are_folded() -> None:
    events = [Event(n, 1.0, "subscribed", "busy", None, f"client {n}") for n in range(30)]
    events += [Event(30 + n, 2.0, "login", None, None, "client 29") for n in range(2)]
    story = tell(events)
    assert len(story.lifelines) == MOST_LIFELINES - 1
    labels = [each.label for each in story.lifelines]
    assert "busy" in labels
    assert "client 29" in labels
    assert "13 other clients" in labels
    assert len(story.steps) == 32


def test_messages_go_to_neighbours(scene: Scene) -> None:
    scene.server("dog", "bar")
    server, id = called(scene)
    scene.reply(Reply(id=id, payload="HELLO"), token=server)
    labels = [each.label for each in tell(events_of(scene)).lifelines]
    assert labels == ["web", "foo", "cat", "dog", "bar"]


def test_the_lifelines_of_the_last_steps_come_first(scene: Scene) -> None:
    server, id = called(scene)
    scene.reply(Reply(id=id, payload="HELLO"), token=server)
    second = scene.server("dog", "bar")
    for _ in range(RECENT // 2):
        scene.put("bar")
    scene.poll(second, limit=RECENT)
    labels = [each.label for each in tell(events_of(scene)).lifelines]
    assert labels == ["no session", "bar", "dog", "web", "foo", "cat"]


def test_a_client_and_a_queue_of_the_same_name_are_two() -> None:
    story = tell([Event(1, 1.0, "acked", "x", 1, "x")])
    assert [(each.kind, each.name) for each in story.lifelines] == [("client", "x"), ("queue", "x")]


def test_every_kind_of_event_has_a_word() -> None:
    assert set(WORDS) == set(KINDS)


def test_the_prefix_is_that_of_calls(scene: Scene) -> None:
    called(scene)
    assert all(name.startswith(stories.CALL_PREFIX) for name in scene.switch.calls)


@settings(max_examples=100)
@given(event_lists())
def test_any_events_have_a_story(events: list[Event]) -> None:
    story = tell(events)
    merged = sum(
        1
        for number, sent in responses(events).items()
        if (sent.queue or "").startswith(stories.CALL_PREFIX)
    )
    assert len(story.steps) == len(events) - merged
    places = range(len(story.lifelines))
    assert all(s.source in places and (s.target is None or s.target in places) for s in story.steps)
    assert len(set(story.lifelines)) == len(story.lifelines)
    assert all(h.last is None or h.first < h.last for h in story.holds)
    assert tell(reversed(events)) == story
    for step in story.steps:
        assert "\n" not in story.said(step)


@settings(max_examples=100)
@given(event_lists(max_size=MOST_LIFELINES // 2))
def test_the_parts_of_a_trace_agree_with_the_whole(events: list[Event]) -> None:
    half = events[len(events) // 2 :]
    whole = tell(events)
    part = tell(half, events)
    numbers = {step.event.number for step in part.steps}
    same = {step.event.number: step for step in whole.steps}
    assert {event.number for event in half} & set(same) <= numbers
    for step in part.steps:
        if (told := same.get(step.event.number)) is not None:
            assert whole.lifelines[told.source] == part.lifelines[step.source]
