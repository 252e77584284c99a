"""The project's settings with a system clock that a test sets: it is wrong by as many seconds as
the file $SWITCH_TEST_CLOCK says."""

import os
import time
from pathlib import Path

from switchproject.settings import *  # noqa: F403

_right = time.time
_wrong_by = Path(os.environ["SWITCH_TEST_CLOCK"])


def _set_clock() -> float:
    return _right() + float(_wrong_by.read_text())


time.time = _set_clock
