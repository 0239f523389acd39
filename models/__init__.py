"""Reference models: how each is built, and what it is expected to reach."""
