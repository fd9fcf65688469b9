import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpudriver.algorithms.registry import ALGORITHMS
from rpudriver.backends.hardware.emulator.board import EmulatedBoard
from rpudriver.config.model import parse
from rpudriver.errors import ConfigError, RpuDriverError
from rpudriver.experiment.config import Config, load_config, recipe_names
from rpudriver.experiment.demo import plan_demo
from rpudriver.experiment.network import open_chip

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("mnist-*.toml"))

positive = st.floats(1e-12, 1e12)
seeds = st.integers(0, 2**63 - 1)
algorithms = st.one_of(
    st.just({"name": "digital"}),
    st.fixed_dictionaries({"name": st.just("sgd")}, optional={"max_bl": st.integers(1, 4096)}),
    st.fixed_dictionaries({"name": st.just("tiki-taka"), "fast_lr": positive, "gamma": st.floats(0, 10)}),
    st.fixed_dictionaries({"name": st.just("ttv2"), "n_s": st.integers(1, 10**6), "hysteresis": st.floats(0, 0.99)}),
)
options = st.dictionaries(
    st.text(min_size=1).filter(lambda key: key != "name"),
    st.text() | st.integers(-(2**63), 2**63 - 1) | st.dictionaries(st.text(), st.floats(-1e9, 1e9), max_size=3),
    max_size=4,
)
tables = st.fixed_dictionaries(
    {},
    optional={
        "seed": seeds,
        "data": st.fixed_dictionaries({"name": st.sampled_from(["digits", "mnist"]), "split_seed": seeds}),
        "network": st.fixed_dictionaries({"layers": st.lists(st.integers(1, 10**4), min_size=2, max_size=5)}),
        "algorithm": algorithms,
        "scaling": st.fixed_dictionaries({"weight_range": st.floats(0.01, 1), "columnwise": st.booleans()}),
        "training": st.fixed_dictionaries({"lr": positive}, optional={"digital_lr": positive}),
        "backend": st.tuples(options, st.text(min_size=1)).map(lambda pair: {**pair[0], "name": pair[1]}),
    },
)


@settings(deadline=None)
@given(tables)
def test_resolved_config_reads_back_as_the_same_model(table):
    config = parse(Config, table, "test")
    again = parse(Config, tomllib.loads(config.to_toml()), "test")
    assert again == config
    assert again.to_toml() == config.to_toml()


@settings(deadline=None)
@given(st.text(min_size=1, max_size=12), st.sampled_from(["", "data", "network", "scaling", "training"]))
def test_unknown_keys_are_refused_wherever_they_stand(key, section):
    known = Config.model_fields if not section else Config.model_fields[section].annotation.model_fields
    if key in known:
        return
    table = {section: {key: 1}} if section else {key: 1}
    with pytest.raises(ConfigError, match="unknown key"):
        parse(Config, table, "test")


def test_every_registered_algorithm_can_be_configured():
    for name in [*ALGORITHMS, "digital"]:
        assert parse(Config, {"algorithm": {"name": name}}, "test").algorithm.name == name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainig.lr=0.1", "unknown key 'trainig'; did you mean 'training'"),
        ("training.epoch=3", "unknown key 'training.epoch'; did you mean 'epochs'"),
        ("algorithm.n_z=3", "unknown key 'algorithm.n_z'; did you mean 'n_s'"),
        ("algorithm.name=ttv3", "algorithm.name = 'ttv3'; did you mean 'ttv2'"),
        ("training.lr=-1", "training.lr = -1: must be greater than 0"),
        ("training.batch=0", "training.batch = 0"),
        ("network.layers=[64]", "network.layers"),
        ("algorithm.hysteresis=1.0", "algorithm.hysteresis = 1.0: must be less than 1"),
        ("seed=-1", "seed = -1"),
    ],
)
def test_bad_keys_name_the_value_and_the_cure(override, message):
    with pytest.raises(ConfigError) as caught:
        load_config("digits-ttv2", [override])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("backend.device.dw_min=0", "dw_min = 0.0 must be above 0"),
        ("backend.device.dw_min=1.2", "1 states"),
        ("backend.read.output_noise=-0.1", "output_noise = -0.1"),
        ("backend.preset=asymetric-100", "did you mean 'asymmetric-100'"),
        ("backend.name=simulatd", "did you mean 'simulated'"),
        ("backend.sead=1", "did you mean 'seed'"),
        ("backend.device.c2x=1", "did you mean 'c2c'"),
        ("algorithm.max_bl=2000", "algorithm.max_bl = 2000: the chip takes trains of at most 1024"),
        ("backend.chip.rows=0", "rows = 0"),
    ],
)
def test_bad_chip_options_are_refused_when_the_chip_is_opened(override, message):
    with pytest.raises(RpuDriverError) as caught:
        open_chip(load_config("digits-ttv2", [override]))
    assert message in str(caught.value)


SIMULATED = [name for name in recipe_names() if not name.endswith("-board")]


@pytest.mark.parametrize("name", [*SIMULATED, *(str(path) for path in EXAMPLES)])
def test_recipes_are_valid_down_to_the_chip(name):
    chip = open_chip(load_config(name))
    assert (chip is None) == ("digital" in name)


def test_the_recipe_for_a_board_opens_one(tmp_path):
    with EmulatedBoard() as board:
        chip = open_chip(load_config("digits-ttv2-board", [f"backend.port={board.port}", f"backend.state={tmp_path}"]))
        assert chip is not None
        assert chip.capabilities.rows == 64
        chip.close()


def test_examples_were_found():
    assert len(EXAMPLES) == 4


def test_a_misspelt_recipe_is_named():
    with pytest.raises(ConfigError, match=r"did you mean 'digits-ttv2'.*path ending \.toml"):
        load_config("digit-ttv2")


def test_the_demo_trains_all_on_one_device_and_one_data_set():
    jobs = plan_demo(quick=False)
    analog = [job.config for job in jobs if job.config.algorithm.name != "digital"]
    assert len({config.backend.model_dump_json() for config in analog}) == 1
    assert len({(job.config.data.model_dump_json(), job.config.network.model_dump_json()) for job in jobs}) == 1
    assert len({(job.config.training.epochs, job.config.training.batch) for job in jobs}) == 1
    assert len([job for job in jobs if job.config.algorithm.name == "sgd"]) == 5
    assert len({job.folder for job in jobs}) == len(jobs)


def test_rates_are_halved_every_so_many_epochs():
    training = load_config("digits-digital", ["training.halve_every=15"]).training
    assert [training.rate_factor(epoch) for epoch in (0, 14, 15, 29, 30)] == [1, 1, 0.5, 0.5, 0.25]
    assert load_config("digits-digital", ["training.halve_every=0"]).training.rate_factor(1000) == 1
