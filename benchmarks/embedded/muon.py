"""Momentum orthogonalised by Newton-Schulz iterations (Jordan et al., 2024), in float32."""

from __future__ import annotations

import torch
from torch import Tensor


def orthogonal(matrix: Tensor, steps: int) -> Tensor:
    """A matrix of nearly the same singular vectors whose singular values are all near 1."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), wide, beta=3.4445)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


class Muon(torch.optim.Optimizer):
    """``torch.optim.Muon`` iterates in bfloat16, which processors without bfloat16 arithmetic only emulate."""

    def __init__(self, parameters: list[Tensor], lr: float = 0.02, momentum: float = 0.95, steps: int = 5) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "steps": steps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every matrix along its orthogonalised Nesterov momentum."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonal(parameter.grad.lerp(momentum, group["momentum"]), group["steps"])
                scale = max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
                parameter.add_(update, alpha=-group["lr"] * scale)
