"""How each server of the measurements is started."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .harness import ROOT, Processes, answers, free_port, listens, wait_until

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


@dataclass(frozen=True)
class Contender:
    """Who takes part: what its clients speak, and how its broker is started."""

    name: str
    kind: str
    start: Callable[[Processes], Running]


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


def on_unix_socket(processes: Processes, server: str, env: dict[str, str] | None = None) -> Running:
    """A switch under ``daphne`` or ``uvicorn`` that listens on a Unix socket as well."""
    path = processes.path / f"{server}.sock"
    running = _listening(processes, server, f"unix://{path}", env)
    wait_until(path.exists, running.process, str(path))
    return running


def on_tcp_socket(processes: Processes, server: str) -> Running:
    """A switch under ``daphne`` or ``uvicorn`` that listens on a plain TCP socket as well."""
    port = free_port()
    running = _listening(processes, server, f"tcp://127.0.0.1:{port}")
    wait_until(lambda: listens(port), running.process, running.url)
    return running


def _listening(
    processes: Processes, server: str, url: str, env: dict[str, str] | None = None
) -> Running:
    start = daphne if server == "daphne" else uvicorn
    running = start(processes, env={"SWITCH_LISTEN": url, **(env or {})})
    return Running(url, running.process)


def journal(processes: Processes, name: str) -> dict[str, str]:
    """The environment of a switch that keeps a journal, in a new SQLite database of its own."""
    env = {"SWITCH_STATE_DIR": str(processes.path / name), "SWITCH_JOURNAL": "commit"}
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=ROOT,
        env={**os.environ, **env},
        check=True,
    )
    return env


def nats_program() -> Path | None:
    """The program of the NATS server, installed beside the interpreter; None without it or its
    client library."""
    program = Path(sys.executable).parent / "nats-server"
    found = program.exists() and importlib.util.find_spec("nats") is not None
    return program if found else None


def nats(processes: Processes) -> Running:
    """A NATS server, with streams in memory."""
    return _nats(processes, "max_mem: 4G")


def jetstream(processes: Processes) -> Running:
    """A NATS server that syncs each message to the disk before it answers."""
    return _nats(processes, "sync_interval: always")


def _nats(processes: Processes, jetstream: str) -> Running:
    port = free_port()
    configuration = processes.path / "nats.conf"
    configuration.write_text(
        f"listen: 127.0.0.1:{port}\n"
        f'jetstream {{ store_dir: "{processes.path / "jetstream"}", {jetstream} }}\n'
        "max_payload: 1MB\n"
    )
    process = processes.start(str(nats_program()), "-c", str(configuration), "-l", "/dev/null")
    wait_until(functools.partial(listens, port), process, "nats-server")
    return Running(f"nats://127.0.0.1:{port}", process)


def rabbitmq_program() -> str | None:
    """The program of the RabbitMQ server; None without it or aio-pika."""
    if importlib.util.find_spec("aio_pika") is None:
        return None
    # The one on the path of Debian wants to be root, or the user of its own.
    return shutil.which("rabbitmq-server", path=f"/usr/lib/rabbitmq/bin:{os.environ['PATH']}")


def rabbitmq(processes: Processes) -> Running:
    """A RabbitMQ server with a directory, ports and a name of its own."""
    port, names, distribution = free_port(), free_port(), free_port()
    home = processes.path / "rabbitmq"
    home.mkdir()
    (home / "plugins").write_text("[].")
    (home / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = false\nlog.file.level = critical\n"
    )
    env = {
        "HOME": str(home),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(names),
        "RABBITMQ_NODENAME": "bench@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
    }
    daemon = processes.start("epmd", "-address", "127.0.0.1", "-port", str(names), env=env)
    wait_until(functools.partial(listens, names), daemon, "epmd")
    process = processes.start(str(rabbitmq_program()), env=env)
    wait_until(functools.partial(listens, port), process, "rabbitmq-server")
    return Running(f"amqp://guest:guest@127.0.0.1:{port}/", process)
