"""The command line as a person meets it, in a process of its own and under the settings in force."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

VETRINA = str(Path(sys.executable).with_name("vetrina"))


def run(*arguments: object, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """`vetrina ...`."""
    return subprocess.run([VETRINA, *map(str, arguments)], capture_output=True, text=True, timeout=timeout)


def values(*arguments: object) -> dict[str, Any]:
    """What a command answers with --json."""
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refusal(*arguments: object) -> str:
    """The one line that a command has to say for itself when it can do nothing."""
    done = run(*arguments)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr + done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("vetrina: ")]
    assert len(lines) == 1, done.stderr
    # TensorFlow Lite announces itself when it loads; nothing else may stand beside the line.
    assert all(line in lines or line.startswith("INFO: ") for line in done.stderr.splitlines()), done.stderr
    return lines[0]
