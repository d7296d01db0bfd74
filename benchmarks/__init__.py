"""Measurements beside peers and floors: `python -m benchmarks --help`.

What is promised is a ratio, measured in one run. Absolute figures belong to the machine that they name.
"""
