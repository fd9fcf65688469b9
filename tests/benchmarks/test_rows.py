"""The rows themselves, without aihwkit, at sizes that take no time."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import catalogue, cli, contests, machine, peer, plain, table, updates
from benchmarks.chips import SOFT_BOUNDS, Updates, open_chip
from benchmarks.density import expected_density
from benchmarks.rows import Case, Contest, Options, UnavailableError, measure

KEYS = {"name", "density", "threads", "ours_s", "peer_s", "ratio", "ours_min_s", "peer_min_s", "torch_s"}


@pytest.fixture(autouse=True)
def no_peer(monkeypatch):
    monkeypatch.setattr(peer, "available", lambda: False)


@pytest.fixture
def tiny(monkeypatch):
    """A catalogue of one small row and one that needs data."""
    cases = [
        Case("tiny", lambda options: contests.update(
            {"response": SOFT_BOUNDS}, ("SoftBounds", {}), [updates.gaussian(8, 6, 4)], 0.01, 31)),
        *(case for case in catalogue.all_cases() if case.name == "sparse-mnist-epoch1"),
    ]  # fmt: skip
    monkeypatch.setattr(cli, "all_cases", lambda: cases)


def test_names_are_unique_and_those_of_the_issue_are_there() -> None:
    names = [case.name for case in catalogue.all_cases()]
    assert len(names) == len(set(names))
    wanted = {"update-512-b64-soft-bounds", "update-512-b1-soft-bounds", "update-512-b64-constant"}
    wanted |= {"update-512-b64-power-1", "update-512-b64-power-2", "update-512-b64-exponential"}
    wanted |= {"update-512-b64-measured", "update-512-b64-additive-c2c", "update-512-b64-write-noise"}
    wanted |= {"sparse-mnist-epoch1", "matvec-512-b64", "matvec-512-b1", "mnist-epoch-tiki-taka", "mnist-epoch-ttv2"}
    assert wanted <= set(names)


def test_every_family_opens_and_updates() -> None:
    batch = updates.gaussian(8, 6, 4)
    for _, device, _ in updates.families():
        contest = contests.update(device, ("SoftBounds", {}), [batch], 0.01, 31)
        assert set(contest.calls) == {"ours", "ours_like"}
        for call in contest.calls.values():
            call()


def test_updates_draw_afresh_and_move_weights_by_the_mean() -> None:
    """Two calls cancel in the mean; their trains differ, and every sample of every batch is applied."""
    chip = open_chip(SOFT_BOUNDS, 8, 6)
    array = chip.allocate("W", 8, 6)
    first, second = updates.gaussian(8, 6, 4), updates.gaussian(8, 6, 3)
    update = Updates(chip, array, [first, second], 0.01, 31)
    update()
    before = chip.snapshot()["arrays"]["W"]
    update()
    after = chip.snapshot()["arrays"]["W"]
    assert (before["samples"], after["samples"]) == (7, 14)
    assert not torch.equal(before["state"]["device/read"], after["state"]["device/read"])


def test_counted_density_is_the_expected_one_managed_or_not() -> None:
    """0.19 in both; over 256 samples of 64 lines a side the counted mean has a standard error below 1 %."""
    x, d = updates.gaussian(64, 64, 256)
    for managed in (True, False):
        chip = open_chip(SOFT_BOUNDS, 64, 64)
        counted = Updates(chip, chip.allocate("W", 64, 64), [(x, d)], 0.01, 31, managed).density()
        expected = expected_density(x, d, lr=0.01, dw_min=1e-3, max_bl=31, managed=managed)
        assert counted == pytest.approx(expected, rel=0.03)
        assert expected == pytest.approx(0.19, rel=0.05)


def test_joined_contests_weigh_densities_by_cells() -> None:
    small = contests.update({"response": SOFT_BOUNDS}, ("SoftBounds", {}), [updates.gaussian(4, 4, 2)], 0.01, 31)
    large = contests.update({"response": SOFT_BOUNDS}, ("SoftBounds", {}), [updates.gaussian(8, 8, 2)], 0.02, 31)
    joined = contests.join([small, large], [16, 64])
    assert joined.density == pytest.approx((small.density * 16 + large.density * 64) / 80)
    assert joined.facts["densities"] == [small.density, large.density]
    joined.calls["ours"]()


def test_plain_torch_updates_within_the_bounds() -> None:
    """Its weights are its own; what can be seen is that it draws trains for every sample and stops at no error."""
    x, d = updates.gaussian(8, 6, 4)
    state = torch.get_rng_state()
    plain.update_call((8, 6), x, d, 0.01, 31)()
    assert not torch.equal(torch.get_rng_state(), state)


def test_the_command_writes_its_rows(tiny, tmp_path: Path, capsys) -> None:
    target = tmp_path / "rows.json"
    assert cli.main(["--json", str(target), "--runs", "2", "--threads", "1", "--cache", str(tmp_path)]) == 0
    content = json.loads(target.read_text())
    measured, refused = content["rows"]
    assert set(measured) >= KEYS
    assert (measured["name"], measured["threads"], measured["runs"]) == ("tiny", 1, 2)
    assert measured["ours_s"] >= measured["ours_min_s"] > 0
    assert measured["peer_s"] is None
    assert 0 < measured["density"] < 1
    assert {"cpu", "cores", "versions", "date"} <= set(content["machine"])
    assert "--data or RPUDRIVER_DATA" in refused["unavailable"]
    printed = capsys.readouterr().out
    assert "aihwkit is not installed here" in printed
    assert "| tiny | 1 |" in printed


def test_only_chooses_and_refuses_unknown_names(tiny, tmp_path: Path, capsys) -> None:
    target = tmp_path / "rows.json"
    assert cli.main(["--json", str(target), "--runs", "1", "--threads", "1", "--only", "ti*"]) == 0
    assert [row["name"] for row in json.loads(target.read_text())["rows"]] == ["tiny"]
    with pytest.raises(SystemExit) as leaving:
        cli.main(["--only", "tidy"])
    assert leaving.value.code == 2
    assert "no row 'tidy'; the rows are: tiny" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--runs", "0"], "at least 1"),
        (["--threads", "few"], "at least 1"),
        (["--threads", "100000"], "ask for fewer"),
        (["--json", "no/such/folder/rows.json"], "folder must exist"),
    ],
)
def test_bad_options_are_refused(tiny, arguments: list[str], text: str, capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(arguments)
    assert text in capsys.readouterr().err


def test_a_network_that_is_not_in_the_cache_is_asked_for(tmp_path: Path) -> None:
    from benchmarks.epochs import start_state

    with pytest.raises(UnavailableError, match="run once with --full"):
        start_state("ttv2", 9, Options(None, tmp_path))


def test_the_table_shows_times_and_ratios() -> None:
    row = measure(Case("x", lambda options: Contest({"ours": lambda: None}, 0.19)), 1, Options(None, Path(), 1))
    row |= {"ours_s": 0.0021, "peer_s": 1.5, "ratio": 714.3, "ratio_min": 3.26}
    assert table.line(row) == "| x | 1 | 0.19 | 2.1 ms | 1.5 s | 714x | 3.3x |  |  |"


def test_the_machine_is_described() -> None:
    about = machine.describe()
    assert about["cores"] >= 1
    assert about["versions"]["torch"] == torch.__version__
    assert machine.openblas_core() in (None, "SkylakeX", "Haswell")
