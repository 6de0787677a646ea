"""The starter generator: SmolLM2-135M-Instruct, from GGUF to bfloat16 safetensors, once.

The starter pack carries the weights quantised to 4 bits (Q4_1). Reading them takes transformers
about 15 seconds; the 269 MB written here load in a third of a second.
"""

import io
import shutil
from contextlib import redirect_stderr
from pathlib import Path

from rag_rt.models.saving import saving_weights
from retriever import starter_pack
from retriever.artefacts import (
    exclusive,
    replace_directory,
    seal,
    verified_manifest,
)
from retriever.errors import ArtefactError

NAME = "SmolLM2-135M-Instruct"
KIND = "model"
VERSION = 1
REMEDY = "'rag-rt setup'"


def starter_generator(models: Path) -> Path:
    """The folder of the prepared starter generator, every byte of it checked.

    Raises:
        ArtefactError: it was not prepared, or is damaged.
    """
    directory = models / NAME
    verified_manifest(directory, kind=KIND, version=VERSION, remedy=REMEDY)
    return directory


def is_prepared(models: Path) -> bool:
    """Whether the prepared weights are there, whole, and made from the installed starter pack."""
    try:
        manifest = verified_manifest(models / NAME, kind=KIND, version=VERSION, remedy=REMEDY)
    except ArtefactError:
        return False
    return manifest.settings == _settings()


def prepare_starter_generator(models: Path) -> None:
    """Write the starter generator's weights and tokenizer as transformers reads them fastest.

    Raises:
        StarterPackMissing: the package that carries the weights is not installed.
        BuildInProgress: another process prepares the same folder.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    gguf = starter_pack.locate(starter_pack.GENERATOR)
    directory = models / NAME
    with exclusive(directory):
        work = directory.with_name(f"{NAME}.partial")
        shutil.rmtree(work, ignore_errors=True)
        with redirect_stderr(io.StringIO()):  # a bar that covers 2 of the 25 seconds
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                gguf_file=gguf.name,
                dtype=torch.bfloat16,
                quantization_config=GgufConfig(dequantize=True),
            )
        with saving_weights():
            model.save_pretrained(work)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(work)
        counts = {"parameters": model.num_parameters()}
        seal(work, kind=KIND, version=VERSION, settings=_settings(), counts=counts)
        replace_directory(work, directory)


def _settings() -> dict[str, str]:
    version = starter_pack.version(starter_pack.GENERATOR)
    return {"model": NAME, "made_from": f"{starter_pack.GENERATOR}=={version}", "dtype": "bfloat16"}
