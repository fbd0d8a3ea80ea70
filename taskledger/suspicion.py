"""A quick look at a text that finds out whether a closer one is worth it: most texts hold nothing like a secret."""

import re
from collections.abc import Callable, Iterable

from taskledger.secret_keys import words

#: What is part of every key and every value that our rules know, in small letters. Each branch begins with a letter
#: that is rare in texts and looks back for the rest: most of a text is passed over without trying a single branch.
_SIGNS = (
    # Keys.
    r"pass|pwd|p(?<=otp)|ken(?<=token)|key|kie(?<=cookie)|cret(?<=secret)|cred|card|cv[vc]|curity.?code|uth(?<=auth)|sess"
    r"|sn(?<=ssn)|ban(?<=iban)|wt(?<=jwt)"
    # Values.
    r"|://|g=(?<=sig=)|gnature=|begin |basic|bearer|yj(?<=eyj)|kia(?<=akia)|sia(?<=asia)|gh[pousr]_|github_pat"
    r"|gl[a-z]{2,4}-|k_live|k_test|whsec|xox|xapp-|za(?<=aiza)|ya29|gocspx|g\.(?<=sg\.)|k-(?<=sk-)(?<![a-z]sk-)|pm_(?<=npm_)|pypi-"
    r"|f_(?<=hf_)|v1_(?<=do[opr]_v1_)"
)
#: digits of the shortest number of a card, and of one that was cut
_CARD, _CUT_CARD = b"0" * 13, b"0" * 9
_DIGITS = bytes.maketrans(b"123456789", b"000000000")


def suspicion(keys: Iterable[str], patterns: Iterable[str]) -> Callable[[str], bool]:
    """For our rules and for people's own keys and patterns: a function that says, rather too often, "perhaps"."""
    longest = [max(words(key), key=len) for key in keys]
    signs = re.compile("|".join([_SIGNS, *map(re.escape, longest)])).search
    # People's patterns may tell capital letters apart.
    own = [re.compile(pattern).search for pattern in patterns]

    def is_raised_by(text: str) -> bool:
        return signs(text.lower()) is not None or (len(text) > len(_CUT_CARD) and _may_hold_card(text))

    def is_raised_by_any(text: str) -> bool:
        return is_raised_by(text) or any(search(text) is not None for search in own)

    return is_raised_by_any if own else is_raised_by


def _may_hold_card(text: str) -> bool:
    """Whether enough digits are in a row, blanks and hyphens aside."""
    octets = text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass")
    digits = octets.translate(_DIGITS, b" -")
    return _CARD in digits or (("..." in text or "…" in text) and _CUT_CARD in digits)
