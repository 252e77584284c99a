import hypothesis.strategies as st
import pytest
from hypothesis import given

from queues.core import queue as queue_module
from queues.core.errors import InvalidName
from queues.core.messages import Death, Message, State
from queues.core.queue import Policy, Queue, check_name


@pytest.fixture
def queue() -> Queue:
    return Queue("q", Policy(), None, 0.0)


def message(id: int) -> Message:
    return Message(
        id=id,
        queue="q",
        payload="x",
        correlation_id=None,
        reply_to=None,
        headers=None,
        key=None,
        error=None,
        sender=None,
        sent_at=0.0,
        expires_at=None,
        size=1,
    )


def filled(queue: Queue, *ids: int) -> dict[int, Message]:
    messages = {id: message(id) for id in ids}
    for each in messages.values():
        queue.append(each)
    return messages


def drained(queue: Queue) -> list[int]:
    ids = []
    while queue.head() is not None:
        ids.append(queue.pop().id)
    return ids


@pytest.mark.parametrize("name", ["a", "A.b_c:d@e+f~g=h-9", "...", "n" * 255])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "n" * 256, "a b", "a/b", "a\n", "é", "a%20b", "\u0661"]
)
def test_no_names(name: str) -> None:
    with pytest.raises(InvalidName):
        check_name(name)


def test_the_smallest_id_comes_first(queue: Queue) -> None:
    filled(queue, 1, 2, 3)
    assert drained(queue) == [1, 2, 3]


def test_what_comes_back_has_its_original_place(queue: Queue) -> None:
    filled(queue, 1, 2, 3)
    first, second = queue.pop(), queue.pop()
    queue.restore(second)
    queue.restore(first)
    filled(queue, 4)
    assert drained(queue) == [1, 2, 3, 4]


def test_a_message_leaves_from_the_middle(queue: Queue) -> None:
    messages = filled(queue, 1, 2, 3)
    queue.remove(messages[2])
    assert queue.ready == 2
    assert [m.id for m in queue.messages()] == [1, 3]
    assert drained(queue) == [1, 3]


def test_a_message_that_came_back_leaves_from_the_middle(queue: Queue) -> None:
    messages = filled(queue, 1, 2, 3)
    for each in (queue.pop(), queue.pop()):
        queue.restore(each)
    queue.remove(messages[1])
    assert drained(queue) == [2, 3]


def test_what_left_while_ready_and_is_replayed_has_its_original_place(queue: Queue) -> None:
    messages = filled(queue, 1, 2, 3)
    queue.remove(messages[2])
    queue.restore(messages[2])
    assert queue.ready == 3
    assert drained(queue) == [1, 2, 3]


def test_what_left_and_surfaced_is_replayed_in_its_original_place(queue: Queue) -> None:
    messages = filled(queue, 1, 2)
    queue.remove(messages[1])
    assert queue.pop().id == 2
    queue.restore(messages[1])
    filled(queue, 3)
    assert drained(queue) == [1, 3]


def test_length_counts_all_but_the_dead(queue: Queue) -> None:
    filled(queue, 1, 2)
    queue.delayed[3] = message(3)
    queue.held[4] = message(4)
    queue.dead[5] = message(5)
    assert (queue.ready, queue.length) == (2, 4)


@pytest.mark.parametrize(
    ("state", "ids"),
    [
        (State.READY, [1]),
        (State.DELAYED, [2]),
        (State.HELD, [3]),
        (State.DEAD, [4]),
        (None, [1, 2, 3, 4]),
    ],
)
def test_messages_by_state(queue: Queue, state: State | None, ids: list[int]) -> None:
    filled(queue, 1)
    places = (queue.delayed, State.DELAYED), (queue.held, State.HELD), (queue.dead, State.DEAD)
    for id, (place, its_state) in enumerate(places, 2):
        place[id] = message(id)
        place[id].state = its_state
    assert [m.id for m in queue.messages(state)] == ids
    for each in list(queue.messages()):
        queue.remove(each)
    assert list(queue.messages()) == []
    assert queue.length == 0


def test_what_left_takes_no_room_for_long(queue: Queue) -> None:
    messages = filled(queue, *range(1_000))
    queue.restore(queue.pop())
    for id in range(999):
        queue.remove(messages[id])
    assert len(queue._fresh) + len(queue._returned) < 200
    assert drained(queue) == [999]


def test_what_came_back_is_sorted_in_when_it_is_much(queue: Queue) -> None:
    count = 3 * queue_module._SLACK
    messages = filled(queue, *range(count))
    back = [queue.pop() for _ in range(count - 1)]
    for each in reversed(back):
        queue.restore(each)
    assert len(queue._returned) < 2 * queue_module._SLACK
    for id in (0, 1, count // 2, count - 1):
        assert queue.ahead_of(messages[id]) == id
    assert drained(queue) == list(range(count))


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["append", "append", "pop", "restore", "remove", "move back"]),
            st.integers(0, 99),
        ),
        max_size=80,
    ),
    slack=st.sampled_from([0, 3, 1_000]),
)
def test_the_order_whatever_happens(steps: list[tuple[str, int]], slack: int) -> None:
    queue = Queue("q", Policy(), None, 0.0)
    ready: list[Message] = []
    away: list[Message] = []
    gone: list[Message] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue_module, "_SLACK", slack)
        for number, (step, place) in enumerate(steps):
            if step == "append":
                ready.append(message(number))
                queue.append(ready[-1])
            elif step == "pop" and ready:
                away.append(queue.pop())
                assert away[-1] is ready.pop(0)
            elif step == "restore" and away:
                ready.append(away.pop(place % len(away)))
                queue.restore(ready[-1])
            elif step == "remove" and ready:
                gone.append(ready.pop(place % len(ready)))
                queue.remove(gone[-1])
            elif step == "move back" and gone:
                ready.append(gone.pop(place % len(gone)))
                queue.restore(ready[-1])
            ready.sort(key=lambda m: m.id)
            assert queue.head() is (ready[0] if ready else None)
            assert queue.ready == queue.length == len(ready)
            assert [queue.ahead_of(m) for m in ready] == list(range(len(ready)))
            for after in (0, number // 2, number):
                assert list(queue.ready_after(after)) == [m for m in ready if m.id > after]
            assert sorted(m.id for m in queue.messages(State.READY)) == [m.id for m in ready]
    assert drained(queue) == [m.id for m in ready]


def test_looking_changes_nothing(queue: Queue) -> None:
    messages = filled(queue, *range(10))
    queue.restore(queue.pop())
    for id in (0, 1, 5):
        queue.remove(messages[id])
    before = (list(queue._fresh), list(queue._returned), set(queue._stale))
    assert queue.head() is messages[2]
    queue.ahead_of(messages[9])
    list(queue.ready_after(3))
    assert (list(queue._fresh), list(queue._returned), set(queue._stale)) == before


def test_the_dead_are_sorted_by_their_deaths(queue: Queue) -> None:
    for id, number in ((1, 30), (2, 10), (3, 20)):
        each = message(id)
        each.state, each.death = State.DEAD, Death("rejected", 0.0, number)
        queue.dead[id] = each
    queue.sort_dead()
    assert list(queue.dead) == [2, 3, 1]
