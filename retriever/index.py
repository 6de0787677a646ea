"""The index: passages, their vectors in FAISS, and a manifest that says what made them."""

from pathlib import Path

import faiss
import numpy as np

from retriever.artefacts import Manifest, verified_manifest
from retriever.encoders import DualEncoder, Vectors
from retriever.errors import ArtefactDamaged, ArtefactMismatch
from retriever.passages import PassageStore

KIND = "index"
VERSION = 2
PASSAGES = "passages.arrow"
VECTORS = "vectors.faiss"
REMEDY = "'rag-rt setup' (the starter index) or 'rag-rt index build' (your own)"


class Index:
    """An index that was checked when it was opened."""

    def __init__(self, directory: Path) -> None:
        """Open an index.

        Raises:
            ArtefactError: it is missing, unfinished or damaged; the message names what mends it.
        """
        self.directory = directory
        self.manifest: Manifest = verified_manifest(
            directory, kind=KIND, version=VERSION, remedy=REMEDY
        )
        self.passages = PassageStore(directory / PASSAGES)
        self._vectors = faiss.read_index(str(directory / VECTORS))
        if not len(self.passages) == self._vectors.ntotal == self.manifest.counts["passages"]:
            raise ArtefactDamaged(
                f"the index at {directory} holds {len(self.passages):,} passages and "
                f"{self._vectors.ntotal:,} vectors; make it anew with {REMEDY}"
            )

    def require_encoder(self, encoder: DualEncoder) -> None:
        """Refuse an encoder whose vectors cannot be compared with those of the index.

        Raises:
            ArtefactMismatch: the index was built with another encoder.
        """
        settings = self.manifest.settings
        if settings["encoder_fingerprint"] != encoder.fingerprint:
            raise ArtefactMismatch(
                f"the index at {self.directory} was built with the encoder "
                f"{settings['encoder']} ({settings['dimension']}-d), but the settings name "
                f"{encoder.name} ({encoder.dimension}-d); set RAG_RT_ENCODER to the former, "
                f"or make the index anew with {REMEDY}"
            )

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, np.ndarray]:
        """The `k` passages of greatest inner product with each query, best first.

        Args:
            queries: vectors (Q, D).
            k: at most this many; fewer where the index holds fewer passages.

        Returns:
            inner products (Q, K) and passage rows (Q, K).
        """
        k = min(k, len(self.passages))
        scores, rows = self._vectors.search(queries, k)
        return scores, rows
