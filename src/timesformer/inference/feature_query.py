"""The vector of a video that is looked for among features."""

from __future__ import annotations

from torch import Tensor

from timesformer.errors import SettingError
from timesformer.features.pooling import choose_pooling, pool_views
from timesformer.features.table import FeatureTable
from timesformer.inference.predictor import Predictor
from timesformer.video.source import Source


def query_features(predictor: Predictor, table: FeatureTable, video: Source) -> Tensor:
    """The vector of a video as those of a table are, float32 (D,): that of a window which is all of it.

    Raises SettingError where the table's vectors are of other weights, VideoError where the video cannot be read.
    """
    origin = table.origin
    if origin.model not in (predictor.feature_fingerprint, predictor.fingerprint):  # files of before had that
        raise SettingError(
            f"{table.file}: has features of the model {origin.model}; the weights are {predictor.feature_fingerprint}; "
            "expected those that it was computed with"
        )
    pooling = choose_pooling(predictor.settings, predictor.preprocessing, origin.layer, origin.pool)
    views = predictor.preprocess(video)
    return pool_views(predictor.engine, predictor.settings, predictor.preprocessing, pooling, views).flatten()
