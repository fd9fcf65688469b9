"""Device physics: one response family a file, `spec` for everything around the response."""
