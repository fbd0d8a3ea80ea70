"""Messages as kombu's channels make them, but raw: no decompression, no deserialization, no trust in the envelope."""

import json
from binascii import a2b_base64
from typing import Any

import orjson

#: characters of an unreadable envelope that are kept
MAX_ENVELOPE_CHARS = 64 * 1024


class RawMessage:
    """What kombu's Consumer needs of a message (kombu/messaging.py, `_receive_callback`), and what we do.

    A channel makes its messages with its attribute `Message`; kombu's own decompresses in its constructor
    (kombu/message.py), before anybody could look at it.
    """

    #: kombu raises these again; we have none
    errors = ()
    accept: Any = None

    def __init__(self, body: bytes, properties: dict[str, Any], headers: Any, number: Any) -> None:
        self.body = body
        self.content_type = _text(properties.get("content_type"))
        self.content_encoding = _text(properties.get("content_encoding"))
        self.delivery_tag = number
        self.refused: str | None = None
        self.headers: dict[str, Any] = headers if isinstance(headers, dict) else {}
        if self.headers.get("compression"):
            self.refused = "compressed"


class AMQPMessage(RawMessage):
    """Made of what py-amqp received."""

    def __init__(self, message: Any, channel: Any = None) -> None:  # noqa: ARG002 - kombu's signature
        body = message.body
        properties = message.properties
        headers = properties.get("application_headers")
        super().__init__(
            body.encode() if isinstance(body, str) else bytes(body), properties, headers, message.delivery_tag
        )


class VirtualMessage(RawMessage):
    """Made of the envelope that kombu's virtual transports wrap around a body; anybody may have published it."""

    def __init__(self, payload: Any, channel: Any = None) -> None:  # noqa: ARG002 - kombu's signature
        try:
            body, properties = unwrap(payload)
        except (AttributeError, KeyError, TypeError, ValueError):
            kept = repr(payload)[:MAX_ENVELOPE_CHARS].encode("utf-8", "backslashreplace")
            super().__init__(kept, {}, None, None)
            self.refused = "bad-envelope"
        else:
            super().__init__(body, properties, payload.get("headers"), None)


class BrokenEnvelope(RawMessage):
    """Stands for a message whose envelope cannot be read; `left` is what there is of it."""

    def __init__(self, left: bytes | Exception) -> None:
        kept = left if isinstance(left, bytes) else repr(left)[:MAX_ENVELOPE_CHARS].encode("utf-8", "backslashreplace")
        super().__init__(kept, {}, None, None)
        self.refused = "bad-envelope"


def published(data: bytes) -> RawMessage:
    """The message in what kombu published on Redis: an envelope in JSON, if it was kombu."""
    try:
        payload = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            # NaN and lone surrogates are no JSON to orjson, but Python's json writes them.
            payload = json.loads(data)
        except (ValueError, RecursionError):
            return BrokenEnvelope(data)
    return VirtualMessage(payload)


def plainly_published(data: bytes) -> tuple[bytes, str, str] | None:
    """Body, content type and content encoding of a message as nearly all are; None where a closer look is needed.

    It says the same as `published`, in half the time.
    """
    try:
        payload = orjson.loads(data)
        if payload["properties"]["body_encoding"] != "base64" or payload["headers"].get("compression"):
            return None
        content_type, content_encoding = payload["content-type"], payload["content-encoding"]
        if content_type.__class__ is not str or content_encoding.__class__ is not str:
            return None
        return a2b_base64(payload["body"]), content_type, content_encoding
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def unwrap(payload: Any) -> tuple[bytes, dict[str, Any]]:
    """The body and what is said of it (kombu/transport/virtual/base.py, `Message` and `decode_body`)."""
    body, encoding = payload["body"], payload["properties"].get("body_encoding")
    if encoding:
        body = _CODECS[encoding](body)
    said = {"content_type": payload.get("content-type"), "content_encoding": payload.get("content-encoding")}
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass"), said
    if isinstance(body, bytes):
        return body, said
    raise TypeError(f"a body is text or bytes, not {type(body).__name__}")


def _of_base64(body: Any) -> bytes:
    """As kombu does it, which leaves out what is no base64 (kombu/transport/virtual/base.py, `Base64`)."""
    return a2b_base64(body.encode() if isinstance(body, str) else body)


#: kombu knows this one (kombu/transport/virtual/base.py, `Channel.codecs`)
_CODECS = {"base64": _of_base64}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
