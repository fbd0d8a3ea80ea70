"""Hide the values of secret keys in any text: Python's reprs, JSON, key=value, headers, source lines; also cut ones."""

import re
from collections.abc import Iterator

from taskledger.secret_keys import SecretKeys
from taskledger.secret_values import MARK

#: what stands for the value of a secret key
KEY_MARK = "[redacted: rule key]"
MARK_START = "[redacted: "

Found = tuple[int, int, str]

# All repetitions are possessive, or bounded, or end where the next attempt cannot begin: no text takes more than time
# in proportion to its size. Of a group they are within an atomic group, never possessive: before Python 3.11.5 those go
# on from where the last attempt failed (https://github.com/python/cpython/issues/106052).

#: A word and what may make it the key of a value.
_KEY = re.compile(
    r"""
      (?<![\w-])
      (?> (?P<open> [bB]? \\{0,15}+ ["'] )? ) (?> (?P<dashes> -{1,2}+ )? ) (?> (?P<tag> < (?: \w{1,32}+ : )? )? )
      (?P<key> \w [\w-]{0,127}+ (?> (?: [ ] (?: key | number | no | id | code | token | secret | value )\b )? ) )
      (?: (?> (?P<close> \\{0,15}+ ["'] )? ) \]{0,2}+
          (?> (?: :[ ] (?: str | bytes | Any | Optional\[\w{1,20}\] | Secret\w{1,10} ) (?: [ ]\|[ ]None )?
                  (?= [ ]=[ ] ) )? )
          (?P<delimiter> \s{0,16}+ (?: => | [:=!]= | = | :(?! : | // ) ) \s{0,16}+ | %3[Dd] )
        | \\{0,15}+ ["'] , [ ]? (?P<pair>)
        | (?(dashes) [ ] (?P<flag>) | (?!) )
        | (?(tag) > (?P<element>) | (?!) )
      )
    """,
    re.VERBOSE,
)
#: The same from its middle back to its start, in reverse order.
_BACK = re.compile(r"""(?P<word>[\w-]*+)(?:["']\\{0,15}+[bB]?|(?::\w{1,32}+)?<)?""")
_TWO_WORDS_BACK = re.compile(r"""(?P<word>(?: [\w-]++|[\w-]*+))(?:["']\\{0,15}+[bB]?|(?::\w{1,32}+)?<)?""")
_MAX_BACK_CHARS, _MAX_MARK_CHARS = 200, 100
_WORD = re.compile(r"[\w-]*+")
#: the source lines of a traceback
_SOURCE = re.compile(r'^  File "[^"\n]*", line \d+.*\n((?: {4}.*(?:\n|\Z))+)', re.MULTILINE)

#: Where a value begins with a quote: its prefix, how often the quote is escaped, the quote.
_QUOTED = re.compile(r"""[bBrRuUfF]{0,2}(\\{0,15}+)(\"{3}|'{3}|["'])""")
_QUOTES = {quote: re.compile(rf"(?<!\\)(\\*+){quote}") for quote in ('"', "'", '"""', "'''")}
#: What follows the quote that ends a value: a colon follows a key, which must not be swallowed. In a dictionary it is
#: looked at closely, as Celery's reprs escape neither the quotes in bytes nor backslashes (celery/utils/saferepr.py).
_AFTER = re.compile(r"(?!\w|\s{0,4}:)")
_AFTER_IN_BRACKETS = re.compile(r"(?!\w)")
_AFTER_IN_DICT = re.compile(
    r"""\s*+(?: ,\s*+ (?: [bB]?\\*+["'][^"'\n]{0,128}+["'] | [\w.-]{1,64}+ ) \s*+ [:,\])] | ,\s*+ (?: \( | \.\.\. )
              | ,? \s*+ [}\])] (?!\w) | \.\.\. | \\*+["'](?!\w) | \Z ) | [ \t]*+ (?: \n | \\n )""",
    re.VERBOSE,
)
_AFTER_PAIR = re.compile(r"\s*+[)\]]")
_BRACKETS = re.compile(r"""[\[\](){}]|(\\{0,15}+)(["'])""")
_CALL = re.compile(r"[A-Za-z_][\w.]{0,128}+\(")
_ANGLE = re.compile(r"<[^>\n]*+>?")
_ELEMENT = re.compile(r"(?:<!\[CDATA\[)?[^<\s][^<]*+")
_HEADER = re.compile(r"authorization|cookie", re.IGNORECASE)
_HEADER_END = re.compile(r"""[\r\n]|\\[rn]|["'](?=\s*+(?:[)\]}]|\Z))|\Z""")
#: what is no secret whatever its key: yes or no, a placeholder of SQL, an object without a word about what it holds
_HARMLESS = re.compile(
    r"(?:True|False|true|false)\b|%s|%\(\w{1,64}\)s|\?(?=[\s,;)\]'\"]|\Z)|\$\d{1,2}\b"
    r"|<[\w.]{1,256}+ object at 0x[0-9a-fA-F]+>"
)
#: `session:cleanup` is a name, while `password:hunter` is not
_NAME = re.compile(r"(?:session|o?auth|token|card|cookie|credential)s?\Z", re.IGNORECASE)
_NAMED = re.compile(r"[a-z][a-z_.:-]{0,63}+(?![\w@/+=])")
#: `InvalidToken: bad data` is an exception
_TROUBLE = re.compile(r"(?:invalid|bad|missing|wrong|unknown|unsupported|no)[_A-Z]")
#: an expression in a source line, and one that holds a literal
_EXPRESSION = re.compile(r"[A-Za-z_%{]")
_LITERAL = re.compile(r"[^\"'0-9\n]{0,200}[\"'0-9]")
#: "Invalid token: expected a number" tells of no secret
_PROSE = re.compile(
    r"(?:a|already|an|and|any|are|at|be|can|cannot|closed|declined|denied|does|empty|end|ended|error|expected|expired"
    r"|failed|for|got|has|have|in|incorrect|invalid|is|length|line|malformed|missing|must|never|no|not|of|on|only|opened"
    r"|optional|or|please|position|rejected|refused|required|revoked|see|should|started|the|timed|to|too|unable"
    r"|unexpected|unknown|unsupported|unterminated|was|were|will|wrong)\b(?![=:@])"
)
#: A value without quotes: a scheme of authorization goes with it, and it ends at a blank, or at a sign behind which
#: something new begins. What was hidden already is part of it.
_SCHEME = re.compile(
    r"(?:bearer|basic|token|digest|negotiate|apikey|aws4-hmac-sha256) {1,4}+(?=[^\s,;&\"'(){}<>])", re.IGNORECASE
)
_STOP = re.compile(
    rf"""(?P<mark> {MARK.pattern.replace(" ", "[ ]")} )
        | \s
        | [,;&] (?= \s | \Z | [\w.%-]{{1,64}}+[=:] | ["')\]}}] )
        | ["'] (?! \w )
        | < (?= / )
        | [)}}\]] (?= [\s,;.:)}}\]"'&] | \Z )
        | \\ (?= [nrt"'] )""",
    re.VERBOSE | re.IGNORECASE,
)


def redact_keys(text: str, keys: SecretKeys) -> str:
    """The text with the value of each secret key replaced by a mark; of a value that is cut off, all that is there."""
    pieces, done = [], 0
    for start, end, mark in _Scan(text, keys).secrets():
        pieces += [text[done:start], mark]
        done = end
    return "".join([*pieces, text[done:]])


class _Scan:
    """One pass over a text."""

    def __init__(self, text: str, keys: SecretKeys) -> None:
        self._text = text
        self._keys = keys
        self._has_marks = MARK_START in text
        #: what was found when the end of a quoted text was last looked for: nothing is searched twice
        self._closings: dict[tuple[int, str, re.Pattern[str]], tuple[int, int]] = {}
        self._sources = [match.span(1) for match in _SOURCE.finditer(text)] if '  File "' in text else []
        self._sources.reverse()

    def secrets(self) -> Iterator[Found]:
        """Start, end and replacement of each secret value, in order."""
        find, position = self._keys.find_from(self._text), 0
        while root := find(position):
            match = None if self._is_in_mark(root.start()) else self._key_around(root.start())
            found = self._value(match) if match and self._is_secret(match) else None
            if found is None:
                # What looked like a value may begin with a key itself, but a word is looked at once.
                position = max(root.end(), _WORD.match(self._text, root.start()).end())  # type: ignore[union-attr]
            else:
                yield found
                position = found[1]

    def _is_in_mark(self, position: int) -> bool:
        if not self._has_marks:
            return False
        since = self._text.rfind(MARK_START, max(0, position - _MAX_MARK_CHARS), position)
        mark = MARK.match(self._text, since) if since >= 0 else None
        return mark is not None and position < mark.end()

    def _key_around(self, position: int) -> re.Match[str] | None:
        """The key that the sign at that position is part of, with the quote or bracket before it."""
        text = self._text
        back = text[max(0, position - _MAX_BACK_CHARS) : position][::-1]
        # "api key": the sign is in the second word.
        before = (_TWO_WORDS_BACK if text[position : position + 3].lower() == "key" else _BACK).match(back)
        assert before is not None  # noqa: S101 - it matches nothing as well, which mypy cannot know.
        return _KEY.match(text, position - before.end()) or _KEY.match(text, position - before.end("word"))

    def _is_secret(self, match: re.Match[str]) -> bool:
        key = match["key"]
        if self._keys.is_secret(key):
            return True
        # `\npassword=` is a line end and a key, where the text is a repr.
        before = self._text[max(0, match.start("key") - 1)]
        return key[0] in "nrt" and before == "\\" and self._keys.is_secret(key[1:])

    def _value(self, match: re.Match[str]) -> Found | None:
        """The value behind a secret key, if there is one and it has something to hide."""
        start = match.end()
        if match["element"] is not None:
            return self._whole(_ELEMENT.match(self._text, start))
        if match["pair"] is not None:
            return self._of_pair(match)
        if _HARMLESS.match(self._text, start):
            return None
        if match["close"] is None and "\n" in (match["delimiter"] or ""):
            return None
        quoted = _QUOTED.match(self._text, start)
        if quoted:
            in_dict = match["close"] is not None and ":" in match["delimiter"]
            return self._quoted(quoted, _AFTER_IN_DICT if in_dict else _AFTER)
        return self._unquoted(match)

    def _of_pair(self, match: re.Match[str]) -> Found | None:
        """`('Authorization', 'Basic …')` and `['--token', '…']`."""
        quoted = _QUOTED.match(self._text, match.end())
        before = self._text[max(0, match.start() - 1) : match.start()]
        if quoted is None or not (match["dashes"] or before in ("(", "[")):
            return None
        found = self._quoted(quoted, _AFTER_IN_DICT)
        is_pair = found and _AFTER_PAIR.match(self._text, found[1] + len(quoted[1]) + len(quoted[2]))
        return found if is_pair or match["dashes"] else None

    def _quoted(self, quoted: re.Match[str], after: re.Pattern[str]) -> Found | None:
        start = quoted.end()
        end = self._closing(start, len(quoted[1]), quoted[2], after)
        return self._until(start, end)

    def _closing(self, start: int, escapes: int, quote: str, after: re.Pattern[str]) -> int:
        """Where the text between quotes ends: before a quote escaped as the first was; else with all there is."""
        kind = (escapes, quote, after)
        since, end = self._closings.get(kind, (0, -1))
        if not since <= start <= end:
            end = self._search_closing(start, escapes, quote, after)
            self._closings[kind] = (start, end)
        return end

    def _search_closing(self, start: int, escapes: int, quote: str, after: re.Pattern[str]) -> int:
        for match in _QUOTES[quote].finditer(self._text, start):
            number = len(match[1])
            is_quote = number <= escapes if escapes else number % 2 == 0
            if is_quote and after.match(self._text, match.end()):
                return match.start() if escapes else match.end() - len(quote)
        return len(self._text)

    def _unquoted(self, match: re.Match[str]) -> Found | None:
        start, text = match.end(), self._text
        if self._is_source(start) and _EXPRESSION.match(text, start):
            return None
        if match["close"] is None and _HEADER.search(match["key"]) and ":" in (match["delimiter"] or ""):
            return self._header(match)
        if text.startswith(("(", "{", "["), start) and not text.startswith("[redacted: ", start):
            return self._bracketed(start, start)
        if call := _CALL.match(text, start):
            return self._bracketed(start, call.end() - 1)
        if angle := _ANGLE.match(text, start):
            return self._with_rest(start, angle.end())
        return None if self._is_harmless_text(match) else self._until(start, self._plain_end(start))

    def _is_harmless_text(self, match: re.Match[str]) -> bool:
        """Whether a colon only makes it look like a key: in a sentence, or in a name of parts."""
        if match["close"] is not None:
            return False
        if match["delimiter"] == ":":
            return bool(_NAME.search(match["key"]) and _NAMED.match(self._text, match.end()))
        if match["delimiter"] != ": ":
            return False
        key = match["key"]
        return bool(_TROUBLE.match(key[0].lower() + key[1:]) or _PROSE.match(self._text, match.end()))

    def _header(self, match: re.Match[str]) -> Found | None:
        """The rest of the line, as values of headers hold anything; of a line in quotes, up to the quote."""
        start = match.end()
        end = _HEADER_END.search(self._text, start)
        stop = end.start() if end else len(self._text)
        if match["open"]:
            quote = self._text.find(match["open"], start, stop)
            stop = stop if quote < 0 else quote
        return self._until(start, stop)

    def _bracketed(self, start: int, bracket: int) -> Found | None:
        if self._is_source(start) and not _LITERAL.match(self._text, start):
            return None
        return self._with_rest(start, self._balanced(bracket))

    def _with_rest(self, start: int, end: int) -> Found:
        """What is in brackets, and what follows without a gap."""
        return (start, self._plain_end(end), KEY_MARK)

    def _plain_end(self, start: int) -> int:
        """Where the value without quotes ends that begins there; the same place if none does."""
        scheme = _SCHEME.match(self._text, start)
        position = scheme.end() if scheme else start
        stops = (stop.start() for stop in _STOP.finditer(self._text, position) if stop["mark"] is None)
        end = next(stops, len(self._text))
        return end if end > position else start

    def _balanced(self, position: int) -> int:
        """Behind the bracket that closes the one at `position`; the end of the text if none does."""
        depth = 0
        while match := _BRACKETS.search(self._text, position):
            position = match.end()
            if match[2]:
                closing = self._closing(position, len(match[1]), match[2], _AFTER_IN_BRACKETS)
                position = min(closing + len(match[1]) + 1, len(self._text))
                continue
            depth += 1 if match[0] in "([{" else -1
            if depth == 0:
                return position
        return len(self._text)

    def _whole(self, match: re.Match[str] | None) -> Found | None:
        return (match.start(), match.end(), KEY_MARK) if match else None

    def _until(self, start: int, end: int) -> Found | None:
        return (start, end, KEY_MARK) if end > start else None

    def _is_source(self, position: int) -> bool:
        """Whether that is in a source line; asked in the order of the text."""
        while self._sources and self._sources[-1][1] <= position:
            self._sources.pop()
        return bool(self._sources) and self._sources[-1][0] <= position
