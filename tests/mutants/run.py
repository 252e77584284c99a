"""Break each promise of the core once; the property test must notice every time.

Each patch in this folder breaks one promise, named in its first line. For each, the core and the
property test are copied to a temporary folder, the patch is applied there, and an assertion of
the property test has to fail. First the test has to pass without a patch.

    python tests/mutants/run.py [WORD ...]    only the patches with a WORD in their name
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MACHINE = "tests/core/test_switch_machine.py"
#: For patches with a name that begins with j: what must survive a restart.
RESTARTS = "tests/core/test_changes.py"
COPIED = (
    "queues/__init__.py",
    "queues/core",
    "tests/__init__.py",
    "tests/conftest.py",
    "tests/core/__init__.py",
    "tests/core/model.py",
    MACHINE,
    "tests/core/program.py",
    RESTARTS,
)
PATIENCE = 300.0
SURVIVES = "SURVIVES"
#: A mutant that survives is tried with other examples: which ones come depends on the constants in
#: all of the code, so a change anywhere could let one escape.
SEEDS = (None, 1, 2, 3)
FAILED_ASSERTION = re.compile(r"tests/core/\w+\.py:\d+: (AssertionError|assert )")


@dataclass
class Trial:
    """What the property test said about one patch; ``fault`` is what is wrong with that."""

    name: str
    fault: str | None
    seconds: float


def copy_sources(to: Path) -> None:
    for name in COPIED:
        source, target = ROOT / name, to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    (to / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\nmarkers = timeout\n")


def apply(patch: Path, to: Path) -> str | None:
    """Apply the patch; the complaint if it does not apply."""
    done = subprocess.run(
        ["git", "apply", "-p1", str(patch)],
        check=False,
        cwd=to,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(to.parent)},
        capture_output=True,
        text=True,
    )
    return None if done.returncode == 0 else f"does not apply: {done.stderr.strip()[:200]}"


def run_test(folder: Path, *tests: str, seed: int | None = None) -> tuple[int | None, str]:
    """The exit code of pytest (None: out of patience) and its output. With ``seed`` other examples
    are tried, the same each time."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=line", "-p", "no:cacheprovider"]
    if seed is not None:
        command += ["-p", "_hypothesis_pytestplugin", f"--hypothesis-seed={seed}"]
    environment = {
        **os.environ,
        "HYPOTHESIS_PROFILE": "mutants" if seed is None else "seeded_mutants",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        done = subprocess.run(
            [*command, *tests],
            check=False,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout + done.stderr


def judge(code: int | None, output: str) -> str | None:
    if code is None:
        return f"no end after {PATIENCE:.0f} s"
    if code == 0:
        return SURVIVES
    if code != 1:
        return f"pytest ended with {code}:\n{output[-2000:]}"
    if not FAILED_ASSERTION.search(output):
        return f"no assertion of the property test failed:\n{output[-2000:]}"
    return None


def attempt(patch: Path | None) -> Trial:
    """Try one patch, or the sources as they are."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        copy_sources(folder)
        if patch is None:
            code, output = run_test(folder, MACHINE, RESTARTS)
            fault = None if code == 0 else f"fails without a patch:\n{output[-4000:]}"
        else:
            test = RESTARTS if patch.stem.startswith("j") else MACHINE
            fault = apply(patch, folder)
            for seed in SEEDS if fault is None else ():
                fault = judge(*run_test(folder, test, seed=seed))
                if fault != SURVIVES:
                    break
    label = "(no patch)" if patch is None else patch.stem
    return Trial(label, fault, time.perf_counter() - start)


def main(words: list[str]) -> int:
    patches = sorted(HERE.glob("*.patch"))
    if words:
        patches = [patch for patch in patches if any(word in patch.stem for word in words)]
    start = time.perf_counter()
    faults = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        unpatched = pool.submit(attempt, None)
        for patch, trial in zip(patches, pool.map(attempt, patches), strict=True):
            faults += trial.fault is not None
            promise = patch.read_text().partition("\n")[0].lstrip("# ")
            print(f"{trial.name:<28} {trial.seconds:5.1f} s  {trial.fault or 'killed'}  {promise}")
        control = unpatched.result()
    print(f"{control.name:<28} {control.seconds:5.1f} s  {control.fault or 'passes'}")
    print(
        f"{len(patches) - faults} of {len(patches)} mutants killed, "
        f"{time.perf_counter() - start:.0f} s"
    )
    return 1 if faults or control.fault or not patches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
