"""Wire captures: what a person reads in them, and a session sent once more."""

import re
from pathlib import Path

import pytest

from rpudriver.backends.hardware.serial import capture as capture_module
from rpudriver.backends.hardware.serial.board import SerialBoard
from rpudriver.backends.hardware.serial.capture import Capture, describe_capture, read_capture
from rpudriver.backends.hardware.serial.replay import replay_capture
from rpudriver.errors import BoardError, DataError, LinkLostError
from tests.backends.hardware.bare_board import firmware
from tests.backends.hardware.batches import one_hot_read, pulses
from tests.backends.hardware.board_model import BoardModel
from tests.backends.hardware.serial.benches import CHIP, FAST, SETTINGS, bench
from tests.backends.hardware.wires import board_work, served


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A session: armed, three batches of which one is refused and the reply to one is lost once, idled."""
    path = tmp_path / "wire.txt"
    with bench(capture=path) as b:
        b.run(pulses(1, 2, 3))
        with pytest.raises(BoardError):
            b.run(pulses(64, 0, 1))
        answer, lost = b.model.receive, []

        def once(data: bytes) -> bytes | None:
            reply = answer(data)
            lost.append(data)
            return reply if len(lost) > 1 else None

        b.model.receive = once  # type: ignore[method-assign]
        b.run(pulses(2, 2, 4) + one_hot_read(0, 3, 0, 3))
        b.driver.idle()
    return path


def test_a_person_can_read_it(record: Path) -> None:
    lines = record.read_text().splitlines()
    assert re.fullmatch(r"# rpudriver wire capture 1: /dev/pts/\d+", lines[0])
    assert all(re.fullmatch(r"\d+\.\d{6} [<>] ([0-9a-f]{2})+", line) for line in lines[1:])


def test_it_is_described_frame_by_frame(record: Path) -> None:
    described = [re.sub(r" +", " ", line).split(" ", 2)[1:] for line in (x.strip() for x in describe_capture(record))]
    said = [(way, rest.split()[0], rest.split()[-1]) for way, rest in described]
    assert said == [
        (">", "HELLO", "bytes"),
        ("<", "HELLO", "ok"),
        (">", "ARM", "bytes"),
        ("<", "ARM", "ok"),
        (">", "RUN", "bytes"),
        ("<", "RUN", "ok"),
        (">", "RUN", "bytes"),
        ("<", "RUN", "E_RANGE"),
        (">", "RUN", "bytes"),
        (">", "RUN", "bytes"),
        ("<", "RUN", "ok"),
        (">", "IDLE", "bytes"),
        ("<", "IDLE", "ok"),
    ]
    seconds = [at for at, _, _ in read_capture(record)]
    assert seconds == sorted(seconds)


def test_damaged_frames_are_shown_as_such(tmp_path: Path) -> None:
    path = tmp_path / "wire.txt"
    record = Capture(path, "port")
    record.note(">", b"\0hel")
    record.note("<", b"\x02\x01\0")
    record.note(">", b"lo\0")
    record.close()
    assert [line.split(" ", 1)[1] for line in map(str.strip, describe_capture(path))] == [
        "< damaged, 2 bytes: 02 01",
        "> damaged, 5 bytes: 68 65 6c 6c 6f",
    ]


def test_a_session_is_sent_once_more(record: Path) -> None:
    model = BoardModel(boot=99)
    model.last_seq = 1000
    with served(board_work(model)) as end:
        lines = list(replay_capture(record, end.port, patience=0.02))
    assert (model.weights[0, 1, 2], model.weights[0, 2, 2], model.pulses) == (3, 4, 7)
    assert (model.done, model.last_seq) == (2, 1003), "what was sent twice is done once; what was refused has no number"
    assert sum("E_RANGE" in line for line in lines) == 1
    assert len(lines) == 2 * len([line for line in describe_capture(record) if ">" in line]) - 2


def test_a_session_on_the_firmware_is_sent_to_another_one(tmp_path: Path) -> None:
    path = tmp_path / "wire.txt"
    with firmware() as port:
        driver = SerialBoard(port, CHIP, capture=path)
        driver.connect()
        driver.arm(SETTINGS)
        for bl in range(1, 11):
            driver.run(driver.stamp(pulses(0, 0, bl)), pulses(0, 0, bl))
        driver.close()
    with firmware() as port:
        list(replay_capture(path, port))
        driver = SerialBoard(port, CHIP, **FAST)
        assert driver.connect().pulses == 55
        driver.close()


def test_nobody_takes_the_replay(record: Path) -> None:
    with served(lambda data: b"") as end, pytest.raises(LinkLostError, match="nothing answers at"):
        list(replay_capture(record, end.port, patience=0.02, give_up=0.1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no wire capture: its first line must begin with"),
        ("hello\n", "is no wire capture"),
        (f"{capture_module.TITLE}port\n1.0 > 00\n1.0 ? 00\n", "line 3: not 'seconds > hexadecimal bytes'"),
        (f"{capture_module.TITLE}port\n1.0 > 0x\n", "line 2: not"),
        (f"{capture_module.TITLE}port\nsoon > 00\n", "line 2: not"),
    ],
)
def test_what_is_no_capture(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "wire.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        list(read_capture(path))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_capture(tmp_path / "missing"))


def test_a_capture_that_cannot_be_made_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no wire capture in .*choose another file"), bench(capture=tmp_path):
        pass


def test_a_full_disk_ends_the_capture_and_not_the_work(caplog: pytest.LogCaptureFixture) -> None:
    with bench(capture=Path("/dev/full")) as b:
        b.run(pulses(0, 0, 1))
        assert b.model.pulses == 1
    assert caplog.text.count("the wire capture in /dev/full ends here: No space left on device") == 1
