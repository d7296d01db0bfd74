"""Numbers only: NumPy arrays in and out, compiled by Numba.

Kernels carry explicit signatures, so they are compiled (or read from the cache) at import and never in the
middle of a request. They release the interpreter lock.
"""
