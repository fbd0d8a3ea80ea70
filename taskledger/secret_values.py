"""What is secret by its looks: passwords in URLs, tokens of well-known makers, private keys, numbers of cards."""

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

#: what stands where a secret was; nothing inside is looked at again
MARK = re.compile(r"\[redacted: [^\]\n]{1,80}\]")

#: digits of the shortest number of a card (ISO/IEC 7812 has up to 19)
MIN_CARD_DIGITS = 13

_START = r"(?<![A-Za-z0-9])"
_CUT = r"(?=\.\.\.|…|\Z)"
_NAME = r"(?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"


_DIGITS = bytes.maketrans(b"123456789", b"000000000")
#: digits of the shortest number of a card, and of one that was cut
_CARD, _CUT_CARD = b"0" * MIN_CARD_DIGITS, b"0" * 9


class ValueRule(NamedTuple):
    """`pattern` is searched where one of `signs` is (lower case; none: everywhere).

    Its group `secret`, or else all of the match, is a secret if `is_secret` says so, or there is none to ask.
    Every pattern takes time in proportion to the text: repetitions are bounded, come last, or cannot begin anew inside
    what they have passed.
    """

    name: str
    signs: tuple[str, ...]
    pattern: re.Pattern[str]
    is_secret: Callable[[str], bool] | None = None

    @property
    def mark(self) -> str:
        return f"[redacted: rule {self.name}]"


def value_search(rules: Iterable[ValueRule]) -> Callable[[str], str]:
    """A function that gives back a text with every secret that shows by its looks replaced by the mark of its rule."""
    signed = [(sign, rule) for rule in rules for sign in rule.signs]
    always = [rule for rule in rules if not rule.signs and rule not in CARD_RULES]

    def redact_values(text: str) -> str:
        low = text.lower()
        suspected = [*always, *(rule for sign, rule in signed if sign in low)]
        if may_hold_card(text):
            suspected += CARD_RULES
        for rule in suspected:
            text = rule.pattern.sub(partial(_marked, rule=rule), text)
        return text

    return redact_values


def may_hold_card(text: str) -> bool:
    """Whether enough digits are in a row, blanks and hyphens aside."""
    if len(text) < len(_CUT_CARD):
        return False
    octets = text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass")
    digits = octets.translate(_DIGITS, b" -")
    return _CARD in digits or (("..." in text or "…" in text) and _CUT_CARD in digits)


def user_rule(name: str, pattern: str) -> ValueRule:
    """A rule that somebody set up. It may match anything, so marks are kept out of its reach."""
    return ValueRule(name, (), re.compile(rf"(?P<mark>{MARK.pattern})|(?:{pattern})"))


def _marked(match: re.Match[str], rule: ValueRule) -> str:
    """What stands for a match: its secret replaced, unless it is none."""
    whole, named = match[0], match.groupdict()
    secret = named.get("secret") or whole
    if not whole or named.get("mark") or (rule.is_secret is not None and not rule.is_secret(secret)):
        return whole
    start = match.start("secret") - match.start() if named.get("secret") else 0
    return whole[:start] + rule.mark + whole[start + len(secret) :]


def is_card_number(text: str) -> bool:
    """Whether the last digit is the check digit that numbers of cards have."""
    digits = [int(char) for char in text if char.isdigit()]
    if not MIN_CARD_DIGITS <= len(digits) <= 19 or not 2 <= digits[0] <= 6:
        return False
    doubled = sum(value * 2 - 9 if value > 4 else value * 2 for value in digits[-2::-2])
    return (sum(digits[-1::-2]) + doubled) % 10 == 0


def _is_user_and_password(text: str) -> bool:
    """Whether it is base64 of `user:password`, whole or cut off behind the colon; "basic knowledge" is not."""
    whole = text.rstrip("=")
    whole = whole.replace("+", "-").replace("/", "_")[
        : len(whole) // 4 * 4 + (len(whole) % 4 if len(whole) % 4 != 1 else 0)
    ]
    return b":" in urlsafe_b64decode(whole + "=" * (-len(whole) % 4))


def _is_no_word(text: str) -> bool:
    return any(char.isdigit() for char in text) or (text.lower() != text and not text.istitle() and not text.isupper())


def _rule(name: str, signs: str, pattern: str, is_secret: Callable[[str], bool] | None = None) -> ValueRule:
    return ValueRule(name, tuple(signs.split()), re.compile(pattern), is_secret)


VALUE_RULES = (
    # What follows the first colon is a password unless it is a port, or the whole text ends before an @ was due.
    _rule(
        "url-password", "://",
        r"://(?!\[)[^\s:/@'\"<>]{0,256}:(?P<secret>"
        r"(?![0-9]{1,5}(?:[/?#\s'\"]|\Z))(?:(?!://)[^\s'\"<>]){1,1024}(?=@)"
        rf"|(?![0-9]{{1,5}}(?:\W|\Z))[^\s'\"<>/@]{{1,256}}?{_CUT})",
    ),
    _rule("url-token", "://", r"://(?P<secret>[0-9a-f]{24,128})(?=@)"),
    _rule(
        "url-signature", "sig= signature=",
        r"(?i:[?&;](?:sig|signature|x-amz-signature|x-goog-signature)=)(?P<secret>[^\s&'\"<>\\\[]+)",
    ),
    _rule("private-key", "private", rf"-----BEGIN {_NAME}(?s:.*?)(?:-----END {_NAME}|\Z)"),
    _rule("jwt", "eyj", r"(?:(?<![\w-])|(?<=%[0-9A-Fa-f]{2}))eyJ[\w-]{5,}\.[\w-]*(?:\.[\w-]*){0,3}"),
    _rule("basic", "basic", r"(?i:\bbasic)(?:[ +]|%20)(?P<secret>[A-Za-z0-9+/_-]{6,}={0,2})", _is_user_and_password),
    _rule("bearer", "bearer", r"(?i:\bbearer)(?:[ +]|%20)(?P<secret>[\w.~+/-]{12,}={0,2})", _is_no_word),
    _rule("aws", "akia asia", rf"{_START}(?:AKIA|ASIA)[A-Z0-9]{{8,}}"),
    _rule("github", "gh github_pat", rf"{_START}(?:gh[pousr]_[A-Za-z0-9]{{10,}}|github_pat_\w{{10,}})"),
    _rule("gitlab", "gl", rf"{_START}gl(?:pat|dt|rt|cbt|ptt|soat)-[\w-]{{10,}}"),
    _rule(
        "stripe", "k_live_ k_test_ whsec_",
        rf"{_START}(?:[sr]k_(?:live|test)_[A-Za-z0-9]{{6,}}|whsec_[A-Za-z0-9+/]{{10,}})",
    ),
    _rule(
        "slack", "xox xapp- hooks.slack.com",
        rf"{_START}(?:xox[a-z]|xapp)(?:\.xox[a-z])?-[\w-]{{8,}}|(?<=hooks\.slack\.com/services/)[\w/]{{8,}}",
    ),
    _rule(
        "google", "aiza ya29. gocspx-", rf"{_START}(?:AIza[\w-]{{20,}}|ya29\.[\w-]{{10,}}|GOCSPX-[\w-]{{10,}})"
    ),
    _rule("sendgrid", "sg.", rf"{_START}SG\.[\w-]{{16,}}(?:\.[\w-]*)?"),
    _rule("openai", "sk-", r"(?<![\w-])sk-(?:[a-z]{2,8}-)?(?=[\w-]{0,30}[0-9A-Z])[\w-]{20,}"),
    _rule("npm", "npm_", rf"{_START}npm_[A-Za-z0-9]{{20,}}"),
    _rule("pypi", "pypi-", rf"{_START}pypi-(?=[\w-]{{0,40}}[A-Z])[\w-]{{20,}}"),
    _rule("huggingface", "hf_", rf"{_START}hf_[A-Za-z0-9]{{20,}}"),
    _rule("digitalocean", "_v1_", rf"{_START}do[opr]_v1_[0-9a-f]{{16,}}"),
)  # fmt: skip

CARD_RULES = (
    # In one piece or in groups of four; American Express and Diners have 4-6-5 and 4-6-4.
    _rule(
        "card", "",
        r"(?<![\w.+-])[2-6][0-9]{3}(?:[ -]?[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{1,4}(?:[ -]?[0-9]{1,3})?"
        r"|[ -]?[0-9]{6}[ -]?[0-9]{4,5})(?![\w-])(?!\.[0-9])",
        is_card_number,
    ),
    # A repr that was cut in the middle of one: no check digit is left to go by.
    _rule("card", "", r"(?<![\w.+-])[2-6][0-9]{3}(?:[ -]?[0-9]){5,14}(?=\.\.\.|…)"),
)  # fmt: skip
