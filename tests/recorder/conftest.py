"""One virtual host for all tests of the recorder: making one takes a second, and queue names keep them apart."""

import os
import shutil
import subprocess
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
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
