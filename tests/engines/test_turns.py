"""Rounds: no more than so much in one, and those who wait come first in the next."""

from __future__ import annotations

from collections.abc import Callable

from queues.engines.turns import Turns


class Loop:
    def __init__(self) -> None:
        self.ready: list[Callable[[], None]] = []

    def soon(self, call: Callable[[], None]) -> None:
        self.ready.append(call)

    def run_once(self) -> None:
        ready, self.ready = self.ready, []
        for call in ready:
            call()


def test_a_round_is_new_in_the_next_turn_of_the_loop() -> None:
    loop = Loop()
    turns = Turns(4, loop.soon)
    turns.spend(3)
    turns.spend(3)
    assert (turns.left, turns.round, len(loop.ready)) == (-2, 0, 1)
    loop.run_once()
    assert (turns.left, turns.round) == (4, 1)
    assert loop.ready == [], "nothing is scheduled while nothing is done"


def test_those_who_wait_go_in_order_as_far_as_a_round_goes() -> None:
    loop = Loop()
    turns = Turns(4, loop.soon)
    went: list[int] = []

    def client(number: int) -> Callable[[], None]:
        def go() -> None:
            went.append(number)
            turns.spend(2)

        return go

    for number in range(5):
        turns.line_up(client(number))
    assert turns.others_wait
    loop.run_once()
    assert went == [0, 1]
    turns.line_up(client(5))
    loop.run_once()
    assert went == [0, 1, 2, 3]
    loop.run_once()
    assert went == [0, 1, 2, 3, 4, 5]
    assert not turns.others_wait
    loop.run_once()
    assert loop.ready == []


def test_one_that_lines_up_again_comes_after_the_others_and_not_in_the_same_round() -> None:
    loop = Loop()
    turns = Turns(10, loop.soon)
    went: list[str] = []

    def greedy() -> None:
        went.append("greedy")
        turns.spend(1)
        turns.line_up(greedy)

    def modest() -> None:
        went.append("modest")
        turns.spend(1)

    turns.line_up(greedy)
    turns.line_up(modest)
    loop.run_once()
    assert went == ["greedy", "modest"]
    turns.line_up(modest)
    loop.run_once()
    assert went == ["greedy", "modest", "greedy", "modest"]


def test_between_rounds_there_is_a_rest_as_long_as_somebody_waits() -> None:
    loop = Loop()
    turns = Turns(4, loop.soon)
    said: list[str] = []
    turns.rest = lambda: said.append("rest")
    turns.spend(1)
    loop.run_once()
    assert said == []
    for name in ("first", "second"):
        turns.line_up(lambda name=name: (said.append(name), turns.spend(4)))  # type: ignore[misc]
    while loop.ready:
        loop.run_once()
    assert said == ["rest", "first", "rest", "second"]
