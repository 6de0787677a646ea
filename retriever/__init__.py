"""Corpus in, passages out: sources, splitting, encoding, a FAISS index, search."""

from retriever.errors import RetrieverError
from retriever.passages import Hit, Page, Passage

__all__ = ["Hit", "Page", "Passage", "RetrieverError"]
