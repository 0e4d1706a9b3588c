"""Small noise-free scans with a known probe."""

import pytest
from tests.reconstruct.scans import make_scan


@pytest.fixture(scope="session")
def scan():
    return make_scan()


@pytest.fixture(scope="session")
def fractional():
    return make_scan(side=24, step=3.0, jitter=1.0, frames=6)
