"""One virtual host for all tests of the recorder: making one takes a second, and queue names keep them apart."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import services


@pytest.fixture(scope="session")
def _shared_rabbitmq() -> Iterator[str]:
    with services.rabbitmq_vhost() as url:
        yield url


@pytest.fixture
def rabbitmq_url(_shared_rabbitmq: str) -> str:
    """The URL of a virtual host that all tests of the recorder share."""
    return _shared_rabbitmq


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    with services.small_disk(tmp_path / "disk", 4) as disk:
        yield disk
