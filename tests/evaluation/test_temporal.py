"""Segments against true ones, by hand and against a literal implementation."""

from __future__ import annotations

import random

import numpy as np
import pytest

from timesformer.evaluation.temporal import (
    THRESHOLDS,
    Detection,
    TrueSegment,
    average_precision,
    mean_average_precision,
    measure_segments,
    temporal_iou,
)


def true(*spans: tuple[float, float], label: str = "a", video: str = "v") -> list[TrueSegment]:
    return [TrueSegment(video, start, end, label) for start, end in spans]


def seen(*rows: tuple[float, float, float], label: str = "a", video: str = "v") -> list[Detection]:
    return [Detection(video, start, end, label, score) for start, end, score in rows]


def test_temporal_iou() -> None:
    (one,) = true((0, 4))
    for span, expected in (((0, 4), 1), ((2, 6), 2 / 6), ((1, 2), 1 / 4), ((4, 8), 0), ((9, 10), 0)):
        assert temporal_iou(*seen((*span, 0.5)), one) == pytest.approx(expected)


def test_perfect_detections() -> None:
    truth = true((0, 4), (6, 9))
    assert average_precision(seen((6, 9, 0.1), (0, 4, 0.2)), truth, 0.7) == 1
    assert average_precision([], truth, 0.3) == 0


def test_a_second_detection_of_a_segment_is_false() -> None:
    """By score: hit, its copy, hit. Precision 1, 1/2, 2/3; recall 1/2, 1/2, 1."""
    truth = true((0, 4), (6, 9))
    detections = seen((0, 4, 0.9), (0, 4, 0.8), (6, 9, 0.7))
    assert average_precision(detections, truth, 0.5) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_precision_is_interpolated() -> None:
    """By score: miss, hit, hit, miss. Precision 0, 1/2, 2/3, 1/2: at recall 1/2 the best at or above it is 2/3."""
    truth = true((0, 4), (6, 9))
    detections = seen((20, 22, 0.9), (0, 4, 0.8), (6, 9, 0.7), (30, 31, 0.6))
    assert average_precision(detections, truth, 0.5) == pytest.approx(2 / 3)


def test_at_the_threshold_is_enough() -> None:
    truth = true((0, 4))
    half = seen((2, 4, 0.5))
    assert average_precision(half, truth, 0.5) == 1
    assert average_precision(half, truth, 0.51) == 0


def test_the_next_best_true_segment_where_the_best_is_taken() -> None:
    """Two true segments overlap; both detections like the first one best."""
    truth = true((0, 10), (2, 12))
    detections = seen((0, 10, 0.9), (0.5, 10, 0.8))
    assert temporal_iou(detections[1], truth[0]) > temporal_iou(detections[1], truth[1]) == pytest.approx(8 / 11.5)
    assert average_precision(detections, truth, 0.6) == 1
    assert average_precision(detections, truth, 0.7) == 0.5


def test_videos_and_classes_do_not_mix() -> None:
    truth = true((0, 4)) + true((0, 4), label="b", video="w")
    detections = seen((0, 4, 0.9), video="w") + seen((0, 4, 0.9), label="b")
    assert set(mean_average_precision(detections, truth).values()) == {0}
    ours = seen((0, 4, 0.9)) + seen((0, 4, 0.9), label="b", video="w")
    assert set(mean_average_precision(ours, truth).values()) == {1}


def test_classes_of_the_mean() -> None:
    """One without detections is 0; detections of a class that never occurs count nowhere, and are counted."""
    truth = true((0, 4)) + true((6, 8), label="b")
    detections = seen((0, 4, 0.9)) + seen((6, 8, 0.9), label="c")
    metrics = measure_segments(detections, truth, {"v": [0.5, 7.0]})
    assert metrics.mean_average_precision == dict.fromkeys(THRESHOLDS, 0.5)
    assert metrics.average == 0.5
    assert metrics.elsewhere == 1
    assert measure_segments(detections, [], {"v": [0.5]}).mean_average_precision == {}
    assert measure_segments(detections, [], {"v": [0.5]}).average is None


def test_thresholds_part_good_from_rough() -> None:
    """IoU 1, 2/3 and 1/3 of three classes."""
    truth = true((0, 3)) + true((0, 3), label="b") + true((0, 3), label="c")
    detections = seen((0, 3, 0.9)) + seen((0, 2, 0.9), label="b") + seen((0, 1, 0.9), label="c")
    found = mean_average_precision(detections, truth)
    assert found == pytest.approx({0.3: 1, 0.4: 2 / 3, 0.5: 2 / 3, 0.6: 2 / 3, 0.7: 1 / 3}, abs=1e-6)


def literal(detections: list[Detection], truth: list[TrueSegment], threshold: float) -> float:
    """ActivityNet's definition, step by step with arrays, as a curve of precision against recall."""
    labels = sorted({one.label for one in truth})
    values = []
    for label in labels:
        true_ones = [one for one in truth if one.label == label]
        found = [one for one in detections if one.label == label]
        order = np.argsort([-one.score for one in found], kind="stable")
        taken = np.zeros(len(true_ones), bool)
        positive = np.zeros(len(found))
        for rank, position in enumerate(order):
            one = found[position]
            iou = np.zeros(len(true_ones))
            for number, other in enumerate(true_ones):
                low, high = max(one.start, other.start), min(one.end, other.end)
                if one.video == other.video and high > low:
                    iou[number] = (high - low) / (max(one.end, other.end) - min(one.start, other.start))
            for number in np.argsort(-iou, kind="stable"):
                if iou[number] < threshold or iou[number] == 0:
                    break
                if not taken[number]:
                    taken[number], positive[rank] = True, 1
                    break
        recall = np.concatenate([[0], np.cumsum(positive) / len(true_ones), [1]])
        precision = np.concatenate([[0], np.cumsum(positive) / np.arange(1, len(found) + 1), [0]])
        area = 0.0
        for step in range(1, len(recall)):
            area += (recall[step] - recall[step - 1]) * precision[step:].max()
        values.append(area)
    return float(np.mean(values))


@pytest.mark.parametrize("seed", range(12))
def test_against_a_literal_implementation(seed: int) -> None:
    draw = random.Random(seed)

    def span() -> tuple[str, float, float, str]:
        start = draw.randint(0, 40) / 2
        return draw.choice("vw"), start, start + draw.randint(1, 12) / 2, draw.choice("abc")

    truth = [TrueSegment(*span()) for _ in range(draw.randint(1, 25))]
    close = [
        Detection(one.video, one.start + draw.choice((0, 0.5)), one.end + draw.choice((0, 1)), one.label, draw.random())
        for one in truth
        if draw.random() < 0.8
    ]
    detections = close + [Detection(*span(), draw.choice((0.5, draw.random()))) for _ in range(draw.randint(0, 25))]
    for threshold, value in mean_average_precision(detections, truth).items():
        assert value == pytest.approx(literal(detections, truth, threshold), abs=1e-6)


def test_frame_accuracy() -> None:
    """Ten frames, two a second: a from 1 s to 3 s; found is a from 0.5 s to 2 s, and b from 4 s."""
    times = [number / 2 for number in range(10)]
    detections = seen((0.5, 2, 0.9)) + seen((4, 5, 0.9), label="b")
    metrics = measure_segments(detections, true((1, 3)), {"v": times})
    # right: 0 | wrong 0.5 | right 1, 1.5 | wrong 2, 2.5 | right 3, 3.5 | wrong 4, 4.5
    assert metrics.frame_accuracy == 0.5
    assert metrics.most_frequent == 0.6  # six frames of none


def test_frames_of_variable_rate_and_several_videos() -> None:
    """Frames count, not seconds; a video without a true segment counts too."""
    truth = true((1, 3))
    frames = {"v": [0.0, 1.0, 1.1, 1.2, 2.9, 3.0], "w": [0.0, 0.5, 1.0]}
    assert measure_segments(seen((1, 3, 0.9)), truth, frames).frame_accuracy == 1
    found = seen((1, 2, 0.9)) + seen((0.4, 9, 0.9), video="w")
    assert measure_segments(found, truth, frames).frame_accuracy == pytest.approx(6 / 9, abs=1e-6)


def test_each_of_several_true_classes_is_right() -> None:
    truth = true((0, 2)) + true((1, 3), label="b")
    frames = {"v": [0.5, 1.5, 2.5, 3.5]}
    metrics = measure_segments(seen((0, 4, 0.9)), truth, frames)
    assert metrics.frame_accuracy == 0.5  # a at 0.5 and 1.5
    assert metrics.most_frequent == 0.5
    assert measure_segments([], truth, frames).frame_accuracy == 0.25


def test_as_dict() -> None:
    found = measure_segments(seen((1, 3, 0.9)), true((1, 3)), {"v": [0.0, 1.0]}).as_dict()
    assert found == {
        "frame_accuracy": 1.0,
        "most_frequent": 0.5,
        "mean_average_precision": {"0.3": 1.0, "0.4": 1.0, "0.5": 1.0, "0.6": 1.0, "0.7": 1.0},
        "elsewhere": 0,
        "average_mean_average_precision": 1.0,
    }
