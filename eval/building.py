"""From a choice to what runs: amateurs and rankers are loaded, and the rest is built as in Python."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import LogitsProcessor, PreTrainedModel

from counterpoint.decoders.amateurs.adapters import AdapterAmateur
from counterpoint.decoders.amateurs.models import ModelAmateur
from counterpoint.decoders.choosing import front_door
from counterpoint.decoders.choosing.own import resolve
from counterpoint.decoders.forwards.chats import Chat, Prompt, shown
from counterpoint.eval.chat_ranking import ChatRanker
from counterpoint.eval.choosing import DecoderSpec, RankerSpec
from counterpoint.eval.embedded import AMATEUR, EXPERT
from counterpoint.eval.engines.served import AnyModel, Served
from counterpoint.eval.loading import Loaded, choose_device, load, takes_pictures
from counterpoint.eval.pictures import processor_of
from counterpoint.rankers.base import Ranker
from counterpoint.rankers.causal import CausalRanker
from counterpoint.rankers.combination import CombinedRanker
from counterpoint.rankers.engine_likelihood import EngineLikelihoodRanker
from counterpoint.rankers.weight_files import refusals

ChatsFor = Callable[[AnyModel], Mapping[str, Chat]]
"""Chats by their words, for a language model that ranks."""

Model = Callable[[], AnyModel]
"""Loads the model of ``--model``, or gives it if it is loaded already."""


def generate_arguments(spec: DecoderSpec, loaded: Loaded, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """What ``generate`` takes for a decoder that continues these prompts.

    Raises:
        ValueError: If the decoder refuses the model or its parameters, or an amateur or ranker cannot be loaded.
        FileNotFoundError: If there is no such amateur or adapter.
        ImportError: If an adapter is named and PEFT is not installed.
    """
    if "ranker" in spec.row.needs:
        return ranked_arguments(spec, loaded, prompts)
    amateur = model_amateur_of(spec, loaded)
    try:
        return front_door.generate_arguments(
            spec, loaded.model, loaded.tokenizer, amateur=amateur, prompts=prompts, processor=processor_for(spec, loaded)
        )
    except (ValueError, ImportError) as error:
        raise ValueError(f"decoder {spec}: {error}") from error


def ranked_arguments(spec: DecoderSpec, loaded: Loaded, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """What ``generate`` takes for a decoder whose ranker chooses among another decoder's proposals."""
    values: dict[str, Any] = dict(spec.values)
    loaded.chats.update({each.shown(): each for each in prompts if isinstance(each, Chat)})
    (proposals,), rankers = values.pop("proposals"), values.pop("ranker")
    arguments = generate_arguments(proposals, loaded, prompts)
    if proposals.name == "beam":  # all beams are candidates
        values.pop("candidates")
        arguments["num_return_sequences"] = arguments["num_beams"]
    ranker = loaded.keep(
        f"ranker {spec.written()['ranker']}",
        lambda: load_ranker(rankers, lambda: loaded, str(loaded.model.device), loaded.trust_remote_code, lambda _: loaded.chats),
    )
    if "round_ends" in values:
        values["round_ends"] = values["round_ends"].replace("\\n", "\n")
    target = resolve(spec.row.target)
    read = {"prefixes": [shown(each) for each in prompts]} if loaded.chats else {}  # a ranker reads words, not a template
    return {**arguments, **values, **read, "custom_generate": target, "ranker": ranker, "processing_class": loaded.tokenizer}


def scoring_processors(spec: DecoderSpec, loaded: Loaded, prompts: Sequence[Prompt]) -> list[LogitsProcessor]:
    """All that changes the model's scores where given texts are scored.

    Raises:
        ValueError: As :func:`generate_arguments` does.
    """
    amateur = model_amateur_of(spec, loaded)
    try:
        return front_door.scoring_processors(
            spec, loaded.model, loaded.tokenizer, amateur=amateur, prompts=prompts, processor=processor_for(spec, loaded)
        )
    except (ValueError, ImportError) as error:
        raise ValueError(f"decoder {spec}: {error}") from error


def processor_for(spec: DecoderSpec, loaded: Loaded) -> Any:
    """The model's processor, for decoders that show it pictures.

    Raises:
        ValueError: If the model reads text alone.
    """
    if "processor" not in spec.row.needs:
        return None
    if not takes_pictures(loaded.model.config):
        raise ValueError(f"decoder {spec}: {type(loaded.model).__name__} reads no images; take an image-text model")
    return processor_of(loaded)


def model_amateur_of(spec: DecoderSpec, loaded: Loaded) -> ModelAmateur | None:
    """The amateur that is a model or an adapter; beside the embedded expert it is the embedded amateur unless another is given."""
    if "amateur" not in spec.row.needs:
        return None
    values: dict[str, Any] = dict(spec.values)
    model, adapter = values.get("amateur", ""), values.get("amateur_adapter", "")
    if not model and not adapter and not values.get("amateur_prompt") and loaded.name == str(EXPERT):
        model = str(AMATEUR)
    if not model and not adapter:
        return None
    return loaded.keep(f"amateur {model} {adapter}", lambda: load_amateur(loaded, model, adapter))


def load_amateur(loaded: Loaded, name: str, adapter: str) -> ModelAmateur:
    """Another model, with an adapter merged into it or not, or the expert under an adapter."""
    if not name:
        tuned = with_adapter(loaded.model, adapter)
        tuned.base_model.disable_adapter_layers()  # for the expert
        return AdapterAmateur(tuned)
    dtype = str(loaded.model.dtype).removeprefix("torch.")
    amateur = load(name, str(loaded.model.device), dtype, loaded.trust_remote_code)
    model = with_adapter(amateur.model, adapter).merge_and_unload() if adapter else amateur.model
    return ModelAmateur(model, tokenizer=amateur.tokenizer, expert_tokenizer=loaded.tokenizer)


def with_adapter(model: PreTrainedModel, adapter: str) -> Any:
    """The model with an adapter of PEFT loaded into it, all of whose weights are in the folder and all of them used.

    Raises:
        ImportError: Without PEFT.
        FileNotFoundError: If there is no such folder.
        ValueError: If the adapter cannot be read, or is another model's.
    """
    try:
        from peft import PeftModel, get_peft_model_state_dict, load_peft_weights
    except ImportError as error:
        raise ImportError("amateur_adapter needs PEFT: pip install 'counterpoint[adapters]'") from error
    if not Path(adapter).is_dir():
        raise FileNotFoundError(f"amateur_adapter={adapter}: no such folder; it is what save_pretrained() of a PeftModel writes")
    with refusals(f"amateur_adapter={adapter}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that are missing, which is an error here
        found = load_peft_weights(adapter, device="cpu").keys()
        tuned = PeftModel.from_pretrained(model, adapter)
    own, known = (get_peft_model_state_dict(tuned, save_embedding_layers=also).keys() for also in (False, True))
    missing, unknown = sorted(own - found), sorted(found - known)
    if missing or unknown:
        raise ValueError(
            f"amateur_adapter={adapter} is not an adapter of this {type(model).__name__}: {len(missing)} of its {len(own)} weights "
            f"are missing and {len(unknown)} are unknown, {[*missing, *unknown][0]} first; was it trained for another model?"
        )
    return tuned


def load_ranker(
    specs: Sequence[RankerSpec],
    model: Model,
    device: str | None,
    trust_remote_code: bool = False,
    chats_for: ChatsFor | None = None,
) -> Ranker:
    """The ranker that is chosen, or the combination of several.

    Args:
        specs: Choices of one ranker or more.
        model: The language model, for those that score by it.
        device: As for :func:`~counterpoint.eval.loading.choose_device`.
        trust_remote_code: Whether code that comes with the rankers' models may run.
        chats_for: Gives the chats that a language model reads in place of their words.

    Raises:
        ValueError: If one cannot be loaded, or refuses its parameters, or the weights do not combine.
    """
    rankers = []
    for spec in specs:
        try:
            rankers.append(build_ranker(spec, model, device, trust_remote_code, chats_for))
        except (ValueError, OSError, ImportError) as error:
            raise ValueError(f"ranker {spec}: {error}") from error
    weights = [float(spec.values.get("weight", 1.0)) for spec in specs]  # type: ignore[arg-type]
    if weights == [1.0]:
        return rankers[0]
    return CombinedRanker(rankers, weights=weights)


def build_ranker(
    spec: RankerSpec, model: Model, device: str | None, trust_remote_code: bool, chats_for: ChatsFor | None = None
) -> Ranker:
    """One ranker, by its target's signature."""
    target = resolve(spec.row.target)
    values: dict[str, Any] = {name: value for name, value in spec.values.items() if name != "weight"}
    if "model" in spec.row.needs:
        path = values.pop("path", "")
        loaded = load(path, device, "auto", trust_remote_code) if path else model()
        if isinstance(loaded, Served):
            served = served_ranker(spec, loaded)
            return ChatRanker(served, chats_for(loaded)) if chats_for and served.tokenizer.chat_template else served
        values |= {"model": loaded.model, "tokenizer": loaded.tokenizer}
        if "decoder" in values:
            (decoder,) = values["decoder"]
            values["decoder"] = scoring_processors(decoder, loaded, [])
    if "ranker" in values:
        nested = values["ranker"]
        values["ranker"] = load_ranker(nested, model, device, trust_remote_code, chats_for) if nested else None
    signature = inspect.signature(target).parameters
    if "device" in signature:
        values["device"] = choose_device(device)
    values["trust_remote_code"] = trust_remote_code
    ranker: Ranker = target(**{name: value for name, value in values.items() if name in signature})
    if isinstance(ranker, CausalRanker) and chats_for and ranker.tokenizer.chat_template:
        return ChatRanker(ranker, chats_for(loaded))
    return ranker


def served_ranker(spec: RankerSpec, served: Served) -> EngineLikelihoodRanker:
    """The likelihood ranker over a served model.

    Raises:
        ValueError: For other rankers by a language model, whose logits no server gives, and for a likelihood under a decoder.
    """
    if spec.name != "likelihood":
        raise ValueError(
            f"{spec.name} reads whole distributions, which no server gives: give it a model of its own, {spec.name}:path=..."
        )
    decoder: Any = spec.values["decoder"]
    if str(decoder[0]) != "greedy":
        raise ValueError(f"decoder={decoder[0]}: a server tells the model's own likelihood alone; leave it out, or give path=...")
    if served.tokenizer is None or not (served.endpoint.takes_ids and served.endpoint.server.scores):
        raise ValueError(
            "likelihood needs a server that takes tokens and tells their log-probabilities (vLLM), and --tokenizer PATH; or a "
            "model of its own, likelihood:path=..."
        )
    return EngineLikelihoodRanker(served.endpoint, served.tokenizer, form=str(spec.values["form"]))
