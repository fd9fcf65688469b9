"""docs/emulator.md: its commands show what the page says, and its numbers are those of the emulated chip."""

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rpudriver.backends.hardware.emulator.rails import Rails, Switching, Volts
from rpudriver.backends.hardware.profile import SCHEMES, load_chip
from rpudriver.cli.main import main
from tests.backends.hardware.pages import DOCS, Shell, commands

PAGE = (DOCS / "emulator.md").read_text()
PORTS = ("15025", "15026", "15027")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.close()


def free_ports(count: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [str(one.getsockname()[1]) for one in opened]


def listens(port: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), timeout=1):
        return True
    return False


def test_the_commands_show_what_the_page_says(shell: Shell) -> None:
    pytest.importorskip("pyvisa")
    ports = free_ports(3)
    said: list[str] = []
    for command in commands(PAGE):
        for written, free in zip(PORTS, ports, strict=True):  # those of the page may be taken on this machine
            command = command.replace(written, free)
        if "chip emulate bench" in command:
            shell.leave_running(command, lambda: listens(ports[2]))
        elif "chip emulate" in command:
            shell.leave_running(command)
        else:
            said.append(shell.run(command).strip())
    _, ideal, _, disturbed, _, floating, near, far, _, tripped, bench = said
    assert ideal.startswith("1 of 9 cross-points are off")
    assert disturbed.startswith("5 of 9 cross-points are off")
    assert floating.startswith("1 of 256 cross-points are off")
    corners = [float(line.split()[-1]) for line in (near, far)]  # change of device (63, 63)
    assert near.split()[:2] == far.split()[:2] == ["63", "63"]
    assert 0.55 < corners[1] / corners[0] < 0.8, "a third less"
    assert "the current limit was hit" in tripped
    assert float(bench.split()[-1]) > 0


@pytest.mark.parametrize("scheme", ["v/2", "v/3", "1t1r"])
def test_devices_see_what_the_table_says(scheme: str) -> None:
    (row,) = re.findall(rf"^\| `{scheme}` \|(.*)\|$", PAGE, re.MULTILINE)
    parts = {"V": 1.0, "V/2": 1 / 2, "V/3": 1 / 3, "- V/3": -1 / 3, "0": 0.0}
    written = [parts[cell.split(",")[0].strip()] for cell in row.split("|")]
    assert Volts.of(Rails(*SCHEMES[scheme], gate=float(scheme == "1t1r"))) == pytest.approx(written)


def test_thresholds_are_those_of_the_page() -> None:
    switching = Switching.of(load_chip("emulated-64"), 0.2)
    written = re.search(r"\((\S+) V and (\S+) V on `emulated-64`\)", PAGE)
    assert written is not None
    assert (switching.up[1], switching.down[1]) == pytest.approx([float(v) for v in written.groups()], abs=5e-3)


def test_what_switches_something_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    table = PAGE[PAGE.index("## What there is") : PAGE.index("## Try it")]
    named = set(re.findall(r"`(--[a-z-]+)", table))
    for what in ("board", "bench"):
        with pytest.raises(SystemExit):
            main(["chip", "emulate", what, "--help"])
    assert named == {"--preset", "--seed", "--disturb", "--line-ohms", "--resistors"}
    assert named <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
