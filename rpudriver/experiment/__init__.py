"""PLACEHOLDER experiment."""
