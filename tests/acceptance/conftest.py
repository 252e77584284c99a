"""A real switch for acceptance tests: a process of its own on a free port.

``server`` is shared by a module's tests; ``fresh_server`` starts a new one for each test that may
stop, kill or restart it. SWITCH_TEST_SERVER=daphne (the default), uvicorn or granian chooses what
runs it.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ["daphne", "uvicorn", "granian"]
KIND = os.environ.get("SWITCH_TEST_SERVER", "daphne")
START_TIMEOUT = 30.0


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(condition: Callable[[], object], what: str, timeout: float = 20.0) -> None:
    """Poll until the condition holds. Fails the test after ``timeout`` seconds."""
    ends = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < ends, f"not within {timeout:g} s: {what}"
        time.sleep(0.01)


class Server:
    """A switch in a process of its own."""

    def __init__(
        self,
        state_dir: Path,
        kind: str = KIND,
        *,
        through: str = "",
        application: str = "switchproject.asgi:application",
        **settings: str,
    ) -> None:
        """``through`` is a module that runs the server's, ``settings`` are variables of its
        environment."""
        self.kind = kind
        self._application = application
        self._modules = [through, kind] if through else [kind]
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.unix_path = state_dir / "switch.sock"
        self.unix_url = f"unix://{self.unix_path}"
        self.tcp_url = f"tcp://127.0.0.1:{free_port()}"
        self._log_path = state_dir / "server.log"
        self._env = {
            **os.environ,
            "SWITCH_STATE_DIR": str(state_dir),
            "SWITCH_LISTEN": f"{self.unix_url}, {self.tcp_url}",
            "DJANGO_SECRET_KEY": "only for tests",
            "DJANGO_SETTINGS_MODULE": "switchproject.settings",
            **settings,
        }
        self.process: subprocess.Popen[bytes]

    def migrate(self) -> None:
        """Make the tables in its database."""
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            check=True,
            cwd=ROOT,
            env=self._env,
        )

    def start(self, *, wait: bool = True) -> None:
        """Start the process; wait until it takes requests, if asked to."""
        application = self._application
        arguments = {
            "daphne": ["-p", str(self.port), "--verbosity", "0", application],
            "uvicorn": [
                "--host",
                "127.0.0.1",
                "--port",
                str(self.port),
                "--timeout-graceful-shutdown",
                "1",
                application,
            ],
            "granian": [
                "--interface",
                "asgi",
                "--host",
                "127.0.0.1",
                "--port",
                str(self.port),
                "--backlog",
                "4096",
                "--backpressure",
                "65535",
                "--workers-kill-timeout",
                "1",
                application,
            ],
        }[self.kind]
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self._modules, *arguments],
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            until(self._up, f"{self.kind} is ready; its log: {self._log_path}", START_TIMEOUT)

    def _up(self) -> bool:
        assert self.process.poll() is None, self.log
        return self.ready()

    def ready(self) -> bool:
        """Whether it takes requests now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    @property
    def urls(self) -> list[str]:
        """Its addresses: the web server's, and the plain sockets'."""
        return [self.url, self.unix_url, self.tcp_url]

    @property
    def log(self) -> str:
        """What the process has written so far."""
        return self._log_path.read_text(errors="replace")

    @property
    def worker(self) -> psutil.Process:
        """The process that holds the switch: the server's own, or its child."""
        process = psutil.Process(self.process.pid)
        return process.children()[0] if self.kind == "granian" else process

    def stop(self) -> None:
        """Stop it in order (SIGTERM)."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
                raise

    def kill(self) -> None:
        """Kill it (SIGKILL), and its children."""
        if self.process.poll() is None:
            children = psutil.Process(self.process.pid).children(recursive=True)
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            # Their parent is there to bury them; until then they may hold the address.
            _, left = psutil.wait_procs(children, 15)
            os.killpg(self.process.pid, signal.SIGKILL)  # with any that were born meanwhile
            self.process.wait()
            assert not left

    def restart(self) -> None:
        """Stop it in order and start it again on the same port."""
        self.stop()
        self.start()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running switch that the module's tests share; leave it running."""
    server = Server(tmp_path_factory.mktemp("switch"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[Server]:
    """A running switch for one test, to do with as it likes."""
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def stopped_server(tmp_path: Path) -> Iterator[Server]:
    """A switch that has not been started yet, its port known."""
    server = Server(tmp_path)
    yield server
    if hasattr(server, "process"):
        server.kill()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a failed test leaves running."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser."""
    # It needs what is above.
    from .browsing import chromium

    with chromium() as browser:
        yield browser
