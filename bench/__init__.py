"""Benchmarks against other runtimes."""
