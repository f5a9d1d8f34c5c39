"""A model behind an endpoint of OpenAI's protocol: ``/v1/completions`` and ``/v1/chat/completions``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from counterpoint.decoders.choosing.builders import without_context
from counterpoint.decoders.forwards.chats import Chat
from counterpoint.decoders.forwards.encoding import encode_prompt
from counterpoint.eval.choosing import DecoderSpec, parse_decoder
from counterpoint.eval.engines.answers import AnswerError, choices_of, read_scores, written
from counterpoint.eval.engines.client import Client, RefusedError
from counterpoint.eval.engines.concurrent import gathered
from counterpoint.eval.engines.servers import WITHOUT_CONTEXT, Body, kind_of, refuse_several
from counterpoint.rankers.engines import Beginning, Written

FIXED = "The captain looked at the sea for a long time before he said what everyone on board had known since the storm."
"""A text by whose log-probabilities a model is known, whatever its name says."""
FIXED_TOKENS = 16
"""Tokens of the greedy text after it, where a server tells no log-probabilities."""
NEAR = 0.05
"""Nats by which those of one model differ on average, at most: batches and releases of a server change the last digits."""


class Endpoint:
    """A model that a server has; an :class:`~counterpoint.rankers.engines.Engine`.

    What kind of server it is decides what may be sent (:mod:`counterpoint.eval.engines.servers`), and every answer is held against
    what was asked. Prompts go as tokens where ``tokenizer`` is given and the server takes them, so that they are the same as
    in this process; chats go as messages otherwise.

    Args:
        base_url: The server's address, with or without ``/v1``.
        model: The model's name, as the server lists it.
        tokenizer: The model's tokenizer.
        key: Sent as a bearer token.
        concurrency: How many requests are open at a time.

    Raises:
        ValueError: If the server has no such model, or its tokenizer is another one.
        OSError: If it cannot be reached.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        key: str = "",
        concurrency: int = 8,
        client: Client | None = None,
    ) -> None:
        self.client = client or Client(base_url, key)
        self.model, self.tokenizer, self.concurrency = model, tokenizer, concurrency
        self.entry = self._entry()
        self.server = kind_of(self.entry)
        self.takes_ids = self.server.ids and tokenizer is not None
        self.fingerprint = self._fingerprint()
        self._plugged: dict[str, bool] = {}

    @property
    def name(self) -> str:
        """The model's name, as the server lists it."""
        return self.model

    @property
    def context(self) -> int | None:
        """The most tokens of prompt and text together, where the server tells it."""
        found = self.entry.get("max_model_len")
        return found if isinstance(found, int) else None

    def body(self, decoder: DecoderSpec) -> Body:
        """The fields of a request that choose a decoder.

        Raises:
            ValueError: If the server does not have it, with the way out.
        """
        body = self.server.body(decoder)
        if "vllm_xargs" in body:
            self._check_plugin(decoder)
        return body

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
        chosen = self.body(decoder)
        if n > 1 and not self.server.n:
            raise refuse_several(f"n={n}", self.server.name)
        if log_probabilities and not self.server.scores:
            raise ValueError(f"{self.server.name} serve tells no log-probabilities; serve the model by vLLM, or leave out --engine")
        asked = [(prompt, seeds[place] if seeds else None) for place, prompt in enumerate(prompts)]
        return gathered(
            lambda each: self._ask(each[0], chosen, max_new_tokens, n, each[1], stop, log_probabilities), asked, self.concurrency
        )

    def log_probabilities(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Ln p of every token of given continuations; see :class:`~counterpoint.rankers.engines.Engine`."""
        if not (self.server.scores and self.takes_ids):
            raise ValueError(
                f"likelihoods of given texts need a server that takes tokens and tells their log-probabilities, and this one "
                f"({self.server.name}) does not, or --tokenizer is missing; take vLLM with --tokenizer, or leave out --engine"
            )

        def ask(text: tuple[Sequence[int], Sequence[int]]) -> list[float]:
            before, after = text
            whole = [*before, *after]
            return read_scores(self._echo(whole), len(whole))[len(before) - 1 :]

        return gathered(ask, texts, self.concurrency)

    def _ask(
        self, prompt: Beginning, chosen: Body, most: int, n: int, seed: int | None, stop: Sequence[str], scores: bool
    ) -> list[Written]:
        """One request."""
        body: Body = {"model": self.model, "max_tokens": most, **chosen}
        asked = max(n, int(chosen.get("n", 1)))
        if asked > 1:
            body["n"] = asked
        if seed is not None and not body.get("use_beam_search"):
            body["seed"] = seed % 2**31
        if chosen.get("vllm_xargs", {}).get("decoder") in WITHOUT_CONTEXT:
            body["vllm_xargs"] = {**chosen["vllm_xargs"], "without_context": self._question(prompt)}
        if stop:
            body["stop"] = list(stop)
        if self.server.ids:
            body["return_token_ids"] = True
        if isinstance(prompt, Chat):
            body |= {"messages": list(prompt.messages), **({"logprobs": True} if scores else {})}
            if prompt.options:
                body["chat_template_kwargs"] = dict(prompt.options)
            answer = self.client.post("/v1/chat/completions", body)
        else:
            body |= {"prompt": prompt if isinstance(prompt, str) else list(prompt), **({"logprobs": 1} if scores else {})}
            answer = self.client.post("/v1/completions", body)
        return [self._written(answer, choice, asked, scores, most) for choice in choices_of(answer, asked)[:n]]

    def _question(self, prompt: Beginning) -> str | list[int]:
        """A prompt without its context, for the plugin: as tokens where prompts go as tokens."""
        if not isinstance(prompt, str):
            raise ValueError("decoders that leave a context out take texts by an engine, not chats or tokens; leave out --engine")
        question = str(without_context(prompt, ""))
        return encode_prompt(self.tokenizer, question) if self.takes_ids and self.tokenizer is not None else question

    def _written(self, answer: Any, choice: Any, asked: int, scores: bool, most: int) -> Written:
        """One choice, whose tokens are counted by the server, or by the tokenizer where it counts those of all choices together."""
        usage = answer.get("usage")
        tokens = usage.get("completion_tokens") if asked == 1 and isinstance(usage, dict) else None
        if tokens is None and not self.server.ids and self.tokenizer is not None:
            text = choice.get("text", choice.get("message", {}).get("content") or "")
            tokens = min(len(self.tokenizer(text, add_special_tokens=False)["input_ids"]), most)
        return written(choice, tokens=tokens, ids=self.server.ids, log_probabilities=scores, most=most)

    def _echo(self, prompt: str | list[int]) -> Any:
        """The answer with the log-probabilities of a given prompt."""
        ids = {"return_token_ids": True} if self.server.ids else {}
        body = {"model": self.model, "prompt": prompt, "max_tokens": 0, "echo": True, "logprobs": 1, "temperature": 0.0, **ids}
        return self.client.post("/v1/completions", body)

    def _entry(self) -> dict[str, Any]:
        """What the server says of the model; nothing where it lists none."""
        try:
            listed = self.client.get("/v1/models")
        except RefusedError as error:
            if error.status in (401, 403):
                raise ValueError(f"{error}; name the variable that holds the key by api_key_env") from None
            return {}
        entries = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(entries, list):
            raise ValueError(f"base_url={self.client.root}: {self.client.root}/v1/models lists no models; is it OpenAI's protocol?")
        found = next((each for each in entries if each.get("id") == self.model), None)
        if found is None:
            names = ", ".join(str(each.get("id")) for each in entries[:10])
            raise ValueError(f"model {self.model}: {self.client.root} has no such model; it has {names or 'none'}")
        return dict(found)

    def _fingerprint(self) -> str:
        """What the model is known by: log-probabilities of a fixed text, or the greedy text after it."""
        if self.server.scores:
            try:
                answer = self._echo(FIXED)
                scores = read_scores(answer, None)
            except (RefusedError, AnswerError):
                if self.takes_ids:
                    raise
            else:
                self._check_tokenizer(answer)
                return "log-probabilities " + " ".join(f"{each:.3f}" for each in scores)
        greedy = parse_decoder("greedy")
        try:
            ((found,),) = self.write([FIXED], greedy, max_new_tokens=FIXED_TOKENS)
        except RefusedError as error:
            if error.status != 404:
                raise
            chat = Chat(({"role": "user", "content": FIXED},))
            ((found,),) = self.write([chat], greedy, max_new_tokens=FIXED_TOKENS)
        return f"greedy text {found.text!r}"

    def _check_tokenizer(self, answer: Any) -> None:
        """Refuse a tokenizer that makes other tokens of the fixed text than the server does."""
        if not self.takes_ids or self.tokenizer is None:
            return
        (choice,) = choices_of(answer, 1)
        own, theirs = encode_prompt(self.tokenizer, FIXED), choice.get("prompt_token_ids")
        if theirs != own:
            raise ValueError(
                f"tokenizer={self.tokenizer.name_or_path} is not that of the server's {self.model}: {FIXED!r} is {own[:8]}... by "
                f"it, and {str(theirs)[:40]}... by the server; name the model's own"
            )

    def _check_plugin(self, decoder: DecoderSpec) -> None:
        """Refuse a contrast where no logits processor reads it: a name that there is not is refused only where one does."""
        if "plugin" not in self._plugged:
            body = {"model": self.model, "prompt": FIXED, "max_tokens": 1, "temperature": 0.0, "vllm_xargs": {"decoder": NOBODY}}
            try:
                self.client.post("/v1/completions", body)
            except RefusedError as error:
                if error.status not in (400, 422):
                    raise
                self._plugged["plugin"] = True
            else:
                self._plugged["plugin"] = False
        if not self._plugged["plugin"]:
            raise ValueError(
                f"decoder {decoder.name}: this vLLM ignores vllm_xargs: start it with --logits-processors "
                "counterpoint.eval.engines.vllm:ContrastProcessor, or leave out --engine"
            )


NOBODY = "no_such_decoder"
"""A name that no plugin knows."""


def same_model(one: str, other: str) -> bool:
    """Whether two fingerprints are of one model.

    Example:
        >>> from counterpoint.eval.engines.endpoint import same_model
        >>> same_model("log-probabilities -1.000 -2.000", "log-probabilities -1.010 -1.990")
        True
        >>> same_model("log-probabilities -1.000 -2.000", "log-probabilities -1.500 -2.000")
        False
    """
    if not (one.startswith("log-probabilities ") and other.startswith("log-probabilities ")):
        return one == other
    own, others = ([float(each) for each in text.split()[1:]] for text in (one, other))
    if len(own) != len(others):
        return False
    return sum(abs(a - b) for a, b in zip(own, others, strict=True)) <= NEAR * len(own)
