"""The algorithms by name, for configs."""

from rpudriver.algorithms.base import Algorithm
from rpudriver.algorithms.sgd import AnalogSGD
from rpudriver.algorithms.tiki_taka import TikiTaka
from rpudriver.algorithms.ttv2 import TTv2

ALGORITHMS: dict[str, type[Algorithm]] = {"sgd": AnalogSGD, "tiki-taka": TikiTaka, "ttv2": TTv2}  # type: ignore[type-arg]
