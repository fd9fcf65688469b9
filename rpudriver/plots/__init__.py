"""Pictures: learning curves, weights, pulse responses."""
