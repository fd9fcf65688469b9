"""``rpudriver chip journal``: what people read."""

from pathlib import Path

import pytest

from rpudriver.backends.hardware.driver import Reply, Ticket
from rpudriver.backends.hardware.journal import Journal
from rpudriver.backends.hardware.journal_records import Header
from rpudriver.cli.main import main
from tests.backends.hardware.batches import pulses


def test_a_batch_that_was_not_done_is_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "journal"
    journal = Journal.create(path, Header("emulated-64", "board", "profile"))
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
