"""From a published TensorFlow checkpoint to a directory that transformers loads.

Variables are read one by one and written in shards, so that memory holds one shard, not a model.
"""

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import GenerationConfig

from rag_rt.models.routing_transformer.checkpoints import TensorFlowCheckpoint, Variables
from rag_rt.models.routing_transformer.configuration import RoutingTransformerConfig
from rag_rt.models.routing_transformer.errors import CheckpointError, InputError
from rag_rt.models.routing_transformer.modeling import RoutingTransformerForCausalLM
from rag_rt.models.routing_transformer.naming import Target, ffn_layer, is_ignored, target_of
from rag_rt.models.routing_transformer.tokenization import (
    VOCABULARY_FILE,
    RoutingTransformerTokenizer,
)
from rag_rt.models.saving import saving_weights
from retriever.artefacts import MANIFEST, exclusive, replace_directory, seal, verified_manifest

KIND = "model"
VERSION = 1
REMEDY = "'rag-rt convert'"
# The embedding of the published models alone has 0.4 GB; a shard holds at least one tensor.
SHARD_BYTES = 512 << 20
_EMBEDDING = "embeddings/embedding"
# What a conversion writes; a directory that holds anything else is somebody's, and stays.
_WRITTEN = re.compile(
    r"model-\d{5}\.safetensors|model\.safetensors\.index\.json|(generation_|tokenizer_)?config\.json"
    rf"|{re.escape(VOCABULARY_FILE)}|{re.escape(MANIFEST)}"
)
_log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which tensor of the model each variable is, and the configuration that they fit."""

    config: RoutingTransformerConfig
    targets: dict[str, Target]  # variable: tensor
    ignored: list[str]


def assign(
    variables: Variables, hparams: Mapping[str, Any] | Path | str, **overrides: Any
) -> Assignment:
    """Account for every variable of a checkpoint.

    The vocabulary's size and the kind of feed-forward layer are read from the variables: the
    official program does not keep the first in its hyperparameters, and published `hparams.json`
    files contradict each other about the second (SPEC §2).

    Raises:
        HyperparameterError: the hyperparameters are out of bounds or contradict each other.
        CheckpointError: a variable is unknown, is missing or has another shape than the
            hyperparameters ask for; all that are concerned are named.
    """
    names = [name for name in variables.shapes if not is_ignored(name)]
    embedding = next((name for name in names if name.endswith(_EMBEDDING)), None)
    if embedding is None:
        raise CheckpointError(
            f"the checkpoint has no variable that ends with '{_EMBEDDING}', so it is not one of a "
            "Routing Transformer"
        )
    read = {"vocab_size": variables.shapes[embedding][0], "ffn_layer": ffn_layer(names)}
    config = RoutingTransformerConfig.from_hparams(hparams, **{**read, **overrides})
    encoder_decoder = config.num_encoder_layers > 0
    targets = {name: target_of(name, encoder_decoder=encoder_decoder) for name in names}
    _check(config, variables, targets)
    return Assignment(config, targets, sorted(set(variables.shapes) - set(names)))


def load_model(
    variables: Variables, hparams: Mapping[str, Any] | Path | str, **overrides: Any
) -> RoutingTransformerForCausalLM:
    """The model of a checkpoint, in memory and in evaluation mode.

    Raises:
        HyperparameterError: as `assign`.
        CheckpointError: as `assign`.
    """
    assignment = assign(variables, hparams, **overrides)
    with torch.device("meta"):  # no weights twice in memory
        model = RoutingTransformerForCausalLM(assignment.config)
    state = {target.name: tensor for target, tensor in _tensors(variables, assignment)}
    model.load_state_dict(state, assign=True)
    model.train(False)
    return model


def convert(
    checkpoint: Path | str,
    hparams: Path | str,
    vocabulary: Path | str,
    directory: Path,
    *,
    variables: Variables | None = None,
    progress: Progress | None = None,
) -> Assignment:
    """Write a model directory: configuration, safetensors, tokenizer, manifest.

    Args:
        checkpoint: for example `model.ckpt-100000`, without an ending.
        hparams: the checkpoint's `hparams.json`.
        vocabulary: its subword file.
        directory: where to write; a model there is replaced once the new one is whole.
        variables: the checkpoint's variables, where it is not to be read by TensorFlow.
        progress: called with the number of variables written, and of all.

    Raises:
        HyperparameterError: as `assign`.
        CheckpointError: as `assign`; or a variable cannot be read.
        InputError: the vocabulary is none; or the directory holds something else than a model.
        BuildInProgress: another process writes the same directory.
    """
    variables = variables or TensorFlowCheckpoint(checkpoint)
    assignment = assign(variables, hparams)
    tokenizer = RoutingTransformerTokenizer(str(vocabulary))
    _compare_vocabulary(tokenizer.vocab_size, assignment.config.vocab_size, vocabulary)
    with exclusive(directory), _work_beside(directory) as work:
        _write_shards(work, variables, assignment, progress)
        config = assignment.config
        config.architectures = [RoutingTransformerForCausalLM.__name__]
        config.dtype = torch.float32
        config.save_pretrained(work)
        GenerationConfig.from_model_config(config).save_pretrained(work)
        tokenizer.save_pretrained(work)
        seal(
            work,
            kind=KIND,
            version=VERSION,
            settings={"model": "routing_transformer", "checkpoint": Path(checkpoint).name},
            counts={"variables": len(assignment.targets), "ignored": len(assignment.ignored)},
        )
        replace_directory(work, directory)
    return assignment


def verify(variables: Variables, assignment: Assignment, directory: Path) -> None:
    """Compare a written directory with the checkpoint, byte by byte.

    Raises:
        ArtefactError: the directory is not what was written.
        CheckpointError: a tensor differs from its variable.
    """
    verified_manifest(directory, kind=KIND, version=VERSION, remedy=REMEDY)
    index = json.loads((directory / "model.safetensors.index.json").read_bytes())["weight_map"]
    for target, expected in _tensors(variables, assignment):
        with safe_open(directory / index[target.name], framework="pt") as shard:
            if not torch.equal(shard.get_tensor(target.name), expected):
                raise CheckpointError(
                    f"{target.name} in {directory} differs from the checkpoint; convert it anew "
                    f"with {REMEDY}"
                )


@contextmanager
def _work_beside(directory: Path) -> Iterator[Path]:
    """A new directory to write into, gone after a failure: on a full disk its space is needed.

    Raises:
        InputError: `directory` is a file or holds what no conversion wrote.
    """
    if directory.exists():
        if not directory.is_dir():
            raise InputError("out", f"{directory} is a file; name a new directory")
        foreign = sorted(p.name for p in directory.iterdir() if not _WRITTEN.fullmatch(p.name))
        if foreign:
            raise InputError(
                "out",
                f"{directory} holds {foreign[0]!r}, which no conversion writes, and would be "
                "replaced as a whole; name a new directory or move that file away",
            )
    work = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _compare_vocabulary(subtokens: int, rows: int, vocabulary: Path | str) -> None:
    if subtokens != rows:
        _log.warning(
            "vocab: %s has %d subtokens, but the checkpoint's embedding has %d rows: the model "
            "refuses ids beyond its rows, and writes those beyond the subtokens as no text; check "
            "that it is the checkpoint's own subword file",
            vocabulary,
            subtokens,
            rows,
        )


def _check(
    config: RoutingTransformerConfig, variables: Variables, targets: dict[str, Target]
) -> None:
    with torch.device("meta"):
        expected = {
            name: tuple(tensor.shape)
            for name, tensor in RoutingTransformerForCausalLM(config).state_dict().items()
        }
    problems = []
    found: dict[str, tuple[int, ...]] = {}
    for variable, target in targets.items():
        shape = variables.shapes[variable]
        shape = shape[::-1] if target.transposed else shape
        found[target.name] = shape
        if target.name not in expected:
            problems.append(f"{variable}: the hyperparameters ask for no such variable")
        elif shape != expected[target.name]:
            problems.append(
                f"{variable}: the hyperparameters ask for the shape "
                f"{expected[target.name]} of {target.name}, found {shape}"
            )
    problems += [f"{name}: missing" for name in expected if name not in found]
    if problems:
        listed = "\n  ".join(problems)
        raise CheckpointError(
            f"the checkpoint and its hyperparameters do not fit; use the hparams.json that lies "
            f"beside the checkpoint:\n  {listed}"
        )


def _tensors(variables: Variables, assignment: Assignment) -> Iterator[tuple[Target, Tensor]]:
    for variable, target in assignment.targets.items():
        try:
            tensor = torch.from_numpy(variables.read(variable))
        except Exception as error:  # TensorFlow's own tree, and IndexError for a file cut short
            raise CheckpointError(
                f"cannot read {variable} from the checkpoint: {error}; a data file is missing or "
                "damaged, so copy the checkpoint's files anew"
            ) from error
        yield target, tensor.T.contiguous() if target.transposed else tensor


def _write_shards(
    work: Path, variables: Variables, assignment: Assignment, progress: Progress | None
) -> None:
    weight_map: dict[str, str] = {}
    shard: dict[str, Tensor] = {}
    total = size = number = 0

    def flush() -> None:
        nonlocal shard, size, number
        number += 1
        name = f"model-{number:05}.safetensors"
        with saving_weights():
            save_file(shard, work / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, name))
        shard, size = {}, 0

    for done, (target, tensor) in enumerate(_tensors(variables, assignment), 1):
        if shard and size + tensor.nbytes > SHARD_BYTES:
            flush()
        shard[target.name] = tensor
        size += tensor.nbytes
        total += tensor.nbytes
        if progress is not None:
            progress(done, len(assignment.targets))
    flush()
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (work / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True))
