"""REALM's and c-REALM's embedder from its TensorFlow release to a folder that `realm:` loads.

The published programs (google-research/language, orqa/models/ict_model.py) keep BERT in a module
of its own, so that its variables are `ROOT/module/bert/…`, and beside it `ROOT/dense/…`, the
projection, and its norm: `ROOT/layer_normalization/…` by Keras, `ROOT/LayerNorm/…` in the modules
that were published. How often `module/` stands in ROOT depends on how often it was exported.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BertTokenizer

from retriever.artefacts import exclusive, replace_directory
from retriever.errors import EncoderError
from retriever.realm import RealmConfig, RealmEmbedder

HEAD_SIZE = 64  # of every published BERT; the variables do not tell it
_BERT = r"(?:module(?:_\d+)?/)*bert/"
_WORDS = "embeddings/word_embeddings"
_NORMS = {"LayerNorm": 1e-12, "layer_normalization": 1e-3}
"""Names of the projection's norm and its epsilon: contrib.layers.layer_norm's, and Keras's."""


class Variables(Protocol):
    """Named arrays: their shapes at once, their values one at a time."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each variable."""

    def read(self, name: str) -> NDArray[Any]:
        """The value of a variable."""


@dataclass(frozen=True, slots=True)
class Embedder:
    """Which variable each tensor of the embedder is, and the configuration that they fit."""

    config: RealmConfig
    sources: dict[str, str]  # tensor: variable
    ignored: list[str]


def is_embedder(variables: Variables) -> bool:
    """Whether variables are, among others, a BERT and its projection."""
    return bool(_roots(variables))


def assign(variables: Variables) -> Embedder:
    """Find the variables of an embedder, and read its sizes from their shapes.

    Raises:
        EncoderError: there is none, or more than one; or variables are missing or of other shapes;
            all that are concerned are named.
    """
    roots = _roots(variables)
    if len(roots) != 1:
        found = f"{len(roots)} ({', '.join(roots)})" if roots else "none"
        raise EncoderError(
            "the checkpoint is to hold one embedder, variables ROOT/module/bert/… and "
            f"ROOT/dense/kernel; found {found}; name an exported module of the embedder"
        )
    ((root, bert),) = roots.items()
    norm = next((n for n in _NORMS if f"{root}{n}/gamma" in variables.shapes), None)
    config = _config(variables.shapes, root, bert, norm)
    with torch.device("meta"):  # no weights twice in memory
        expected = RealmEmbedder(config).state_dict()
    sources = {name: _variable(name, root, bert, norm) for name in expected}
    problems = []
    for name, tensor in expected.items():
        shape = variables.shapes.get(sources[name])
        turned = shape[::-1] if shape and _is_kernel(sources[name]) else shape
        if turned != tuple(tensor.shape):
            problems.append(f"{sources[name]}: {shape or 'missing'}, for {tuple(tensor.shape)}")
    if problems:
        listed = "\n  ".join(problems)
        raise EncoderError(
            f"the variables of the embedder do not fit together; copy the checkpoint's files "
            f"anew:\n  {listed}"
        )
    return Embedder(config, sources, sorted(variables.shapes.keys() - set(sources.values())))


def convert(variables: Variables, vocabulary: Path, directory: Path) -> Embedder:
    """Write a model directory: configuration, safetensors, tokenizer.

    Args:
        variables: of a checkpoint or an exported module.
        vocabulary: its `vocab.txt`, with a piece a line.
        directory: where to write; it appears once it is whole.

    Raises:
        EncoderError: as `assign`; or the vocabulary is not the embedder's; or `directory` is there.
        BuildInProgress: another process writes the same directory.
    """
    embedder = assign(variables)
    tokenizer = _tokenizer(vocabulary, embedder.config)
    if directory.exists():
        raise EncoderError(f"{directory} is there already; name a new directory")
    with torch.device("meta"):
        model = RealmEmbedder(embedder.config)
    state = {name: _tensor(variables, source) for name, source in embedder.sources.items()}
    model.load_state_dict(state, assign=True)
    with exclusive(directory):
        work = directory.with_name(f"{directory.name}.partial")
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)
        replace_directory(work, directory)
    return embedder


def verify(variables: Variables, embedder: Embedder, directory: Path) -> None:
    """Compare a written directory with the variables.

    Raises:
        EncoderError: a tensor differs from its variable.
    """
    written = RealmEmbedder.from_pretrained(directory, use_safetensors=True).state_dict()
    for name, source in embedder.sources.items():
        if not torch.equal(written[name], _tensor(variables, source)):
            raise EncoderError(
                f"{name} in {directory} differs from {source}; remove it and convert anew"
            )


def _roots(variables: Variables) -> dict[str, str]:
    """Where an embedder's projection is, and where its BERT.

    A reader has the same, and a second layer behind it (orqa/models/orqa_model.py).
    """
    roots = {}
    for name in variables.shapes:
        found = re.fullmatch(rf"((?:.*?/)??)({_BERT}){_WORDS}", name)
        if found is None:
            continue
        for root in _scopes(found[1], found[2]):
            if f"{root}dense/kernel" in variables.shapes:
                if f"{root}dense_1/kernel" not in variables.shapes:
                    roots[root] = name.removesuffix(_WORDS)
                break
    return roots


def _scopes(before: str, bert: str) -> list[str]:
    """The scopes in which the module of a BERT may have been called, the nearest first."""
    modules = bert.split("/")[:-2]
    depths = range(len(modules), -1, -1)
    return [before + "".join(f"{module}/" for module in modules[:depth]) for depth in depths]


def _config(
    shapes: Mapping[str, tuple[int, ...]], root: str, bert: str, norm: str | None
) -> RealmConfig:
    def size(name: str, axis: int) -> int:
        shape = shapes.get(name, ())
        return shape[axis] if len(shape) == 2 else 1  # what is missing is named by `assign`

    vocabulary, width = size(f"{bert}{_WORDS}", 0), size(f"{bert}{_WORDS}", 1)
    numbers = (re.match(rf"{re.escape(bert)}encoder/layer_(\d+)/", name) for name in shapes)
    layers = 1 + max((int(number[1]) for number in numbers if number), default=-1)
    if width % HEAD_SIZE or not layers:
        raise EncoderError(
            f"the checkpoint's BERT is {width} wide and has {layers} layers; expected a multiple "
            f"of {HEAD_SIZE} and at least one layer"
        )
    return RealmConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // HEAD_SIZE,
        intermediate_size=size(f"{bert}encoder/layer_0/intermediate/dense/kernel", 1),
        max_position_embeddings=size(f"{bert}embeddings/position_embeddings", 0),
        type_vocab_size=size(f"{bert}embeddings/token_type_embeddings", 0),
        hidden_act="gelu_new",  # gelu() in google-research/bert, modeling.py: by tanh
        projection_size=size(f"{root}dense/kernel", 1),
        projection_norm=norm is not None,
        projection_norm_eps=_NORMS[norm or "LayerNorm"],
    )


def _variable(tensor: str, root: str, bert: str, norm: str | None) -> str:
    """The variable of a tensor: `bert.encoder.layer.0.output.dense.weight` is
    `…bert/encoder/layer_0/output/dense/kernel`."""
    tensor = re.sub(r"\blayer\.(\d+)", r"layer_\1", tensor)
    owner, _, kind = tensor.replace(".", "/").rpartition("/")
    if owner.startswith("bert/"):
        owner = bert + owner.removeprefix("bert/")
    else:
        owner = root + {"projection": "dense", "norm": norm or ""}[owner]
    if owner.endswith("_embeddings"):
        return owner
    normed = owner.endswith(tuple(_NORMS))
    names = {"weight": "gamma", "bias": "beta"} if normed else {"weight": "kernel", "bias": "bias"}
    return f"{owner}/{names[kind]}"


def _is_kernel(variable: str) -> bool:
    return variable.endswith("/kernel")  # TensorFlow multiplies from the other side


def _tensor(variables: Variables, source: str) -> Tensor:
    try:
        tensor = torch.from_numpy(variables.read(source)).float()
    except Exception as error:  # TensorFlow's own tree, and IndexError for a file cut short
        raise EncoderError(
            f"cannot read {source} from the checkpoint: {error}; copy its files anew"
        ) from error
    return (tensor.T if _is_kernel(source) else tensor).contiguous()


def _tokenizer(vocabulary: Path, config: RealmConfig) -> BertTokenizer:
    try:
        pieces = vocabulary.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EncoderError(f"cannot read the vocabulary {vocabulary}: {error}") from error
    ids = {piece: number for number, piece in enumerate(pieces)}
    missing = sorted({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"} - ids.keys())
    if missing or len(pieces) != config.vocab_size:
        raise EncoderError(
            f"{vocabulary} has {len(pieces):,} pieces{f' and no {missing[0]}' if missing else ''}, "
            f"but the embedder was trained with {config.vocab_size:,}; name its own vocab.txt"
        )
    plain = "".join(piece for piece in pieces if not piece.startswith("["))
    return BertTokenizer(
        vocab=ids,
        do_lower_case=plain == plain.lower(),
        model_max_length=config.max_position_embeddings,
    )
