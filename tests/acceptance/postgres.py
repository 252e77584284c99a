"""A PostgreSQL server of its own for tests, where PostgreSQL is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from tempfile import mkdtemp

from .conftest import until

#: Debian has them outside the path.
PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def find(name: str) -> str | None:
    """A program of PostgreSQL."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, PLACES)])
    return shutil.which(name, path=path)


def missing() -> str | None:
    """Why there can be no PostgreSQL here; None if there can."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "PostgreSQL IS NOT TESTED: psycopg is not installed"
    if find("initdb") is None or find("postgres") is None:
        return "PostgreSQL IS NOT TESTED: initdb and postgres are not installed"
    return None


class Postgres:
    """A PostgreSQL server that listens on a Unix socket only, with an empty database."""

    def __init__(self) -> None:
        # Socket paths are short, and the server may run as another user than the tests.
        self.directory = Path(mkdtemp(prefix="switch-pg-"))
        self.directory.chmod(0o755)
        self._data = self.directory / "data"
        self._log = self.directory / "log"
        self._user = None
        if os.getuid() == 0:
            self._user = _other_user()
            shutil.chown(self.directory, self._user)
        self._run("initdb", "-D", self._data, "-U", "switch", "-A", "trust", "-E", "UTF8")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """For a switch that uses it."""
        return {
            "DJANGO_SETTINGS_MODULE": "tests.acceptance.postgres_settings",
            "SWITCH_TEST_POSTGRES": str(self.directory),
        }

    def start(self) -> None:
        """Start the server."""
        program = find("postgres")
        assert program is not None
        options = ["-c", "listen_addresses=", "-k", str(self.directory)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [program, "-D", str(self._data), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self.directory,
            )
        until(self._up, "PostgreSQL is ready")

    def _up(self) -> bool:
        import psycopg

        assert self.process is not None
        assert self.process.poll() is None, self._log.read_text()
        try:
            psycopg.connect(f"host={self.directory} user=switch dbname=postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Stop it at once, as after a crash."""
        if self.process is not None:
            self.process.send_signal(3)  # SIGQUIT: immediate shutdown
            self.process.wait(20)
            self.process = None

    def remove(self) -> None:
        """Stop it and delete all that it has."""
        self.stop()
        shutil.rmtree(self.directory)

    def _run(self, name: str, *arguments: str | Path) -> None:
        program = find(name)
        assert program is not None
        subprocess.run(
            [program, *map(str, arguments)],
            check=True,
            user=self._user,
            cwd=self.directory,
            capture_output=True,
        )


def _other_user() -> str:
    """Whom to run as, since PostgreSQL does not run as root."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
