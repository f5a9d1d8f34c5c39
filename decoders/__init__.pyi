from counterpoint.decoders.amateurs.adapters import AdapterAmateur as AdapterAmateur
from counterpoint.decoders.amateurs.heads import HeadMaskedAmateur as HeadMaskedAmateur
from counterpoint.decoders.amateurs.inputs import InputsAmateur as InputsAmateur
from counterpoint.decoders.amateurs.models import Amateur as Amateur
from counterpoint.decoders.amateurs.models import ModelAmateur as ModelAmateur
from counterpoint.decoders.amateurs.models import PooledAmateur as PooledAmateur
from counterpoint.decoders.amateurs.noise import diffusion_noise as diffusion_noise
from counterpoint.decoders.amateurs.prompts import EncoderDecoderAmateur as EncoderDecoderAmateur
from counterpoint.decoders.amateurs.prompts import LastTokenAmateur as LastTokenAmateur
from counterpoint.decoders.amateurs.prompts import PromptAmateur as PromptAmateur
from counterpoint.decoders.base import ContrastParts as ContrastParts
from counterpoint.decoders.base import ContrastProcessor as ContrastProcessor
from counterpoint.decoders.base import DistributionProcessor as DistributionProcessor
from counterpoint.decoders.base import SideOutputs as SideOutputs
from counterpoint.decoders.choosing.front_door import decoder as decoder
from counterpoint.decoders.contrasts.adacad import AdaCADLogitsProcessor as AdaCADLogitsProcessor
from counterpoint.decoders.contrasts.adacad import adaptive_extrapolation as adaptive_extrapolation
from counterpoint.decoders.contrasts.anti_language_models import AntiLanguageModel as AntiLanguageModel
from counterpoint.decoders.contrasts.anti_language_models import NGramAntiLanguageModel as NGramAntiLanguageModel
from counterpoint.decoders.contrasts.anti_language_models import VectorAntiLanguageModel as VectorAntiLanguageModel
from counterpoint.decoders.contrasts.coiecd import COIECDLogitsProcessor as COIECDLogitsProcessor
from counterpoint.decoders.contrasts.coiecd import entropy_constrained as entropy_constrained
from counterpoint.decoders.contrasts.contrastive_decoding import ContextAwareLogitsProcessor as ContextAwareLogitsProcessor
from counterpoint.decoders.contrasts.contrastive_decoding import (
    ContrastiveDecodingLogitsProcessor as ContrastiveDecodingLogitsProcessor,
)
from counterpoint.decoders.contrasts.decore import DeCoReLogitsProcessor as DeCoReLogitsProcessor
from counterpoint.decoders.contrasts.decore import entropy_extrapolation as entropy_extrapolation
from counterpoint.decoders.contrasts.forms import contrast as contrast
from counterpoint.decoders.contrasts.forms import extrapolation as extrapolation
from counterpoint.decoders.contrasts.forms import likelihood_ratio as likelihood_ratio
from counterpoint.decoders.contrasts.forms import log_ratio as log_ratio
from counterpoint.decoders.contrasts.forms import plausible as plausible
from counterpoint.decoders.contrasts.forms import released_induce_then_contrast as released_induce_then_contrast
from counterpoint.decoders.contrasts.forms import released_likelihood_ratio as released_likelihood_ratio
from counterpoint.decoders.contrasts.forms import released_normalised_ratio as released_normalised_ratio
from counterpoint.decoders.contrasts.frustratingly_simple import (
    FrustratinglySimpleLogitsProcessor as FrustratinglySimpleLogitsProcessor,
)
from counterpoint.decoders.contrasts.m3id import M3IDLogitsProcessor as M3IDLogitsProcessor
from counterpoint.decoders.contrasts.m3id import growing_extrapolation as growing_extrapolation
from counterpoint.decoders.contrasts.released_contrastive_decoding import (
    ReleasedContrastiveDecodingLogitsProcessor as ReleasedContrastiveDecodingLogitsProcessor,
)
from counterpoint.decoders.exporting import export as export
from counterpoint.decoders.forwards.tree_support import candidate_method as candidate_method
from counterpoint.decoders.installing import install as install
from counterpoint.decoders.installing import uninstall as uninstall
from counterpoint.decoders.layers.divergence import jensen_shannon as jensen_shannon
from counterpoint.decoders.layers.divergence import released_divergence as released_divergence
from counterpoint.decoders.layers.dola import DoLaLogitsProcessor as DoLaLogitsProcessor
from counterpoint.decoders.layers.layer_fusion import LayerFusionLogitsProcessor as LayerFusionLogitsProcessor
from counterpoint.decoders.layers.released_sled import ReleasedSLEDLogitsProcessor as ReleasedSLEDLogitsProcessor
from counterpoint.decoders.layers.sled import SLEDLogitsProcessor as SLEDLogitsProcessor
from counterpoint.decoders.named import decoders as decoders
from counterpoint.decoders.sampling.p_less import PLessLogitsProcessor as PLessLogitsProcessor
from counterpoint.decoders.sampling.top_n_sigma import TopNSigmaLogitsProcessor as TopNSigmaLogitsProcessor
from counterpoint.decoders.scoring import Score as Score
from counterpoint.decoders.scoring import score as score
from counterpoint.decoders.scoring import score_each as score_each
from counterpoint.decoders.search.adaptive_contrastive_search import adaptive_contrastive_search as adaptive_contrastive_search
from counterpoint.decoders.search.contrastive_search import contrastive_search as contrastive_search
from counterpoint.decoders.search.contrastive_search_processor import (
    ContrastiveSearchLogitsProcessor as ContrastiveSearchLogitsProcessor,
)
from counterpoint.decoders.speculative.speculative_contrastive_decoding import (
    speculative_contrastive_decoding as speculative_contrastive_decoding,
)
from counterpoint.decoders.watching import SearchStep as SearchStep
from counterpoint.decoders.watching import watched as watched

__version__: str
