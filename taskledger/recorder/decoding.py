"""Messages become events without their secrets."""

from taskledger.config import Settings
from taskledger.events import Event, Malformed
from taskledger.recorder.batch import read
from taskledger.recorder.redacting import Redactor
from taskledger.recorder.waiting import Heard
from taskledger.redaction import Redaction, compiled

#: what became of each message, in order
Items = list[list[Event | Malformed]]


class Decoding:
    """Knows the rules of redaction, and of each cluster which task goes by which. For one thread only."""

    def __init__(self, settings: Settings | None = None) -> None:
        """By the rules of these settings; without any by the default ones."""
        self._redaction = _compiled(settings)
        self._redactors: dict[str, Redactor] = {}

    def decode(self, heard: Heard) -> Items:
        """What these messages hold, message by message."""
        redactor = self._redactors.get(heard.cluster)
        if redactor is None:
            redactor = self._redactors[heard.cluster] = Redactor(self._redaction)
        return [redactor.redact(read(delivery)) for delivery in heard.deliveries]


def _compiled(settings: Settings | None) -> Redaction:
    if settings is None:
        return compiled()
    return compiled(settings.redact_keys, settings.redact_values, settings.payloads)
