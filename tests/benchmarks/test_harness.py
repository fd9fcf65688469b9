"""The harness: interleaving, figures of a row, selection; no timing is asserted."""

import pytest

from benchmarks import rows
from benchmarks.rows import Case, Contest, Options, UnavailableError, measure, select
from benchmarks.timing import MOST_CALLS, Timing, interleave


@pytest.fixture
def options(tmp_path):
    return Options(data=None, cache=tmp_path, runs=3)


def test_contestants_take_turns() -> None:
    order = []
    timings = interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 4, repeat=False)
    assert order == ["a", "b"] * 4
    assert [len(timing.runs) for timing in timings.values()] == [4, 4]


def test_short_calls_are_repeated_within_a_run() -> None:
    calls = []
    timings = interleave({"a": lambda: calls.append(1)}, 2)
    assert 2 * 100 < len(calls) <= 2 * MOST_CALLS + 3
    assert 0 < timings["a"].minimum <= timings["a"].median < 1e-3


def test_median_and_minimum() -> None:
    timing = Timing((3.0, 1.0, 10.0))
    assert (timing.median, timing.minimum) == (3.0, 1.0)


def test_a_row_has_medians_minima_and_ratios(options, monkeypatch) -> None:
    known = {"ours": (1.0, 2.0, 4.0), "peer": (8.0, 6.0, 10.0), "ours_like": (1.0,), "peer_like": (3.0,)}
    monkeypatch.setattr(rows, "interleave", lambda calls, runs, repeat: {n: Timing(known[n]) for n in calls})
    contest = Contest(dict.fromkeys(known, lambda: None), 0.19, {"settings": "some", "late": lambda: 7})
    row = measure(Case("x", lambda options: contest), 1, options)
    assert (row["name"], row["density"], row["threads"], row["runs"]) == ("x", 0.19, 1, 3)
    assert (row["ours_s"], row["ours_min_s"], row["peer_s"], row["peer_min_s"]) == (2.0, 1.0, 8.0, 6.0)
    assert (row["ratio"], row["ratio_min"], row["ratio_like"]) == (4.0, 6.0, 3.0)
    assert row["torch_s"] is None
    assert (row["settings"], row["late"]) == ("some", 7)


def test_without_a_peer_its_figures_are_null(options) -> None:
    row = measure(Case("x", lambda options: Contest({"ours": lambda: None}, None)), 1, options)
    assert row["ours_s"] > 0
    assert row["peer_s"] is row["peer_min_s"] is row["ratio"] is row["ratio_min"] is None


def test_a_row_that_cannot_be_measured_says_why(options) -> None:
    def prepare(options):
        raise UnavailableError("no such thing here")

    row = measure(Case("x", prepare), 1, options)
    assert row["unavailable"] == "no such thing here"
    assert row["ours_s"] is row["density"] is row["ratio"] is None


def test_the_number_of_threads_holds_while_a_row_is_measured(options) -> None:
    import torch

    before, seen = torch.get_num_threads(), []
    contest = Contest({"ours": lambda: seen.append(torch.get_num_threads())}, None, once=True, runs=2)
    measure(Case("x", lambda options: contest), 1, options)
    assert seen == [1, 1]
    assert torch.get_num_threads() == before


def test_rows_are_chosen_by_pattern() -> None:
    cases = [Case(name, lambda options: Contest({}, None)) for name in ("update-1", "update-2", "matvec-1")]
    assert [case.name for case in select(cases, [])] == ["update-1", "update-2", "matvec-1"]
    assert [case.name for case in select(cases, ["update-*"])] == ["update-1", "update-2"]
    assert [case.name for case in select(cases, ["matvec-1", "*-2"])] == ["update-2", "matvec-1"]


def test_an_unknown_name_is_refused_and_the_names_are_told() -> None:
    with pytest.raises(ValueError, match="no row 'updat'; the rows are: update-1"):
        select([Case("update-1", lambda options: Contest({}, None))], ["updat"])
