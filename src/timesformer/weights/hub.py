"""Weights from the Hugging Face hub, cached; revision and offline mode as huggingface_hub has them."""

from __future__ import annotations

import glob
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timesformer.errors import WeightsError, one_line
from timesformer.weights.processor import NESTED, PROCESSOR, VIDEO_PROCESSOR
from timesformer.weights.shards import WHOLE, index_name, shard_names
from timesformer.weights.storage import read_json

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
CONFIGS = ("config.json", PROCESSOR, VIDEO_PROCESSOR, NESTED)


def is_hub_id(text: str) -> bool:
    """Whether a text has the form NAMESPACE/NAME or NAMESPACE/NAME@REVISION."""
    return HUB_ID.fullmatch(text) is not None


def download(hub_id: str, check: Callable[[dict[str, Any]], None]) -> Path:
    """The local folder of a hub id's files, downloaded where the cache lacks them.

    Nothing comes into the cache before `check` has accepted the config.json that the hub has now, or, where the hub
    does not answer, the cache. Raises WeightsError where the hub cannot
    be reached and the cache has nothing, for an id or a revision that the hub does not have, and for one without model
    files.
    """
    from huggingface_hub import snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # the one it uses itself

    name, _, revision = hub_id.partition("@")
    version = revision or None
    try:
        cached = try_to_load_from_cache(name, "config.json", revision=version)
        try:
            _look(hub_id, name, version, check)
        except (HfHubHTTPError, httpx.HTTPError, OSError):  # then what the cache has counts, as for the tensors
            if not isinstance(cached, str):
                raise
            check(read_json(Path(cached)))
        for whole in WHOLE:
            files = [*CONFIGS, whole, index_name(whole)]
            folder = Path(snapshot_download(name, revision=version, allow_patterns=files))
            shards = [] if (folder / whole).is_file() else shard_names(folder, whole)
            if shards:
                snapshot_download(name, revision=version, allow_patterns=[*files, *map(glob.escape, shards)])
            if shards or (folder / whole).is_file():
                break
    except GatedRepoError:
        raise WeightsError(f"{hub_id}: the hub gives it only to users who accept its terms; log in first") from None
    except RepositoryNotFoundError:
        raise WeightsError(f"{hub_id}: no such file or folder, and no such model on the hub") from None
    except RevisionNotFoundError:
        raise WeightsError(f"{hub_id}: the hub's {name} has no revision {revision}") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, httpx.ConnectError, httpx.ConnectTimeout):
        raise WeightsError(
            f"{hub_id}: no such file or folder; the hub cannot be reached (or offline mode is on) and "
            "the cache does not have it"
        ) from None
    except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        raise WeightsError(
            f"{hub_id}: no such file or folder; cannot be downloaded from the hub: {one_line(error)[:160]}"
        ) from None
    return folder


def _look(hub_id: str, name: str, revision: str | None, check: Callable[[dict[str, Any]], None]) -> None:
    """Raises WeightsError where the hub has no model for us there; leaves the cache as it is."""
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

    info = HfApi().model_info(name, revision=revision)
    files = {entry.rfilename for entry in info.siblings or ()}
    if "config.json" not in files:
        raise WeightsError(f"{hub_id}: the hub's {name} has no config.json; expected a model's files")
    if files.isdisjoint({*WHOLE, *map(index_name, WHOLE)}):
        raise WeightsError(f"{hub_id}: the hub's {name} has no tensors; expected {' or '.join(WHOLE)}")
    cached = try_to_load_from_cache(name, "config.json", revision=info.sha)
    if isinstance(cached, str):
        check(read_json(Path(cached)))
        return
    with tempfile.TemporaryDirectory() as folder:
        check(read_json(Path(hf_hub_download(name, "config.json", revision=revision, local_dir=folder))))


def upload(folder: Path, repository: str, *, private: bool, token: str | None) -> str:
    """Upload a folder to NAMESPACE/NAME, which is made if it does not exist; returns its address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # the one it uses itself

    api = HfApi(token=token)
    try:
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder)
    except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        raise WeightsError(f"{repository}: cannot be uploaded: {one_line(error)[:160]}") from None
    return str(address)
