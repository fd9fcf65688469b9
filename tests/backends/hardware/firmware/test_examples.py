"""The worked examples of docs/protocol.md, sent to the firmware: it answers what the page says, byte for byte."""

import re
import zlib
from collections.abc import Callable
from pathlib import Path

from rpudriver.backends.hardware.serial import frames
from tests.backends.hardware.firmware.boards import Board
from tests.backends.hardware.firmware.wire import stuffed, unstuffed

PAGE = (Path(__file__).parents[4] / "docs" / "protocol.md").read_text()
BLOCK = re.compile(r"```(exchange|wire)\n(.*?)```", re.DOTALL)
BYTES = re.compile(r"[><] ((?:(?:[0-9a-f]{2}|\.\.)(?: |$))+)")


def blocks(kind: str) -> list[list[str]]:
    return [text.splitlines() for name, text in BLOCK.findall(PAGE) if name == kind]


def words(lines: list[str], mark: str) -> list[str]:
    """Return the bytes of one side in hexadecimal."""
    found = [BYTES.match(line) for line in lines if line.startswith(mark)]
    assert all(found), lines
    return [word for one in found if one for word in one[1].split()]


def exchanges() -> list[tuple[bytes, list[str]]]:
    """Return the requests of the page and what is answered; ``> again`` is the last request once more."""
    found: list[tuple[bytes, list[str]]] = []
    for block in blocks("exchange"):
        again = block[0] == "> again"
        request = found[-1][0] if again else bytes.fromhex("".join(words(block, ">")))
        found.append((request, words(block, "<")))
    return found


def test_the_firmware_answers_what_the_page_says(start: Callable[..., Board]) -> None:
    board = start()
    board.chip.siemens = 1e-4  # as the page says of its example
    assert board.link is not None
    assert len(exchanges()) == 11
    for request, answer in exchanges():
        assert zlib.crc32(request[:-4]).to_bytes(4, "little") == request[-4:]
        board.link.send(stuffed(request) + b"\0")
        raw = board.link.raw()
        assert raw is not None
        got = unstuffed(raw).hex(" ").split()
        assert len(got) == len(answer)
        assert [g if w != ".." else ".." for g, w in zip(got, answer, strict=True)] == answer


def test_what_the_page_leaves_open_is_the_build_alone() -> None:
    open_bytes = [answer.count("..") for _, answer in exchanges()]
    assert open_bytes == [8 + 4] + [0] * 10  # the firmware's hash and the CRC over it


def test_the_driver_reads_and_writes_the_frames_of_the_page() -> None:
    for request, answer in exchanges():
        frame = frames.unpack(stuffed(request))
        assert frame is not None
        assert frame.pack() == stuffed(request) + b"\0"
        if ".." not in answer:
            reply = frames.unpack(stuffed(bytes.fromhex("".join(answer))))
            assert reply is not None
            assert reply.answers(frame)


def test_stuffing_is_that_of_the_page() -> None:
    ((plain, wire),) = blocks("wire")
    frame = frames.unpack(stuffed(bytes.fromhex("".join(words([plain], ">")))))
    assert frame is not None
    assert frame.pack().hex(" ").split() == words([wire], ">")
