"""The mode `free`: one pass of the model; support is told and nothing is withheld."""

from rag_rt.events import Turns
from rag_rt.generation import Generation
from rag_rt.modes.paragraph import Paragraph


def write_freely(generation: Generation, paragraph: Paragraph) -> Turns:
    """Write until the model ends; white space around the text is left out."""
    while not generation.ended:
        generation.advance()
        yield from paragraph.grow(generation.text.strip())
        yield None
    yield from paragraph.finish()
