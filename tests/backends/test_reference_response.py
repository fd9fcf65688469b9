"""The pulse response of the reference backend against closed forms and scalar recursions."""

import math
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch

from rpudriver.backends.oracle import oracle
from rpudriver.backends.simulated.devices.response import Parameter, Response
from rpudriver.backends.simulated.devices.spec import RESPONSES, register_response
from rpudriver.types import Port
from tests.backends.reference_chip import (
    assert_normal,
    mean_error,
    open_chip,
    sd_error,
    state_of,
    uniform_trains,
)

DW = 0.01
SHAPE = (60, 50)  # 3000 devices
TABLE = {
    "family": "measured",
    "w": [-0.5, -0.2, 0.1, 0.6],
    "dw_up": [0.02, 0.016, 0.010, 0.002],
    "dw_down": [0.001, 0.006, 0.012, 0.03],
    "dw_spread": [0.001, 0.004, 0.002, 0.005],
}

EXACT_TABLE = {key: value for key, value in TABLE.items() if key != "dw_spread"}


def pulsed(
    device: dict[str, Any], signs: list[int], start: float = 0.0, kind: str = "update", name: str = "reference"
) -> torch.Tensor:
    chip = open_chip(device, name=name)
    array = chip.allocate("A", *SHAPE)
    oracle(chip).set_true_state(array, Port.DEVICE, torch.full(SHAPE, start))
    chip.apply_pulses(array, uniform_trains(SHAPE, signs), kind=kind)
    return state_of(chip, array)


class TestConstantStep:
    @pytest.mark.parametrize("sign", [1, -1])
    @pytest.mark.parametrize(("c2c", "additive"), [(0.3, 0.0), (0.0, 0.5), (0.3, 0.4)])
    def test_mean_and_spread_after_n_pulses(self, sign: int, c2c: float, additive: float) -> None:
        n = 40
        state = pulsed({"c2c": c2c, "c2c_additive": additive}, [sign] * n)
        assert_normal(state, mean=sign * n * DW, sd=DW * math.sqrt(n * (c2c**2 + additive**2)))

    def test_without_noise_every_pulse_is_one_step(self) -> None:
        assert torch.allclose(pulsed({}, [1, 1, 1, -1]), torch.full(SHAPE, 2 * DW, dtype=torch.float64), atol=1e-8)

    def test_a_stronger_kind_scales_mean_and_spread(self) -> None:
        assert_normal(pulsed({"c2c": 0.3}, [1] * 4, kind="set"), mean=40 * DW, sd=10 * DW * 0.3 * 2)

    def test_the_bounds_hold(self) -> None:
        state = pulsed({"w_max": 0.025, "w_min": -0.02}, [1] * 5)
        assert torch.allclose(state, torch.full(SHAPE, 0.025, dtype=torch.float64), atol=1e-8)

    def test_imbalance_is_up_1_plus_u_and_down_1_minus_u(self) -> None:
        assert torch.allclose(pulsed({"up_down": 0.2}, [1])[0, 0], torch.tensor(1.2 * DW, dtype=torch.float64))
        assert torch.allclose(pulsed({"up_down": 0.2}, [-1])[0, 0], torch.tensor(-0.8 * DW, dtype=torch.float64))


class TestSoftBounds:
    @pytest.mark.parametrize(("sign", "bound"), [(1, 0.6), (-1, -0.4)])
    def test_mean_without_noise(self, sign: int, bound: float) -> None:
        n = 60
        device = {"response": {"family": "soft-bounds"}, "w_max": 0.6, "w_min": -0.4}
        expected = bound * (1 - (1 - DW / abs(bound)) ** n)
        assert float((pulsed(device, [sign] * n) - expected).abs().max()) < 1e-7

    def test_mean_and_spread_with_multiplicative_noise(self) -> None:
        """u = 1 - w/b shrinks by 1 - a (1 + c xi), a = dw/b: E u^2 by (1 - a)^2 + a^2 c^2 each pulse."""
        n, b, c = 40, 0.2, 0.5
        a = DW / b
        state = pulsed({"response": {"family": "soft-bounds"}, "w_max": b, "w_min": -b, "c2c": c}, [1] * n)
        square = ((1 - a) ** 2 + (a * c) ** 2) ** n
        sd = b * math.sqrt(square - (1 - a) ** (2 * n))
        mean = b * (1 - (1 - a) ** n)
        assert abs(float(state.mean()) - mean) < mean_error(state, sd)
        assert abs(float(state.std()) - sd) < 1.5 * sd_error(state, sd)  # u is log-normal: its tails are heavier

    def test_mean_and_spread_with_additive_noise(self) -> None:
        """Far below the bound nothing clips: var <- var (1 - a)^2 + (dw s)^2, a geometric sum."""
        n, b, s = 40, 0.5, 0.5
        r = (1 - DW / b) ** 2
        state = pulsed({"response": {"family": "soft-bounds"}, "w_max": b, "w_min": -b, "c2c_additive": s}, [1] * n)
        sd = DW * s * math.sqrt((1 - r**n) / (1 - r))
        assert_normal(state, mean=b * (1 - (1 - DW / b) ** n), sd=sd)


def power_step(w: float, p: dict[str, float], up: bool) -> float:
    return max(0.0, 1.0 - w / p["tau"] if up else 1.0 + w / p["tau"]) ** p["gamma"]


def exponential_step(w: float, p: dict[str, float], up: bool) -> float:
    rest = max(0.0, 1.0 - w / p["tau"] if up else 1.0 + w / p["tau"])
    return (math.exp(p["gamma"] * rest) - 1.0) / (math.exp(p["gamma"]) - 1.0)


def table_value(w: float, column: str) -> float:
    xs, ys = TABLE["w"], TABLE[column]
    if w <= xs[0]:
        return float(ys[0])
    for x0, x1, y0, y1 in zip(xs, xs[1:], ys, ys[1:], strict=False):
        if w <= x1:
            return float(y0 + (y1 - y0) * (w - x0) / (x1 - x0))
    return float(ys[-1])


def table_step(w: float, p: dict[str, float], up: bool) -> float:
    return table_value(w, "dw_up" if up else "dw_down") / p["dw_nominal"]


SPREAD_PARAMETERS = {"tau": {"mean": 0.6, "d2d": 0.1}, "gamma": {"mean": 1.7, "d2d": 0.2, "form": "log-normal"}}
FAMILIES: dict[str, tuple[dict[str, Any], Callable[[float, dict[str, float], bool], float]]] = {
    "power": ({"family": "power", **SPREAD_PARAMETERS}, power_step),
    "exponential": ({"family": "exponential", **SPREAD_PARAMETERS}, exponential_step),
    "measured": (EXACT_TABLE, table_step),
}


class TestScalarRecursion:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("start", [0.0, 0.45, -0.55])
    def test_every_device_follows_its_own_recursion(self, family: str, start: float) -> None:
        response, step = FAMILIES[family]
        device = {
            "response": response,
            "dw_min": {"mean": DW, "d2d": 0.3},
            "w_max": {"mean": 0.7, "d2d": 0.1},
            "w_min": {"mean": -0.7, "d2d": 0.1},
            "up_down_d2d": 0.1,
        }
        signs = [1] * 25 + [-1] * 60 + [1] * 10
        chip = open_chip(device)
        array = chip.allocate("A", 3, 4)
        view = oracle(chip)
        view.set_true_state(array, Port.DEVICE, torch.full((3, 4), start))
        parameters = view.device_parameters(array, Port.DEVICE)
        chip.apply_pulses(array, uniform_trains((3, 4), signs))
        for i in range(3):
            for j in range(4):
                p = {name: float(values[i, j]) for name, values in parameters.items()}
                w = max(p["w_min"], min(p["w_max"], start))
                for sign in signs:
                    size = p["dw_up"] * step(w, p, True) if sign > 0 else -p["dw_down"] * step(w, p, False)
                    w = max(p["w_min"], min(p["w_max"], w + size))
                assert abs(float(state_of(chip, array)[i, j]) - w) < 1e-6

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize(("sign", "start"), [(1, 0.2), (-1, 0.2), (1, -0.3)])
    def test_spread_of_one_pulse_is_that_of_the_local_step(self, family: str, sign: int, start: float) -> None:
        step = FAMILIES[family][1]
        fixed = {"tau": 0.6, "gamma": 1.7} if family != "measured" else {"dw_nominal": DW}
        settings = TABLE if family == "measured" else {"family": family, **fixed}
        c, s = 0.3, 0.1
        state = pulsed({"response": settings, "c2c": c, "c2c_additive": s}, [sign], start)
        q = step(start, fixed, sign > 0)
        own = table_value(start, "dw_spread") / DW if family == "measured" else 0.0
        assert_normal(state, mean=start + sign * DW * q, sd=DW * math.sqrt((c * q) ** 2 + s**2 + own**2))


def test_measured_table_scales_with_the_spread_of_dw_min() -> None:
    chip = open_chip({"response": EXACT_TABLE, "dw_min": {"mean": DW, "d2d": 0.4}})
    array = chip.allocate("A", 5, 5)
    dw_up = oracle(chip).device_parameters(array, Port.DEVICE)["dw_up"].double()
    chip.apply_pulses(array, uniform_trains((5, 5), [1]))
    expected = table_value(0.0, "dw_up") * dw_up / DW
    assert torch.allclose(state_of(chip, array), expected, atol=1e-7)


class Quadratic(Response):
    """A family that the package does not know: the step falls with the square, and has a spread of its own."""

    family: Literal["test-quadratic"] = "test-quadratic"
    scale: Parameter

    def up(self, w: Any, p: Any, xp: Any) -> Any:
        return 1.0 - xp.square(w / p["scale"])

    def down(self, w: Any, p: Any, xp: Any) -> Any:
        return xp.ones_like(w)

    def spread(self, w: Any, p: Any, up: bool, xp: Any) -> Any:
        return 0.2 if up else 0.0


@pytest.mark.parametrize("name", ["reference", "simulated"])
def test_a_registered_response_is_used_as_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own spread is drawn too, where the preset has no other noise."""
    monkeypatch.setattr("rpudriver.backends.simulated.devices.spec.RESPONSES", dict(RESPONSES))
    register_response("test-quadratic", Quadratic)
    device = {"response": {"family": "test-quadratic", "scale": 0.8}}
    assert_normal(pulsed(device, [1], start=0.4, name=name), mean=0.4 + DW * 0.75, sd=DW * 0.2)
    assert torch.allclose(pulsed(device, [-1], 0.4, name=name), torch.tensor(0.39, dtype=torch.float64), atol=1e-7)
