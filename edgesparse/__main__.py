"""`python -m edgesparse`."""

from edgesparse.cli import main

main()
