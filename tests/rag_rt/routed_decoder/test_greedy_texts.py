"""The starter model's greedy texts, token for token those of transformers, on real prompts."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rag_rt.choosing import Sampling
from rag_rt.generation import Generator
from rag_rt.models.starter import starter_generator
from rag_rt.prompting import Prompt
from rag_rt.settings import Settings
from retriever.index import Index

PROMPTS = 50
TOKENS = 200


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_greedy_texts_in_float32_are_those_of_transformers(settings: Settings) -> None:
    """One pass of transformers over prompt and text gives the token that it takes at each place."""
    folder = str(starter_generator(settings.models_directory))
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    generator = Generator(folder, "starter", "float32")
    snapshot = Index(settings.index_directory).current()
    for passage in snapshot.take(range(0, len(snapshot), len(snapshot) // PROMPTS)):
        request = f"Explain {passage.title} in one paragraph, from this:\n\n{passage.text}"
        prompt = Prompt(({"role": "user", "content": request},))
        batch = generator.new_batch()
        writing = generator.join(batch, prompt, Sampling(max_tokens=TOKENS))
        while writing.finish_reason is None:
            batch.advance()
        ids = generator.prompt_ids(prompt)
        with torch.inference_mode():
            logits = model(torch.tensor([ids + list(writing.tokens)])).logits[0, len(ids) - 1 :]
        chosen = logits.argmax(dim=1).tolist()
        assert chosen[: len(writing.tokens)] == list(writing.tokens), passage.title
        if len(writing.tokens) < TOKENS:
            assert chosen[-1] == model.generation_config.eos_token_id
