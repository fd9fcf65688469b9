"""A recorded session sent once more: what `Capture` wrote, to a board that takes it anew."""

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rpudriver.backends.hardware.serial import frames, hello
from rpudriver.backends.hardware.serial.capture import SENT, describe, read_capture
from rpudriver.backends.hardware.serial.conversation import Conversation
from rpudriver.backends.hardware.serial.frames import Frame, Op
from rpudriver.backends.hardware.serial.hello import Hello
from rpudriver.backends.hardware.serial.link import Link
from rpudriver.backends.hardware.serial.refusals import Status
from rpudriver.errors import LinkLostError

_NUMBERED = (Op.ARM, Op.RUN)


def replay_capture(path: Path, port: str, baud: int = 921_600, patience: float = 0.25) -> Iterator[str]:
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
        board = Hello.unpack(_ask(talk, Frame(Op.HELLO, 0, secrets.randbits(32), hello.request(0)), port).payload)
        if board is None:
            raise LinkLostError(f"{port} does not answer as a rpudriver board")
        last, before = board.last_seq, None
        for _, direction, piece in read_capture(path):
            frame = frames.unpack(piece) if direction == SENT else None
            if frame is None or frame == before:
                continue
            before, numbered = frame, frame.op in _NUMBERED
            sent = (
                replace(frame, session=board.boot, seq=last % (2**32 - 1) + 1) if numbered else _addressed(frame, board)
            )
            reply = _ask(talk, sent, port)
            if numbered and reply.status in (Status.OK, Status.COMPLIANCE):
                last = sent.seq
            yield f"> {describe(sent, piece)}"
            yield f"< {describe(reply, piece)}"
    finally:
        link.close()


def _addressed(frame: Frame, board: Hello) -> Frame:
    return replace(frame, session=board.boot if frame.session else 0)


def _ask(talk: Conversation, request: Frame, port: str) -> Frame:
    reply = talk.ask(request, give_up=10.0, unsure=True)
    if reply is None:
        raise LinkLostError(f"nothing answers at {port}")
    return reply
