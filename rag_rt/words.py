"""The words of a text that carry its content, for comparing texts word by word."""

import re

_WORD = re.compile(r"[^\W_]+")
_FUNCTION_WORDS = frozenset(
    "a an the this that these those it its he she his her him they their them we our us you your i "
    "my me and or but nor so yet if then than as of in on at by for from with to into onto upon "
    "about over under between through during before after above below up down out off again not no "
    "is are was were be been being am do does did done has have had having can could will would "
    "shall should may might must also such which who whom whose what when where why how there here "
    "all any both each few more most other some own same too very just only because while although "
    "though however s t".split()
)
_ENDINGS = ("ing", "ed", "es", "s")


def content_words(text: str) -> frozenset[str]:
    """Lower-case words without function words, cut to a rough stem ("salts" meets "salt")."""
    return frozenset(stems(text))


def stems(text: str) -> list[str]:
    """The content words of a text as `content_words` gives them, in order and with repetitions."""
    words = _WORD.findall(text.lower())
    return [_stem(word) for word in words if word not in _FUNCTION_WORDS]


def all_stems(text: str) -> list[str]:
    """All words of a text in order, function words too, each cut to its rough stem."""
    return [_stem(word) for word in _WORD.findall(text.lower())]


def numbers(text: str) -> frozenset[str]:
    """The numbers written in digits, without thousands separators."""
    return frozenset(re.findall(r"\d+(?:\.\d+)?", re.sub(r"(?<=\d),(?=\d{3})", "", text)))


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) >= len(ending) + 3:
            return word.removesuffix(ending)
    return word
