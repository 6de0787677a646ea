from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from retriever import starter_pack
from retriever.encoders import Encoder
from retriever.errors import EncoderError

TEXTS = [
    "The ocean is salty.",
    "Why?",
    "A passage of many more words than the others, so that it is in another batch. " * 12,
    "海はなぜ塩辛いのですか",
    "",
] * 8


def test_vectors_are_the_means_of_the_last_hidden_states(encoder: Encoder) -> None:
    """Against a plain computation, one text at a time, in float32."""
    folder = starter_pack.locate(starter_pack.ENCODER).parent
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    vectors = encoder.encode(TEXTS[:5])
    for text, vector in zip(TEXTS[:5], vectors, strict=True):
        inputs = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            mean = model(**inputs).last_hidden_state[0].mean(0).numpy()
        cosine = vector @ mean / np.linalg.norm(mean)
        assert cosine > 0.999, text


def test_vectors_have_length_one_and_stand_in_the_order_of_the_texts(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for row in range(5):  # equal texts have equal vectors wherever they stand
        np.testing.assert_allclose(vectors[row::5] @ vectors[row], 1, atol=1e-3)


def test_progress_ends_with_all_texts(encoder: Encoder) -> None:
    seen: list[tuple[int, int]] = []
    encoder.encode(TEXTS, lambda done, total: seen.append((done, total)))
    assert seen == sorted(set(seen))
    assert seen[-1] == (40, 40)


def test_no_texts_give_no_vectors(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, 384)


def test_a_folder_without_weights_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=f"{tmp_path.name}.*RAG_RT_ENCODER"):
        Encoder(str(tmp_path))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = starter_pack.locate(starter_pack.ENCODER).parent
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="safetensors"):
        Encoder(str(tmp_path))
