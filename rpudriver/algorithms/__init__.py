"""Training algorithms, one a file. They see only the abstract backend, so they run on any chip."""
