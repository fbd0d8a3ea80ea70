"""The services that tests run on: what one test was given no other one gets."""

import redis
import services


def test_a_run_that_needs_two_redis_databases_keeps_both(redis_url: str) -> None:
    """A second database, as a campaign takes beside a test's own, is another one, and the first one stays taken."""
    with services.redis_database() as second, services.redis_database() as third:
        owners = [redis.Redis.from_url(url).get(services.OWNER_KEY) for url in (redis_url, second, third)]

    assert len({redis_url, second, third}) == 3
    assert None not in owners
