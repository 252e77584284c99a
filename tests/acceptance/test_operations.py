"""Metrics and the incident bundle, as a monitoring system and an operator get them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from urllib.request import Request, urlopen

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from queues.client import Client

from .conftest import ROOT, Server

SECRET = "hunter2-do-not-tell"


def test_a_scrape(server: Server) -> None:
    with Client(server.url) as client:
        client.create("scraped")
        client.send("scraped", "x")
    request = Request(
        f"{server.url}/metrics",
        headers={"Accept": "application/openmetrics-text; version=1.0.0,*/*;q=0.1"},
    )
    with urlopen(request) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        families = {
            family.name: family for family in text_string_to_metric_families(answer.read().decode())
        }
    sent = {s.labels["queue"]: s.value for s in families["switch_queue_sent"].samples}
    assert sent["scraped"] == 1
    memory = families["process_resident_memory_bytes"].samples[0].value
    assert 0.5 < memory / server.worker.memory_info().rss < 2


def test_the_bundle_as_a_download_and_by_every_transport(server: Server) -> None:
    with Client(server.url) as client:
        client.create("told")
        client.send("told", SECRET, key=SECRET, headers={"authorization": SECRET})
        token = client.login().session
        with urlopen(f"{server.url}/api/v1/incident") as answer:
            disposition = answer.headers["Content-Disposition"]
            content = answer.read().decode()
        assert re.fullmatch(
            r'attachment; filename="switch-incident-\d{8}T\d{6}Z\.json"', disposition
        )
        assert answer.headers["Content-Type"] == "application/json"
        bundles = [content]
        for url in (*server.urls,):
            done = subprocess.run(
                [sys.executable, "-m", "queues.cli", "incident", "--url", url],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, "")
            bundles.append(done.stdout)
    for bundle in bundles:
        found = json.loads(bundle)
        assert found["format"] == 1
        assert "told" in {queue["name"] for queue in found["queues"]}
        assert set(found) == set(json.loads(content))
        # Neither what messages carry, nor tokens, nor the settings of Django.
        for secret in (SECRET, token, "only for tests", os.environ["PATH"]):
            assert secret not in bundle


def test_the_bundle_through_manage_py(server: Server, tmp_path) -> None:
    file = tmp_path / "bundle.json"
    subprocess.run(
        [sys.executable, "manage.py", "switch_incident", "-o", file, "--url", server.url],
        cwd=ROOT,
        env={**os.environ, "SWITCH_STATE_DIR": str(tmp_path)},
        check=True,
        capture_output=True,
    )
    assert json.loads(file.read_text())["limits"]["payload_bytes"] == 2**20
