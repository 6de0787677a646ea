"""The clusters' centroids: how well positions fit them, and how they follow the positions.

Online k-means (Roy et al. 2021 §4.1) as the official program computes it (SPEC §4.2 and §5).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, mse_loss, one_hot

# Of the layer norm that puts queries and keys on a sphere. It matters: queries were scaled by
# D^-0.5 before, so their variance is near 1/D (SPEC §0.4).
SPHERE_EPSILON = 1e-6
# Laplace smoothing of the counts (SPEC §5).
SMOOTHING = 1e-5


def on_sphere(x: Tensor) -> Tensor:
    """Layer norm over the depth of a head, without scale or bias: (…, D) to (…, D).

    At least in float32: what comes of it is compared, and bfloat16 would make equals of neighbours.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return layer_norm(x, x.shape[-1:], eps=SPHERE_EPSILON)


@torch.no_grad()
def cluster_scores(x: Tensor, means: Tensor) -> Tensor:
    """x · centroid: x (B, H, L, D), means (H, C, D) to (B, H, C, L). Has no gradient."""
    return means.to(x.dtype) @ x.mT


class KMeans(NamedTuple):
    """How far positions lie from their nearest centroids.

    Both numbers are the mean over B, H, L and D of (x - nearest centroid)², so they are equal;
    gradients of `commitment` go to the positions only, those of `quantisation` to the centroids.
    """

    commitment: Tensor
    quantisation: Tensor


def kmeans_losses(x: Tensor, means: Tensor, nearest: Tensor) -> KMeans:
    """The k-means losses of x (B, H, L, D), means (H, C, D), nearest (B, H, L)."""
    heads = torch.arange(means.shape[0], device=means.device)[:, None]
    centroids = means[heads, nearest].to(x.dtype)  # (B, H, L, D)
    return KMeans(mse_loss(x, centroids.detach()), mse_loss(x.detach(), centroids))


class CentroidState(NamedTuple):
    """Centroids and their exponential moving averages.

    `means` (H, C, D), `ema_count` (H, C), `ema_means` (H, C, D).
    """

    means: Tensor
    ema_count: Tensor
    ema_means: Tensor


@torch.no_grad()
def updated_centroids(
    state: CentroidState, x: Tensor, nearest: Tensor, decay: float
) -> CentroidState:
    """Move each centroid towards the positions nearest to it (SPEC §5).

    Args:
        state: the centroids that `nearest` was computed with.
        x: (B, H, L, D); rows of zeros do not count.
        nearest: (B, H, L), the nearest centroid of each position.
        decay: how much of the old averages is kept.
    """
    heads, clusters = state.ema_count.shape
    hot = one_hot(nearest, clusters).to(x.dtype) * (x != 0).any(-1, keepdim=True)  # (B, H, L, C)
    # The official program counts rows of the flattened (B·H·L, C) by their number modulo H, so
    # that heads share counts, while sums are each head's own (recorded in fixture t1).
    count = hot.reshape(-1, heads, clusters).sum(0)  # (H, C)
    total = torch.einsum("bhlc,bhld->hcd", hot, x)
    ema_count = state.ema_count - (1 - decay) * (state.ema_count - count)
    ema_means = state.ema_means - (1 - decay) * (state.ema_means - total)
    everything = ema_count.sum(-1, keepdim=True)  # (H, 1)
    smooth = (ema_count + SMOOTHING) / (everything + clusters * SMOOTHING) * everything
    return CentroidState(ema_means / smooth[..., None], ema_count, ema_means)
