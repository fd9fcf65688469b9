"""Chips, simulated and real, behind one abstract `CrossbarBackend`."""

if __name__ != "rpudriver.backends":
    raise ImportError("import rpudriver.backends, not backends: the folder is part of the package rpudriver")
