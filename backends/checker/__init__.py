"""The conformance suite: does a backend keep the contract? For ours, and for anyone's chip.

>>> from rpudriver.backends.checker import check_backend
>>> report = check_backend(lambda: make("my-board"))
>>> print(report)
"""

from rpudriver.backends.checker.report import CheckReport, CheckResult
from rpudriver.backends.checker.suite import check_backend, check_names

__all__ = ["CheckReport", "CheckResult", "check_backend", "check_names"]
