"""Weights from the Hugging Face hub, cached; revision and offline mode as huggingface_hub has them."""

from __future__ import annotations

import re
from pathlib import Path

from timesformer.errors import WeightsError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
PATTERNS = ("*.json", "*.safetensors", "pytorch_model.bin")


def is_hub_id(text: str) -> bool:
    """Whether a text has the form NAMESPACE/NAME or NAMESPACE/NAME@REVISION."""
    return HUB_ID.fullmatch(text) is not None


def download(hub_id: str) -> Path:
    """The local folder of a hub id's files, downloaded where the cache lacks them.

    Raises WeightsError where the hub cannot be reached and the cache has nothing, for an id or a revision that the hub
    does not have, and for one without model files.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, _, revision = hub_id.partition("@")
    try:
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=list(PATTERNS)))
    except GatedRepoError:
        raise WeightsError(f"{hub_id}: the hub gives it only to users who accept its terms; log in first") from None
    except RepositoryNotFoundError:
        raise WeightsError(f"{hub_id}: no such file or folder, and no such model on the hub") from None
    except RevisionNotFoundError:
        raise WeightsError(f"{hub_id}: the hub's {name} has no revision {revision}") from None
    except LocalEntryNotFoundError:
        raise WeightsError(f"{hub_id}: no such file or folder; the hub cannot be reached (or offline mode is on) and "
                           "the cache does not have it") from None  # fmt: skip
    except (HfHubHTTPError, OSError) as error:
        raise WeightsError(f"{hub_id}: cannot be downloaded: {' '.join(str(error).split())[:160]}") from None
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{hub_id}: the hub's folder has no config.json")
    return folder
