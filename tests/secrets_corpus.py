"""Secrets where people's tasks have them, and texts that only look so: what redaction must find, and leave alone."""

from base64 import b64encode
from typing import Any, NamedTuple

from celery.utils.saferepr import saferepr


class Planted(NamedTuple):
    """A field of an event with secrets in it; none of `secrets` may be found anywhere afterwards."""

    name: str
    field: str
    value: Any
    secrets: tuple[str, ...]


class Broken(NamedTuple):
    """A message that cannot be used, with secrets in it."""

    name: str
    body: bytes
    content_type: str
    secrets: tuple[str, ...]


def _joined(*parts: str) -> str:
    """In pieces, so that no scanner takes this file for a leak."""
    return "".join(parts)


HEX = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
JWT = _joined(
    "eyJhbGciOiJIUzI1NiJ9", ".", "eyJzdWIiOiI3NzEyMyIsIm5hbWUiOiJKIn0", ".", "Qx9v2sVb7LrT0pWkYzA4cE6gH8jM1nU3"
)
AKIA = _joined("AKIA", "3J5PLQZXW7RTN2VB")
GITHUB = _joined("ghp", "_", "4fQz8Lr2Xw9Vt6Yb1Nc3Md5Ks7Jh0Gp2Ea4T")
GITHUB_FINE = _joined("github", "_pat_", "11BQZK7TI0xYzAbCdEfGhI_jKlMnOpQrStUvWxYz0123456789")
GITLAB = _joined("glpat", "-", "zY7xW3vU9tS1rQ5pO2nM")
STRIPE = _joined("sk", "_live_", "51KqWzXyVbNmLkJhGfDsAqWeR")
STRIPE_HOOK = _joined("whsec", "_", "Hk29Lm3Np4Qr5St6Uv7Wx8Yz")
SLACK = _joined("xox", "b-", "210987654321-1098765432109-ZyXwVuTsRqPoNmLkJiHgFeDc")
SLACK_HOOK = _joined("T0AB1CD2E", "/B3FG4HI5J/", "kLmNoPqRsTuVwXyZaBcDeFgH")
GOOGLE = _joined("AIza", "SyD8kLmN2pQ4rS6tU8vW0xY2zA4bC6dE8fG")
GOOGLE_OAUTH = _joined("ya29", ".", "a0AfB_byDq7Rw5Tz3Xv1Yc9Ub7")
SENDGRID = _joined("SG", ".", "qWeRtYuIoPaSdFgHjKlZxC", ".", "vBnM1234567890qWeRtYuIoPaSdFgHjKlZxCvBnM123")
OPENAI = _joined("sk", "-proj-", "Ab3Cd5Ef7Gh9Ij1Kl3Mn5Op7Qr9St")
NPM = _joined("npm", "_", "Zx8Cv6Bn4Mm2Aa0Ss8Dd6Ff4Gg2Hh0Jj8Kk6")
PYPI = _joined("pypi", "-", "AgEIcHlwaS5vcmcCJGFhYmJjY2RkLWVlZmYtMTEyMg")
HUGGING = _joined("hf", "_", "QwErTyUiOpAsDfGhJkLzXcVbNmQwErTyUi")
OCEAN = _joined("dop", "_v1_", HEX, HEX)
PEM_LINES = (
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj",
    "MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu",
)
PEM = "\n".join([_joined("-----BEGIN ", "PRIVATE KEY-----"), *PEM_LINES, _joined("-----END ", "PRIVATE KEY-----")])
BASIC = b64encode(b"deploy:Zk4-basic-pass").decode()
ENVELOPED = b64encode(b'{"kwargs": "password=br-80 and more"}')

_KWARGS: tuple[tuple[str, dict[str, Any], tuple[str, ...]], ...] = (
    ("password", {"user": "ann", "password": "kw-Hunter2-01"}, ("kw-Hunter2-01",)),
    ("quote inside", {"password": "kw'Hun'ter-02", "user": "ann"}, ("ter-02",)),
    ("both quotes", {"password": "a'b\"kw-03x", "user": "ann"}, ("kw-03x",)),
    ("backslash at its end", {"password": "kw-back04\\", "user": "ann"}, ("kw-back04",)),
    ("bytes", {"password": b"it's-kw-05", "user": "ann"}, ("s-kw-05",)),
    ("lines", {"secret": "first\nkw-line-06\nlast-06", "n": 1}, ("kw-line-06", "last-06")),
    ("commas and braces", {"passphrase": "a, b} kw-07 {c", "n": 1}, ("kw-07",)),
    ("number", {"card_number": 4929123412341234, "cvv": 9017331}, ("4929123412341234", "9017331")),
    ("nested dictionary", {"auth": {"user": "root", "pw": "kw-nested-08"}, "n": 1}, ("kw-nested-08",)),
    ("nested list", {"tokens": 3, "api_keys": ["kw-list-09", "kw-list-10"]}, ("kw-list-09", "kw-list-10")),
    ("deep", {"conf": {"db": {"db_password": "kw-deep-11"}}}, ("kw-deep-11",)),
    ("camel case", {"stripeApiKey": "kw-camel-12", "userPassword": "kw-camel-13"}, ("kw-camel-12", "kw-camel-13")),
    ("capitals", {"API_KEY": "kw-caps-14", "X-Api-Key": "kw-caps-15"}, ("kw-caps-14", "kw-caps-15")),
    ("headers", {"headers": {"Authorization": "Token kw-head-16", "Cookie": "sid=kw-17"}}, ("kw-head-16", "kw-17")),
    ("pairs", {"headers": [("Authorization", "Api kw-pair-18"), ("Accept", "*/*")]}, ("kw-pair-18",)),
    ("bytes pairs", {"headers": [(b"cookie", b"s=kw-pair-19"), (b"host", b"h")]}, ("kw-pair-19",)),
    ("session", {"session_id": "kw-sess-20", "sessionid": "kw-sess-21"}, ("kw-sess-20", "kw-sess-21")),
    ("client", {"client_secret": "kw-21b", "refresh_token": "kw-22"}, ("kw-21b", "kw-22")),
    ("credential", {"credentials": ("ann", "kw-cred-23"), "x": 1}, ("kw-cred-23",)),
    ("iban", {"iban": "DE89370400440532013000", "bic": "COBADEFF"}, ("DE89370400440532013000",)),
    ("private key", {"private_key": PEM, "n": 2}, PEM_LINES),
    ("json in it", {"body": '{"password": "kw-json-24", "n": 1}'}, ("kw-json-24",)),
    ("url", {"dsn": "postgresql://app:kw-url-25@db:5432/shop"}, ("kw-url-25",)),
    ("url, odd password", {"dsn": "amqp://app:kw/url@26@mq//vhost"}, ("kw/url@26", "url@26")),
    ("url, no user", {"broker": "redis://:kw-url-27@cache:6379/0"}, ("kw-url-27",)),
    ("url, sentry", {"dsn": f"https://{HEX}@o1.ingest.example.com/5"}, (HEX,)),
    ("signed url", {"url": "https://b.example.com/f?sv=2&sig=kw%2Bsig28%3D&se=1"}, ("kw%2Bsig28%3D",)),
    ("query", {"url": "https://e.example.com/cb?state=1&access_token=kw-q-29#x"}, ("kw-q-29",)),
    ("jwt", {"who": JWT}, (JWT, JWT.split(".")[1], JWT.split(".")[2])),
    ("command", {"command": ["mysql", "--password=kw-cmd-30", "--token", "kw-cmd-31"]}, ("kw-cmd-30", "kw-cmd-31")),
    ("xml", {"soap": "<a><Password>kw-xml-32</Password></a>"}, ("kw-xml-32",)),
    ("environment", {"env": "PATH=/bin\nDB_PASS=kw-env-33\nHOME=/"}, ("kw-env-33",)),
    ("form", {"body": "user%5Bname%5D=ann&password%3Dkw-form-34"}, ("kw-form-34",)),
    ("connection string", {"dsn": "Server=db;User Id=sa;Password=kw-cs-35;Encrypt=yes"}, ("kw-cs-35",)),
    ("azure", {"c": "AccountName=a;AccountKey=kwAz36Zm9vYmFy==;EndpointSuffix=x"}, ("kwAz36Zm9vYmFy",)),
)

_ARGS: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    ("aws", (AKIA, "eu-west-1"), (AKIA,)),
    ("github", ("clone", f"https://{GITHUB}@github.com/a/b.git"), (GITHUB,)),
    ("github, fine", (GITHUB_FINE,), (GITHUB_FINE,)),
    ("gitlab", (GITLAB, 1), (GITLAB,)),
    ("stripe", (STRIPE, STRIPE_HOOK), (STRIPE, STRIPE_HOOK)),
    ("slack", (SLACK,), (SLACK, "ZyXwVuTsRqPoNmLkJiHgFeDc")),
    ("slack hook", (f"https://hooks.slack.com/services/{SLACK_HOOK}",), (SLACK_HOOK,)),
    ("google", (GOOGLE, GOOGLE_OAUTH), (GOOGLE, GOOGLE_OAUTH)),
    ("sendgrid", (SENDGRID,), (SENDGRID,)),
    ("openai", (OPENAI,), (OPENAI,)),
    ("npm and pypi", (NPM, PYPI), (NPM, PYPI)),
    ("hugging face", (HUGGING,), (HUGGING,)),
    ("digital ocean", (OCEAN,), (OCEAN,)),
    ("card", ("4539 1488 0343 6467", 12), ("4539 1488 0343 6467",)),
    ("card, hyphens", ("pay 5425-2334-3010-9903 now",), ("5425-2334-3010-9903",)),
    ("card, one piece", (6011000990139424,), ("6011000990139424",)),
    ("card, american", ("3782 822463 10005",), ("3782 822463 10005", "822463")),
    ("card, thirteen", ("4222222222222",), ("4222222222222",)),
    ("basic", (f"Basic {BASIC}",), (BASIC,)),
    ("bearer", ("Bearer ar-8c1f5e22d07b4411",), ("ar-8c1f5e22d07b4411",)),
    ("pem", (PEM,), PEM_LINES),
    ("object", ("Account(name='a', password='ar-obj-37')",), ("ar-obj-37",)),
    ("lower case text", ("login with password: ar-txt-38 please",), ("ar-txt-38",)),
    ("pair", [("token", "ar-pair-39"), ("n", 1)], ("ar-pair-39",)),
)

TRACEBACK = """Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/celery/app/trace.py", line 453, in trace_task
    R = retval = fun(*args, **kwargs)
  File "/srv/app/shop.py", line 35, in charge
    {source}
{error}
"""
_ERRORS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("url", "OperationalError('cannot reach mysql://app:ex-url-40@db/shop')", ("ex-url-40",)),
    ("key", "ValueError(\"login failed: password='ex-key-41' for user 'bob'\")", ("ex-key-41",)),
    ("header", "HTTPError('401 for GET /, Authorization: Bearer ex-head-42')", ("ex-head-42",)),
    ("cookie", "HTTPError('sent Cookie: csrftoken=ex-43; sid=ex-44')", ("ex-43", "ex-44")),
    ("raw request", r"BadRequest('GET / HTTP/1.1\r\nX-Auth-Token: ex-45\r\nHost: a')", ("ex-45",)),
    ("line end before", r"ConfigError('in env:\npassword=ex-46\nuser=a')", ("ex-46",)),
    ("json", 'APIError(\'{"error": "bad", "api_key": "ex-json-47"}\')', ("ex-json-47",)),
    ("json in json", r"""APIError('{"body": "{\"token\": \"ex-json-48\", \"n\": 1}"}')""", ("ex-json-48",)),
    ("parameters", "IntegrityError(\"[parameters: {'email': 'a@b', 'password': 'ex-49'}]\")", ("ex-49",)),
    ("dsn", "OperationalError('host=db password=ex-50 user=a')", ("ex-50",)),
    ("token", f"GitError('remote rejected {GITHUB}')", (GITHUB,)),
    ("card", "PaymentError('declined: 4539148803436467')", ("4539148803436467",)),
)
_SOURCES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("argument", "client = Client(user='a', password='tb-src-51')", ("tb-src-51",)),
    ("assignment", "API_KEY = 'tb-src-52'", ("tb-src-52",)),
    ("annotated", "token: str = 'tb-src-53'", ("tb-src-53",)),
    ("dictionary", "headers = {'Authorization': 'Bearer tb-src-54'}", ("tb-src-54",)),
    ("pair", "requests.get(url, auth=('ann', 'tb-src-55'))", ("tb-src-55",)),
    ("environment", "os.environ['SECRET_KEY'] = 'tb-src-56'", ("tb-src-56",)),
    ("url", "engine = create_engine('postgresql://app:tb-src-57@db/shop')", ("tb-src-57",)),
    ("comparison", "if token == 'tb-src-58':", ("tb-src-58",)),
)

#: reprs that Celery cut off, by their length, and by hand in the worst places
_CUT: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("in a password", saferepr({"user": "ann", "password": "ct-59-" + "x9" * 60}, 60), ("ct-59", "x9x9")),
    ("in a list", saferepr({"token": ["ct-60", "ct-61", "y" * 90], "n": 1}, 40), ("ct-60", "ct-61")),
    ("in a url", "('postgresql://app:ct-pw-62...', ...)", ("ct-pw-62",)),
    ("in a url, at the end", "{'dsn': 'postgresql://app:ct-pw-63", ("ct-pw-63",)),
    ("in a quote", "{'user': 'a', 'secret': 'ct-64", ("ct-64",)),
    ("in a dictionary", "{'auth': {'user': 'a', 'pw': ['ct-65', 'b'", ("ct-65",)),
    ("in a jwt", "('" + JWT[:50] + "...',)", (JWT[21:50],)),
    ("in a pem", "('" + PEM[:90] + "...',)", (PEM_LINES[0][:40],)),
    ("in a card", "('4539 1488 0343 64...',)", ("4539 1488 0343",)),
    ("in a token", "('" + STRIPE[:20] + "...',)", (STRIPE[:20],)),
    ("in a header", '\'Authorization: Digest username="a", response="ct-66', ("ct-66",)),
)

#: fields of events that are somebody's own
_CUSTOM: tuple[tuple[str, str, Any, tuple[str, ...]], ...] = (
    ("key", "api_token", "cu-67", ("cu-67",)),
    ("number", "pin_code", {"otp": 99887701}, ("99887701",)),
    ("nested", "detail", {"a": [{"password": "cu-68"}, {"b": {"cookie": ["cu-69"]}}]}, ("cu-68", "cu-69")),
    ("text", "message", "sent with password=cu-70", ("cu-70",)),
    ("list", "lines", ["ok", "Authorization: Basic " + BASIC], (BASIC,)),
    ("as a key", "seen", {"redis://:cu-71@h/0": 1}, ("cu-71",)),
    ("card as number", "pan_raw", 4539148803436467, ("4539148803436467",)),
)

PLANTED = (
    *(Planted(f"kwargs, {name}", "kwargs", saferepr(value, 1024), secrets) for name, value, secrets in _KWARGS),
    *(Planted(f"repr, {name}", "kwargs", repr(value), secrets) for name, value, secrets in _KWARGS[:24] if value),
    *(Planted(f"args, {name}", "args", saferepr(value, 1024), secrets) for name, value, secrets in _ARGS),
    *(Planted(f"result, {name}", "result", repr(value), secrets) for name, value, secrets in _ARGS),
    *(Planted(f"exception, {name}", "exception", text, secrets) for name, text, secrets in _ERRORS),
    *(
        Planted(f"traceback, {name}", "traceback", TRACEBACK.format(source="charge()", error=text), secrets)
        for name, text, secrets in _ERRORS
    ),
    *(
        Planted(f"source, {name}", "traceback", TRACEBACK.format(source=text, error="KeyError: 1"), secrets)
        for name, text, secrets in _SOURCES
    ),
    *(Planted(f"cut {name}", "kwargs", text, secrets) for name, text, secrets in _CUT),
    *(Planted(f"custom, {name}", field, value, secrets) for name, field, value, secrets in _CUSTOM),
)

BROKEN = (
    Broken("no JSON", b'{"kwargs": "{\'password\': \'br-72\'}", oops', "application/json", ("br-72",)),
    Broken("no event", b'["password=br-73"]', "application/json", ("br-73",)),
    Broken("no time", b'{"type": "task-sent", "kwargs": "{\'token\': \'br-74\'}"}', "application/json", ("br-74",)),
    Broken("escaped", rb'{"type": "task-sent", "kwargs": "{\"secret\": \"br-75\"}"}', "application/json", ("br-75",)),
    Broken("time is a url", b'{"type": "a", "timestamp": "redis://:br-76@h/0"}', "application/json", ("br-76",)),
    Broken("pickle", b"\x80\x04\x95\x1c\x00\x8c\x08password\x94\x8c\x05br-77\x94", "application/x-python-serialize",
           ("br-77",)),
    Broken("old pickle", b"(dp0\nS'password'\np1\nS'br-78'\np2\ns.", "application/json", ("br-78",)),
    Broken("UTF-16", '{"password": "br-79"}'.encode("utf-16"), "application/json",
           ("br-79", "br-79".encode("utf-16-le").decode("latin-1"))),
    Broken("base64", b'{"body": "' + ENVELOPED + b'", "x"', "application/json", (ENVELOPED.decode()[8:32],)),
)  # fmt: skip

#: (field, value) that must come out as they went in
INNOCENT: tuple[tuple[str, Any], ...] = (
    *(
        ("kwargs", repr(value))
        for value in (
            {},
            {"user": "ann", "n": 1},
            {"author": "Ann", "authority": "city", "authors": ["a", "b"]},
            {"tokenizer": "bert", "max_tokens": 256, "total_tokens": 12, "prompt_tokens": 3},
            {"cardinality": 4, "discard": "x", "scorecard": "y", "wildcard": "*", "card_type": "visa"},
            {"session_count": 3, "session_factory": "f", "sessions": 4, "possession": "x"},
            {"token_type": "Bearer", "token_url": "https://a.example.com/t", "token_count": 3},
            {"password_changed_at": "2026-11-22", "password_policy": "long", "password_reset_url": "/r"},
            {"routing_key": "mail", "primary_key": 7, "foreign_key": "a", "cache_key": "b", "sort_key": "c"},
            {"key": "a", "keys": ["b"], "keyboard": "de", "monkey": "george", "s3_key": "a/b.csv"},
            {"secretary": "Ann", "cookie_policy": "strict", "cookie_name": "sid"},
            {"has_password": True, "use_auth": False, "token": True},
            {"password": "", "secret": ""},
            {"order": 92817, "when": "2026-11-22T10:00:00+00:00", "eta": None},
            {"id": "2a3cf87e-c65a-44d1-931b-75c051faf4e8", "ids": ["c51faf4e-0000-4444-8888-123456789012"]},
            {"at_ms": 1795262400123, "at_us": 1795262400123456, "ratio": 0.4539148803436467},
            {"phone": "+491512345678901", "ean": "4006381333931", "order": "2026-1122-0000-17"},
            {"email": "ann@example.com", "url": "https://example.com:8080/@ann?email=a@b.example.com"},
            {"host": "http://localhost:8000", "ws": "ws://[::1]:80", "file": "file:///srv/a.txt"},
            {"path": "/srv/secrets.d", "name": "the token ring", "text": "author: Ann"},
            {"auth_type": "oauth", "auth_method": "x", "authenticated": 1, "auth_user": "ann"},
            {"iban_valid": True, "ibanez": "guitar", "cvvs": 2, "ssnake": 1},
            {"pass": 10, "fail": 2, "passenger": "Ann", "compass": "n", "passed": 3, "low_pass": 0.5},
            {"credit": 10, "accredited": "yes", "incredible": "x"},
            {"bytes": b"\x00\x01", "float": 1e300, "none": None, "tuple": (1, 2)},
            {"basic": "Basic knowledge is required"},
            {"region": "eu-asia-1", "disk": "disk-image-large-0001-x86", "task": "task-received"},
            {"sg": "SG.1", "gh": "gh_actions", "x": "foxox"},
            {"expires": 3600, "session_timeout": 30, "token_ttl": 60, "api_key_name": "main"},
            {"numbers": [4539, 1488, 343, 6467], "more": "1 2 3 4 5 6 7 8 9 10 11 12 13 14"},
            {"digest": "sha256:" + HEX + HEX, "commit": HEX + "01234567"},
        )
    ),
    ("args", "()"),
    ("args", "(4187, 'ann', None)"),
    ("args", "('session:cleanup',)"),
    ("args", "('the password was changed', 'token expired')"),
    ("args", "('authors', ['a', 'b'], {'x': 1})"),
    ("result", "None"),
    ("result", "'done'"),
    ("result", "{'status': 200, 'seconds': 1.25}"),
    ("result", "'1,234 rows; key columns: id, name'"),
    ("result", "<Response [200]>"),
    ("result", "'https://example.com/a/b?page=2&sort=name'"),
    ("result", "{'session_factory': <function make at 0x7f001122>}"),
    ("result", "'SELECT * FROM users WHERE token = %(token)s AND password = ?'"),
    ("exception", "ValueError('invalid card for customer 7215')"),
    ("exception", "KeyError('password')"),
    ("exception", "KeyError('api_key')"),
    ("exception", "InvalidToken('bad data')"),
    ("traceback", TRACEBACK.format(source="fernet.decrypt(data)", error="cryptography.fernet.InvalidToken: bad data")),
    ("traceback", TRACEBACK.format(source="login()", error="shop.errors.WrongPassword: ann, third time")),
    ("exception", "JSONDecodeError('Expecting value: line 1 column 1 (char 0)')"),
    ("exception", "SyntaxError(\"Unexpected token '<', not valid JSON\")"),
    ("exception", "TypeError(\"login() missing 1 required argument: 'password'\")"),
    ("exception", "ParseError('Invalid token: expected a number at 7')"),
    ("exception", "AuthError('auth failed, session expired')"),
    ("exception", "PermissionError('token: not found')"),
    ("exception", "ConnectionError('redis://cache:6379/0 refused')"),
    ("exception", "OperationalError('[SQL: UPDATE u SET password=%(password)s WHERE id=%(id)s]')"),
    ("exception", "SessionError('no session is open; session closed: timeout')"),
    ("traceback", TRACEBACK.format(source="session = Session(engine)", error="ValueError: no session")),
    ("traceback", TRACEBACK.format(source="with sessions.Session() as session:", error="ValueError: 1")),
    ("traceback", TRACEBACK.format(source="token = next(tokens, None)", error="StopIteration")),
    ("traceback", TRACEBACK.format(source="password=password, auth=self.auth,", error="KeyError: 'password'")),
    ("traceback", TRACEBACK.format(source="self.token = get_token(user)", error="TypeError: token")),
    ("traceback", TRACEBACK.format(source="def login(user, password=None):", error="TypeError: x")),
    ("traceback", TRACEBACK.format(source="return f'{user}: {n}'", error="NameError: name 'n' is not defined")),
    ("message", "nothing to see here"),
    ("progress", {"done": 3, "of": 10, "note": "key figures: 4"}),
    ("lines", ["a", ["b", {"c": None}]]),
    ("name", "session:cleanup"),
    ("queue", "auth:token"),
    ("routing_key", "cards.token=1"),
)
