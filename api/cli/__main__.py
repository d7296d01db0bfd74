"""`python -m api.cli` is `bpm`."""

from api.cli.main import main

main()
