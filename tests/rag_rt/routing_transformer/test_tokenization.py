"""The tokenizer is tensor2tensor's, text by text."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from rag_rt.models.routing_transformer import InputError, RoutingTransformerTokenizer
from rag_rt.models.routing_transformer.subwords import SubwordEncoder, read_subwords

# A few words, and each character of them and of escapes: a vocabulary that reads any text.
WORDS = ["<pad>_", "<EOS>_", "the_", "hello_", "he", " _", ". _", "_"]
SUBTOKENS = [*WORDS, *sorted(set("".join(WORDS) + "\\u;0123456789bc,") - {"_"})]
texts = (
    st.text(st.sampled_from([*"the hello _\\;09.,", "\n", "é", "漢", "\u2028", "\x1c"])) | st.text()
)


@pytest.fixture(scope="module")
def published(shared: Path) -> RoutingTransformerTokenizer:
    folder = shared / "golden" / "routing_transformer" / "tokenizer"
    return RoutingTransformerTokenizer(str(folder / "vocab.pg19_length8k.32768.subwords"))


@pytest.fixture(scope="module")
def golden(shared: Path) -> Any:
    folder = shared / "golden" / "routing_transformer" / "tokenizer"
    return json.loads((folder / "tokenizer_golden.json").read_bytes())


@pytest.fixture
def small(tmp_path: Path) -> RoutingTransformerTokenizer:
    path = tmp_path / "vocabulary"
    path.write_text("".join(f"'{subtoken}'\n" for subtoken in SUBTOKENS))
    return RoutingTransformerTokenizer(str(path))


def test_all_229_recorded_texts_have_the_official_ids(
    published: RoutingTransformerTokenizer, golden: Any
) -> None:
    assert len(golden["items"]) == 229
    for item in golden["items"]:
        assert published.encode(item["text"]) == item["ids"]
        assert published.decode(item["ids"]) == item["decoded"]


def test_any_ids_decode_to_the_official_text(
    published: RoutingTransformerTokenizer, golden: Any
) -> None:
    assert len(golden["decode_only"]) == 30
    for item in golden["decode_only"]:
        assert published.decode(item["ids"]) == item["decoded"]


def test_the_published_vocabulary_has_98302_subtokens(
    published: RoutingTransformerTokenizer,
) -> None:
    assert published.vocab_size == len(published) == 98302


@given(texts)
def test_every_text_comes_back_letter_by_letter(text: str) -> None:
    encoder = SubwordEncoder(SUBTOKENS)
    back = encoder.decode(encoder.subtokens[i] for i in encoder.encode(text))
    assert back == text


@given(st.lists(st.integers(0, len(SUBTOKENS) - 1)))
def test_any_ids_decode(ids: list[int]) -> None:
    encoder = SubwordEncoder(SUBTOKENS)
    assert isinstance(encoder.decode(encoder.subtokens[i] for i in ids), str)


@given(texts)
def test_the_cache_changes_nothing(text: str) -> None:
    encoder = SubwordEncoder(SUBTOKENS)
    assert encoder.encode(text) == encoder.encode(text)


def test_only_a_line_feed_ends_a_subtoken() -> None:
    assert read_subwords("'a\u2028b_'\n'\x1c_'\n\"'_\"\n") == ["a\u2028b_", "\x1c_", "'_"]


def test_text_that_looks_like_a_control_token_is_text(small: RoutingTransformerTokenizer) -> None:
    ids = small.encode("the <pad>_ the <EOS>_")
    assert small.pad_token_id not in ids
    assert small.eos_token_id not in ids
    assert small.decode(ids) == "the <pad>_ the <EOS>_"


def test_a_saved_tokenizer_is_found_by_its_folder(
    small: RoutingTransformerTokenizer, tmp_path: Path
) -> None:
    small.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert isinstance(again, RoutingTransformerTokenizer)
    assert again.encode("hello <pad>_") == small.encode("hello <pad>_")


def test_batches_are_padded_on_the_left(small: RoutingTransformerTokenizer) -> None:
    batch = small(["the", "the hello"], padding=True)
    assert batch["input_ids"] == [[0, 2], [2, 3]]
    assert batch["attention_mask"] == [[0, 1], [1, 1]]


def test_a_vocabulary_without_the_characters_of_escapes_is_refused() -> None:
    with pytest.raises(InputError, match="vocabulary"):
        SubwordEncoder(["a_"]).encode("é")


def test_an_added_token_has_its_own_id(small: RoutingTransformerTokenizer) -> None:
    small.add_tokens(["<new>", "the_"])
    tokens = ["the_", "<new>", "hello_", "<EOS>_"]
    assert small.convert_tokens_to_ids(tokens) == [2, len(SUBTOKENS), 3, 1]
    assert small.convert_tokens_to_ids("<new>") == len(SUBTOKENS)
