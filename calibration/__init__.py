"""Calibration scripts: they see only the abstract backend, so they run on any chip."""

if __name__ != "rpudriver.calibration":
    raise ImportError("import rpudriver.calibration, not calibration: the folder is part of the package rpudriver")
