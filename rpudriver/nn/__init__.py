"""Analog layers for PyTorch: `AnalogLinear`, `convert` and `AnalogOptimizer`."""

from rpudriver.nn.convert import convert
from rpudriver.nn.initial import default_weights
from rpudriver.nn.linear import AnalogLinear
from rpudriver.nn.optimizer import AnalogOptimizer
from rpudriver.nn.shadow import Backward, check_backward
from rpudriver.nn.tiles import check_room

__all__ = [
    "AnalogLinear",
    "AnalogOptimizer",
    "Backward",
    "check_backward",
    "check_room",
    "convert",
    "default_weights",
]
