import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpudriver.config.overrides import apply_overrides, parse_override
from rpudriver.config.toml import dump_toml
from rpudriver.errors import ConfigError

SCALARS = (
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=12
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_written_toml_reads_back_equal(data):
    assert tomllib.loads(dump_toml(data)) == data


@pytest.mark.parametrize("value", [1, 2.5, 1e-300, 'a "quoted" \\ \x7f\n line', True, [], {"x": {}}])
def test_edge_values_keep_their_type(value):
    back = tomllib.loads(dump_toml({"v": value}))["v"]
    assert back == value
    assert type(back) is type(value)


def test_toml_refuses_what_it_has_no_form_for():
    with pytest.raises(TypeError, match="NoneType"):
        dump_toml({"a": None})


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("algorithm.n_s=5", ("algorithm", "n_s"), 5),
        ("training.lr = 1e-3", ("training", "lr"), 1e-3),
        ("algorithm.name=tiki-taka", ("algorithm", "name"), "tiki-taka"),
        ("backend.preset=./devices/mine.toml", ("backend", "preset"), "./devices/mine.toml"),
        ("network.layers=[64, 10]", ("network", "layers"), [64, 10]),
        ("scaling.columnwise=true", ("scaling", "columnwise"), True),
        ('backend.device.response={ family = "power", tau = 0.6 }', ("backend", "device", "response"),
         {"family": "power", "tau": 0.6}),
    ],
)  # fmt: skip
def test_override_values_are_toml(text, path, value):
    found = parse_override(text)
    assert found == (path, value)
    assert type(found[1]) is type(value)


@pytest.mark.parametrize("text", ["", "=1", "algorithm.n_s", "a..b=1", "a=", "a=1 2", "a=1\nb=2", "a=[1"])
def test_malformed_overrides_are_refused(text):
    with pytest.raises(ConfigError, match="override"):
        parse_override(text)


def test_overrides_replace_and_leave_the_rest_and_the_original_alone():
    data = {"training": {"lr": 1.0, "batch": 8}, "seed": 3}
    assert apply_overrides(data, ["training.lr=2.0", "training.lr=3.0", "new.deep.key=1"]) == {
        "training": {"lr": 3.0, "batch": 8},
        "seed": 3,
        "new": {"deep": {"key": 1}},
    }
    assert data == {"training": {"lr": 1.0, "batch": 8}, "seed": 3}


def test_an_override_cannot_lead_through_a_value():
    with pytest.raises(ConfigError, match=r"seed = 3 is a value, not a table"):
        apply_overrides({"seed": 3}, ["seed.x=1"])
