"""The examples of docs/client.md and docs/cli.md, run as they stand (but for the port)."""

import argparse
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from queues import cli

from .conftest import ROOT, Server

ADDRESS = "http://127.0.0.1:8080"


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / "docs" / document).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@contextlib.contextmanager
def background(process: subprocess.Popen[str]) -> Iterator[None]:
    with process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            finally:
                process.kill()


def test_the_python_of_the_client_guide(fresh_server: Server):
    printed = []
    with contextlib.ExitStack() as servers:
        for block in blocks("client.md", "python"):
            command = [sys.executable, "-c", block.replace(ADDRESS, fresh_server.url)]
            if ".serve(" in block:
                process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, text=True)
                servers.enter_context(background(process))
                continue
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
            )
            assert (done.returncode, done.stderr) == (0, ""), block
            printed.append(done.stdout)
            for promised in re.findall(r"print\(.*\)  # (.*)$", block, re.MULTILINE):
                for line in promised.split(", then "):
                    assert line in done.stdout.splitlines()
    assert len(printed) == 7


def masked(output: str) -> str:
    """The output without what differs from run to run."""
    output = re.sub(r"\b\d{15,}\b", "ID", output)
    output = re.sub(r"\d\d:\d\d:\d\d\.\d\d\d", "CLOCK", output)
    output = re.sub(r"(Up|ready|sent|for) \d+(\.\d s| s| min( \d+ s)?)", r"\1 TIME", output)
    output = re.sub(r"\b[\w.-]+\[\d+\]@[\w.-]+", "SOMEBODY", output)
    return re.sub(r'("code":"dropped",).*', r"\1...", output)


def masked_of_the_document(output: str) -> str:
    return re.sub(r"(for) \d+\.\d s", r"\1 TIME", output)


def test_the_transcript_of_the_commands(fresh_server: Server, tmp_path: Path):
    program = tmp_path / "message-cli"  # also where the package is not installed
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m queues.cli "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        "SWITCH_URL": fresh_server.url,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    environment.pop("NO_COLOR", None)
    last_id = ""
    with contextlib.ExitStack() as servers:
        for step in re.split(r"^\$ ", "".join(blocks("cli.md", "console")), flags=re.MULTILINE)[1:]:
            line, _, expected = step.partition("\n")
            command = line.replace(ADDRESS, fresh_server.url)
            command = re.sub(r"\bID\b", last_id, command)
            if command.endswith(" &"):
                process = subprocess.Popen(
                    shlex.split(command[:-2]), env=environment, stderr=subprocess.PIPE, text=True
                )
                servers.enter_context(background(process))
                assert process.stderr is not None
                assert process.stderr.readline() == expected
                continue
            done = subprocess.run(
                command,
                shell=True,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=30,
                check=False,
            )
            found = re.search(r"^\d{15,}$", done.stdout, re.MULTILINE)
            last_id = found[0] if found else last_id
            shown = (
                done.stdout if done.stdout.endswith("\n") or not expected else done.stdout + "\n"
            )
            assert masked(shown) == masked_of_the_document(expected), command
            assert done.returncode == (1 if expected.startswith("error: ") else 0), command


@pytest.mark.parametrize("verb", cli.VERBS.values(), ids=lambda verb: verb.name)
def test_every_verb_is_described_with_its_options(verb: cli.Verb):
    text = (ROOT / "docs" / "cli.md").read_text()
    section = re.search(rf"^## {verb.name}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert section is not None
    usage = section[1].strip().partition("\n\n")[0]
    parser = argparse.ArgumentParser(add_help=False)
    verb.arguments(parser)
    for action in parser._actions:
        name = action.option_strings[-1] if action.option_strings else str(action.metavar)
        assert name in usage, name
    assert f"message-cli {verb.name}" in section[1]
