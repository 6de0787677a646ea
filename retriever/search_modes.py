"""How passages are found."""

from typing import Literal, get_args

SearchMode = Literal["dense", "bm25", "hybrid"]
"""By vectors, by words, or by both."""
SEARCH_MODES: tuple[SearchMode, ...] = get_args(SearchMode)
