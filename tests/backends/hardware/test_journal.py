"""The journal: whole after every kill and cut, and never another's."""

import itertools
import json
import shutil
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpudriver.backends.hardware.driver import Reply, Ticket
from rpudriver.backends.hardware.journal import Journal
from rpudriver.backends.hardware.journal_file import pack
from rpudriver.backends.hardware.journal_records import VERSION, Entry, Header, Type, lines
from rpudriver.errors import JournalError

HEADER = Header("emulated-64", "board-1a2b", "profile-3c4d", "a test")
TICKET = Ticket(7, 8, 9)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "journal"


def filled(path, batches=3):
    """Write a journal of batches whose last one has no outcome; return the entries."""
    journal = Journal.create(path, HEADER)
    entries = [Entry(k, Ticket(1, k, k * k), bytes(range(k)), Reply(b"r" * k, k == 2)) for k in range(batches)]
    for entry in entries:
        journal.intent(entry.number, entry.ticket, entry.operations)
        if entry.number < batches - 1:
            journal.note("between", k=entry.number)
            journal.result(entry.number, entry.reply)
    journal.close()
    return [*entries[:-1], Entry(batches - 1, entries[-1].ticket, entries[-1].operations)]


@pytest.mark.parametrize("durable", ["process", "power"])
def test_what_is_written_is_found_again(path, durable):
    entries = filled(path)
    journal = Journal.resume(path, HEADER, durable)
    assert journal.batches == 3
    assert [journal.lookup(k) for k in range(3)] == entries
    assert journal.pending == entries[2]
    journal.uncertain(2, "the board has restarted")
    assert journal.pending is None
    journal.reread(2, b"old")
    journal.reread(2, b"codes")
    journal.intent(3, TICKET, b"next")
    last = journal.lookup(2)
    assert (last.reply, last.uncertain, last.reason, last.reread) == (None, True, "the board has restarted", b"codes")
    journal.close()
    journal.close()
    again = Journal.resume(path, HEADER, durable)
    assert again.lookup(2) == last
    assert again.pending == Entry(3, TICKET, b"next")


def test_a_batch_that_was_not_done_gets_a_new_ticket(path):
    entries = filled(path)
    other = Ticket(7, 9, 9)
    for call, ticket in (
        (lambda journal: journal.not_done(2), None),
        (lambda journal: journal.again(2, TICKET), TICKET),
        (lambda journal: journal.again(2, other), other),  # the board fell asleep once more
        (lambda journal: journal.not_done(2), None),
    ):
        journal = Journal.resume(path, HEADER)
        call(journal)
        assert journal.pending == replace(entries[2], ticket=ticket)
        assert journal.pending.pending
        journal.close()
        assert Journal.resume(path, HEADER).pending == replace(entries[2], ticket=ticket)
    journal = Journal.resume(path, HEADER)
    for call in (
        lambda: journal.not_done(2),
        lambda: journal.result(2, Reply(b"")),  # it has no number to be done under
        lambda: journal.uncertain(2, ""),
        lambda: journal.again(1, TICKET),
        lambda: journal.intent(3, TICKET, b""),
    ):
        with pytest.raises(JournalError, match=r"batch \d is out of order"):
            call()
    journal.again(2, TICKET)
    journal.result(2, Reply(b"done"))
    assert journal.lookup(2) == replace(entries[2], ticket=TICKET, reply=Reply(b"done"))
    assert journal.pending is None
    with pytest.raises(JournalError, match="batch 2 is out of order"):
        journal.again(2, TICKET)


def test_a_journal_of_an_older_version_goes_on_and_a_newer_one_is_refused(path):
    entries = filled(path)
    whole = path.read_bytes()
    size = next(itertools.islice(lines(path), 1, None)).offset
    for version in (1, VERSION + 1):
        opening = {
            "version": version,
            "chip": HEADER.chip,
            "fingerprint": HEADER.fingerprint,
            "profile": HEADER.profile,
        }
        path.write_bytes(pack(Type.OPEN, json.dumps(opening).encode()) + whole[size:])
        if version == 1:
            journal = Journal.resume(path, HEADER)
            journal.not_done(2)
            assert [journal.lookup(k) for k in range(2)] == entries[:2]
            journal.close()
        else:
            with pytest.raises(JournalError, match=f"not a journal of version 1 to {VERSION}; go on with the version"):
                Journal.resume(path, HEADER)


def test_lines_tell_people_everything(path):
    filled(path)
    found = list(lines(path))
    expected = [Type.OPEN, *[Type.INTENT, Type.NOTE, Type.RESULT] * 2, Type.INTENT]
    assert [line.type for line in found] == expected
    assert [line.number for line in found] == [None, 0, None, 0, 1, None, 1, 2]
    assert found[0].content["chip"] == HEADER.chip
    assert found[0].content["text"] == HEADER.text
    assert found[2].content["k"] == 0


def test_batches_go_one_by_one(path):
    filled(path)
    journal = Journal.resume(path, HEADER)
    for call in (
        lambda: journal.intent(3, TICKET, b""),  # batch 2 has no outcome
        lambda: journal.result(1, Reply(b"")),
        lambda: journal.reread(2, b""),
        lambda: journal.lookup(3),
        lambda: journal.lookup(-1),
    ):
        size = path.stat().st_size
        with pytest.raises(JournalError, match="batch"):
            call()
        assert path.stat().st_size == size
    journal.result(2, Reply(b""))
    for call in (
        lambda: journal.result(2, Reply(b"")),
        lambda: journal.uncertain(2, ""),
        lambda: journal.reread(2, b""),
        lambda: journal.intent(2, TICKET, b""),
        lambda: journal.intent(4, TICKET, b""),
    ):
        with pytest.raises(JournalError, match="batch"):
            call()
    journal.intent(3, TICKET, b"")


@pytest.mark.parametrize("name", ["chip", "fingerprint", "profile"])
def test_the_journal_of_another_is_refused_and_left_alone(path, name):
    filled(path)
    before = path.read_bytes()
    other = Header(**{"chip": HEADER.chip, "fingerprint": HEADER.fingerprint, "profile": HEADER.profile, name: "other"})
    with pytest.raises(JournalError, match=f"of another {name}"):
        Journal.resume(path, other)
    assert path.read_bytes() == before
    Journal.resume(path, Header(HEADER.chip, HEADER.fingerprint, HEADER.profile, "another day"))


def test_a_new_run_needs_a_new_file_and_a_resumed_one_needs_one(path):
    filled(path)
    with pytest.raises(JournalError, match="exists"):
        Journal.create(path, HEADER)
    with pytest.raises(JournalError, match="no journal"):
        Journal.resume(path.with_name("missing"), HEADER)
    path.write_text("To whom it may concern, this is no journal")
    with pytest.raises(JournalError, match="byte 0"):
        Journal.resume(path, HEADER)


def test_a_tail_torn_at_any_byte_is_put_aside(path):
    entries = filled(path)
    whole = path.read_bytes()
    ends = [*[line.offset for line in lines(path)][1:], len(whole)]
    torn = path.with_name("journal.torn")
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        torn.unlink(missing_ok=True)
        journal = Journal.resume(path, HEADER)
        kept = max([end for end in ends if end <= size], default=0)
        assert (torn.read_bytes() if torn.exists() else b"") == whole[kept:size]
        intents = [line.number for line in lines(path) if line.type is Type.INTENT]
        assert journal.batches == len(intents)
        if kept:
            assert path.read_bytes() == whole[:kept]
        for number in intents[:-1]:
            assert journal.lookup(number) == entries[number]
        if journal.pending:
            journal.result(len(intents) - 1, Reply(b"late"))
        journal.intent(len(intents), TICKET, b"on")
        journal.close()
        assert list(lines(path))[-1].content == (TICKET, b"on")


@pytest.mark.parametrize("zeros", [1, 3, 7, 8, 9, 400])
def test_zeros_that_a_power_cut_left_are_put_aside(path, zeros):
    filled(path)
    whole = path.read_bytes()
    for size in (len(whole), len(whole) - 5, len(whole) - 30):  # all, half a CRC, half a record
        path.write_bytes(whole[:size] + bytes(zeros + len(whole) - size))
        assert Journal.resume(path, HEADER).batches == (3 if size == len(whole) else 2)


def test_damage_in_any_bit_is_found_and_the_file_is_left_alone(path):
    filled(path)
    whole = path.read_bytes()
    starts = [line.offset for line in lines(path)]
    for at in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            start = max(start for start in starts if start <= at)
            with pytest.raises(JournalError, match=f"damaged at byte {start}:"):
                Journal.resume(path, HEADER)
            assert path.read_bytes() == damaged


def test_whole_records_in_an_impossible_order_are_damage(path):
    filled(path)
    whole = path.read_bytes()
    starts = [line.offset for line in lines(path)] + [len(whole)]
    path.write_bytes(whole[: starts[1]] + whole[starts[4] :])  # batch 0 is gone
    with pytest.raises(JournalError, match=f"byte {starts[1]}.*batch 1"):
        Journal.resume(path, HEADER)
    path.write_bytes(whole + whole[: starts[1]])
    with pytest.raises(JournalError, match="OPEN is first"):
        Journal.resume(path, HEADER)


def test_a_call_that_was_broken_off_is_taken_in_from_the_file(path, monkeypatch):
    """Ctrl-C between the write and what follows: the file counts, not what was remembered."""
    journal = Journal.create(path, HEADER)

    def broken(record):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_take", broken)
        with pytest.raises(KeyboardInterrupt):
            journal.intent(0, TICKET, b"operations")
    assert journal.pending == Entry(0, TICKET, b"operations")
    journal.result(0, Reply(b""))
    assert journal.batches == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.binary(max_size=40), st.one_of(st.builds(Reply, st.binary(max_size=40), st.booleans()), st.text("ab"))
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_any_sequence_is_found_again(tmp_path_factory, batches, pending):
    folder = tmp_path_factory.mktemp("journal")
    journal, expected = Journal.create(folder / "j", HEADER), []
    for number, (operations, outcome) in enumerate(batches):
        journal.intent(number, TICKET, operations)
        if isinstance(outcome, Reply):
            journal.result(number, outcome)
            expected.append(Entry(number, TICKET, operations, outcome))
        else:
            journal.uncertain(number, outcome)
            expected.append(Entry(number, TICKET, operations, None, True, outcome))
    if pending:
        expected.append(Entry(len(batches), TICKET, b"last"))
        journal.intent(len(batches), TICKET, b"last")
    for one in (journal, Journal.resume(folder / "j", HEADER)):
        assert [one.lookup(number) for number in range(one.batches)] == expected
        assert one.pending == (expected[-1] if pending else None)
        one.close()
    shutil.rmtree(folder)
