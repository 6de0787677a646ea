"""An answer as Markdown with footnotes for what its sentences rest on.

Questions, answers and passages are foreign: whatever of them would be markup in CommonMark 0.31, in
GitHub's extensions of it or in HTML is escaped, so that it is shown and does nothing. The page's
`markdown.js` writes the same, character for character.
"""

import re
from urllib.parse import quote

from rag_rt.answers import Answer, Evidence, FinishReason, Sentence, Status, Support
from rag_rt.inert import inert

NO_SUPPORT = "*(no support found)*"
IN_PART = "*(supported in part)*"
CUT = "*(cut at its greatest length)*"

# The latter begin lists, definitions and links; a `!` would make an image of the footnote's mark.
_MARKUP = re.compile(r"[\\`*_\[\]{}<>#&~|$^=@]|:(?=\S)|^[-+:]|!$|(?<!\d)\.(?=\S)|\.(?=[^\s\d])")
_LIST_NUMBER = re.compile(r"^(\d{1,9})([.)])", re.ASCII)
_WEB = re.compile(r"https?://[^/]", re.IGNORECASE)
_IN_ADDRESS = ":/?#@!$'+,;=%~&"  # brackets would end the link

Quote = tuple[str, int, int]  # a passage's id, and where in it


def answer_as_markdown(answer: Answer) -> str:
    """The question as heading, the paragraph, and the quotes in the order of their citing."""
    quotes: dict[Quote, Evidence] = {}
    found = answer.status is Status.ANSWERED
    paragraph = _paragraph(answer, quotes) if found else escaped(answer.text)
    passages = {hit.passage.id: hit.passage for hit in answer.hits}
    footnotes = []
    for number, evidence in enumerate(quotes.values(), start=1):
        source = passages[evidence.passage_id]
        link = _link(source.title, source.url)
        footnotes.append(f"[^{number}]: {link}: “{escaped(evidence.quote)}”")
    return "\n\n".join([f"# {escaped(answer.question)}", paragraph, *footnotes]) + "\n"


def escaped(text: str) -> str:
    """A text as Markdown that shows it, in one line."""
    return _LIST_NUMBER.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", inert(text)))


def _paragraph(answer: Answer, quotes: dict[Quote, Evidence]) -> str:
    parts = []
    for sentence in answer.sentences:
        text = escaped(answer.text[sentence.start : sentence.end])
        shown = f"“{text}”" if sentence.quotation else text
        parts.append(shown + _marks(sentence, quotes))
    if answer.usage.finish_reason is FinishReason.LENGTH:
        parts.append(CUT)
    return " ".join(parts)


def _marks(sentence: Sentence, quotes: dict[Quote, Evidence]) -> str:
    """What stands behind a sentence; adds its quotes to those cited."""
    if sentence.support is Support.UNSUPPORTED:
        return f" {NO_SUPPORT}"
    cited = {(e.passage_id, e.start, e.end): e for e in sentence.evidence}
    for key, evidence in cited.items():
        quotes.setdefault(key, evidence)
    order = list(quotes)
    references = "".join(f"[^{order.index(key) + 1}]" for key in cited)
    return references + (f" {IN_PART}" if sentence.support is Support.PARTLY else "")


def _link(title: str, address: str) -> str:
    if not _WEB.match(address):
        return escaped(title)
    target = quote(address, safe=_IN_ADDRESS).replace("&", "&amp;")  # it could begin an entity
    return f"[{escaped(title)}]({target})"
