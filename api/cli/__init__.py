"""The command line `bpm`."""
