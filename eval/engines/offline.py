"""vLLM's ``LLM`` in this process as an engine, in an environment that has vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from counterpoint.decoders.forwards.chats import Chat
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.engines.answers import AnswerError, checked
from counterpoint.eval.engines.servers import vllm_body
from counterpoint.rankers.engines import Beginning, Written


class VllmEngine:
    """A ``vllm.LLM``; an :class:`~counterpoint.rankers.engines.Engine`.

    Prompts of a call are one batch of vLLM's. Its beam search is a call of its own, which this is not: it is refused by name.

    Args:
        llm: The ``vllm.LLM``; with ``logits_processors=["counterpoint.eval.engines.vllm:ContrastProcessor"]`` it takes contrasts.

    Example:
        Written with ``engine = VllmEngine(vllm.LLM("gpt2"))``, the calls are those of
        :class:`~counterpoint.eval.engines.in_process.HuggingFaceEngine`.
    """

    def __init__(self, llm: Any) -> None:
        self.llm = llm

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.llm.llm_engine.model_config.model)

    def write(
        self,
        prompts: Sequence[Beginning],
        decoder: DecoderSpec,
        *,
        max_new_tokens: int,
        n: int = 1,
        seeds: Sequence[int] = (),
        stop: Sequence[str] = (),
        log_probabilities: bool = False,
    ) -> list[list[Written]]:
        """Continue each prompt ``n`` times; see :class:`~counterpoint.rankers.engines.Engine`."""
        from vllm import SamplingParams  # whoever has an LLM has it

        fields = vllm_body(decoder)
        if "use_beam_search" in fields:
            raise ValueError("decoder beam: LLM.generate has no beams; call llm.beam_search, or take an endpoint")
        if "vllm_xargs" in fields:
            fields["extra_args"] = fields.pop("vllm_xargs")
        settings = {
            **fields,
            "max_tokens": max_new_tokens,
            "n": n,
            "stop": list(stop),
            "logprobs": 0 if log_probabilities else None,
        }
        params = [SamplingParams(**settings, seed=seeds[place] % 2**31 if seeds else None) for place in range(len(prompts))]
        outputs = self.llm.generate([self._prompt(each) for each in prompts], params, use_tqdm=False)
        return [[self._written(each, log_probabilities) for each in output.outputs] for output in outputs]

    def log_probabilities(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Ln p of every token of given continuations; see :class:`~counterpoint.rankers.engines.Engine`."""
        from vllm import SamplingParams

        params = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)
        whole = [{"prompt_token_ids": [*before, *after]} for before, after in texts]
        outputs = self.llm.generate(whole, params, use_tqdm=False)
        found = []
        for (before, after), output in zip(texts, outputs, strict=True):
            given = output.prompt_logprobs or []
            if len(given) != len(before) + len(after):
                raise AnswerError(f"vLLM gave {len(given)} log-probabilities for {len(before) + len(after)} tokens")
            own = zip(after, given[len(before) :], strict=True)
            found.append(checked([each[token].logprob for token, each in own]))
        return found

    def _prompt(self, prompt: Beginning) -> Any:
        if isinstance(prompt, Chat):
            return {"prompt_token_ids": prompt.ids(self.llm.get_tokenizer())}
        return prompt if isinstance(prompt, str) else {"prompt_token_ids": list(prompt)}

    def _written(self, output: Any, scores: bool) -> Written:
        """A completion of vLLM's."""
        ids = tuple(output.token_ids)
        told = tuple(checked([each[token].logprob for token, each in zip(ids, output.logprobs, strict=True)])) if scores else None
        return Written(output.text, len(ids), output.finish_reason == "stop", ids, told)
