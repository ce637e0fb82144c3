"""Owns the components that all scenarios share, started on first use and stopped at the end. Not scenarios."""

import os
import random
import secrets

import pytest

from components import S3, Azure, Kafka, Registry, run_folder


@pytest.fixture(scope="session")
def kafka():
    with Kafka() as component:
        yield component


@pytest.fixture(scope="session")
def registry():
    with Registry() as component:
        yield component


@pytest.fixture(scope="session")
def s3():
    with S3() as component:
        yield component


@pytest.fixture(scope="session")
def azure():
    with Azure() as component:
        yield component


@pytest.fixture
def folder(request):
    """A folder of the scenario's own, outside of the clone."""
    path = run_folder() / f"{request.node.name.replace('/', '-')[:60]}-{secrets.token_hex(3)}"
    path.mkdir()
    return path


@pytest.fixture
def topic(request):
    """A topic name of the scenario's own."""
    return f"live.{''.join(letter if letter.isalnum() else '-' for letter in request.node.name)[:60]}.{secrets.token_hex(3)}"


@pytest.fixture
def seed():
    """LAKEWARD_SEED replays a run; the seed is printed either way."""
    value = int(os.environ.get("LAKEWARD_SEED") or random.randrange(2**32))
    print(f"\n[seed] LAKEWARD_SEED={value}", flush=True)
    return value
