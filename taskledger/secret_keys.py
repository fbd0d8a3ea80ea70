"""Which keys are those of secrets: `user_password` and `stripeApiKey` are, `max_tokens` and `session_count` are not."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

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
#: Something of every default key, in small letters. Each branch begins with a letter that is rare in texts and looks
#: back for the rest: most of a text is then passed over without trying a single branch.
_ROOTS = (
    r"pass|pwd|p(?<=otp)|ken(?<=token)|key|kie(?<=cookie)|cret(?<=secret)|cred|card|cv[vc]|curity|uth(?<=auth)|sess"
    r"|sn(?<=ssn)|ban(?<=iban)|wt(?<=jwt)|bearer"
)
#: characters; a longer word is nobody's key
MAX_KEY_CHARS = 128
#: verdicts that are remembered
_MAX_KNOWN = 10_000

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


@dataclass(frozen=True, slots=True)
class SecretKeys:
    """The terms that are looked for; `is_secret` remembers its verdicts, as the same keys come again and again."""

    terms: frozenset[tuple[str, ...]]
    #: finds something of every key in a text of small letters
    roots: str
    _glued: frozenset[str]
    _endings: tuple[str, ...]
    #: the same, for small letters only and for any
    _find_small: re.Pattern[str]
    _find: re.Pattern[str]
    _known: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    def find_from(self, text: str) -> Callable[[int], re.Match[str] | None]:
        """A function that finds, from a position on, the next place in the text where a key may be."""
        if text.isascii():
            return partial(self._find_small.search, text.lower())
        # Small letters of other alphabets may be more or fewer than the capital ones.
        return partial(self._find.search, text)

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
    added, gone = tuple(added), set(map(words, removed))
    terms = frozenset({words(term) for term in (*DEFAULT_KEYS, *added)} - gone - {()})
    joined = {"".join(term) for term in terms}
    longest = [max(words(key), key=len) for key in added]
    roots = "|".join([_ROOTS, *map(re.escape, longest)])
    return SecretKeys(
        terms,
        roots,
        frozenset({*joined, *(term + more for term in joined for more in _CARRY)}),
        tuple(sorted(_ENDINGS & joined)),
        re.compile(roots),
        re.compile(roots, re.IGNORECASE),
    )


def words(key: str) -> tuple[str, ...]:
    """The words of a key, in small letters: stripeApiKey, stripe_api_key and Stripe-API-Key have the same."""
    return tuple(word.lower() for word in _WORD.findall(key))


def _carries(after: tuple[str, ...]) -> bool:
    return all(word in _CARRY or word.isdigit() for word in after)
