"""Ports that are wrong, taken, or lead to something else; links that break."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
import serial

from rpudriver.backends.hardware.serial import link as link_module
from rpudriver.backends.hardware.serial.board import SerialBoard
from rpudriver.backends.hardware.serial.frames import Frame, Op
from rpudriver.backends.hardware.serial.link import Link
from rpudriver.errors import BackendError, BoardError, LinkLostError, OwnerError
from tests.backends.hardware import board_model
from tests.backends.hardware.batches import pulses
from tests.backends.hardware.board_model import BoardModel
from tests.backends.hardware.serial.benches import CHIP, FAST, SETTINGS, bench
from tests.backends.hardware.wires import board_work, served, within

OPEN_FIRST = """
import sys, serial
port = serial.Serial(sys.argv[1], exclusive=True)
print("open", flush=True)
sys.stdin.read()
"""


def meet(port: str, give_up: float = 0.2) -> None:
    driver = SerialBoard(port, CHIP, patience=0.02, give_up=give_up)
    try:
        within(give_up + 3.0, driver.connect)
    finally:
        driver.close()


def test_a_wrong_port_lists_those_there_are() -> None:
    with pytest.raises(BoardError, match=r"there is no port /dev/no-such-port: check cable and name; ports seen here"):
        meet("/dev/no-such-port")


@pytest.mark.parametrize("port", ["/dev/null", "/etc/hostname", "http://board:1", "socket://127.0.0.1:1"])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(BoardError, match=f"{port} cannot be opened as a serial port"):
        meet(port)


def test_a_port_without_permission_names_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may open everything, so what the system would say is planted."""

    def refuse(*args: object) -> serial.SerialBase:
        raise serial.SerialException(errno.EACCES, "could not open port")

    monkeypatch.setattr(link_module, "_opened", refuse)
    with pytest.raises(BoardError, match=r"may not be opened by this user: .*usermod -aG dialout"):
        meet("/dev/ttyACM0")


def test_a_busy_port_names_its_owner() -> None:
    with bench() as b, pytest.raises(OwnerError, match=rf"in use by process {os.getpid()} \(.*\): one program"):
        meet(b.end.port)


def test_a_port_of_another_process_is_busy_until_it_is_killed() -> None:
    with served(board_work(BoardModel())) as end:
        command = [sys.executable, "-c", OPEN_FIRST, end.port]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"open\n"
            with pytest.raises(OwnerError, match=f"process {other.pid} "):
                meet(end.port)
            other.kill()
        meet(end.port, give_up=1.0)


def test_a_silent_port_is_a_lost_link_after_a_bounded_wait() -> None:
    started = time.monotonic()
    with served(lambda data: b"") as end, pytest.raises(LinkLostError, match=r"nothing answers at .* within 0.2 s"):
        meet(end.port)
    assert time.monotonic() - started < 1.0


def babble(data: bytes) -> bytes:
    return b"\r\nERROR\r\n"


def login(data: bytes) -> bytes:
    """A terminal that echoes as terminals do: control characters in words, lines folded."""
    return data.replace(b"\0", b"^@").replace(b"\n", b"\r\n") + b"\0login: "


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda data: data, r"it sends back what it is sent, as a modem"),
        (babble, r"first bytes: 0d 0a 45 52"),
        (login, r"first bytes: "),
    ],
)
def test_something_else_answers(work: Callable[[bytes], bytes], words: str) -> None:
    with served(work) as end, pytest.raises(BoardError, match=r"answers, but not as a rpudriver board.*" + words):
        meet(end.port)


def test_a_stream_without_end_does_not_hold_the_driver() -> None:
    """Something that talks for ever, and never in frames: the wait is bounded all the same."""
    with served(lambda data: b"\xaa" * 4000) as end:
        stop = threading.Event()

        def pour() -> None:
            while not stop.is_set():
                end.send(b"\xaa" * 64)

        thread = threading.Thread(target=pour, daemon=True)
        thread.start()
        started = time.monotonic()
        try:
            with pytest.raises(BoardError, match="first bytes: aa aa"):
                meet(end.port)
            assert time.monotonic() - started < 2.0
        finally:
            stop.set()
            end.stop()
            thread.join()


def test_garbage_and_half_a_frame_before_a_reply_are_passed_over() -> None:
    model = BoardModel()
    answer = board_work(model)
    first = []

    def noisy(data: bytes) -> bytes:
        first.append(len(first))
        reply = answer(data)
        return (b"\x07noise\0\3" + reply) if len(first) == 1 else b"\5half\0\0" + reply

    with served(noisy) as end:
        driver = SerialBoard(end.port, CHIP, **FAST)
        driver.connect()
        driver.arm(SETTINGS)
        driver.run(driver.stamp(pulses(0, 0, 1)), pulses(0, 0, 1))
        driver.close()
    assert model.pulses == 1


def test_a_frame_cut_in_pieces_comes_together() -> None:
    model, pieces = BoardModel(), []
    answer = board_work(model)

    def slow(data: bytes) -> bytes:
        reply = answer(data)
        pieces.append(reply)
        for at in range(0, len(reply), 7):
            end.send(reply[at : at + 7])
            time.sleep(0.001)
        return b""

    with served(slow) as end:
        meet(end.port, give_up=1.0)
    assert len(pieces) == 1, "it was not asked again while the reply was coming"


def test_what_a_process_before_left_half_sent_does_no_harm() -> None:
    with bench(arm=False, patience=2.0, give_up=4.0) as b:  # at the first try
        before = Link(b.end.port, 921_600)
        before.write(b"\x20half a frame of a killed process")
        before.close()
        started = time.monotonic()
        assert b.driver.connect().chip == "emulated-64"
        assert time.monotonic() - started < 1.5


def test_a_late_reply_to_a_process_before_is_not_taken_for_ours() -> None:
    """That it has idled, say: numbers of what has none begin somewhere else in each process."""

    def late(data: bytes) -> bytes:
        return b"".join(Frame(Op.IDLE, 0, seq, flags=0x80).pack() for seq in range(50))

    with served(late) as end:
        driver = SerialBoard(end.port, CHIP, patience=0.02, give_up=0.3)
        with pytest.raises(LinkLostError, match="does not answer"):
            driver.idle()
        driver.close()


def test_a_greeting_with_another_nonce_is_refused() -> None:
    with bench(arm=False) as b:
        hello = b.model._hello
        b.model._hello = lambda payload: hello(bytes(8))  # type: ignore[method-assign]
        with pytest.raises(BoardError, match="its greeting is malformed"):
            b.driver.connect()


@pytest.mark.parametrize("moment", ["request", "reply"])
def test_unplugged_during_a_frame(moment: str) -> None:
    with bench() as b:
        answer = b.model.receive

        def cut(data: bytes) -> bytes:
            reply = answer(data) or b""
            b.end.send(reply[: len(reply) // 2])
            threading.Thread(target=b.end.unplug).start()
            return b""

        if moment == "reply":
            b.model.receive = cut  # type: ignore[method-assign]
        else:
            b.end.unplug()
        with pytest.raises(LinkLostError, match=r"the link to the board at .* broke .*check cable and power") as lost:
            b.run(pulses(0, 0, 1))
        assert isinstance(lost.value.__cause__, OSError), "what the system said is kept"
        with pytest.raises(LinkLostError, match="is gone"):
            b.driver.connect()
        with pytest.raises(BackendError):
            b.driver.idle()
        b.driver.close()


def test_opening_changes_no_output_and_asks_for_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    monkeypatch.setattr(serial.Serial, "_update_dtr_state", lambda port: lines.append(("dtr", port.dtr)))
    monkeypatch.setattr(serial.Serial, "_update_rts_state", lambda port: lines.append(("rts", port.rts)))
    with bench() as b:
        b.driver.close()
        b.driver.connect()
        assert b.model.state == (board_model.ARMED, 0), "a board that was armed stays so"
    assert lines == [("dtr", False), ("rts", False)] * 2


def test_programs_that_ask_for_no_lock_are_kept_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a pseudo-terminal the flag would outlast us, so it has to be taken for another port here."""
    is_exclusive = 0x80045440  # TIOCGEXCL of Linux: root may open the port all the same
    for patched in (False, True):
        if patched:
            monkeypatch.setattr(link_module, "_PSEUDO_TERMINALS", "/no such folder/")
        with served(lambda data: b"") as end:
            link = Link(end.port, 921_600)
            with open(end.port, "rb", buffering=0) as other:
                try:
                    flag = fcntl.ioctl(other, is_exclusive, bytes(4))
                except OSError:
                    pytest.skip("needs TIOCGEXCL, of Linux")
            link.close()
            assert any(flag) == patched


def test_a_board_behind_a_socket() -> None:
    model = BoardModel()
    work = board_work(model)

    def serve() -> None:
        connection, _ = listener.accept()
        while data := connection.recv(65536):
            connection.sendall(work(data))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        driver = SerialBoard(f"socket://127.0.0.1:{listener.getsockname()[1]}", CHIP, **FAST)
        driver.connect()
        driver.arm(SETTINGS)
        for _ in range(20):
            driver.run(driver.stamp(pulses(0, 0, 1)), pulses(0, 0, 1))
        driver.close()
        thread.join(5.0)
    assert model.pulses == 20
