"""How many coincidences an update makes: a speed figure without it means nothing."""

import torch


def expected_density(
    x: torch.Tensor, d: torch.Tensor, *, lr: float, dw_min: float, max_bl: int, managed: bool = True
) -> float:
    """Return the expected coincidences a cross-point and sample of stochastic trains for ``lr * d x^T``.

    The formulas are those of `rpudriver.trains.draw_trains`; aihwkit's are the same.

    Parameters
    ----------
    x : float tensor ``[B, n_in]``
    d : float tensor ``[B, n_out]``
    managed : update and bit-length management both on or both off.
    """
    x, d = x.detach().double().abs(), d.detach().double().abs()
    x_max, d_max = x.amax(1, keepdim=True), d.amax(1, keepdim=True)
    active = (x_max > 0) & (d_max > 0)
    bl = torch.full_like(x_max, max_bl)
    ratio = torch.ones_like(x_max)
    if managed:
        bl = (lr * x_max * d_max / dw_min).ceil().clamp(1, max_bl)
        ratio = torch.where(active, (d_max / x_max).sqrt(), ratio)
    amplitude = (lr / (bl * dw_min)).sqrt()
    fires_x, fires_d = (amplitude * ratio * x).clamp(max=1), (amplitude / ratio * d).clamp(max=1)
    each = bl * fires_x.mean(1, keepdim=True) * fires_d.mean(1, keepdim=True)
    return float(torch.where(active, each, 0.0).mean())
