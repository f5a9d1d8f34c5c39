"""Tiny random models of every family that transformers can generate with, made from the default configurations.

A configuration's default settings are shrunk by :data:`RULES`, which go by the settings' names; :data:`OWN` has what a family needs
besides. :func:`names` lists the families of the installed release as ``model_type:Class``, and :func:`build` makes one or raises
:class:`NotBuiltError`.
"""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
import transformers
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoModel,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from transformers.models.auto import modeling_auto

WIDTH, HEADS, HEAD, DEPTH = 64, 4, 16, 3
VOCABULARY, POSITIONS, WINDOW = 128, 256, 8
PAD, BOS, EOS, FIRST_WORD, WORDS = 0, 1, 2, 4, 100
"""Ids of words are those from ``FIRST_WORD`` to below ``WORDS``; those of images, sounds and the like lie above."""
GAIN, SPREAD = 1.3, 2.5
LARGEST = 30_000_000
"""Parameters of a model that is still tiny."""

MAPPINGS = {
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "image-text": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "text to text": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "speech to text": "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
}

RULES: list[tuple[str, int]] = [
    (r"(.*_)?vocab(ulary)?(_size)?(_per_layer_input|_base)?", VOCABULARY),
    (r"pad_token_id", PAD),
    (r"(bos|cls|decoder_start)_token_id", BOS),
    (r"(eos|sep)_token_id", EOS),
    (r"num_hidden_layers|n_layers?|num_(decoder_|encoder_)?layers|(en|de)coder_layers|depth|num_blocks", DEPTH),
    (r"(swa_|num_|n_)*(global_)?(key_value|kv)_heads|kv_n_heads", 2),
    (r"(num_|n_|(en|de)coder_|swa_|num_(en|de)coder_)*(attention_)?heads?", HEADS),
    (r"qk_(rope|nope)_head_dim|(swa_)?v_head_dim|(linear|kda)_.*head_dim|lightning_head_dim", 8),
    (r"((q|kv|o)_lora_rank|index_head_dim)", 16),
    (r"(global_|swa_|attention_)?head_dim|d_kv|kv_channels|attention_head_size", HEAD),
    (r"index_(n|num)_heads|linear_num_value_heads", 4),
    (r"index_topk", 64),
    (r"linear_num_key_heads", 2),
    (r".*(intermediate_size|ffn_dim|d_ff|n_inner|ffn_(hidden_)?size|feedforward(_dim)?|mlp_dim|ffn_hidden|d_ffn).*", 2 * WIDTH),
    (r"hidden_size_per_layer_input", 2 * WIDTH),
    (r"(.*_)?max_(source_|target_)?position(s|_embeddings)|n_positions|n_ctx|max_seq(uence)?_len(gth)?|context_length", POSITIONS),
    (r"(moe_)?(num_|n_)(local_|routed_|primary_)*experts|moe_num_(primary_)?experts", 4),
    (r"num_experts_per_tok(en)?|moe_top_?k|moe_k|top_k_experts|experts_per_token|(n|num|num_expert)_group", 2),
    (r"topk_group|first_k_dense(_replace)?|num_dense_layers", 1),
    (r"(attention_)?(sliding_)?window(_size)?|attention_chunk_size|local_attention|attention_window_size", WINDOW),
    (r"(mamba_)?d_state|(ssm_)?state_size|(mamba_|n_mamba_)n?_?(num_)?heads|mamba_(d_head|head_dim)", 8),
    (r"mamba_n_groups|n_groups|mamba_ngroups", 2),
    (r"(mamba_)?chunk_size", 16),
    (
        r"hidden_size(_global)?|codebook_dim|d_model|n_embd|n_embed|(embed|emb|embedding|model|hidden)?_?dim|embedding_size|word_embed_proj_dim|lru_width",
        WIDTH,
    ),
    (r"((de|en)coder|out|projector)_hidden_size|(projection|output|proj|out|vision_output|connector)_dim", WIDTH),
]
"""What is set, by a whole name: the first that fits. Settings that are no number by default stay as they are."""
VISION: list[tuple[str, int]] = [(r"image_size", 28), (r"patch_size", 14), (r"base_channels", 32), (RULES[4][0], 2)]
"""What comes before them in the part of a model that sees or hears."""
OTHER_SENSES = re.compile("vision|audio|image|speech|vq|qformer|codec|depth|encoder_config|tokenizer", re.IGNORECASE)
ONLY_LARGER = re.compile(r".*(experts|top_?k|group|groups|n_group|chunk_size|heads)")
"""Settings whose default of 0 or 1 means that there is no such thing."""

MROPE = dict(rope_type="default", mrope_section=[2, 3, 3], rope_theta=10000.0)
T5 = dict(decoder_start_token_id=PAD)
BY_KIND = {"full_attention": dict(rope_type="default", rope_theta=10000.0, mrope_section=[2, 3, 3])}
QSA = dict(indexer_n_heads=2, indexer_kv_heads=1, indexer_head_dim=HEAD, indexer_budget=64, indexer_compress_ratio=4)
SHARED_KEYS = dict(
    num_hidden_layers=4,
    layer_types=["sliding_attention", "full_attention"] * 2,
    num_kv_shared_layers=2,
    activation_sparsity_pattern=[0.5, 0.0, 0.0, 0.0],
)
ALIKE = dict(per_layer_config={}, head_dim=16)
CROSS = dict(is_decoder=True, add_cross_attention=True)
FILTERS = dict(num_filters=2)
THINKERS = ("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker")
HYBRID = dict(mamba_n_heads=16, mamba_n_groups=1, mamba_expand=2)
OWN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("t5", "udop", "mt5", "umt5", "longt5", "switch_transformers"), T5),
    **{name: dict(text_config=dict(rope_parameters=MROPE)) for name in ("qwen2_vl", "qwen2_5_vl", "paddleocr_vl")},
    **{
        name: dict(text_config=dict(head_dim=HEAD, rope_parameters=dict(MROPE, partial_rotary_factor=1.0)))
        for name in ("glm4v", "glm4v_moe", "glm46v", "glm_ocr", "glmga")
    },
    **{name: dict(head_dim=HEAD) for name in ("hunyuan_v1_dense", "hunyuan_v1_moe", "ministral")},
    "gemma3": dict(mm_tokens_per_image=4),
    "mistral3": dict(vision_config=dict(image_size=56)),
    "paligemma": dict(text_config=dict(num_key_value_heads=1)),
    "hunyuan_vl": dict(text_config=dict(head_dim=HEAD, rope_parameters=MROPE)),
    "bamba": dict(HYBRID, attn_layer_indices=[1], attn_rotary_emb=HEAD),
    "granitemoehybrid": dict(HYBRID, layer_types=["mamba", "attention", "mamba"]),
    "falcon_h1": dict(mamba_d_ssm=WIDTH, mamba_n_groups=1, lm_head_multiplier=0.5),
    "jamba": dict(
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        use_mamba_kernels=False,
        mamba_dt_rank=4,
    ),
    "mamba2": dict(num_heads=8, head_dim=16, n_groups=2, expand=2),
    "gpt_neo": dict(num_layers=4, attention_types=[[["global", "local"], 2]]),
    "lfm2_moe": dict(layer_types=["conv", "full_attention", "conv"]),
    "gemma3n_text": SHARED_KEYS,
    "gemma3n": dict(text_config=SHARED_KEYS),
    "fast_vlm": dict(vision_config=dict(hidden_size=WIDTH)),
    "perception_lm": dict(vision_config=dict(model_args=dict(embed_dim=WIDTH))),
    "gemma4_assistant": dict(
        hidden_size_per_layer_input=0, text_config=dict(model_type="gemma4_text", hidden_size_per_layer_input=0)
    ),
    "xlstm": dict(num_heads=4, embedding_dim=WIDTH, num_blocks=3, qk_dim_factor=1.0, v_dim_factor=1.0),
    "dots1": dict(
        **dict(n_routed_experts=4, num_experts_per_tok=2, n_group=2, topk_group=1, moe_intermediate_size=32),
        **dict(n_shared_experts=1, first_k_dense_replace=1, routed_scaling_factor=1.0),
    ),
    "nemotron": dict(num_key_value_heads=2),
    **dict.fromkeys(("dots3_note_text", "dots3_note:Dots3NoteForCausalLM"), ALIKE),
    "dots3_note:Dots3NoteForConditionalGeneration": dict(text_config=ALIKE),
    "apertus1p5": dict(text_config=dict(vocab_size=4 * WIDTH), image_token_offset=2 * WIDTH, audio_token_offset=3 * WIDTH),
    "nemo_speechlm": dict(audio_config=dict(diarization_config=dict(head_config=dict(audio_hidden_size=WIDTH)))),
    "encoder-decoder": dict(decoder_start_token_id=BOS, decoder=CROSS),
    "vision-encoder-decoder": dict(decoder_start_token_id=BOS, decoder=CROSS),
    "speech-encoder-decoder": dict(decoder_start_token_id=BOS, decoder=CROSS),
    "zaya": dict(num_experts_per_tok=1),
    "chameleon": dict(vocabulary_map={"<image>": 120}),
    "deepseek_v2": dict(n_routed_experts=4, num_experts_per_tok=2, n_group=2, topk_group=1),
    "reformer": dict(
        axial_pos_embds_dim=(32, 32), axial_pos_shape=(16, 16), attn_layers=["local", "lsh", "local", "lsh"], num_hidden_layers=4
    ),
    "dbrx": dict(
        attn_config=dict(kv_n_heads=2, clip_qkv=8.0, rope_theta=10000.0),
        ffn_config=dict(ffn_hidden_size=WIDTH, moe_num_experts=4, moe_top_k=2),
    ),
    "longcat_flash": dict(head_dim=8, num_layers=2),
    "ernie4_5_vl_moe": dict(
        text_config=dict(
            moe_intermediate_size=[32, 32],
            mlp_layer_types=["dense", "sparse", "sparse"],
            rope_parameters=dict(MROPE, mrope_section=[3, 3, 2]),
        )
    ),
    "cohere_compass_text": dict(rope_parameters=BY_KIND),
    "cohere_compass": dict(text_config=dict(rope_parameters=BY_KIND), vision_config=dict(deepstack_visual_indexes=[1])),
    "dory": dict(
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        **dict(n_input_layers=1, n_recurrent_layers=1, n_output_layers=1),
    ),
    "zamba": dict(
        layers_block_type=["linear_attention", "hybrid", "hybrid"], attention_hidden_size=2 * WIDTH, attention_head_dim=2 * HEAD
    ),
    **dict.fromkeys(("qwen4_exp_text", "qwen4_exp:Qwen4ExpForCausalLM"), QSA),
    "qwen4_exp:Qwen4ExpForConditionalGeneration": dict(text_config=QSA),
    "deepseek_ocr2": dict(text_config=dict(mlp_layer_types=["dense", "sparse", "sparse"], num_experts_per_tok=2)),
    "granite4_vision": dict(downsample_rate="1/2", deepstack_layer_map=[[-1, 0]], spatial_target_layers=[1]),
    "step3p7": dict(text_config=dict(sliding_window=WINDOW)),
    "glm5_next": dict(text_config=dict(qk_rope_head_dim=0, head_dim=0)),
    "molmo2": dict(adapter_config=dict(vision_feature_layer=[1, 0])),
    "nemotron_h_omni": dict(vision_config=dict(video_temporal_patch_size=2)),
    "emu3:Emu3ForConditionalGeneration": dict(vocabulary_map={"<image>": 120}),
    **{name: dict(vision_start_token_id=118, audio_start_token_id=119) for name in THINKERS},
    "qwen2_5_omni_thinker:Qwen2_5OmniThinkerForConditionalGeneration": dict(text_config=dict(rope_parameters=MROPE)),
    "florence2": dict(vision_config=dict(embed_dim=[16, 32, 64, 128], depths=[1, 1, 1, 1])),
    "muse_spark": dict(audio_config=dict(num_hidden_layers=4, hidden_sizes=[16, 32, 64, 64])),
    "kyutai_speech_to_text": dict(codec_config=dict(upsample_groups=8)),
    "fun_asr_nano": dict(adaptor_config=dict(intermediate_size=WIDTH // 4)),
    "vibevoice_asr": dict(
        acoustic_tokenizer_chunk_size=3200, acoustic_tokenizer_encoder_config=FILTERS, semantic_tokenizer_encoder_config=FILTERS
    ),
    "moonshine_streaming": dict(
        head_dim=HEAD, num_key_value_heads=HEADS, encoder_config=dict(head_dim=HEAD, sliding_windows=[[16, 4], [16, 0]])
    ),
    "kimi_linear": dict(linear_head_dim=16, linear_num_heads=4),
    "xmod": dict(default_language="en_XX", languages=("en_XX",)),
    "led": dict(attention_window=WINDOW),
    **{name: dict(num_codebooks=1) for name in ("musicgen", "musicgen_melody")},
    "whisper": dict(max_source_positions=32, begin_suppress_tokens=None, suppress_tokens=None),
}
"""What a family needs besides, by its type, or by its whole name where the type has several classes."""


OUT_OF_REACH: dict[str, str] = {
    **dict.fromkeys(("blip", "blip-2", "idefics", "instructblip", "instructblipvideo", "kosmos-2"), "needs a picture"),
    **dict.fromkeys(("kyutai_speech_to_text", "pop2piano", "voxtral_realtime"), "needs a sound"),
    **dict.fromkeys(("dia", "musicgen", "musicgen_melody", "vibevoice"), "writes sounds"),
    **dict.fromkeys(("gemma4_assistant", "gemma4_unified_assistant"), "drafts for another model"),
    "udop": "needs the places of words on a page",
    "diffusion_gemma": "writes by diffusion",
    "pi0": "writes no text",
    "janus": "its `generate` leaves logits processors out",
    **dict.fromkeys(("blt", "llama4:Llama4ForConditionalGeneration"), "fails within transformers"),
}
"""Why a family writes no text after a text alone, by its type or by its whole name."""


def out_of_reach(name: str) -> str | None:
    """Why a family writes no text after a text alone; None if it should."""
    return OUT_OF_REACH.get(name, OUT_OF_REACH.get(name.split(":")[0]))


class NotBuiltError(Exception):
    """This family cannot be built at this size, or not by the installed release."""


@cache
def names(kind: str | None = None) -> tuple[str, ...]:
    """The families of the installed release, all or those of one of :data:`MAPPINGS`; each is in the first mapping that has it."""
    found: dict[str, str] = {}
    for mapping, variable in MAPPINGS.items():
        for model_type, classes in getattr(modeling_auto, variable).items():
            found.setdefault(f"{model_type}:{classes if isinstance(classes, str) else classes[0]}", mapping)
    return tuple(name for name, mapping in found.items() if kind in (None, mapping))


def kind_of(name: str) -> str:
    """Which of :data:`MAPPINGS` a family is in."""
    return next(kind for kind in MAPPINGS if name in names(kind))


def build(name: str, seed: int = 0, **settings: Any) -> PreTrainedModel:
    """A new model of the family ``model_type:Class`` with these ``settings``; another ``seed`` gives it other weights.

    Raises:
        NotBuiltError: If that fails, with the reason.
    """
    model_type, class_name = name.split(":")
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(zlib.crc32(name.encode()) + seed)
        try:
            model_class = getattr(transformers, class_name)
            own = merged(merged(OWN.get(model_type, {}), OWN.get(name, {})), settings)
            config = configuration(model_type, model_class, own)
            with patch.object(AutoModel, "from_config", _without_timm(AutoModel.from_config)):
                model = _from_config(model_class, config)
        except Exception as error:  # whatever a family does not like of these sizes
            raise NotBuiltError(f"{name}: {type(error).__name__}: {error}") from error
        if not isinstance(model, GenerationMixin):
            raise NotBuiltError(f"{name}: no generate()")
        model.eval().requires_grad_(False)
        roughen(model)
        for setting in ("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens"):
            setattr(model.generation_config, setting, None)
    return model


def _without_timm(make: Callable[..., Any]) -> Callable[..., Any]:
    """``make``, which builds another model that sees where timm is not installed: texts are read beside it as well."""

    def from_config(config: Any, **settings: Any) -> Any:
        try:
            return make(config, **settings)
        except ImportError:
            small = dict(hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=1, num_attention_heads=2)
            return SiglipVisionModel(SiglipVisionConfig(image_size=28, patch_size=14, **small))

    return from_config


def _from_config(model_class: Any, config: Any) -> Any:
    with torch.device("meta"):
        size = sum(weight.numel() for weight in model_class(deepcopy(config)).parameters())
    if size > LARGEST:
        raise ValueError(f"{size} parameters")
    try:
        return model_class._from_config(config, dtype=torch.float32)
    except (ValueError, ImportError) as error:
        if "attn" not in str(error).lower() and "attention" not in str(error).lower():
            raise
        return model_class._from_config(config, dtype=torch.float32, attn_implementation="eager")


def configuration(model_type: str, model_class: Any, own: Mapping[str, Any]) -> Any:
    """The configuration of a family, shrunk."""
    given = getattr(model_class, "config_class", None)
    config_class = given if isinstance(given, type) else CONFIG_MAPPING[model_type]
    settings = declared(config_class())
    changed = merged(dict(shrunk(settings, {}, bool(OTHER_SENSES.search(model_type)) and "text_config" not in settings)), own)
    if isinstance(own.get("layer_types"), list):
        changed["num_hidden_layers"] = len(own["layer_types"])
    if "is_decoder" in settings and model_class.__name__.endswith(("ForCausalLM", "LMHeadModel", "WithLMHead", "Decoder")):
        changed.setdefault("is_decoder", True)
    return config_class(**changed)


def declared(config: Any) -> dict[str, Any]:
    """The settings that a configuration's class declares, with their values; others are derived from them."""
    fields = type(config).__dataclass_fields__
    known = {*fields, *(config.attribute_map.get(name, name) for name in fields)}
    settings = {name: value for name, value in config.to_dict().items() if name in known}
    parts = {name: getattr(config, name) for name, value in settings.items() if isinstance(value, dict)}
    return settings | {name: part for name, part in parts.items() if isinstance(part, PreTrainedConfig)}


def shrunk(settings: Mapping[str, Any], tokens: dict[str, int], senses: bool) -> Iterator[tuple[str, Any]]:
    """The settings that change, with their small values; ``tokens`` are the ids given to special tokens so far."""
    rules = [*VISION, *RULES] if senses else RULES
    depth = 2 if senses else DEPTH
    for name, value in settings.items():
        if isinstance(value, PreTrainedConfig):
            of_senses = bool(OTHER_SENSES.search(f"{name} {value.model_type}"))
            yield name, {"model_type": value.model_type} | dict(shrunk(declared(value), tokens, of_senses))
        elif name in ("layer_types", "mlp_layer_types", "block_types", "layers_block_type") and value:
            kinds = list(dict.fromkeys(value))
            yield name, [kinds[layer % len(kinds)] for layer in range(max(depth, len(kinds)))]
        elif name == "rope_parameters" and isinstance(value, dict) and "mrope_section" in value:
            yield name, value | {"mrope_section": sections(settings, value)}
        elif name == "rotary_dim" and value:
            yield name, 4
        elif name == "num_key_value_heads" and "kv_lora_rank" in settings:
            yield name, HEADS
        elif name == "head_dim" and "qk_rope_head_dim" in settings:
            yield name, 8
        elif isinstance(value, int) and not isinstance(value, bool):
            small = next((small for pattern, small in rules if re.fullmatch(pattern, name)), None)
            if small is not None and not (value <= 1 and ONLY_LARGER.fullmatch(name)):
                yield name, small
            elif small is None and re.fullmatch(r".*_token_(id|index)", name):
                yield name, tokens.setdefault(name, VOCABULARY - 1 - len(tokens))
            elif small is None and value > 512 and re.fullmatch(r".*(size|dim|width|rank)", name):
                yield name, WIDTH


def sections(settings: Mapping[str, Any], rope: Mapping[str, Any]) -> list[int]:
    """How the halves of a head are divided among time, height and width."""
    half = int((8 if settings.get("qk_rope_head_dim") else HEAD) * rope.get("partial_rotary_factor", 1.0)) // 2
    width = max(half // 4, 1)
    height = (half - width) // 2
    return [half - width - height, height, width]


def merged(settings: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` with those of ``own``, part by part."""
    both = dict(settings)
    for name, value in own.items():
        part = both.get(name)
        is_part = isinstance(part, dict) and (name.endswith("config") or "model_type" in part)
        both[name] = merged(part, value) if is_part else value
    return both


STABLE = ("A_log", "dt_proj", "time_mix", "dt_bias", "time_decay", "time_first")
"""Parts of names of the recurrences' own weights, whose initial values make them stable."""


@torch.no_grad()
def roughen(model: PreTrainedModel) -> None:
    """Give every layer a say, and the logits a spread of about ``SPREAD`` where that can be reached."""
    for name, weight in model.named_parameters():
        if not weight.is_floating_point() or any(part in name for part in STABLE) or name.endswith((".A", ".D", "gates", "alpha")):
            continue
        if weight.ndim <= 1:
            weight.add_(torch.randn_like(weight), alpha=0.1)
        else:
            weight.normal_(std=GAIN * max(weight.shape[-1], 1) ** -0.5)
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.weight.normal_()
    head: Any = model.get_output_embeddings()
    ids = torch.randint(FIRST_WORD, WORDS, (2, 20))
    inputs: dict[str, Any] = {"input_ids": ids, "use_cache": False}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    for _ in range(3):  # more than once, since a tied weight is an input too and soft caps bend the logits
        try:
            spread = float(model(**inputs).logits.float()[:, 1:].std(dim=-1).mean())
        except Exception:  # it hears or sees, and takes no text alone
            return
        if not isinstance(getattr(head, "weight", None), torch.Tensor) or not 0 < spread < float("inf"):
            return
        head.weight.mul_(min(max(SPREAD / spread, 0.05), 20.0))
