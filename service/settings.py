"""Settings of the service, from `RAG_RT_SERVICE_…` environment variables."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from rag_rt.settings import from_environment


class ServiceSettings(BaseSettings):
    """Each field is the environment variable `RAG_RT_SERVICE_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="RAG_RT_SERVICE_", frozen=True)

    workers: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="processes that answer, each with the models (1.5 GB) and its share of the "
        "threads; by default two, one where there is a single core",
    )
    running: int = Field(default=8, ge=1, le=64, description="answers in progress together")
    waiting: int = Field(
        default=16, ge=0, le=4096, description="answers that wait for a place; the next gets 429"
    )
    timeout_s: float = Field(
        default=120, gt=0, le=3600, description="seconds that an answer may take, where not asked"
    )
    max_timeout_s: float = Field(
        default=600, gt=0, le=3600, description="seconds that a request may ask for"
    )
    grace_s: float = Field(
        default=10, ge=0, le=600, description="seconds that running answers get after SIGTERM"
    )
    heartbeat_s: float = Field(
        default=15, gt=0, le=600, description="seconds of silence before a comment in a stream"
    )
    patience_s: float = Field(
        default=20,
        gt=0,
        le=600,
        description="seconds a client may take to send a request, or to take a piece of its reply",
    )
    hang_s: float = Field(
        default=60, gt=0, le=600, description="seconds of silence after which a worker is replaced"
    )
    connections: int = Field(
        default=512, ge=8, le=65536, description="open connections; the next gets 503"
    )
    cache_answers: int = Field(
        default=256, ge=0, le=100_000, description="finished answers kept; 0: none"
    )
    cache_mb: float = Field(
        default=64, ge=0, le=65536, description="memory of kept answers, in MB of JSON"
    )
    origins: str = Field(
        default="",
        description="web origins that may call the API, with commas between; none: CORS off",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="what is logged, from this level up"
    )
    log_questions: bool = Field(default=False, description="whether logs hold questions")


def load_service_settings() -> ServiceSettings:
    """The settings of this process.

    Raises:
        SettingsError: a variable does not hold what it must; the message names it.
    """
    return from_environment(ServiceSettings)
