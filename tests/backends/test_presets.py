"""Device presets: every shipped one loads, and a bad value is refused with the value and the cure."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from rpudriver.backends.simulated.devices import spec
from rpudriver.backends.simulated.devices.soft_bounds import SoftBounds
from rpudriver.backends.simulated.devices.spec import Preset, load_preset, merge, preset_names, register_response
from rpudriver.backends.simulated.variability import draw_devices
from rpudriver.errors import ConfigError

STATES = {
    "asymmetric-100": 100,
    "ecram": 1000,
    "extremely-noisy": 30,
    "idealised": 1200,
    "reram-array": 2 / 0.095,
    "reram-hfo2": 2 / 0.46,
    "rpu-asymmetric": 1200,
    "rpu-symmetric": 1200,
}


def test_the_shipped_presets() -> None:
    assert preset_names() == sorted(STATES)


@pytest.mark.parametrize("name", sorted(STATES))
def test_a_shipped_preset(name: str) -> None:
    """It names its source, says how many states it has, and its responses are sound over the whole range."""
    preset = load_preset(name)
    device = preset.device
    assert len(preset.source) > 40
    assert device.n_states == pytest.approx(STATES[name])
    assert preset.nominal().dw_min == device.dw_min.mean
    assert preset.nominal().c2c == pytest.approx(np.hypot(device.c2c, device.c2c_additive))
    drawn = draw_devices(device, 1, "A/device", 64, 64)
    assert (drawn["w_min"] < 0).all()
    assert (drawn["w_max"] > 0).all()
    w = drawn["w_min"] + np.linspace(0, 1, 64, dtype=np.float32) * (drawn["w_max"] - drawn["w_min"])
    up, down = device.response.up(w, drawn, np), device.response.down(w, drawn, np)
    assert np.min(up) >= -1e-5  # float32, w up to ten times the other bound
    assert np.min(down) >= -1e-5  # float32, w up to ten times the other bound
    assert np.max(up) > 0.9


@pytest.mark.parametrize("name", sorted(STATES))
def test_a_preset_survives_its_own_dump(name: str) -> None:
    preset = load_preset(name)
    assert Preset.model_validate(preset.model_dump()) == preset


def test_a_plain_number_is_a_parameter_without_spread() -> None:
    assert load_preset("idealised").device.dw_min == spec.Parameter(mean=0.001, d2d=0.0)


def test_overrides_replace_single_keys() -> None:
    preset = load_preset(
        "rpu-asymmetric",
        {"device": {"dw_min": {"d2d": 0.1}, "stuck": {"fraction": 0.02}}, "read": {"input_noise": 0.01}},
    )
    assert preset.device.dw_min == spec.Parameter(mean=0.001, d2d=0.1)
    assert preset.device.stuck.fraction == 0.02
    assert (preset.read.input_noise, preset.read.output_noise) == (0.01, 0.06)


def test_a_response_of_another_family_replaces_the_whole_table() -> None:
    power = load_preset("asymmetric-100", {"device": {"response": {"family": "power", "tau": 0.7, "gamma": 0.5}}})
    assert power.device.response.parameters()["gamma"].mean == 0.5
    again = merge(power.model_dump(), {"device": {"response": {"tau": 0.8}}})
    assert again["device"]["response"]["family"] == "power"
    plain = merge(power.model_dump(), {"device": {"response": {"family": "soft-bounds"}}})
    assert plain["device"]["response"] == {"family": "soft-bounds"}


def test_a_preset_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'source = "my chip, measured"\n[device]\ndw_min = 0.01\nw_max = 1.0\nw_min = -1.0\n'
        '[device.response]\nfamily = "measured"\nw = [-1.0, 0.0, 1.0]\n'
        "dw_up = [0.02, 0.01, 0.0]\ndw_down = [0.0, 0.01, 0.03]\n"
    )
    device = load_preset(str(file)).device
    drawn = draw_devices(device, 0, "A/device", 1, 3)
    w = np.array([[-1.0, 0.5, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(device.response.up(w, drawn, np), [[2.0, 0.5, 0.0]], atol=1e-6)
    np.testing.assert_allclose(device.response.down(w, drawn, np), [[0.0, 2.0, 3.0]], atol=1e-6)


TABLE = {"family": "measured", "w": [-1, 0, 1], "dw_up": [1, 1, 0], "dw_down": [0, 1, 1]}


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ({"dw_min": 0.0}, r"dw_min = 0\.0 must be above 0"),
        ({"dw_min": {"mean": -0.001}}, r"dw_min = -0\.001 must be above 0"),
        ({"dw_min": 1.2}, r"1 states between -0\.6 and 0\.6: at least 2 are needed; lower dw_min = 1\.2"),
        ({"dw_min": {"mean": 0.01, "d2d": -0.3}}, r"device\.dw_min\.d2d = -0\.3.*greater than or equal to 0"),
        ({"dw_min": {"form": "lognormal"}}, r"'lognormal'.*'log-normal'"),
        ({"w_max": -0.1}, r"w_min < 0 < w_max; got -0\.6, -0\.1"),
        ({"w_min": 0.0}, r"w_min < 0 < w_max"),
        ({"c2c": -0.1}, r"device\.c2c = -0\.1.*greater than or equal to 0"),
        ({"c2c_additive": -0.1}, r"device\.c2c_additive = -0\.1"),
        ({"write_noise": -1.0}, r"device\.write_noise = -1\.0"),
        ({"c2c": float("nan")}, r"device\.c2c = nan.*finite"),
        ({"w_max": float("inf")}, r"device\.w_max.*inf.*finite"),
        ({"up_down": 1.0}, r"up_down = 1\.0 must lie in \(-1, 1\)"),
        ({"up_down_d2d": -0.01}, r"device\.up_down_d2d = -0\.01"),
        ({"stuck": {"fraction": 1.5}}, r"device\.stuck\.fraction = 1\.5.*less than or equal to 1"),
        ({"write_nosie": 0.1}, r"unknown key 'device\.write_nosie'; did you mean 'write_noise'\?"),
        ({"dw_min": {"mena": 0.1}}, r"unknown key 'device\.dw_min\.mena'; did you mean 'mean'\?"),
        ({"stuck": {"fracton": 0.1}}, r"did you mean 'fraction'\?"),
        ({"response": {"family": "soft-bound"}}, r"unknown response family 'soft-bound'; did you mean 'soft-bounds'\?"),
        ({"response": {"family": "power"}}, r"tau"),
        ({"response": TABLE | {"w": [0, 0, 1]}}, r"must rise"),
        ({"response": TABLE | {"dw_up": [1, 1]}}, r"dw_up needs 3 values"),
        ({"response": TABLE | {"dw_down": [0, -1, 1]}}, r"dw_down needs 3 values of at least 0"),
    ],
    ids=str,
)
def test_a_bad_device_is_refused(device: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_preset("rpu-symmetric", {"device": device})


@pytest.mark.parametrize("name", ["output_noise", "input_noise", "weight_noise"])
def test_negative_read_noise_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"read\.{name} = -0\.1.*greater than or equal to 0"):
        load_preset("rpu-symmetric", {"read": {name: -0.1}})


def test_a_misspelt_preset_and_a_missing_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no device preset 'asymetric-100'; did you mean 'asymmetric-100'"):
        load_preset("asymetric-100")
    file = tmp_path / "mine.toml"
    file.write_text('[device]\ndw_min = 0.01\nw_max = 1.0\nw_min = -1.0\nresponse = { family = "constant" }\n')
    with pytest.raises(ConfigError, match="missing key 'source'; add it"):
        load_preset(str(file))
    file.write_text("[device\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_preset(str(file))


def test_a_family_name_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "RESPONSES", dict(spec.RESPONSES))

    class Mine(SoftBounds):
        family: Literal["mine"] = "mine"  # type: ignore[assignment]

    register_response("mine", Mine)
    register_response("mine", Mine)
    assert load_preset("ecram", {"device": {"response": {"family": "mine"}}}).device.n_states == pytest.approx(1000)
    with pytest.raises(ConfigError, match="'mine' is taken by Mine"):
        register_response("mine", SoftBounds)
