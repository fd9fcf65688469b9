"""The commands of a page of documentation, and a shell that runs them word for word."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"


def commands(page: str) -> list[str]:
    """Return the commands of a page's blocks, in order."""
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


class Shell:
    """Runs commands in a folder; those that go on get a terminal of their own."""

    def __init__(self, folder: Path) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._how = {"cwd": folder, "env": {**os.environ, "PATH": path, "RPUDRIVER_STATE": str(folder / "state")}}
        self._folder = folder
        self._terminals: list[subprocess.Popen[str]] = []

    def run(self, command: str) -> str:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=300, **self._how)  # type: ignore[call-overload]
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return str(done.stdout)

    def leave_running(self, command: str, ready: Callable[[], bool] | None = None) -> None:
        """Start a command and wait until it is ready: until its link is there, if nothing is said."""
        words = command.split()
        self._terminals.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True, **self._how))  # type: ignore[call-overload]
        if ready is None:
            ready = (self._folder / words[words.index("--link") + 1]).exists
        end = time.monotonic() + 120
        while not ready():
            assert self._terminals[-1].poll() is None, command
            assert time.monotonic() < end, command
            time.sleep(0.05)

    def close(self) -> None:
        for terminal in self._terminals:
            terminal.send_signal(signal.SIGINT)
        for terminal in self._terminals:
            terminal.communicate(timeout=20)
            assert terminal.returncode == 0
