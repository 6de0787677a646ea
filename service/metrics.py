"""What the service counts and measures, for Prometheus. No label has more than a few values."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from rag_rt.answers import Answer

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100)


class Metrics:
    """A registry of its own, so that several applications may live in one process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._waiting = Gauge("rag_rt_waiting", "Answers that wait for a place.", registry=registry)
        self._running = Gauge("rag_rt_running", "Answers in progress.", registry=registry)
        self._workers = Gauge(
            "rag_rt_workers", "Worker processes that take questions.", registry=registry
        )
        self.worker_starts = Counter(
            "rag_rt_worker_starts", "Worker processes that became ready.", registry=registry
        )
        self.worker_failures = Counter(
            "rag_rt_worker_failures", "Worker processes that could not load.", registry=registry
        )
        self.queue_seconds = Histogram(
            "rag_rt_queue_seconds", "Wait for a place.", buckets=SECONDS, registry=registry
        )
        self.answer_seconds = Histogram(
            "rag_rt_answer_seconds",
            "From a place to the end of the answer.",
            buckets=SECONDS,
            registry=registry,
        )
        self._stages = {
            stage: Histogram(f"rag_rt_{name}_seconds", text, buckets=SECONDS, registry=registry)
            for stage, name, text in (
                ("retrieval", "retrieval", "Search for passages, an answer."),
                ("prompting", "prefill", "Evidence gathered and prompt read, an answer."),
                ("generation", "decode", "Tokens chosen, an answer."),
                ("grounding", "grounding", "Sentences scored, an answer."),
            )
        }
        self._prompt_tokens = Counter(
            "rag_rt_prompt_tokens", "Tokens of prompts of finished answers.", registry=registry
        )
        self._completion_tokens = Counter(
            "rag_rt_completion_tokens", "Tokens of finished answers.", registry=registry
        )
        self._answers = Counter(
            "rag_rt_answers", "Finished answers.", ["status"], registry=registry
        )
        self._sentences = Counter(
            "rag_rt_sentences", "Sentences of finished answers.", ["support"], registry=registry
        )
        self.rejections = Counter(
            "rag_rt_rejections", "Answers refused or ended early.", ["reason"], registry=registry
        )
        self.cancellations = Counter(
            "rag_rt_cancellations", "Answers whose client left.", ["state"], registry=registry
        )
        self.cache_hits = Counter(
            "rag_rt_cache_hits", "Answers told from the cache.", registry=registry
        )
        self.cache_misses = Counter(
            "rag_rt_cache_misses", "Answers that could have been in the cache.", registry=registry
        )
        self.replies = Counter(
            "rag_rt_http_replies", "Replies.", ["route", "status"], registry=registry
        )

    def watch(
        self,
        waiting: Callable[[], float],
        running: Callable[[], float],
        workers: Callable[[], float],
    ) -> None:
        """Read these whenever the metrics are."""
        self._waiting.set_function(waiting)
        self._running.set_function(running)
        self._workers.set_function(workers)

    def finished(self, answer: Answer) -> None:
        """Count an answer that was written."""
        self._answers.labels(answer.status).inc()
        self._prompt_tokens.inc(answer.usage.prompt_tokens)
        self._completion_tokens.inc(answer.usage.completion_tokens)
        for sentence in answer.sentences:
            self._sentences.labels(sentence.support).inc()
        for stage, histogram in self._stages.items():
            histogram.observe(getattr(answer.timings, stage))

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
