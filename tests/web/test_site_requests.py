"""What holds for every answer whatever its page: headers, refusals, cookies, files, the database away, the server."""

import csv
import gzip
import io
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import story
from flask.testing import FlaskClient
from story import NOW

from taskledger.config import Settings
from taskledger.errors import SettingsError
from taskledger_web import Site, create_app

Visit = Callable[..., FlaskClient]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@pytest.mark.parametrize(
    "address", ["/", "/tasks", "/tasks.csv", "/nothing-here", "/healthz", "/readyz", "/tasks/none", "/preferences"]
)
def test_every_answer_carries_the_security_headers(client: FlaskClient, address: str) -> None:
    """Pages, files, refusals and probes alike say what may load, who may frame, and that nothing may keep them."""
    headers = client.get(address).headers

    assert headers["Content-Security-Policy"] == POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Permissions-Policy" in headers
    assert "Access-Control-Allow-Origin" not in headers
    assert "Strict-Transport-Security" not in headers


def test_https_is_remembered_by_browsers(client: FlaskClient) -> None:
    """Over https the site asks browsers to stay with it, and its cookies are for https alone."""
    response = client.post("/preferences", data={"theme": "dark"}, base_url="https://localhost")

    assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "Secure" in response.headers["Set-Cookie"]


@pytest.mark.parametrize("address", ["/", "/tasks", "/failures", "/schedules", "/workers", "/ledger"])
def test_no_page_has_inline_script_or_style(client: FlaskClient, address: str) -> None:
    """No style attribute, no handler, no script or stylesheet but by address, and none from another host."""
    html = client.get(address).text

    assert " style=" not in html
    assert "<style" not in html
    assert " onclick=" not in html
    assert html.count("<script") == html.count('<script type="module" src="/static/') == 1
    assert "http://" not in html
    assert "https://" not in html


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "none"}, 303),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
        ({"Origin": "http://localhost"}, 303),
        ({"Origin": "http://localhost:81"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 303),
    ],
)
@pytest.mark.parametrize("address", ["/views", "/views/delete", "/task/notes", "/preferences"])
def test_forms_of_other_sites_are_refused(site: Visit, address: str, headers: dict[str, str], status: int) -> None:
    """A form is taken from this very site, or from something that is no browser; from anywhere else it is 403."""
    assert site().post(address, data={"name": ""}, headers=headers).status_code == status


def test_a_preference_is_kept_and_drawn_by_the_server(client: FlaskClient) -> None:
    """Theme, zone and shortcuts come from cookies into the page itself, so nothing flashes."""
    form = {"theme": "dark", "zone": "Asia/Tokyo", "keys": "off", "next": "/tasks?q=a&tz=UTC"}

    response = client.post("/preferences", data=form)

    assert response.headers["Location"] == "/tasks?q=a"
    assert all("HttpOnly" in cookie and "SameSite=Lax" in cookie for cookie in response.headers.getlist("Set-Cookie"))
    html = client.get("/tasks").text
    assert '<html lang="en" data-theme="dark" data-keys="off">' in html
    assert "Sent (JST)" in html


@pytest.mark.parametrize("theme", ["neon", "", '"><script>'])
def test_a_preference_that_is_none_is_not_kept(client: FlaskClient, theme: str) -> None:
    """A theme or a zone that does not exist sets no cookie, and one in a cookie is ignored."""
    assert "Set-Cookie" not in client.post("/preferences", data={"theme": theme, "zone": "Not/A_Zone"}).headers

    client.set_cookie("taskledger_theme", "neon")
    client.set_cookie("taskledger_zone", "../etc/passwd")

    assert 'data-theme="system"' in client.get("/tasks").text


@pytest.mark.parametrize(
    "address",
    [
        "//evil.example/",
        "https://evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "evil",
        "",
        "/../x\r\nSet-Cookie: a=b",
    ],
)
def test_a_form_leads_back_into_this_site_only(client: FlaskClient, address: str) -> None:
    """Where to go after a choice is a path of this site, or its front page."""
    location = client.post("/preferences", data={"theme": "dark", "next": address}).headers["Location"]

    assert location == "/" or (location.startswith("/") and not location.startswith(("//", "/\\")))
    assert "\n" not in location


def test_an_unchanged_page_is_not_sent_again(client: FlaskClient) -> None:
    """A page has a tag; asking with it costs 304 and no body, until something on the page changes."""
    first = client.get("/failures")

    again = client.get("/failures", headers={"If-None-Match": first.headers["ETag"]})

    assert again.status_code == 304
    assert again.get_data() == b""
    assert client.get("/failures?q=x", headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_pages_and_files_are_packed_for_who_can_unpack(client: FlaskClient) -> None:
    """With gzip a page is a fraction of its size and the same page; without, it is plain."""
    plain = client.get("/ledger")
    packed = client.get("/ledger", headers={"Accept-Encoding": "gzip"})
    refused = client.get("/ledger", headers={"Accept-Encoding": "gzip;q=0"})

    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.get_data()).decode()[-400:] == plain.text[-400:]
    assert len(packed.get_data()) < len(plain.get_data()) / 3
    assert "Content-Encoding" not in refused.headers


@pytest.mark.parametrize("address", ["/", "/tasks", "/failures", "/schedules", "/ledger"])
def test_a_first_page_weighs_at_most_40_kb(client: FlaskClient, address: str) -> None:
    """The page with everything it loads, packed, is 40 kB at most; scripts alone are 15 kB at most."""
    packed = {"Accept-Encoding": "gzip"}
    html = client.get(address, headers=packed).get_data()
    folder = Path(__file__).parents[2] / "web/taskledger_web/static"
    page = gzip.decompress(html).decode()
    version = page.split("/static/")[1].split("/")[0]
    weights = {
        file.suffix + file.name: len(client.get(f"/static/{version}/{file.name}", headers=packed).get_data())
        for file in folder.iterdir()
    }

    assert len(html) + sum(weights.values()) <= 40_000
    assert sum(size for name, size in weights.items() if name.startswith(".js")) <= 15_000


def test_files_are_kept_for_ever_under_their_content(client: FlaskClient) -> None:
    """A file's address holds the digest of all files; the right one is immutable, an old one is not kept."""
    html = client.get("/tasks").text
    address = html.split('rel="stylesheet" href="')[1].split('"')[0]

    fresh, stale = client.get(address), client.get("/static/old/taskledger.css")

    assert fresh.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert fresh.headers["Content-Type"] == "text/css; charset=utf-8"
    assert stale.headers["Cache-Control"] == "no-store"
    assert stale.get_data() == fresh.get_data()


def test_csv_is_the_whole_search_quoted_and_harmless(site: Visit) -> None:
    """Every task that matches is a row, every cell is quoted, and none would run in a spreadsheet."""
    told = story.Story(3, NOW)
    for number in range(1203):
        told.sent("mail.send", NOW - number * story.SECOND, args="=HYPERLINK('x')", kwargs='{"a": "b,\nc"}')
    told.sent("billing.charge", NOW - story.SECOND)
    visitor = site(told)

    response = visitor.get("/tasks.csv?q=name:mail.send")

    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert len(rows) == len({row["id"] for row in rows}) == 1203
    assert {row["args"] for row in rows} == {"'=HYPERLINK('x')"}
    assert {row["kwargs"] for row in rows} == {'{"a": "b,\nc"}'}
    assert rows[0]["first_at"] == "2026-11-22T08:12:44.000000Z"
    assert rows[0]["state"] == "Sent"
    assert "No recorder was listening before" in response.headers["X-Taskledger-Recorded"]
    first_line = response.text.split("\r\n")[0]
    assert all(cell.startswith('"') and cell.endswith('"') for cell in first_line.split(","))


def test_csv_of_a_bad_search_is_an_error_in_plain_text(client: FlaskClient) -> None:
    """A search that cannot be read gives 400 with the place of the trouble, and no half-filtered file."""
    response = client.get("/tasks.csv?q=nme:x")

    assert response.status_code == 400
    assert "nme:x\n^" in response.text


def test_a_site_behind_a_proxy_lives_under_its_prefix(site: Visit) -> None:
    """With a prefix, pages answer whether the proxy passes it on or strips it, and all links carry it."""
    visitor = site(url_prefix="/ledger")

    for address in ("/ledger/tasks", "/tasks", "/ledger/tasks?q=a"):
        html = visitor.get(address).text

        assert 'href="/ledger/failures"' in html
        assert 'href="/ledger/static/' in html
        assert 'action="/ledger/tasks"' in html
    assert (
        visitor.post("/ledger/preferences", data={"theme": "dark", "next": "/ledger/tasks"}).headers["Location"]
        == "/ledger/tasks"
    )
    assert visitor.post("/ledger/preferences", data={"next": "/other"}).headers["Location"] == "/ledger/"


def test_a_database_that_is_away_is_a_page_that_asks_again() -> None:
    """Without a database each page says why, in words, with 503 and a refresh; probes and files still answer."""
    url = f"postgresql+psycopg://nobody@127.0.0.1:{_free_port()}/none"
    visitor = create_app(Settings(database_url=url)).test_client()

    response = visitor.get("/tasks")

    assert response.status_code == 503
    assert response.headers["Refresh"] == response.headers["Retry-After"] == "10"
    assert "cannot use the database postgresql+psycopg://nobody@127.0.0.1" in response.text
    assert "Traceback" not in response.text
    assert "ledger not reachable" in response.text
    assert visitor.get("/healthz").text == "OK\n"
    assert visitor.get("/readyz").status_code == 503
    assert "cannot use the database" in visitor.get("/readyz").json["reasons"][0]
    assert visitor.get("/nothing").status_code == 404


def test_ready_is_a_site_that_can_show_its_ledger(client: FlaskClient, tmp_path: Path) -> None:
    """A ledger with the right schema is enough, whatever the recorder does; one without tables is not."""
    bare = create_app(Settings(database_url=f"sqlite:///{tmp_path / 'bare.sqlite3'}")).test_client()

    well, ill = client.get("/readyz"), bare.get("/readyz")

    assert (well.status_code, well.json["ready"], well.json["reasons"]) == (200, True, [])
    assert well.json["recorder"] in {"recording", "stopped"}
    assert (ill.status_code, ill.json["ready"]) == (503, False)
    assert "taskledger db upgrade" in ill.json["reasons"][0]


def test_a_ledger_without_tables_says_what_to_run(tmp_path: Path) -> None:
    """A database that was never upgraded is a sentence that names the command."""
    visitor = create_app(Settings(database_url=f"sqlite:///{tmp_path / 'bare.sqlite3'}")).test_client()

    response = visitor.get("/tasks")

    assert response.status_code == 503
    assert "taskledger db upgrade" in response.text


def test_a_form_that_is_too_large_is_refused(client: FlaskClient) -> None:
    """A note of a megabyte is 413, not a row in the ledger."""
    assert client.post("/task/notes", data={"id": "a", "text": "x" * 1_000_000}).status_code == 413


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_site_can_be_started_and_stopped(sqlite_url: str) -> None:
    """A site in a thread answers at its address, and gives its port back when it is stopped."""
    site = Site(Settings(database_url=sqlite_url, port=0))
    site.start()
    try:
        with urllib.request.urlopen(f"{site.address}healthz", timeout=10) as response:
            assert response.read() == b"OK\n"
    finally:
        site.stop()

    port = int(site.address.rstrip("/").rsplit(":", 1)[1])
    # Fails where something still listens.
    socket.create_server(("127.0.0.1", port)).close()


def test_a_port_in_use_is_one_clear_sentence(sqlite_url: str) -> None:
    """Where something else listens, the setting is refused with the port, the reason and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(SettingsError, match=rf"^cannot listen on 127\.0\.0\.1:{port}: .*in use.*--port"):
            Site(Settings(database_url=sqlite_url, port=port))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
def test_serve_ends_well_on_a_signal(sqlite_url: str, number: signal.Signals) -> None:
    """In the main thread the site says its address, answers, and exits 0 within seconds of SIGTERM or SIGINT."""
    program = (
        "import sys; from taskledger.config import Settings; from taskledger_web import serve\n"
        "ready = lambda address: print(address, flush=True)\n"
        "sys.exit(serve(Settings(database_url=sys.argv[1], port=0), ready=ready))"
    )
    with subprocess.Popen([sys.executable, "-c", program, sqlite_url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with urllib.request.urlopen(f"{address}tasks", timeout=20) as response:
            assert response.status == 200

        process.send_signal(number)

        assert process.wait(timeout=10) == 0
