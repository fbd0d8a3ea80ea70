"""A quick look at a text that finds out whether a closer one is worth it: most texts hold nothing like a secret."""

import re
from collections.abc import Callable, Iterable

from taskledger.secret_keys import SecretKeys
from taskledger.secret_values import may_hold_card

#: Something of every value that our rules know, in small letters; made as the roots of keys are.
_SIGNS = (
    r"://|g=(?<=sig=)|gnature=|begin |basic|bearer|yj(?<=eyj)|kia(?<=akia)|sia(?<=asia)|gh[pousr]_|github_pat"
    r"|gl[a-z]{2,4}-|k_live|k_test|whsec|xox|xapp-|za(?<=aiza)|ya29|gocspx|g\.(?<=sg\.)|k-(?<=sk-)(?<![a-z]sk-)"
    r"|pm_(?<=npm_)|pypi-|f_(?<=hf_)|v1_(?<=do[opr]_v1_)"
)


def suspicion(keys: SecretKeys, patterns: Iterable[str]) -> Callable[[str], bool]:
    """For our rules and for people's own patterns of values: a function that says, rather too often, "perhaps"."""
    signs = re.compile(f"{keys.roots}|{_SIGNS}").search
    # People's patterns may tell capital letters apart.
    own = [re.compile(pattern).search for pattern in patterns]

    def is_raised_by(text: str) -> bool:
        return signs(text.lower()) is not None or may_hold_card(text)

    def is_raised_by_any(text: str) -> bool:
        return is_raised_by(text) or any(search(text) is not None for search in own)

    return is_raised_by_any if own else is_raised_by
