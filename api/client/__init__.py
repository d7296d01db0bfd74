"""The Python client: how it is generated from OpenAPI, and what a generator can't make: parts, retries, resuming.

`sending` and `alerts` are copied into the generated package, so they import nothing of the engine.
"""
