"""A recorded session sent once more: what `Capture` wrote, to a board that takes it anew."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from rpudriver.backends.hardware.serial import frames, hello
from rpudriver.backends.hardware.serial.capture import SENT, describe, read_capture
from rpudriver.backends.hardware.serial.conversation import Conversation
from rpudriver.backends.hardware.serial.frames import Frame, Op, following
from rpudriver.backends.hardware.serial.hello import Hello
from rpudriver.backends.hardware.serial.link import Link
from rpudriver.backends.hardware.serial.refusals import Status
from rpudriver.errors import BoardError, LinkLostError


def replay_capture(
    path: Path, port: str, *, baud: int = 921_600, patience: float = 0.25, give_up: float = 10.0
) -> Iterator[str]:
    """Send the frames that a host sent, and return them and the replies as lines that a person can read.

    This pulses devices. Frames get the session and the numbers of this board, else it would refuse them all; what was
    sent several times, because a reply was late, is sent once.

    Raises
    ------
    DataError
        If the file is no capture.
    LinkLostError, BoardError, OwnerError
        If no board answers.
    """
    link = Link(port, baud)
    try:
        talk = Conversation(link, patience)

        def ask(request: Frame) -> Frame:
            reply = talk.ask(request, give_up, unsure=True)
            if reply is None:
                raise LinkLostError(f"nothing answers at {port} within {give_up:g} s: is the board powered?")
            return reply

        yield from _replayed(path, ask)
    finally:
        link.close()


def _replayed(path: Path, ask: Callable[[Frame], Frame]) -> Iterator[str]:
    greeting = ask(Frame(Op.HELLO, 0, secrets.randbits(32), hello.request(0)))
    hello.check_version(greeting.version)
    board = Hello.unpack(greeting.payload)
    if board is None:
        raise BoardError("what answers is no rpudriver board: its greeting is malformed")
    last, before = board.last_seq, None
    for _, direction, piece in read_capture(path):
        frame = frames.unpack(piece) if direction == SENT else None
        if frame is None or frame == before:
            continue
        before, numbered = frame, frame.op in (Op.ARM, Op.RUN)
        sent = replace(
            frame, session=board.boot if frame.session else 0, seq=following(last) if numbered else frame.seq
        )
        reply = ask(sent)
        if numbered and reply.status in (Status.OK, Status.COMPLIANCE):
            last = sent.seq
        yield f"> {describe(sent, piece)}"
        yield f"< {describe(reply, piece)}"
