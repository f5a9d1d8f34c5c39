"""A worse view of a picture: the noise of a diffusion process."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

STEPS = 1000


def diffusion_noise(
    pixel_values: Float[Tensor, "..."], *, step: int = 500, generator: torch.Generator | None = None
) -> Float[Tensor, "..."]:
    """Pixels sqrt(a) * x + sqrt(1 - a) * e, e standard normal, a = prod_{i <= step} (1 - b_i), as a diffusion process has them.

    With b_i = sigmoid(-6 + 12 i / 999) * (0.005 - 0.00001) + 0.00001 for i = 0, ..., 999: Leng et al., *Mitigating Object
    Hallucinations in Large Vision-Language Models through Visual Contrastive Decoding* (2023, arXiv 2311.16922), on the pixels that
    a processor has normalised. Signal and noise are (0.86, 0.51) at step 500, (0.29, 0.96) at 999, and (1.00, 0.005) at 0.

    Processors that repeat a frame within a patch (Qwen-VL's ``temporal_patch_size``) repeat its noise only if the image had it
    before: give them a noised image.

    Args:
        pixel_values: The pixels.
        step: How far the process has come, 0 to 999; 500 as released.
        generator: Random numbers; the global ones of the pixels' device by default.

    Raises:
        ValueError: For a step out of range.

    Example:
        >>> import torch
        >>> noised = diffusion_noise(torch.ones(1, 3, 4, 4), generator=torch.Generator().manual_seed(0))
        >>> noised.shape
        torch.Size([1, 3, 4, 4])
    """
    if not 0 <= step < STEPS:
        raise ValueError(f"step={step}: the process has steps 0 to {STEPS - 1}, e.g. step=500")
    rates = torch.linspace(-6, 6, STEPS, dtype=torch.float64).sigmoid() * (0.005 - 1e-5) + 1e-5
    kept = float((1 - rates)[: step + 1].prod())
    device = pixel_values.device if generator is None else generator.device
    noise: Tensor = torch.randn(pixel_values.shape, generator=generator, device=device).to(pixel_values)
    noised: Tensor = kept**0.5 * pixel_values + (1 - kept) ** 0.5 * noise
    return noised
