"""One connection is accepted now and then, whatever socket it comes to: in a storm of connections
those who are connected are served in between. The others wait in the kernel."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("queues.stream")

#: Connections to one socket that the kernel keeps until they are accepted.
BACKLOG = 4_096
#: Turns of the loop for each: in a storm it is as busy with one in each turn, but a call needs
#: several turns, and each is then three times as long.
EVERY = 3
#: Seconds until the next try when there are no descriptors or no memory for one more.
RETRY = 1.0
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Accepting:
    """Which of a loop's listening sockets may accept now.

    Sockets on which connections wait are told so by the loop in each turn, and always in the same
    order: who has accepted comes after those who have been refused since.
    """

    def __init__(self) -> None:
        self._rest = 0
        """Turns, with this one, in which nobody may."""
        self._scheduled = False
        self._refused: set[object] = set()
        """Who has asked since the last time that somebody might."""
        self._first: set[object] = set()
        """Those of them before who may now; anybody if there are none."""
        self._served: set[object] = set()
        """Who has accepted since all who wait have."""

    def may(self, who: object) -> bool:
        """Whether ``who`` may accept one connection; if not, it is to ask again in the next turn.

        ``who`` is anything that tells the sockets apart.
        """
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._next)
        if self._rest or (self._first and who not in self._first):
            self._refused.add(who)
            return False
        self._rest = EVERY
        self._served.add(who)
        return True

    def _next(self) -> None:
        if self._rest > 1:
            self._rest -= 1
            asyncio.get_running_loop().call_soon(self._next)
            return
        # Who was refused and asks no more keeps the others back for one turn, not longer.
        self._first = self._refused - self._served
        if not self._first:
            self._served.clear()
            self._first = self._refused
        self._refused = set()
        self._rest = 0
        self._scheduled = False


class AcceptingSocket:
    """Accepts what comes to a socket that listens. ``connection`` makes the protocol for a client,
    by the address that it comes from."""

    def __init__(
        self,
        listening: socket.socket,
        connection: Callable[[Any], asyncio.BaseProtocol],
        accepting: Accepting,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = listening
        self._accepting = accepting
        self._connection = connection
        self._tasks: set[asyncio.Task[Any]] = set()
        self._retry: asyncio.TimerHandle | None = None
        listening.settimeout(0)
        self._start()

    def _start(self) -> None:
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        if not self._accepting.may(self):
            return
        try:
            client, address = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            logger.error("No connection can be accepted for %g s: %s", RETRY, error)
            self._loop.remove_reader(self._socket.fileno())
            self._retry = self._loop.call_later(RETRY, self._start)
            return
        client.settimeout(0)
        task = self._loop.create_task(
            self._loop.connect_accepted_socket(lambda: self._connection(address), client)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Accept no more."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
