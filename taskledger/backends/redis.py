"""Results in Redis (celery/backends/redis.py): one JSON text a task, under celery-task-meta-<id>."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis

from taskledger.backends.meta import MAX_BYTES, Reading
from taskledger.errors import BackendAway
from taskledger.orphans import Found
from taskledger.parsing import mask_url

#: seconds that it may take to answer
TIMEOUT_S = 3.0
#: keys that are asked for at once
KEYS_AT_ONCE = 200
#: how Celery's keys begin (celery/backends/base.py, `task_keyprefix`)
KEY = "celery-task-meta-"
#: an argument of our own in the URL, for who has no app that says it
PREFIX = "global_keyprefix"


class RedisBackend:
    """Read by MGET; what is larger than MAX_BYTES stays where it is."""

    def __init__(self, url: str, celery_app: Any, reading: Reading) -> None:
        address, self._prefix = _address(url, celery_app)
        self._shown = mask_url(url)
        self._reading = reading
        self._client = redis.Redis.from_url(address, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)

    def read(self, names: Mapping[str, str | None]) -> dict[str, Found]:
        """See Backend."""
        found: dict[str, Found] = {}
        ids = list(names)
        for start in range(0, len(ids), KEYS_AT_ONCE):
            for task_id, value in self._values(ids[start : start + KEYS_AT_ONCE]).items():
                document = self._reading.document(value)
                meta = self._reading.found(document, names[task_id]) if isinstance(document, dict) else None
                if meta is not None:
                    found[task_id] = meta
        return found

    def close(self) -> None:
        """See Backend."""
        self._client.close()

    def _values(self, ids: Sequence[str]) -> dict[str, bytes]:
        keys = {task_id: f"{self._prefix}{KEY}{task_id}".encode("utf-8", "surrogatepass") for task_id in ids}
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for key in keys.values():
                    pipeline.strlen(key)
                sizes = dict(zip(ids, pipeline.execute(raise_on_error=False), strict=True))
            wanted = [task_id for task_id in ids if isinstance(sizes[task_id], int) and 0 < sizes[task_id] <= MAX_BYTES]
            values: Any = self._client.mget([keys[task_id] for task_id in wanted]) if wanted else []
        except (redis.RedisError, OSError) as error:
            why = str(error).partition("\n")[0]
            raise BackendAway(f"the result backend {self._shown} cannot be read now: {why}") from error
        for task_id in ids:
            if isinstance(sizes[task_id], int) and sizes[task_id] > MAX_BYTES:
                self._reading.refuse(f"it has more than {MAX_BYTES:,} bytes")
        return {task_id: value for task_id, value in zip(wanted, values, strict=True) if isinstance(value, bytes)}


def _address(url: str, celery_app: Any) -> tuple[str, str]:
    """The URL as redis-py takes it, and what stands before each key."""
    parts = urlsplit(url.replace("redis+socket://", "unix://", 1).replace("socket://", "unix://", 1))
    said = dict(parse_qsl(parts.query))
    prefix = said.get(PREFIX) or _prefix_of(celery_app)
    if prefix and prefix[-1] not in ":_-.":
        # celery/backends/base.py, `_add_global_keyprefix`
        prefix += "_"
    passed = {key: value.removeprefix("CERT_").lower() if key == "ssl_cert_reqs" else value
              for key, value in said.items() if key.startswith("ssl_")}  # fmt: skip
    if parts.scheme == "unix" and "virtual_host" in said:
        passed["db"] = said["virtual_host"]
    return urlunsplit(parts._replace(query=urlencode(passed))), prefix


def _prefix_of(celery_app: Any) -> str:
    options = celery_app.conf.get("result_backend_transport_options") if celery_app is not None else None
    prefix = (options or {}).get(PREFIX)
    return prefix if isinstance(prefix, str) else ""
