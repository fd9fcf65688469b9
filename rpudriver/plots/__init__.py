"""PLACEHOLDER plots."""
