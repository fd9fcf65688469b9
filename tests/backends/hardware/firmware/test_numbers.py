"""Promise 3, four thousand million batches later: numbers wrap from 2^32 - 1 to 1, past 0, which is none yet."""

import shutil
import subprocess
from pathlib import Path

from rpudriver.backends.hardware.firmware.build import SOURCES
from tests.backends.hardware.firmware import payloads as p
from tests.backends.hardware.firmware.boards import BOOT
from tests.backends.hardware.firmware.wire import ARM, E_SEQ_GAP, OK, RUN, frame, message

LATE = """
#define session_start session_start_at_0
#include "session.c"
#undef session_start
void session_start(void);
void session_start(void)
{
    session_start_at_0();
    last_seq = 0xFFFFFFFE;
}
"""


def test_numbers_wrap_past_zero(stream_build: Path, tmp_path: Path) -> None:
    (tmp_path / "late.c").write_text(LATE)
    others = [path for path in SOURCES.glob("*.c") if not path.name.startswith(("session", "hal_", "fuzz"))]
    sources = [tmp_path / "late.c", *others, SOURCES / "hal_fake.c"]
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    words = [compiler, "-std=c99", "-Wall", "-Werror", f"-I{SOURCES}", "-DFIRMWARE_HASH=0", *sources, "-lm"]
    subprocess.run([*words, "-o", tmp_path / "late"], check=True, timeout=60)
    fire = p.pulse(p.one(1))
    sent = [(ARM, p.Arm().pack(), 2**32 - 1), (RUN, fire, 0), (RUN, fire, 1), (RUN, fire, 1), (RUN, fire, 2)]
    data = b"".join(frame(op, payload, BOOT, seq) for op, payload, seq in sent)
    done = subprocess.run([tmp_path / "late", tmp_path / "log"], input=data, capture_output=True, timeout=20)
    replies = [message(piece) for piece in done.stdout.split(b"\0") if piece]
    assert [reply.status for reply in replies] == [OK, E_SEQ_GAP, OK, OK, OK]
    assert sum(line.startswith("F") for line in (tmp_path / "log").read_text().splitlines()) == 2
