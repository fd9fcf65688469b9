"""Promise 5, the host's part: every way out of a process that it can still act on closes its chips; a process each."""

import signal
import subprocess
import sys

import pytest

CHIPS = """
import os, signal, sys, threading, time
from rpudriver.backends.hardware import shutdown

class Chip:
    def __init__(self, name):
        self.name = name
        shutdown.register(self)

    def close(self):
        shutdown.forget(self)
        if self.name == "broken":
            raise OSError("gone")
        print("closed", self.name, os.getpid() == HOST, flush=True)

HOST = os.getpid()
"""
WAIT = "print('ready', flush=True)\nwhile True: time.sleep(0.01)\n"


def said(program: str, number: signal.Signals | None = None) -> tuple[list[str], int]:
    """Run a program, send it a signal when it is ready; return what it printed after that, and its exit code."""
    with subprocess.Popen(
        [sys.executable, "-c", CHIPS + program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        if number is not None:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
        out = process.stdout.read().splitlines()
    return out, process.returncode


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("pass", 0),
        ("raise ValueError('of the user')", 1),
        ("sys.exit(7)", 7),
        ("threading.Thread(target=lambda: 1 / 0).start()", 0),
    ],
)
def test_an_end_and_an_exception_close(end: str, code: int) -> None:
    assert said(f"chip = Chip('a')\n{end}") == (["closed a True"], code)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 128 + signal.SIGHUP)],
)
def test_signals_close(number: signal.Signals, code: int) -> None:
    assert said("chip = Chip('a')\n" + WAIT, number) == (["closed a True"], code)


def test_a_chip_that_nobody_knows_any_more_is_closed() -> None:
    """It was opened in a function that has returned: collected as garbage it would be left armed."""
    program = "def work():\n    chip = Chip('a')\nwork()\nimport gc; gc.collect()\nprint('later', flush=True)"
    assert said(program) == (["later", "closed a True"], 0)


def test_one_that_fails_keeps_no_other_from_closing() -> None:
    out, code = said("chips = [Chip(name) for name in ('a', 'broken', 'b', 'broken', 'c')]")
    assert (sorted(out), code) == (["closed a True", "closed b True", "closed c True"], 0)


def test_what_is_closed_is_not_closed_again() -> None:
    assert said("chip = Chip('a')\nchip.close()") == (["closed a True"], 0)


def test_a_forked_child_leaves_its_parents_chip_alone() -> None:
    program = "chip = Chip('a')\nif os.fork() == 0: sys.exit()\nos.wait()\nprint('child ended', flush=True)"
    assert said(program) == (["child ended", "closed a True"], 0)


def test_a_handler_of_somebody_else_stays() -> None:
    program = "signal.signal(signal.SIGTERM, lambda *_: (print('mine', flush=True), os._exit(3)))\nchip = Chip('a')\n"
    assert said(program + WAIT, signal.SIGTERM) == (["mine"], 3)


def test_a_second_signal_while_a_run_saves_closes_too() -> None:
    """`SignalWatch` notes the first one; the default of the second would leave the chip as it is."""
    program = """
from rpudriver.experiment.interruption import SignalWatch
with SignalWatch() as watch:
    chip = Chip("a")
    print("ready", flush=True)
    while watch.number is None:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
"""
    assert said(program, signal.SIGTERM) == (["closed a True"], 128 + signal.SIGTERM)


def test_after_a_watch_signals_are_as_before() -> None:
    program = """
from rpudriver.experiment.interruption import SignalWatch
for first in (None, signal.SIGTERM, signal.SIGINT):
    with SignalWatch() as watch:
        if first: os.kill(os.getpid(), first)
    print(watch.number == first, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)
"""
    assert said(program) == (["True True"] * 3, 0)
