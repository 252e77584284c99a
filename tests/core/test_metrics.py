import pytest

from queues.core import metrics
from queues.core.metrics import Counting, Metrics

from .scene import Scene


def counted(scene: Scene) -> Metrics:
    counting: Counting = Counting(scene.switch, now=scene.now)
    while counting.step(now=scene.now):
        pass
    return counting.result


def test_a_queue_in_numbers():
    scene = Scene()
    scene.create_queue("jobs")
    scene.put("jobs", "first")
    scene.sleep(5)
    server = scene.server("worker", "jobs")
    scene.take(server)
    scene.put("jobs")
    scene.put("jobs", delay=60)
    scene.sleep(2)
    (jobs,) = counted(scene).queues
    assert (jobs.name, jobs.ready, jobs.held, jobs.delayed, jobs.dead) == ("jobs", 1, 1, 1, 0)
    assert (jobs.sent, jobs.delivered, jobs.finished, jobs.refused) == (3, 1, 0, 0)
    assert (jobs.consumers, jobs.at, jobs.oldest_at) == (1, scene.now, scene.now - 2)
    assert jobs.bytes > 0
    assert jobs.level == "ok"
    scene.pause_queue("jobs")
    assert counted(scene).queues[0].level == "warning"


def test_the_switch_in_numbers():
    scene = Scene()
    server = scene.server("worker", "jobs")
    scene.put("jobs")
    scene.ack([scene.take(server).id], token=server)
    scene.put("jobs")
    found = counted(scene)
    assert (found.sent, found.delivered, found.finished, found.sessions) == (2, 1, 1, 1)
    assert (found.calls, found.trace_dropped, found.started_at) == (0, 0, 1_000.0)
    assert {usage.name: usage.used for usage in found.usage}["queues"] == 1


def test_transient_queues_are_summed():
    scene = Scene()
    owner = scene.server("owner")
    for number in range(3):
        name = scene.create_fresh_queue(token=owner).name
        scene.sleep(1)
        if number:
            scene.put(name)
    found = counted(scene)
    assert found.queues == []
    transient = found.transient
    assert (transient.queues, transient.ready, transient.consumers) == (3, 2, 0)
    assert transient.oldest_at == scene.now - 1
    assert found.left_out == metrics.Sum()


def test_of_many_queues_the_busiest_are_told_apart(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metrics, "MOST_QUEUES", 2)
    monkeypatch.setattr(metrics, "LOOKED_AT", 2)
    monkeypatch.setattr(metrics, "EXPLAINED", 1)
    scene = Scene()
    for name, number in {"a": 1, "b": 3, "c": 2, "d": 0, "e": 9}.items():
        scene.create_queue(name)
        for _ in range(number):
            scene.put(name)
    found = counted(scene)
    assert [queue.name for queue in found.queues] == ["b", "e"]
    assert (found.left_out.queues, found.left_out.ready) == (3, 3)


def test_a_queue_that_is_destroyed_meanwhile_is_not_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metrics, "EXPLAINED", 1)
    scene = Scene()
    scene.create_queue("a")
    scene.create_queue("b")
    counting = Counting(scene.switch, now=scene.now)
    assert counting.step(now=scene.now)
    assert counting.step(now=scene.now)
    scene.destroy_queue("b")
    scene.create_queue("b")
    assert counting.step(now=scene.now)
    assert not counting.step(now=scene.now)
    assert [queue.name for queue in counting.result.queues] == ["a"]


def test_counting_changes_nothing():
    scene = Scene()
    server = scene.server("worker", "jobs")
    scene.put("jobs")
    scene.put("jobs")
    scene.take(server)
    before = scene.events()
    assert counted(scene) == counted(scene)
    assert scene.events() == before
