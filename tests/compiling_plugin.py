"""Compiles the kernels before the tests are collected: the process that collects would do so alone, and all would wait."""

import pytest

from api.compiling import compile_kernels


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Before the first import of the engine, which is in `conftest.py`."""
    compile_kernels()
