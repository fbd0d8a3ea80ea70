"""Which keys are those of secrets: `user_password` and `stripeApiKey` are, `max_tokens` and `session_count` are not."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

#: what is taken for the name of a secret; a term of several words is found however they are joined: apiKey, API-KEY
DEFAULT_KEYS = (
    "password", "passwords", "passwd", "pwd", "passphrase", "passcode",
    "secret", "secrets", "token", "access tokens", "refresh tokens", "auth tokens", "api tokens", "device tokens",
    "api key", "api keys", "private key", "access key", "access keys", "secret key", "secret keys", "encryption key",
    "signing key", "session key", "account key", "storage key", "subscription key", "service key", "master key",
    "webhook key", "ssh key", "auth", "oauth", "authorization", "bearer", "jwt", "otp", "totp",
    "cookie", "cookies", "session", "phpsessid", "jsessionid", "credential", "credentials",
    "card", "cards", "cvv", "cvv2", "cvc", "cvc2", "security code", "iban", "ssn",
)  # fmt: skip
#: words after a term that leave it a secret, as in `token_value`, `session_id`; others, as in `token_url`, do not
_CARRY = frozenset((
    "b64", "base64", "bytes", "code", "confirm", "confirmation", "data", "digest", "enc", "encoded", "encrypted",
    "hash", "header", "hex", "id", "key", "new", "no", "num", "number", "old", "plain", "raw", "repeat", "salt", "str",
    "string", "text", "value",
))  # fmt: skip
#: terms that may end a word that is written without a gap, because no other word ends so: `dbpassword`, `csrftoken`
_ENDINGS = frozenset((
    "password", "passwords", "passwd", "passphrase", "passcode", "secret", "token", "apikey", "privatekey", "accesskey",
    "secretkey", "credentials",
))  # fmt: skip
#: `db_pass` holds a password; `pass` alone, or `low_pass`, does not
_OWNERS = frozenset((
    "account", "admin", "api", "client", "db", "email", "ftp", "http", "imap", "ldap", "login", "mail", "my", "mysql",
    "pg", "postgres", "proxy", "redis", "root", "smtp", "ssh", "ssl", "user",
))  # fmt: skip
#: characters; a longer word is nobody's key
MAX_KEY_CHARS = 128
#: verdicts that are remembered
_MAX_KNOWN = 10_000

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


@dataclass(frozen=True, slots=True)
class SecretKeys:
    """The terms that are looked for; `is_secret` remembers its verdicts, as the same keys come again and again."""

    terms: frozenset[tuple[str, ...]]
    _glued: frozenset[str]
    _endings: tuple[str, ...]
    _known: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    def is_secret(self, key: str) -> bool:
        """Whether what goes by that name is to be hidden."""
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = len(key) <= MAX_KEY_CHARS and self._judge(words(key))
            self._known[key[:MAX_KEY_CHARS]] = known
        return known

    def _judge(self, said: tuple[str, ...]) -> bool:
        if "".join(said) in self._glued:
            return True
        if said[-1:] == ("pass",):
            return len(said) > 1 and said[-2] in _OWNERS
        for start in range(len(said)):
            after = said[start + 1 :]
            if said[start].endswith(self._endings) and _carries(after):
                return True
            if any(said[start:end] in self.terms and _carries(said[end:]) for end in range(start + 1, start + 4)):
                return True
        return False


def secret_keys(added: Iterable[str] = (), removed: Iterable[str] = ()) -> SecretKeys:
    """The default terms, without some and with others."""
    gone = set(map(words, removed))
    terms = frozenset({words(term) for term in (*DEFAULT_KEYS, *added)} - gone - {()})
    joined = {"".join(term) for term in terms}
    return SecretKeys(
        terms,
        frozenset({*joined, *(term + more for term in joined for more in _CARRY)}),
        tuple(sorted(_ENDINGS & joined)),
    )


def words(key: str) -> tuple[str, ...]:
    """The words of a key, in small letters: stripeApiKey, stripe_api_key and Stripe-API-Key have the same."""
    return tuple(word.lower() for word in _WORD.findall(key))


def _carries(after: tuple[str, ...]) -> bool:
    return all(word in _CARRY or word.isdigit() for word in after)
