"""Configs that ship with the package: the runs of the demo, and the demo itself."""
