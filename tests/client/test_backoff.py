from queues.client.backoff import FIRST, LONGEST, Backoff


def test_pauses_grow_and_stay_below_a_second():
    pauses = [Backoff().next() for _ in range(200)]
    assert all(FIRST / 2 <= pause <= FIRST for pause in pauses)
    assert len(set(pauses)) > 1, "chance has no part in it"

    backoff = Backoff()
    pauses = [backoff.next() for _ in range(200)]
    assert max(pauses) <= LONGEST
    assert min(pauses[20:]) >= LONGEST / 2
