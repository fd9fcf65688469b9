"""``rpudriver chip journal``: what people read."""

from pathlib import Path

import pytest
import torch

from rpudriver.backends.hardware import operations as wire
from rpudriver.backends.hardware.driver import Reply, Ticket
from rpudriver.backends.hardware.journal import Journal
from rpudriver.backends.hardware.journal_file import pack
from rpudriver.backends.hardware.journal_records import Header, Type, header_of, lines
from rpudriver.backends.registry import make
from rpudriver.cli.main import main
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse, Read
from tests.backends.hardware.batches import pulses


def test_a_batch_that_was_not_done_is_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "journal"
    journal = Journal.create(path, Header("emulated-64", "board", "profile", 12))
    journal.intent(0, Ticket(0xABC, 7, 1), pulses(3, 4, 5))
    journal.not_done(0)
    journal.again(0, Ticket(0xABC, 9, 2))
    journal.result(0, Reply(b"\0"))
    journal.left(0, "LinkLostError: gone")
    journal.close()
    assert main(["chip", "journal", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "batch 0 intent (session 00000abc, number 7): pulse kind 2, 1 samples x 1, array 0 rows 3..3 columns 4..4",
        "batch 0 was not done under that number, and cannot be any more",
        "batch 0 again (session 00000abc, number 9): it was not done under the number before",
        "batch 0 result: 1 bytes",
        "batch 0 was left: the program was told LinkLostError: gone, and went on",
    ]
    assert main(["chip", "journal", str(path), "--csv"]) == 0
    assert capsys.readouterr().out.split()[1:] == ["0,0,0,3,4,2,5"]


@pytest.mark.parametrize("chip", ["emulated-64", "bench-8"])  # codes of one byte, and of two
def test_a_journal_says_how_its_codes_are_read(chip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "journal"
    with make("dry-run", chip=chip) as opened:
        opened.keep_journal(path, resume=False)
        opened.arm()
        array = opened.allocate("W", 3, 4)
        opened.run(
            [Read(((array, 1.0),), torch.full((1, 4), 0.5)), Pulse(array, counted_pulses(torch.eye(3, 4).long()))]
        )
        bits = opened.capabilities.input_bits
    header = header_of(path)
    assert header is not None
    assert header.input_bits == bits
    (batch,) = (line.content[1] for line in lines(path) if line.type is Type.INTENT)
    read = wire.decode(batch, header.input_bits)[0]
    assert isinstance(read, wire.ReadOperation)
    assert (read.codes == round((2 ** (header.input_bits - 1) - 1) / 2)).all()
    assert main(["chip", "journal", str(path), "--csv"]) == 0
    assert [row.split(",")[3:5] for row in capsys.readouterr().out.split()[1:]] == [["0", "0"], ["1", "1"], ["2", "2"]]


def test_what_is_no_journal_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "journal"
    for content, words in (
        (pack(Type.OPEN, b'{"version": 2}'), "not a journal of version 3"),
        (pack(Type.OPEN, b"{}")[:-1], "killed as it began"),
        (b"text in a file of text", "damaged at byte 0"),
    ):
        path.write_bytes(content)
        assert main(["chip", "journal", str(path)]) != 0
        assert words in capsys.readouterr().err
