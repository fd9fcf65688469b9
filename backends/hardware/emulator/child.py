"""Processes of emulated hardware: they say one line when they are ready, and end with the process that started them."""

import os
import select
import subprocess
import sys
import threading
from collections.abc import Sequence

from rpudriver.errors import ConfigError

READY_S = 120.0  # the simulator may have to compile


def start(module: str, arguments: Sequence[str]) -> tuple["subprocess.Popen[bytes]", str]:
    """Run a module as a process of its own; return it and what it said when it was ready.

    Raises
    ------
    ConfigError
        If it ends before, or says nothing in time.
    """
    # a session of its own: Ctrl-C on a terminal is for the command that started it, which then ends it
    child = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], READY_S)
    line = child.stdout.readline() if ready else b""
    if not line.startswith(b"ready"):
        child.kill()
        _, problem = child.communicate()
        raise ConfigError(f"{module.rpartition('.')[2]} does not start: {problem.decode().strip().splitlines()[-1:]}")
    return child, line.decode().removeprefix("ready").strip()


def end(child: "subprocess.Popen[bytes]") -> None:
    """End a process that was started here; doing so twice is harmless."""
    child.kill()
    child.wait()
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            stream.close()


def outlive_nobody() -> None:
    """In the child: end when the parent, which holds the other end of standard input, is gone."""

    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
