"""Schemathesis against a real switch, over the whole OpenAPI document: examples, the edges of every
field, fuzzing, and sequences of requests that build on each other.

SWITCH_FUZZ_EXAMPLES=500 looks longer, SWITCH_FUZZ_SEED=7 elsewhere; ``make fuzz-api`` does
both.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, Server

SEED = os.environ.get("SWITCH_FUZZ_SEED", "1")
EXAMPLES = os.environ.get("SWITCH_FUZZ_EXAMPLES", "20")
LONG = "SWITCH_FUZZ_EXAMPLES" in os.environ


@pytest.mark.timeout(0 if LONG else 180)
def test_the_switch_keeps_to_its_openapi_document(fresh_server: Server, tmp_path: Path) -> None:
    print(f"seed {SEED}, {EXAMPLES} examples")
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{fresh_server.url}/api/v1/schema/",
            "--seed",
            SEED,
            "--max-examples",
            EXAMPLES,
            "--checks",
            "all",
            # no_server, timeout and handler_failed are answers; no_internal_error knows better.
            "--exclude-checks",
            "not_a_server_error",
            "--request-timeout",
            "20",
            "--generation-database",
            "none",
            "--warnings",
            "off",
            "--no-color",
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.acceptance.schema_hooks",
            "SWITCH_UNDER_TEST": fresh_server.url,
            "PYTHONWARNINGS": "default",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert "Tested: 33" in done.stdout
    assert "Traceback" not in fresh_server.log
    assert fresh_server.ready()
