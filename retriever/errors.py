"""Errors of the retriever. Each message says what was expected, what was found and what mends it.

RetrieverError
├── StarterPackMissing   a package of the starter pack is not installed
├── SourceError          a corpus cannot be read
├── EncoderError         an encoder cannot be loaded
├── IndexingError        vectors cannot be indexed in the way that was asked for
├── QueryError           a query or a number of passages is out of bounds
├── BuildInProgress      another process builds into the same directory
└── ArtefactError        a directory written by this project cannot be used
    ├── ArtefactMissing      it is not there
    ├── ArtefactDamaged      it is incomplete, or its bytes are not those that were written
    └── ArtefactMismatch     it is whole, but was made with other settings
"""


class RetrieverError(Exception):
    """Base of every error that the retriever raises on purpose."""


class StarterPackMissing(RetrieverError):
    """A package of the starter pack is not installed."""


class SourceError(RetrieverError):
    """A corpus cannot be read."""


class EncoderError(RetrieverError):
    """An encoder cannot be loaded."""


class IndexingError(RetrieverError):
    """Vectors cannot be indexed in the way that was asked for."""


class QueryError(RetrieverError, ValueError):
    """A query or a number of passages is out of bounds."""


class BuildInProgress(RetrieverError):
    """Another process builds into the same directory."""


class ArtefactError(RetrieverError):
    """A directory written by this project cannot be used."""


class ArtefactMissing(ArtefactError):
    """The artefact is not there."""


class ArtefactDamaged(ArtefactError):
    """The artefact is incomplete, or its bytes are not those that were written."""


class ArtefactMismatch(ArtefactError):
    """The artefact is whole, but was made with other settings."""
