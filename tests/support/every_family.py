"""Tiny random models of every family that transformers can generate with, made from the default configurations.

A configuration's default settings are shrunk by :data:`RULES`, which go by the settings' names; :data:`OWN` has what a family needs
besides. :func:`names` lists the families of the installed release as ``model_type:Class``, and :func:`build` makes one or raises
:class:`NotBuiltError`.
"""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
import transformers
from torch import nn
from transformers import CONFIG_MAPPING, GenerationMixin, PreTrainedModel
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
    (r"(.*_)?vocab(ulary)?_size(_per_layer_input)?", VOCABULARY),
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
    (r"num_experts_per_tok(en)?|moe_top_?k|moe_k|top_k_experts|experts_per_token|n_group", 2),
    (r"topk_group|first_k_dense(_replace)?|num_dense_layers", 1),
    (r"(attention_)?(sliding_)?window(_size)?|attention_chunk_size|local_attention|attention_window_size", WINDOW),
    (r"(mamba_)?d_state|(ssm_)?state_size|(mamba_|n_mamba_)n?_?(num_)?heads|mamba_(d_head|head_dim)", 8),
    (r"mamba_n_groups|n_groups|mamba_ngroups", 2),
    (r"(mamba_)?chunk_size", 16),
    (
        r"hidden_size|d_model|n_embd|n_embed|(embed|emb|embedding|model|hidden)?_?dim|embedding_size|word_embed_proj_dim|lru_width",
        WIDTH,
    ),
    (r"((de|en)coder|out|projector)_hidden_size|(projection|output|proj|out|vision_output|connector)_dim", WIDTH),
]
"""What is set, by a whole name: the first that fits. Settings that are no number by default stay as they are."""
VISION: list[tuple[str, int]] = [(r"image_size", 28), (r"patch_size", 14), (RULES[4][0], 2)]
"""What comes before them in the part of a model that sees or hears."""
OTHER_SENSES = re.compile("vision|audio|image|speech|vq|qformer|codec|depth|encoder_config|tokenizer", re.IGNORECASE)
ONLY_LARGER = re.compile(r".*(experts|top_?k|group|groups|n_group|chunk_size|heads)")
"""Settings whose default of 0 or 1 means that there is no such thing."""

MROPE = dict(rope_type="default", mrope_section=[2, 3, 3], rope_theta=10000.0)
T5 = dict(decoder_start_token_id=PAD)
HYBRID = dict(mamba_n_heads=16, mamba_n_groups=1, mamba_expand=2)
OWN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("t5", "udop", "mt5", "umt5", "longt5", "switch_transformers"), T5),
    **{name: dict(text_config=dict(rope_parameters=MROPE)) for name in ("qwen2_vl", "qwen2_5_vl", "paddleocr_vl")},
    **{
        name: dict(text_config=dict(head_dim=HEAD, rope_parameters=dict(MROPE, partial_rotary_factor=1.0)))
        for name in ("glm4v", "glm4v_moe", "glm46v", "glm_ocr")
    },
    **{name: dict(head_dim=HEAD) for name in ("hunyuan_v1_dense", "hunyuan_v1_moe", "ministral")},
    "gemma3": dict(mm_tokens_per_image=4),
    "mistral3": dict(vision_config=dict(image_size=56)),
    "paligemma": dict(text_config=dict(num_key_value_heads=1)),
    "hunyuan_vl": dict(text_config=dict(head_dim=HEAD)),
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
    "gemma3n_text": dict(
        num_hidden_layers=4,
        layer_types=["sliding_attention", "full_attention"] * 2,
        num_kv_shared_layers=2,
        activation_sparsity_pattern=[0.5, 0.0, 0.0, 0.0],
    ),
    "gemma4_assistant": dict(
        hidden_size_per_layer_input=0, text_config=dict(model_type="gemma4_text", hidden_size_per_layer_input=0)
    ),
    "xlstm": dict(num_heads=4, embedding_dim=WIDTH, num_blocks=3, qk_dim_factor=0.5, v_dim_factor=1.0),
    "dots1": dict(
        **dict(n_routed_experts=4, num_experts_per_tok=2, n_group=2, topk_group=1, moe_intermediate_size=32),
        **dict(n_shared_experts=1, first_k_dense_replace=1, routed_scaling_factor=1.0),
    ),
    "nemotron": dict(num_key_value_heads=2),
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
    "ernie4_5_vl_moe": dict(text_config=dict(moe_intermediate_size=[32, 32], mlp_layer_types=["dense", "sparse", "sparse"])),
    "kimi_linear": dict(linear_head_dim=16, linear_num_heads=4),
    "xmod": dict(default_language="en_XX", languages=("en_XX",)),
    "led": dict(attention_window=WINDOW),
    **{name: dict(num_codebooks=1) for name in ("musicgen", "musicgen_melody")},
    "whisper": dict(max_source_positions=32, begin_suppress_tokens=None, suppress_tokens=None),
}
"""What a family needs besides, by its type, or by its whole name where the type has several classes."""


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
            model = _from_config(model_class, config)
        except Exception as error:  # whatever a family does not like of these sizes
            raise NotBuiltError(f"{name}: {type(error).__name__}: {error}") from error
        if model.num_parameters() > LARGEST or not isinstance(model, GenerationMixin):
            raise NotBuiltError(f"{name}: {model.num_parameters()} parameters, or no generate()")
        model.eval().requires_grad_(False)
        roughen(model)
        for setting in ("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens"):
            setattr(model.generation_config, setting, None)
    return model


def _from_config(model_class: Any, config: Any) -> Any:
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
    settings = config_class().to_dict()
    changed = merged(dict(shrunk(settings, {}, bool(OTHER_SENSES.search(model_type)) and "text_config" not in settings)), own)
    if isinstance(own.get("layer_types"), list):
        changed["num_hidden_layers"] = len(own["layer_types"])
    if "is_decoder" in settings and model_class.__name__.endswith(("ForCausalLM", "LMHeadModel", "WithLMHead", "Decoder")):
        changed.setdefault("is_decoder", True)
    return config_class(**changed)


def shrunk(settings: Mapping[str, Any], tokens: dict[str, int], senses: bool) -> Iterator[tuple[str, Any]]:
    """The settings that change, with their small values; ``tokens`` are the ids given to special tokens so far."""
    rules = [*VISION, *RULES] if senses else RULES
    depth = 2 if senses else DEPTH
    for name, value in settings.items():
        if isinstance(value, dict) and "model_type" in value:
            kept = {"model_type": value["model_type"]}
            yield name, kept | dict(shrunk(value, tokens, bool(OTHER_SENSES.search(f"{name} {value['model_type']}"))))
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
        both[name] = merged(part, value) if name.endswith("config") and isinstance(part, dict) else value
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
