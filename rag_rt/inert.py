"""Foreign text made fit to be shown: no character of it moves a cursor or turns a line around."""

_CONTROLS = {code: chr(0x2400 + code) for code in range(0x20)}  # Unicode's pictures of them
_CONTROLS |= {0x7F: "\u2421"} | dict.fromkeys(range(0x80, 0xA0), "\ufffd")
# Embeddings, overrides and isolates would also reorder what stands behind the text.
_REORDERING = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")
_INERT = _CONTROLS | _REORDERING
_IN_JSON = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}


def inert(text: str) -> str:
    """A text as one line, white space as single spaces, control characters as pictures."""
    return " ".join(text.split()).translate(_INERT)


def inert_json(document: str) -> str:
    """A JSON document with the controls that JSON leaves alone (C1 begins sequences) escaped."""
    return document.translate(_IN_JSON)
