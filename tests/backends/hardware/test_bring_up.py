"""docs/bring-up.md, followed word for word: each command of the page in its order, against emulated boards."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rpudriver.backends import hardware
from tests.backends.hardware.pages import DOCS, Shell, commands

PAGE = (DOCS / "bring-up.md").read_text()
SOURCES = Path(hardware.__file__).resolve().parent
COMMANDS = commands(PAGE)
EMULATE = "rpudriver chip emulate"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.close()


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
    assert len(errors) == 21
    assert [error for error in errors if error not in words] == []
