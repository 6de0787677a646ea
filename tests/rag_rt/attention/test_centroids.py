import torch
from hypothesis import given
from hypothesis import strategies as st

from rag_rt.attention.centroids import (
    CentroidState,
    cluster_scores,
    kmeans_losses,
    on_sphere,
    updated_centroids,
)


def state(heads: int = 2, clusters: int = 3, depth: int = 4) -> CentroidState:
    means = on_sphere(torch.randn(heads, clusters, depth))
    return CentroidState(means, torch.rand(heads, clusters) + 5, means.clone())


@given(st.floats(0.01, 100))
def test_positions_lie_on_a_sphere_whatever_their_length(scale: float) -> None:
    x = on_sphere(scale * torch.randn(2, 2, 5, 64))
    torch.testing.assert_close(x.norm(dim=-1), torch.full((2, 2, 5), 8.0), rtol=0.02, atol=0)


def test_commitment_moves_positions_and_quantisation_moves_centroids() -> None:
    x = torch.randn(1, 2, 5, 4, requires_grad=True)
    means = torch.randn(2, 3, 4, requires_grad=True)
    nearest = cluster_scores(x, means).argmax(2)
    losses = kmeans_losses(x, means, nearest)
    assert torch.equal(losses.commitment, losses.quantisation)
    to_x, to_means = torch.autograd.grad(losses.commitment, (x, means), allow_unused=True)
    assert to_x is not None
    assert to_means is None
    to_x, to_means = torch.autograd.grad(losses.quantisation, (x, means), allow_unused=True)
    assert to_x is None
    assert to_means is not None


def test_a_centroid_moves_towards_its_positions() -> None:
    old = state(heads=1)
    aim = on_sphere(torch.randn(1, 1, 1, 4))
    x = aim.expand(1, 1, 50, 4)
    nearest = cluster_scores(x, old.means).argmax(2)
    new = updated_centroids(old, x, nearest, decay=0.5)
    cluster = int(nearest[0, 0, 0])
    assert (new.means[0, cluster] - aim).norm() < (old.means[0, cluster] - aim).norm()


def test_averages_keep_their_share_of_the_past() -> None:
    old = state(heads=1)
    x = torch.randn(2, 1, 6, 4)
    nearest = cluster_scores(x, old.means).argmax(2)
    new = updated_centroids(old, x, nearest, decay=0.9)
    count = torch.stack([(nearest == c).sum() for c in range(3)])
    torch.testing.assert_close(new.ema_count[0], 0.9 * old.ema_count[0] + 0.1 * count)
    total = torch.stack([x[nearest == c].sum(0) for c in range(3)])
    torch.testing.assert_close(new.ema_means[0], 0.9 * old.ema_means[0] + 0.1 * total)


def test_heads_share_counts_by_position_as_in_the_official_program() -> None:
    """Row s of any head counts for head s modulo H: a quirk that fixture t1 shows."""
    old = state(heads=2, clusters=2)
    old = old._replace(ema_count=torch.zeros(2, 2))
    x = torch.randn(1, 2, 4, 4)
    nearest = torch.tensor([[[0, 1, 0, 1], [0, 1, 0, 1]]])
    new = updated_centroids(old, x, nearest, decay=0.0)
    assert new.ema_count.tolist() == [[4, 0], [0, 4]]


def test_rows_of_zeros_do_not_count() -> None:
    old = state(heads=1)
    nearest = torch.zeros(1, 1, 7, dtype=torch.long)
    new = updated_centroids(old, torch.zeros(1, 1, 7, 4), nearest, decay=0.9)
    torch.testing.assert_close(new.ema_count, 0.9 * old.ema_count)
