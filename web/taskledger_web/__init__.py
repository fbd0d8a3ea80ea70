"""The site: what people see. `create_app` makes it, `serve` shows it, `Site` is one that can be stopped."""

from taskledger_web.app import create_app
from taskledger_web.server import Site, serve

__all__ = ["Site", "create_app", "serve"]
