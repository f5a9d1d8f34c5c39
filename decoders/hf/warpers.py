"""The samplers of ``generate``: telling them from other processors, and shaping the candidates' distribution with them."""

from __future__ import annotations

from transformers import (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    GenerationConfig,
    LogitNormalization,
    LogitsProcessorList,
    MinPLogitsWarper,
    SynthIDTextWatermarkLogitsProcessor,
    TemperatureLogitsWarper,
    TopHLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
    WatermarkLogitsProcessor,
)

SAMPLERS = (
    TemperatureLogitsWarper,
    TopHLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    MinPLogitsWarper,
    TypicalLogitsWarper,
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    WatermarkLogitsProcessor,
    SynthIDTextWatermarkLogitsProcessor,
    LogitNormalization,
)
"""The processors that ``generate`` puts after all others."""


def split_samplers(processors: LogitsProcessorList) -> tuple[LogitsProcessorList, LogitsProcessorList]:
    """The processors before the samplers at the end of the list, and those samplers."""
    end = len(processors)
    while end and isinstance(processors[end - 1], SAMPLERS):
        end -= 1
    return LogitsProcessorList(processors[:end]), LogitsProcessorList(processors[end:])


def warpers(processors: LogitsProcessorList, config: GenerationConfig) -> LogitsProcessorList:
    """``processors`` with the warpers that ``config`` asks for, whether or not it samples.

    ``generate`` adds warpers only when sampling, its top-k among them; here ``top_k`` is the number of candidates, and their
    probabilities are those of the whole vocabulary, so that one is taken out again.
    """
    if config.do_sample:
        kept = [p for p in processors if not (type(p) is TopKLogitsWarper and p.top_k == config.top_k)]
        return LogitsProcessorList(kept)
    added = LogitsProcessorList(processors)
    if config.temperature is not None and config.temperature != 1.0:
        added.append(TemperatureLogitsWarper(config.temperature))
    if config.top_h is not None:
        added.append(TopHLogitsWarper(top_h=config.top_h))
    if config.top_p is not None and config.top_p < 1.0:
        added.append(TopPLogitsWarper(top_p=config.top_p))
    if config.min_p is not None:
        added.append(MinPLogitsWarper(min_p=config.min_p))
    if config.typical_p is not None and config.typical_p < 1.0:
        added.append(TypicalLogitsWarper(mass=config.typical_p))
    if config.epsilon_cutoff is not None and 0.0 < config.epsilon_cutoff < 1.0:
        added.append(EpsilonLogitsWarper(epsilon=config.epsilon_cutoff))
    if config.eta_cutoff is not None and 0.0 < config.eta_cutoff < 1.0:
        added.append(EtaLogitsWarper(epsilon=config.eta_cutoff))
    return added
