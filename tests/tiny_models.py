"""Tiny models with random weights, made on the spot: what loads here loads at any size."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertTokenizer,
    DPRConfig,
    DPRContextEncoder,
    DPRQuestionEncoder,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    RagConfig,
    RagSequenceForGeneration,
    RagTokenForGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from rag_rt.models.routing_transformer import (
    RoutingTransformerConfig,
    RoutingTransformerForCausalLM,
    RoutingTransformerTokenizer,
)
from rag_rt.models.routing_transformer.conversion import KIND, VERSION
from retriever.artefacts import seal
from retriever.realm import RealmConfig, RealmEmbedder

TEXT = (
    "Why is the ocean salty? Rivers carry dissolved salts into it. Gold is a metal. Cells are the "
    "units of life. Vaccines teach the body to fight a disease. question: context: <P> answering"
)
BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BART_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # with BART's own ids


def randomize(model: nn.Module, seed: int = 0, std: float = 0.5) -> None:
    """Matrices so large that different inputs give different outputs; norms stay as they are."""
    order = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, std, generator=order)


def bert_tokenizer() -> BertTokenizer:
    letters = sorted({letter for letter in TEXT.lower() if letter.isalpha()})
    pieces = [*BERT_SPECIAL, *letters, *(f"##{letter}" for letter in letters), "?", ".", ":"]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return BertTokenizer(vocab=vocab)


def small_bert(vocab_size: int) -> dict[str, Any]:
    return {
        "vocab_size": vocab_size,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }


def make_dpr(folder: Path, *, projection_dim: int = 0) -> str:
    """A pair of DPR models; returns the encoder's name."""
    tokenizer = bert_tokenizer()
    for seed, (name, model_class) in enumerate(
        (("questions", DPRQuestionEncoder), ("passages", DPRContextEncoder))
    ):
        config = DPRConfig(**small_bert(len(tokenizer)), projection_dim=projection_dim)
        model: Any = model_class(config)
        randomize(model, seed, std=0.2)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return f"dpr:{folder / 'questions'},{folder / 'passages'}"


def make_realm(folder: Path) -> str:
    """A REALM embedder; returns the encoder's name."""
    tokenizer = bert_tokenizer()
    model = RealmEmbedder(RealmConfig(**small_bert(len(tokenizer)), projection_size=8))
    randomize(model, std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"realm:{folder}"


def byte_tokenizer(special: Iterable[str], template: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on a few sentences."""
    special = list(special)
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    ids = [(token, special.index(token)) for token in template.split() if token != "$A"]
    tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=ids)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=512,
    )


def bart_tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer(BART_SPECIAL, "<s> $A </s>")


def bart_config(vocab_size: int) -> BartConfig:
    return BartConfig(
        vocab_size=vocab_size,
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=512,
        forced_eos_token_id=None,
    )


def make_bart(folder: Path) -> str:
    tokenizer = bart_tokenizer()
    model = BartForConditionalGeneration(bart_config(len(tokenizer)))
    randomize(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def make_chat(folder: Path) -> str:
    """A causal language model with a chat template."""
    tokenizer = byte_tokenizer(("<pad>", "</s>", "<unk>"), "$A")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{% endfor %}"
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=2048,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config)
    randomize(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def make_t5(folder: Path) -> str:
    tokenizer = byte_tokenizer(("<pad>", "</s>", "<unk>"), "$A </s>")
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
    )
    model = T5ForConditionalGeneration(config)
    model.generation_config.decoder_start_token_id = 0
    model.generation_config.suppress_tokens = [0, 1, 2]  # or a random model may say nothing
    randomize(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def make_rag(folder: Path, *, by_token: bool) -> str:
    """A RAG checkpoint with its two tokenizers, laid out as the published ones are."""
    questions, writer = bert_tokenizer(), bart_tokenizer()
    config = RagConfig(
        question_encoder=DPRConfig(**small_bert(len(questions))).to_dict(),
        generator=bart_config(len(writer)).to_dict(),
        vocab_size=len(writer),
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    model: Any = (RagTokenForGeneration if by_token else RagSequenceForGeneration)(config)
    randomize(model)
    model.save_pretrained(folder)
    questions.save_pretrained(folder / "question_encoder_tokenizer")
    writer.save_pretrained(folder / "generator_tokenizer")
    return str(folder)


def make_routing_transformer(folder: Path) -> str:
    """A sealed model directory, as `rag-rt convert` writes it."""
    folder.mkdir()
    letters = sorted(set(TEXT) - {" "})
    subtokens = ["<pad>_", "<EOS>_", *letters, *(f"{c}_" for c in letters), *"\\_u;0123456789"]
    vocabulary = folder / "vocab.subwords"
    vocabulary.write_text("".join(f"'{piece}'\n" for piece in dict.fromkeys(subtokens)))
    tokenizer = RoutingTransformerTokenizer(str(vocabulary))
    config = RoutingTransformerConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=32, embedding_dims=32, filter_size=8,
        num_decoder_layers=2, sparsity_skip_first=1, query_shape=32, memory_query_shape=32,
        memory_flange=32, sparsity_cluster_size=2, sparsity_cluster_attention_window=64,
        max_target_length=1280, initializer_range=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    RoutingTransformerForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    seal(folder, kind=KIND, version=VERSION, settings={}, counts={})
    return str(folder)
