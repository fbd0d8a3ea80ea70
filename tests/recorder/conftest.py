"""One virtual host for all tests of the recorder: making one takes a second, and queue names keep them apart."""

from collections.abc import Iterator

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
