"""The stream into which workers append their events on Redis, read as one of the recorders that share it."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import redis

#: what `taskledger.integrations.durable` puts before the exchange's name, and what it says about a published copy
PREFIX, HEADER = "taskledger.", "taskledger-stream"
#: seconds that somebody else's entry stays with a recorder that does not acknowledge it: longer than any batch takes
ABANDONED_S = 30.0
#: seconds of silence after which a recorder that holds nothing is forgotten; containers have a new name at each start
FORGOTTEN_S = 7 * 86_400.0
#: entries in one command
CHUNK = 1000

# Redis counts what was ever added to a stream, and what the group has read of it. The difference that is not in the
# stream any more was cut off by its length unread. What was counted is marked as read, so nobody counts it again.
_LOST = """
local stream = redis.call('XINFO', 'STREAM', KEYS[1])
local said = {}
for i = 1, #stream, 2 do said[stream[i]] = stream[i + 1] end
if said['entries-added'] == nil then return -1 end
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #flat, 2 do group[flat[i]] = flat[i + 1] end
  if group['name'] == ARGV[1] then
    local unread
    local last, read = group['last-delivered-id'], group['entries-read']
    if last == said['last-generated-id'] then unread = 0
    elseif #redis.call('XRANGE', KEYS[1], '-', last, 'COUNT', 1) == 0 then unread = said['length']
    else return 0 end
    local reached = said['entries-added'] - unread
    if read and reached == read then return 0 end
    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], last, 'ENTRIESREAD', reached)
    return read and reached - read or 0
  end
end
return 0
"""


class Entry(NamedTuple):
    """A message as a worker appended it; `id` is its place in the stream."""

    id: bytes
    body: bytes
    content_type: str
    content_encoding: str


class Stream:
    """One consumer of one group. Entries that it read stay with it until they are acknowledged, also when it dies.

    Raises what redis-py raises.
    """

    def __init__(self, client: Any, key: str, group: str, consumer: str) -> None:
        self._client, self._key, self._group, self._consumer = client, key, group, consumer
        self._lost = client.register_script(_LOST)
        #: what this consumer got in an earlier life and did not acknowledge is read from here on; None: it has all
        self._own_after: bytes | None = None
        #: entries of ours or of others that were cut off before anybody acknowledged them
        self._cut_off = 0

    def is_there(self) -> bool:
        return bool(self._client.exists(self._key))

    def join(self) -> bool:
        """Become one of the group; whether the group was there. A new one starts with the oldest entry."""
        self._own_after = b"0"
        try:
            self._client.execute_command(
                "XGROUP", "CREATE", self._key, self._group, "0", "MKSTREAM", "ENTRIESREAD", self._gone()
            )
        except redis.ResponseError as error:
            if "BUSYGROUP" in str(error):
                self._forget_the_silent()
                return True
            # Before Redis 7 nobody counts.
            self._client.xgroup_create(self._key, self._group, "0", mkstream=True)
        return False

    def read(self, count: int) -> list[Entry]:
        """The next entries, none when there are none; first of all those that an earlier life left."""
        while self._own_after is not None:
            entries = self._read(self._own_after, count)
            self._own_after = entries[-1][0] if entries else None
            if kept := self._kept(entries):
                return kept
        return self._kept(self._read(b">", count))

    def claim(self, count: int) -> list[Entry]:
        """Entries that another recorder read and did not acknowledge for long: it is dead, or wishes it were."""
        answer = self._client.xautoclaim(
            self._key, self._group, self._consumer, int(ABANDONED_S * 1000), "0-0", count=count
        )
        # From Redis 7 on, those that were cut off are listed apart.
        self._cut_off += len(answer[2]) if len(answer) > 2 else 0
        return self._kept(answer[1])

    def acknowledge(self, ids: Iterable[bytes]) -> None:
        for chunk in _chunks(ids):
            self._client.xack(self._key, self._group, *chunk)

    def lost(self) -> int:
        """How many entries were cut off unread, as far as it can be told now; each is told once."""
        cut_off, self._cut_off = self._cut_off, 0
        return cut_off + max(0, int(self._lost(keys=[self._key], args=[self._group])))

    def is_drained(self) -> bool:
        """Whether all that was appended before the call was read by somebody of the group."""
        if self._own_after is not None:
            return False
        last = _text(self._client.xinfo_stream(self._key)["last-generated-id"])
        groups = self._client.xinfo_groups(self._key)
        return any(_text(each["name"]) == self._group and _text(each["last-delivered-id"]) == last for each in groups)

    def _gone(self) -> int:
        """How many entries were cut off before there was a group: nobody promised those."""
        try:
            said = self._client.xinfo_stream(self._key)
        except redis.ResponseError:
            return 0  # no stream yet
        return int(said.get("entries-added", 0)) - int(said["length"])

    def _read(self, after: bytes, count: int) -> list[Any]:
        answer = self._client.xreadgroup(self._group, self._consumer, {self._key: after}, count=count)
        if isinstance(answer, dict):
            # RESP3, which redis-py 8 speaks unless told otherwise.
            return [entry for part in answer.values() for entries in part for entry in entries]
        return [entry for _, entries in answer or () for entry in entries]

    def _kept(self, entries: Iterable[Any]) -> list[Entry]:
        """Without those of which only the id is left."""
        kept, gone = [], []
        for number, fields in entries:
            if fields:
                kept.append(_entry(number, fields))
            else:
                gone.append(number)
        if gone:
            self._cut_off += len(gone)
            self.acknowledge(gone)
        return kept

    def _forget_the_silent(self) -> None:
        for each in self._client.xinfo_consumers(self._key, self._group):
            if not each["pending"] and each["idle"] > FORGOTTEN_S * 1000:
                self._client.xgroup_delconsumer(self._key, self._group, each["name"])


def _entry(number: bytes, fields: dict[bytes, bytes]) -> Entry:
    """Anybody may have appended it: a field that is missing is empty."""
    said = (fields.get(name, b"").decode("utf-8", "replace") for name in (b"content-type", b"content-encoding"))
    return Entry(number, fields.get(b"body", b""), *said)


def _chunks(ids: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(ids)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
