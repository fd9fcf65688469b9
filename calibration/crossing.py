"""Where the up and the down step of a device are equal: a recursive estimate from bursts of pulses and reads.

The state of a device is what it reads as and, there, the sizes of both steps and their slopes

    z = (w, u, u', v, v')        up: w <- w + u(w)        down: w <- w - v(w)

A burst of n pulses follows the line, ``dw/dn = u + u' (w - w0)``, exactly; its noise is that of n pulses (c2c). A
response need be straight only near the crossing ``w* = w + (u - v) / (v' - u')``: a burst at a distance D from it may
differ from the line by ``curvature D^2 / 2`` a pulse, which counts as noise, so what was seen far away weighs less.
Reads and bursts update mean and covariance (extended Kalman filter; Kalman 1960), so each device has a standard error
at any time.

Units inside: weights in nominal bounds b, steps in nominal steps, bursts in ``dw_min / b``; all are of order one.
"""

from dataclasses import dataclass
from typing import final

import torch

from rpudriver.backends.capabilities import Nominal

FLATTEST = 0.1  # least sum of both slopes, in nominal steps a bound, by which a crossing is located
FARTHEST = 2.0  # largest distance of a crossing, in bounds
STUCK = 0.2  # a device both of whose steps are surely shorter, in nominal steps, counts as one that does not move


@final
@dataclass(frozen=True)
class Prior:
    """What is taken for granted of a device before it is pulsed: nominal soft bounds, within a wide spread.

    Attributes
    ----------
    device : the nominal device.
    spread : relative standard deviation of a step at zero and of a bound.
    curvature : second derivative of a step by the weight, in nominal steps and bounds; 0 for soft bounds, 1.6 in the
        middle of an exponential response (gamma 1).
    """

    device: Nominal
    spread: float
    curvature: float

    @property
    def bound(self) -> float:
        """The unit of weights."""
        return min(self.device.w_max, -self.device.w_min)


@final
@dataclass(frozen=True, eq=False)
class Crossing:
    """Estimates of all devices of an array.

    Attributes
    ----------
    prior : Prior
    mean : float64 tensor ``[5, n_out, n_in]``, ``(w, u, u', v, v')``.
    covariance : float64 tensor ``[5, 5, n_out, n_in]``
    misfit : float64 tensor ``[n_out, n_in]``, sum of squared innovations over their variances.
    """

    prior: Prior
    mean: torch.Tensor
    covariance: torch.Tensor
    misfit: torch.Tensor

    @classmethod
    def start(cls, prior: Prior, read: torch.Tensor, error: torch.Tensor) -> "Crossing":
        """Return what is known after a first read ``[n_out, n_in]`` and its standard error."""
        w = read.double() / prior.bound
        near, one = w.clamp(-1.2, 1.2), torch.ones_like(w)
        mean = torch.stack([w, 1 - near, -one, 1 + near, one])
        covariance = torch.zeros(5, *mean.shape, dtype=torch.float64)
        covariance[0, 0] = (error / prior.bound).square()
        # of each line two factors are uncertain, its step at zero and the bound at which it ends
        for first, up, end in ((1, torch.stack([1 - near, -one]), near), (3, torch.stack([1 + near, one]), -near)):
            bound = torch.stack([end, one if first == 1 else -one])
            both = up[:, None] * up[None] + bound[:, None] * bound[None]
            covariance[first : first + 2, first : first + 2] = prior.spread**2 * both
        return cls(prior, mean, covariance, torch.zeros_like(w))

    def pulsed(self, counts: torch.Tensor) -> "Crossing":
        """Return the prediction after a burst: ``[n_out, n_in]`` pulses, up where positive."""
        device, m = self.prior.device, self.mean
        unit = device.dw_min / self.prior.bound
        up, time = counts > 0, counts.abs().double() * unit
        speed, slope = torch.where(up, m[1], -m[3]), torch.where(up, m[2], -m[4])
        grown, grown_by_slope, grown_noise = _growth(slope * time)
        moved = speed * grown * time
        sign = counts.sign()
        by_step, by_slope = sign * grown * time, sign * speed * grown_by_slope * time.square()
        zero = torch.zeros_like(moved)
        row = torch.stack(
            [
                zero,
                torch.where(up, by_step, zero), torch.where(up, by_slope, zero),
                torch.where(up, zero, by_step), torch.where(up, zero, by_slope),
            ]
        )  # fmt: skip
        jacobian = torch.eye(5, dtype=torch.float64)[:, :, None, None].repeat(1, 1, *moved.shape)
        along = torch.stack([torch.ones_like(moved), m[2], zero, m[4], zero])
        jacobian += along[:, None] * row[None]
        jacobian[1, 2] += moved
        jacobian[3, 4] += moved
        covariance = _sandwich(jacobian, self.covariance)
        noise = (device.c2c * speed).square() * unit * grown_noise * time
        off = (self.away / self.prior.bound - moved / 2).abs().clamp_max(1)  # of the burst's middle from the crossing
        noise += (self.prior.curvature * off.square() / 2 * time).square()
        covariance += noise * along[:, None] * along[None]
        mean = torch.stack([m[0] + moved, m[1] + m[2] * moved, m[2], m[3] + m[4] * moved, m[4]])
        return Crossing(self.prior, mean, covariance, self.misfit)

    def seen(self, read: torch.Tensor, error: torch.Tensor) -> "Crossing":
        """Return the estimate after a read ``[n_out, n_in]`` and its standard error."""
        surprise = read.double() / self.prior.bound - self.mean[0]
        variance = self.covariance[0, 0] + (error / self.prior.bound).square()
        gain = self.covariance[:, 0] / variance
        covariance = self.covariance - gain[:, None] * self.covariance[0][None]
        misfit = self.misfit + surprise.square() / variance
        return Crossing(self.prior, self.mean + gain * surprise, covariance, misfit)

    @property
    def weight(self) -> torch.Tensor:
        """What the devices read as, chip units."""
        return self.mean[0] * self.prior.bound

    @property
    def away(self) -> torch.Tensor:
        """Way from the device to its crossing, chip units."""
        _, u, _, v, _ = self.mean
        way: torch.Tensor = ((u - v) / self._closing()).clamp(-FARTHEST, FARTHEST)
        return way * self.prior.bound

    @property
    def point(self) -> torch.Tensor:
        """What the crossing reads as, chip units."""
        return self.weight + self.away

    @property
    def error(self) -> torch.Tensor:
        """Standard error of `point`, chip units, to first order."""
        closing, away = self._closing(), self.away / self.prior.bound
        one = torch.ones_like(away)
        by = torch.stack([one, 1 / closing, away / closing, -1 / closing, -away / closing])
        variance: torch.Tensor = (by[:, None] * self.covariance * by[None]).sum((0, 1))
        return variance.clamp_min(0).sqrt() * self.prior.bound

    @property
    def stuck(self) -> torch.Tensor:
        """Devices that pulses of neither sign move, within two standard errors."""
        return stuck_devices(self.mean, self.covariance)

    @property
    def steps(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The up and the down step at the device's weight, chip units."""
        size = self.prior.device.dw_min
        return self.mean[1] * size, self.mean[3] * size

    @property
    def unsure(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Variances of the up and of the down step, in nominal steps."""
        return self.covariance[1, 1], self.covariance[3, 3]

    def _closing(self) -> torch.Tensor:
        """Return how fast the steps get closer on the way to the crossing."""
        return (self.mean[4] - self.mean[2]).clamp_min(FLATTEST)


def stuck_devices(mean: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """Return for a mean and covariance of `Crossing` which devices do not move."""
    up = mean[1].abs() + 2 * covariance[1, 1].clamp_min(0).sqrt()
    down = mean[3].abs() + 2 * covariance[3, 3].clamp_min(0).sqrt()
    return (up < STUCK) & (down < STUCK)


def _growth(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ``(e^z - 1) / z``, its derivative and ``(e^2z - 1) / 2z``, also at 0."""
    z = z.clamp(-6.0, 2.0)
    small = z.abs() < 1e-4
    safe = torch.where(small, torch.ones_like(z), z)
    once = torch.where(small, 1 + z / 2, torch.expm1(safe) / safe)
    slope = torch.where(small, 0.5 + z / 3, (safe * torch.exp(safe) - torch.expm1(safe)) / safe.square())
    return once, slope, torch.where(small, 1 + z, torch.expm1(2 * safe) / (2 * safe))


def _sandwich(jacobian: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """Return ``J P J^T`` of every device."""
    left = (jacobian[:, :, None] * covariance[None]).sum(1)
    return (left[:, None] * jacobian[None]).sum(2)
