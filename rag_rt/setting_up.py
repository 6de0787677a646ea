"""Preparing the starter models and index: what `rag-rt setup` does, as often as you like."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from rag_rt.generation import Generator
from rag_rt.models import starter
from rag_rt.retrieval import encoder_of
from rag_rt.settings import Settings
from retriever.building import build_index
from retriever.encoders import Progress
from retriever.sources import open_source

Say = Callable[[str], None]
Bar = Callable[[str], AbstractContextManager[Progress]]


def set_up(settings: Settings, say: Say, bar: Bar) -> None:
    """Make the starter generator and index where the settings name them and they are not there.

    What is there is checked, and made anew where it is damaged. A run that is stopped at any point
    loses nothing: the next one goes on.

    Args:
        settings: models and index; those that do not say 'starter' are left alone.
        say: told in a sentence what each stage does and how long it takes.
        bar: opens a progress bar under a title.

    Raises:
        RetrieverError: the starter pack is not installed, or another process sets up.
    """
    if settings.generator == "starter":
        if not starter.is_prepared(settings.models_directory):
            say(f"Preparing the weights of {starter.NAME} (once, about half a minute)")
            starter.prepare_starter_generator(settings.models_directory)
        say("Loading it (the first time it is compiled for this processor, about half a minute)")
        Generator.from_settings(settings)
        say(f"Generator ready: {starter.NAME}")
    if settings.index is None:
        say("Checking the index (built once, about a minute and a half on two cores)")
        with bar("Encoding passages") as progress:
            manifest = build_index(
                open_source("starter"),
                encoder_of(settings),
                settings.index_directory,
                replace=True,
                report=say,
                progress=progress,
            )
        counts = manifest.counts
        say(
            f"Index ready: {counts['passages']:,} passages of {counts['pages']:,} pages, "
            f"{manifest.settings['source_description']}"
        )
