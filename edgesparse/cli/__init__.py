"""The command line: parse, call the pipeline, print."""

from edgesparse.cli.app import main

__all__ = ["main"]
