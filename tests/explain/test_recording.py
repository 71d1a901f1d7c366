"""What is recorded of a forward pass: the attention itself, its heads fused, and weighted by gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from classifiers import CASES, classifier, some_clips
from timesformer.config.explain import Explain
from timesformer.errors import SettingError
from timesformer.explain.explainer import load_explainer
from timesformer.explain.matrices import attention_weights
from timesformer.explain.propagation import carry, head_row, patch_map
from timesformer.explain.recording import RecordedModel
from timesformer.explain.relevance import record_relevance
from timesformer.explain.rollout import discard_weakest, fuse_heads, record_rollout
from timesformer.model.attention import attend
from timesformer.model.timesformer import TimeSformer
from timesformer.video.transforms import normalise

FIVE = ("space_only", "joint_space_time", "divided_space_time", "sparse_local_global", "axial")


def explicit_attention(q_BHNK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, mask_NM: Tensor | None = None) -> Tensor:
    """What `attend` computes, with the matrix written out: (B, H, N, K)."""
    return attention_weights(q_BHNK, k_BHMK, mask_NM) @ v_BHMK


def clips_of(net: Any) -> Tensor:
    return normalise(some_clips(1, 3, 4, 48, 32), net.preprocessing)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits_are_the_same_fused_written_out_and_recorded(case: dict[str, Any]) -> None:
    net = classifier(**case)
    clips = clips_of(net)
    written = TimeSformer(net.model.settings, attend=explicit_attention).eval()  # type: ignore[arg-type]
    written.load_state_dict(net.model.state_dict())
    recorded = RecordedModel(net.model)
    with torch.no_grad():
        expected = net.model(clips)
        torch.testing.assert_close(written(clips), expected, atol=2e-5, rtol=1e-5)
        assert torch.equal(recorded(clips, lambda *_: None)[0], expected)


def test_the_model_itself_knows_nothing_of_a_recorder() -> None:
    net = classifier()
    RecordedModel(net.model)
    for block in net.model.blocks():
        for step in block.steps.values():
            assert step.attention.attend is attend
            assert not step._forward_hooks
            assert not step._forward_pre_hooks


def test_a_recorder_shares_the_weights() -> None:
    net = classifier()
    theirs, ours = net.model.state_dict(), RecordedModel(net.model).model.state_dict()
    assert all(theirs[name].data_ptr() == tensor.data_ptr() for name, tensor in ours.items())


@pytest.mark.parametrize("scheme", FIVE)
def test_relevance_is_the_gradient_of_the_logit_times_attention(scheme: str) -> None:
    """Against matrices that are part of autograd's graph themselves."""
    net = classifier(scheme=scheme, position="space" if scheme == "space_only" else "space_time")
    seen: list[Tensor] = []

    def with_matrices(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        weights = attention_weights(q, k, mask)
        weights.retain_grad()
        seen.append(weights)
        return weights @ v

    written = TimeSformer(net.model.settings, attend=with_matrices).eval()  # type: ignore[arg-type]
    written.load_state_dict(net.model.state_dict())
    clips = clips_of(net)
    written(clips)[0, 3].backward()
    recording = record_relevance(RecordedModel(net.model), clips, 3, Explain(method="relevance"))
    calls = [call for steps in recording.blocks for step in steps for call in step.calls]
    assert len(calls) == len(seen)
    for call, weights in zip(calls, seen, strict=True):
        assert weights.grad is not None
        expected = (weights * weights.grad).clamp(min=0).mean(1)
        assert call.matrix is not None
        torch.testing.assert_close(call.matrix.whole(), expected.detach(), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("method", ["rollout", "relevance"])
@pytest.mark.parametrize("scheme", FIVE)
def test_permuted_frames_permute_the_map(scheme: str, method: str) -> None:
    """Without a table for time; global attention takes every second frame, so those change places among themselves."""
    net = classifier(scheme=scheme, position="space")
    order = [2, 1, 0, 3] if scheme == "sparse_local_global" else [2, 0, 3, 1]
    clips, model = clips_of(net), RecordedModel(net.model)

    def found(clips: Tensor) -> Tensor:
        settings = Explain(method=method)  # type: ignore[arg-type]
        if method == "rollout":
            recording = record_rollout(model, clips, settings)
        else:
            recording = record_relevance(model, clips, 1, settings)
        return patch_map(recording, carry(recording, head_row(recording), balance=method == "relevance"))

    torch.testing.assert_close(found(clips[:, :, order]), found(clips)[order], atol=1e-6, rtol=1e-4)


def test_heads_become_one() -> None:
    one, two = torch.tensor([[[0.2, 0.8]], [[0.5, 0.5]]]).split(1)
    both = torch.stack([one[0], two[0]])[None]
    assert fuse_heads(both, "mean")[0, 0].tolist() == pytest.approx([0.35, 0.65])
    assert fuse_heads(both, "max")[0, 0].tolist() == pytest.approx([0.5 / 1.3, 0.8 / 1.3])
    assert fuse_heads(both, "min")[0, 0].tolist() == pytest.approx([0.2 / 0.7, 0.5 / 0.7])
    assert fuse_heads(both, "mean", 1)[0, 0].tolist() == [0.5, 0.5]
    with pytest.raises(SettingError, match=r"^head 2: a model of 2 heads has 0 to 1$"):
        fuse_heads(both, "mean", 2)


def test_weak_keys_are_left_out() -> None:
    """Hidden ones are not counted: of 4 keys a half is 2, of 5 it is 2 too."""
    weights = torch.tensor([[[0.1, 0.4, 0.2, 0.3, 0.0], [0.3, 0.05, 0.25, 0.3, 0.1]]])
    found = discard_weakest(weights, 0.5)[0]
    assert found[0].tolist() == pytest.approx([0, 0.4 / 0.7, 0, 0.3 / 0.7, 0])
    assert found[1].tolist() == pytest.approx([0.3 / 0.85, 0, 0.25 / 0.85, 0.3 / 0.85, 0])
    torch.testing.assert_close(discard_weakest(weights, 0.0), weights)


@pytest.mark.parametrize("head_fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("scheme", FIVE)
def test_rows_still_sum_to_one(scheme: str, head_fusion: str) -> None:
    net = classifier(scheme=scheme, position="space")
    settings = Explain(head_fusion=head_fusion, discard=0.3)  # type: ignore[arg-type]
    recording = record_rollout(RecordedModel(net.model), clips_of(net), settings)
    row = carry(recording, head_row(recording))
    assert float(row.patches.sum() + row.cls.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("scheme", FIVE)
def test_relevance_sums_to_one_too(scheme: str) -> None:
    net = classifier(scheme=scheme, position="space")
    recording = record_relevance(RecordedModel(net.model), clips_of(net), 0, Explain(method="relevance"))
    row = carry(recording, head_row(recording), balance=True)
    assert float(row.patches.sum() + row.cls.sum()) == pytest.approx(1, abs=1e-5)


def test_balance_changes_nothing_where_rows_sum_to_one() -> None:
    net = classifier()
    recording = record_rollout(RecordedModel(net.model), clips_of(net), Explain())
    plain, balanced = (carry(recording, head_row(recording), balance=balance) for balance in (False, True))
    torch.testing.assert_close(balanced.patches, plain.patches)


def test_an_architecture_without_attention() -> None:
    class Other(TimeSformer):
        """May compute anything."""

    net = classifier()
    other = Other(net.model.settings)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="no attention that can be recorded; expected timesformer, or --method occ"):
        RecordedModel(other)


@pytest.mark.parametrize("pooling", ["mean", "first_patch", "attentive"])
def test_what_the_head_sees_sums_to_one(pooling: str) -> None:
    settings = {"scheme": "joint_space_time", "class_token": False, "position": "none", "pooling": pooling}
    net = classifier(**settings)
    recording = record_rollout(RecordedModel(net.model), clips_of(net), Explain())
    row = head_row(recording)
    assert float(row.patches.sum()) == pytest.approx(1)
    assert row.cls.shape == (1, 0, 1)


def test_a_step_that_changes_nothing_is_skipped() -> None:
    """The linear layer after time attention is zero at first."""
    net = classifier()
    with torch.no_grad():
        for block in net.model.blocks():
            block.steps["time"].fc.weight.zero_()
            block.steps["time"].fc.bias.zero_()
    recording = record_rollout(RecordedModel(net.model), clips_of(net), Explain())
    assert [len(steps) for steps in recording.blocks] == [1, 1, 1]


def test_tubelets_and_bgr_are_explained_as_they_are_seen() -> None:
    net = classifier(scheme="joint_space_time", tubelet=2, class_token=False, position="sinusoidal", pooling="mean")
    found = load_explainer(net, "cpu").explain(some_clips(3, 6, 40, 32), fps=10)
    assert found.cells_VURQ.shape[1:] == (2, 2, 2)
    assert float(found.map_NHW.sum()) == pytest.approx(1, abs=1e-5)
