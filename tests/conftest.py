"""What all tests share: the order in which they run, and an environment in which Ray starts as fast as it can."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

SLOW_LAST = ("test_driver.py", "test_cli.py", "test_harness.py", "test_docs.py", "test_wheel.py")
"""Files that start Ray or build something; all others come before them, so that a slip is told in seconds."""

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # processes that tests start inherit it, and Ray's are 3 times slower


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow files last; within a file the order stays."""
    items.sort(key=lambda item: SLOW_LAST.index(item.path.name) if item.path.name in SLOW_LAST else -1)


settings.register_profile("sweep", deadline=None)  # a busy machine is no bug: what takes long is measured elsewhere
settings.load_profile("sweep")
