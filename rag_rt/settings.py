"""Settings: what runs where, from `RAG_RT_…` environment variables."""

from pathlib import Path
from typing import Literal, TypeVar

from platformdirs import user_data_path
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from rag_rt.errors import SettingsError
from retriever.encoder_names import ENCODER_NAMES
from retriever.index_names import INDEX_NAMES


def _default_home() -> Path:
    """`data` in a checkout of the project, else the user's data directory."""
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").is_file():
        return checkout / "data"
    return user_data_path("rag-rt")


class Settings(BaseSettings):
    """Each field is the environment variable `RAG_RT_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="RAG_RT_", frozen=True)

    home: Path = Field(
        default_factory=_default_home, description="where prepared models and indexes live"
    )
    index: Path | None = Field(
        default=None, description="the index directory; by default HOME/index"
    )
    retriever: str = Field(default="local", description=INDEX_NAMES)
    encoder: str = Field(
        default="starter",
        description=ENCODER_NAMES,
    )
    encoder_precision: Literal["auto", "float32", "bfloat16", "int8"] = Field(
        default="auto",
        description="that the encoder computes in; 'auto' takes bfloat16 where the processor "
        "multiplies it natively, 'int8' a quarter of float32's memory",
    )
    encoder_device: Literal["cpu", "cuda"] = Field(
        default="cpu", description="that the encoder computes on"
    )
    reranker: str | None = Field(
        default=None,
        description="the folder or Hugging Face Hub id of a cross-encoder, which then orders what "
        "is found; by default nothing does",
    )
    generator: str = Field(
        default="starter",
        description="'starter', a folder, or a Hugging Face Hub id of a causal language model",
    )
    precision: Literal["auto", "float32", "bfloat16", "int8", "int4"] = Field(
        default="auto",
        description="of the generator's weights while it writes; 'auto' takes 4 bits where the "
        "weights had no more before, else 8; for models that only transformers runs, their own",
    )
    prompt: Literal["auto", "rewrite", "passages"] = Field(
        default="auto", description="the prompt form; 'auto' chooses by the generator's size"
    )
    min_relevance: float = Field(
        default=0.45,
        ge=-1,
        le=1,
        description="cosine of the best passage below which a question counts as not covered",
    )
    entailment: str = Field(
        default="starter",
        description="'starter', or the folder or Hugging Face Hub id of a model of natural "
        "language inference, which then gives the probability of support",
    )
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="processor threads; by default all cores"
    )

    @property
    def index_directory(self) -> Path:
        """The index that answers are drawn from."""
        return self.index or self.home / "index"

    @property
    def models_directory(self) -> Path:
        """Where prepared models live."""
        return self.home / "models"


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: a variable does not hold what it must; the message names it.
    """
    return from_environment(Settings)


Kind = TypeVar("Kind", bound=BaseSettings)


def from_environment(kind: type[Kind]) -> Kind:
    """Settings of a kind without secrets, from the variables that begin with its prefix.

    Raises:
        SettingsError: a variable does not hold what it must; the message names it.
    """
    try:
        return kind()
    except ValidationError as error:
        prefix = kind.model_config.get("env_prefix", "")
        problems = "; ".join(
            f"{prefix}{'_'.join(map(str, problem['loc'])).upper()} is "
            f"{problem['input']!r}: {problem['msg']}"
            for problem in error.errors()
        )
        raise SettingsError(f"{problems}; correct or unset it") from None
