"""docs/bring-up.md, followed word for word: each command of the page in its order, against emulated boards."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rpudriver.backends import hardware

PAGE = (Path(__file__).parents[3] / "docs" / "bring-up.md").read_text()
SOURCES = Path(hardware.__file__).resolve().parent
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
EMULATE = "rpudriver chip emulate"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator["Shell"]:
    shell = Shell(tmp_path)
    yield shell
    shell.close()


class Shell:
    """Runs the commands of the page; those that go on get a terminal of their own."""

    def __init__(self, folder: Path) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._how = {"cwd": folder, "env": {**os.environ, "PATH": path, "RPUDRIVER_STATE": str(folder / "state")}}
        self._folder = folder
        self._terminals: list[subprocess.Popen[str]] = []

    def run(self, command: str) -> str:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=300, **self._how)  # type: ignore[call-overload]
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return str(done.stdout)

    def leave_running(self, command: str) -> None:
        words = command.split()
        self._terminals.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True, **self._how))  # type: ignore[call-overload]
        link = self._folder / words[words.index("--link") + 1]
        end = time.monotonic() + 120
        while not link.exists():
            assert self._terminals[-1].poll() is None, command
            assert time.monotonic() < end, command
            time.sleep(0.05)

    def close(self) -> None:
        for terminal in self._terminals:
            terminal.send_signal(signal.SIGINT)
        for terminal in self._terminals:
            terminal.communicate(timeout=20)
            assert terminal.returncode == 0


def test_the_guide_can_be_followed(shell: Shell) -> None:
    assert len(COMMANDS) == 23
    said = {}
    for command in COMMANDS:
        if command.startswith(EMULATE):
            shell.leave_running(command)
        else:
            said[command] = shell.run(command)
    assert "0 of 4096 cross-points are off" in next(t for c, t in said.items() if "--expect 0.3" in c)
    assert "not armed (just started)" in next(t for c, t in said.items() if "chip status" in c)
    assert "outputs are at rest" in next(t for c, t in said.items() if "chip arm" in c)
    up = float(next(t for c, t in said.items() if c.endswith("--count 20")).split()[-1])
    down = float(next(t for c, t in said.items() if c.endswith("--count -20")).split()[-1])
    assert up > 0 > down


def test_errors_are_called_what_they_are_called() -> None:
    source = "".join(path.read_text() for path in SOURCES.rglob("*.py"))
    words = re.sub(r'"\s*\n\s*f?"', "", source)  # strings that go on in the next line
    errors = re.findall(r"^\| `(.*?)` \|", PAGE, re.MULTILINE)
    assert len(errors) == 19
    assert [error for error in errors if error not in words] == []
