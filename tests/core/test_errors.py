import pickle
import re

import pytest

from queues.core import errors
from queues.core.errors import (
    BY_CODE,
    CallTimeout,
    Conflict,
    KeyReused,
    LimitReached,
    NotHolder,
    QueueFull,
    SwitchError,
    from_code,
)

TREE = re.findall(r"\+-- (\w+) +([a-z_]+)? *(\d{3})?$", errors.__doc__ or "", re.MULTILINE)


def test_the_tree_in_the_docstring_is_complete() -> None:
    drawn = {(name, code) for name, code, _ in TREE if code}
    assert drawn == {(kind.__name__, code) for code, kind in BY_CODE.items()}


@pytest.mark.parametrize(("name", "status"), [(name, status) for name, _, status in TREE if status])
def test_the_statuses_in_the_docstring_are_true(name: str, status: str) -> None:
    kind = getattr(errors, name)
    assert kind.status == int(status)
    assert all(child.status == int(status) for child in kind.__subclasses__())


@pytest.mark.parametrize("code", BY_CODE)
def test_a_code_becomes_its_class(code: str) -> None:
    error = from_code(code, "Why.", more=1)
    assert type(error) is BY_CODE[code]
    assert (error.code, error.detail) == (code, "Why.")
    assert error.extra["more"] == 1
    assert str(error) == "Why."


def test_an_unknown_code_is_kept() -> None:
    error = from_code("from_the_future", "Why.")
    assert type(error) is SwitchError
    assert error.code == "from_the_future"
    assert SwitchError.code == "switch_error"


def test_every_class_says_what_it_means() -> None:
    assert all(kind.__doc__ for kind in [*BY_CODE.values(), Conflict, LimitReached])


def test_a_limit_says_when_to_try_again() -> None:
    assert QueueFull("Full.").extra == {"retry_after": 1}
    assert QueueFull("Full.", retry_after=5).extra == {"retry_after": 5}


def test_kinds_can_be_caught_together() -> None:
    assert issubclass(NotHolder, Conflict)
    assert issubclass(KeyReused, Conflict)
    assert not issubclass(CallTimeout, Conflict)


def test_errors_survive_pickling() -> None:
    for error in (CallTimeout("Late.", id=5), from_code("from_the_future", "Why.")):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert (copy.code, copy.detail, copy.extra) == (error.code, error.detail, error.extra)
