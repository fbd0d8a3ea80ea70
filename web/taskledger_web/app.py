"""The Flask application: its parts and its pages put together."""

from flask import Flask

from taskledger.config import Settings
from taskledger_web import (
    api,
    asking,
    assets,
    beats,
    failures,
    faults,
    headers,
    health,
    ledger,
    overview,
    preferences,
    queues,
    rendering,
    schedules,
    task,
    tasks,
    views,
    workers,
)
from taskledger_web.links import AnythingConverter
from taskledger_web.mount import Mount

#: forms are small
_LARGEST_FORM = 64 * 1024
_PAGES = (overview, tasks, task, failures, schedules, beats, workers, queues, ledger, views, preferences, health, api)


def create_app(settings: Settings) -> Flask:
    """The site over the ledger that the settings name; opens it at the first question."""
    app = Flask("taskledger_web", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _LARGEST_FORM
    app.url_map.converters["anything"] = AnythingConverter
    # Rendering comes first: adding anything to the template environment creates it.
    for part in (rendering, headers, faults, assets):
        part.init_app(app)
    asking.init_app(app, settings)
    for page in _PAGES:
        app.register_blueprint(page.blueprint)
    app.wsgi_app = Mount(app.wsgi_app, settings.url_prefix)  # type: ignore[method-assign]  # Flask's own way to wrap it
    return app
