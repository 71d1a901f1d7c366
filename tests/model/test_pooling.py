"""Attentive pooling against attention written out."""

from __future__ import annotations

import pytest
import torch

from timesformer import TimeSformer
from timesformer.model.pooling import AttentivePooling


def test_it_is_the_attention_of_one_query() -> None:
    torch.manual_seed(0)
    pooling = AttentivePooling(8, 2)
    tokens = torch.randn(3, 5, 8)
    with torch.no_grad():
        pooling.attention.qkv.bias.zero_()
    q, k, v = pooling.attention.qkv.weight.split(8)
    expected = []
    for clip in tokens:
        heads = []
        for head in (slice(0, 4), slice(4, 8)):
            query = pooling.query[0, 0] @ q[head].T
            shares = (clip @ k[head].T @ query / 2).softmax(0)
            heads.append(shares @ (clip @ v[head].T))
        expected.append(pooling.attention.proj(torch.cat(heads)))
    torch.testing.assert_close(pooling(tokens), torch.stack(expected))


def test_gathering_is_the_same_with_all_its_gradients() -> None:
    torch.manual_seed(0)
    pooling = AttentivePooling(8, 2).double()
    with torch.no_grad():
        pooling.attention.qkv.bias.normal_()
        pooling.query.normal_()
    tokens, weights = torch.randn(3, 5, 8).double(), torch.randn(3, 8).double()
    gradients = []
    for pool in (pooling, pooling.gather):
        pooling.zero_grad()
        (pool(tokens) * weights).sum().backward()
        gradients.append([parameter.grad for parameter in pooling.parameters()])
    torch.testing.assert_close(pooling.gather(tokens), pooling(tokens))
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("scheme", ["space_only", "joint_space_time", "divided_space_time"])
def test_all_tokens_reach_the_head(scheme: str) -> None:
    """Without blocks that mix them, changing any frame changes what the head sees."""
    torch.manual_seed(0)
    model = TimeSformer(
        width=16,
        heads=2,
        depth=1,
        image_size=16,
        patch_size=8,
        num_frames=3,
        num_classes=2,
        pooling="attentive",
        scheme=scheme,
        position="none",
    ).eval()
    clip = torch.randn(1, 3, 3, 16, 16)
    tokens = model.forward_layer(clip, tokens=True)
    assert tokens.shape == (1, 1 + 3 * 4, 16)
    torch.testing.assert_close(model.forward_features(clip), model.pooling(tokens))
    for token in range(13):
        changed = tokens.clone()
        changed[0, token] += 1
        assert not torch.allclose(model.pooling(changed), model.pooling(tokens), atol=1e-7)
