"""How each server of the measurements is started."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .harness import Processes, answers, free_port, listens, wait_until

SWITCH = "switchproject.asgi:application"


@dataclass(frozen=True)
class Running:
    """A server that takes requests."""

    url: str
    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid


def daphne(
    processes: Processes,
    application: str = SWITCH,
    env: dict[str, str] | None = None,
    ready: str = "/readyz",
) -> Running:
    """Daphne with an application of ours, as ``make run`` starts it."""
    port = free_port()
    process = processes.start(
        *(sys.executable, "-m", "daphne", "--verbosity", "0"),
        *("-e", f"tcp:{port}:interface=127.0.0.1:backlog=4096", application),
        env=_environment(processes, env),
    )
    return _when_ready(process, port, ready)


def uvicorn(
    processes: Processes, application: str = SWITCH, env: dict[str, str] | None = None
) -> Running:
    """Uvicorn with the fastest parts that are installed."""
    port = free_port()
    process = processes.start(
        *(sys.executable, "-m", "uvicorn", "--port", str(port), "--ws", _websockets()),
        *("--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "1"),
        application,
        env=_environment(processes, env),
    )
    return _when_ready(process, port, "/readyz")


def _websockets() -> str:
    from uvicorn.config import WS_PROTOCOLS

    return "websockets-sansio" if "websockets-sansio" in WS_PROTOCOLS else "websockets"


def _environment(processes: Processes, env: dict[str, str] | None) -> dict[str, str]:
    return {"SWITCH_STATE_DIR": str(processes.path / "state"), **(env or {})}


def _when_ready(process: subprocess.Popen[str], port: int, path: str) -> Running:
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers(url + path), process, "The server")
    return Running(url, process)


def on_websocket(server: Running) -> Running:
    """The same server by its WebSocket."""
    return Running(server.url.replace("http", "ws", 1), server.process)


def on_unix_socket(processes: Processes, server: str) -> Running:
    """A switch under ``daphne`` or ``uvicorn`` that listens on a Unix socket as well."""
    path = processes.path / f"{server}.sock"
    running = _listening(processes, server, f"unix://{path}")
    wait_until(path.exists, running.process, str(path))
    return running


def on_tcp_socket(processes: Processes, server: str) -> Running:
    """A switch under ``daphne`` or ``uvicorn`` that listens on a plain TCP socket as well."""
    port = free_port()
    running = _listening(processes, server, f"tcp://127.0.0.1:{port}")
    wait_until(lambda: listens(port), running.process, running.url)
    return running


def _listening(processes: Processes, server: str, url: str) -> Running:
    start = daphne if server == "daphne" else uvicorn
    running = start(processes, env={"SWITCH_LISTEN": url})
    return Running(url, running.process)


def nats_program() -> Path | None:
    """The program of the NATS server, installed beside the interpreter; None without it or its
    client library."""
    program = Path(sys.executable).parent / "nats-server"
    found = program.exists() and importlib.util.find_spec("nats") is not None
    return program if found else None


def nats(processes: Processes) -> Running:
    """A NATS server, with streams in memory."""
    port = free_port()
    configuration = processes.path / "nats.conf"
    configuration.write_text(
        f"listen: 127.0.0.1:{port}\n"
        f'jetstream {{ store_dir: "{processes.path / "jetstream"}", max_mem: 4G }}\n'
        "max_payload: 1MB\n"
    )
    process = processes.start(str(nats_program()), "-c", str(configuration), "-l", "/dev/null")
    wait_until(functools.partial(listens, port), process, "nats-server")
    return Running(f"nats://127.0.0.1:{port}", process)
