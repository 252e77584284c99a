"""What starts the switch: the servers of the README, one process for each address."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from .conftest import ROOT, SERVERS, Server, free_port, until


def get(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_serves_protocol_pages_and_static_files(kind: str, tmp_path: Path) -> None:
    server = Server(tmp_path, kind)
    server.start()
    try:
        assert get(server.port, "/api/v1/queues") == (200, b'{"queues":[],"next":null}')
        assert get(server.port, "/healthz") == (200, b"ok\n")
        status, page = get(server.port, "/")
        assert status == 200
        assert b"<html" in page
        assert get(server.port, "/static/admin/css/base.css")[0] == 200
        assert get(server.port, "/", {"Host": "evil.example"})[0] == 400
        assert get(server.port, "/api/v1/queues", {"Host": "evil.example"})[0] == 400
    finally:
        server.stop()
    assert "Traceback" not in server.log


@pytest.mark.parametrize("kind", SERVERS)
def test_an_answer_that_breaks_off_with_an_error_ends_and_is_told(
    kind: str, tmp_path: Path
) -> None:
    server = Server(tmp_path, kind, application="tests.acceptance.failing:application")
    server.start()
    try:
        # Daphne once looked no more after the first.
        for told in (1, 2):
            with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
                get(server.port, "/fails/9")
            until(lambda: server.log.count("RuntimeError: It fails.") == told, "it is told")  # noqa: B023
    finally:
        server.stop()


def test_an_answer_that_breaks_off_unread_ends_under_daphne(tmp_path: Path) -> None:
    server = Server(tmp_path, "daphne", application="tests.acceptance.failing:application")
    server.start()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", f"/fails/{2**24}")
        answer = connection.getresponse()
        # Until then the server cannot write it out, and has stopped asking for more.
        until(lambda: "RuntimeError: It fails." in server.log, "it is told")
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            answer.read()
    finally:
        connection.close()
        server.stop()


def test_daphne_takes_a_socket_that_listens(stack: ExitStack, tmp_path: Path) -> None:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = listener.getsockname()[1]
    listener.set_inheritable(True)
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "daphne", "--fd", str(listener.fileno())),
            "switchproject.asgi:application",
        ],
        cwd=ROOT,
        env={**os.environ, "SWITCH_STATE_DIR": str(tmp_path)},
        pass_fds=[listener.fileno()],
        stderr=subprocess.DEVNULL,
    )
    try:
        assert get(port, "/healthz") == (200, b"ok\n")
    finally:
        server.terminate()
        server.wait(15)


def test_a_second_process_on_the_same_address_refuses(stack: ExitStack, tmp_path: Path) -> None:
    """Both listen on one port, as two workers of a server do."""
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = listener.getsockname()[1]
    listener.set_inheritable(True)
    logs = [tmp_path / f"{number}.log" for number in range(2)]
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "uvicorn",
                "--fd",
                str(listener.fileno()),
                "switchproject.asgi:application",
            ],
            cwd=ROOT,
            env={**os.environ, "SWITCH_STATE_DIR": str(tmp_path), "DJANGO_SECRET_KEY": "test"},
            pass_fds=[listener.fileno()],
            stderr=stack.enter_context(log.open("wb")),
            stdout=subprocess.DEVNULL,
        )
        for log in logs
    ]
    try:
        seen: set[str] = set()

        def both_answered() -> bool:
            try:
                status, body = get(port, "/api/v1/queues")
            except OSError:
                return False
            seen.add("ok" if status == 200 else f"{status} {json.loads(body)['code']}")
            return len(seen) == 2

        until(both_answered, "one worker serves, the other refuses", 60)
        assert seen == {"ok", "503 second_worker"}
        told = ["run one worker for each address" in log.read_text() for log in logs]
        assert sorted(told) == [False, True]
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait(10)


def test_runserver_is_asgi(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "runserver", "--noreload", str(port)],
        cwd=ROOT,
        env={**os.environ, "SWITCH_STATE_DIR": str(tmp_path), "DJANGO_SECRET_KEY": "test"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:

        def ready() -> bool:
            try:
                return get(port, "/readyz") == (200, b"ready\n")
            except OSError:
                return False

        until(ready, "runserver serves", 60)
        assert get(port, "/api/v1/queues")[0] == 200
    finally:
        process.terminate()
        process.wait(15)


def test_under_wsgi_the_protocol_says_what_it_needs() -> None:
    script = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "switchproject.settings"
from django.core.wsgi import get_wsgi_application
from wsgiref.util import setup_testing_defaults
application = get_wsgi_application()
environ = {"PATH_INFO": "/api/v1/queues", "HTTP_HOST": "localhost"}
setup_testing_defaults(environ)
print(b"".join(application(environ, lambda status, headers: print(status))).decode())
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SECRET_KEY": "test"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("503"), done.stderr
    assert '"not_running"' in done.stdout
