"""``python -m flightworthy``: the same as the command."""

from flightworthy.cli.main import main

main()
