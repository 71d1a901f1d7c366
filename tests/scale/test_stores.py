"""Videos, lists and rows in an object store: a server of this machine that speaks S3."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ports import kept_port
from timesformer.errors import DataError, SettingError, VideoError
from timesformer.inference.rows import write_parquet
from timesformer.scale import stores
from timesformer.scale.parts import Counts, Parts
from timesformer.scale.stores import StoreError, check_buckets, fetch, in_store, locate, waiting
from timesformer.scale.work_list import read_work_list


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """What follows the path in URLs of a store with a bucket `films`."""
    from moto.server import ThreadedMotoServer
    from pyarrow.fs import FileSystem

    with kept_port() as port, pytest.MonkeyPatch.context() as patch:
        for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "EC2_METADATA_DISABLED": "true"}.items():
            patch.setenv(f"AWS_{name}", value)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        server.start()
        options = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        FileSystem.from_uri(f"s3://films?{options}&allow_bucket_creation=true")[0].create_dir("films")
        yield f"?{options}"
        server.stop()


def put(url: str, content: bytes) -> None:
    location = locate(url)
    with location.filesystem.open_output_stream(location.path) as stream:
        stream.write(content)


def test_what_is_of_a_store() -> None:
    assert all(map(in_store, ("s3://bucket/a.mp4", "gs://bucket/a", "hf://datasets/a/b")))
    assert not any(map(in_store, ("a.mp4", "/a:/b", "http://host/a", "file:///a", "rtsp://host/a", "what://is/it")))


def test_an_object_is_fetched_whole(store: str, tmp_path: Path) -> None:
    url, content = f"s3://films/a b/100%20#1.mp4{store}", bytes(range(256)) * 50_000
    put(url, content)
    assert fetch(url, tmp_path).read_bytes() == content
    assert fetch(url, tmp_path).suffix == ".mp4"
    with pytest.raises(VideoError, match="no such file"):
        fetch(f"s3://films/none.mp4{store}", tmp_path)


def test_buckets_are_looked_for_once(store: str) -> None:
    check_buckets([f"s3://films/{number}{store}" for number in range(1000)])
    with pytest.raises(SettingError, match="no such bucket nothing"):
        check_buckets([f"s3://films/a{store}", f"s3://nothing/a{store}"])
    with pytest.raises(SettingError, match="no such bucket nothing"):
        Parts(f"s3://nothing/out{store}")
    with pytest.raises(SettingError, match="ftp://host/out: not a path or the URL of an object store"):
        Parts("ftp://host/out")


def test_rows_go_to_a_store_as_to_a_folder(store: str, tmp_path: Path) -> None:
    out = f"s3://films/rows{store}"
    parts = Parts(out)
    parts.begin({"weights": "a"}, 4, parts=2)
    names = ["a", "b", "c", "d"]
    todo = parts.todo(names)
    rows = [{"video": names[video], "predictions": []} for video in todo[0].videos]
    chosen = [row["video"] for row in rows]
    size = parts.add(todo[0].part, chosen, Counts(1, len(rows), len(rows)), lambda file: write_parquet(rows, file))
    again = Parts(out)
    again.begin({"weights": "a"}, 4)
    assert again.todo(names) == todo[1:]
    assert again.end().bytes == size
    assert Parts(out).location.filesystem.get_file_info("films/rows/_done.jsonl").size > 0
    with pytest.raises(SettingError, match=r"s3://films/rows/_run\.json: .* made with weights a, not b"):
        Parts(out).begin({"weights": "b"}, 4)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_store_that_does_not_answer_is_no_fault_of_a_video(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tries: list[int] = []

    def refuse() -> None:
        tries.append(1)
        raise OSError("AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7")

    slept: list[float] = []
    monkeypatch.setattr(stores.time, "sleep", slept.append)
    with pytest.raises(StoreError, match=r"s3://b/a: its store does not answer: AWS Error NETWORK_CONNECTION"):
        waiting(refuse, "s3://b/a")
    assert (len(tries), slept) == (len(stores.WAITS) + 1, list(stores.WAITS))
    assert sum(stores.WAITS) >= 60  # a store that is away for 20 s is waited for

    def missing() -> None:
        raise FileNotFoundError(2, "no")

    with pytest.raises(FileNotFoundError):
        waiting(missing, "s3://b/a")


@pytest.mark.parametrize("error", [PermissionError(13, "no"), OSError("AWS Error ACCESS_DENIED during GetObject"),
    OSError("AWS Error UNKNOWN (HTTP status 400): The provided token has expired: ExpiredToken")])  # fmt: skip
def test_a_store_that_refuses_access_is_no_fault_of_a_video(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: OSError
) -> None:
    """Credentials that expire in the middle of a run would be rows for ever."""

    class Refusing:
        def open_input_stream(self, path: str) -> None:
            raise error

    monkeypatch.setattr(stores, "_filesystem", lambda base: (Refusing(), "b"))
    with pytest.raises(StoreError, match=r"s3://b/a\.mp4: its store refuses access: .*; renew the credentials"):
        fetch("s3://b/a.mp4", tmp_path)
    error = OSError("AWS Error INVALID_RANGE during GetObject")
    with pytest.raises(VideoError, match=r"cannot be read: AWS Error INVALID_RANGE"):
        fetch("s3://b/a.mp4", tmp_path)


def test_a_list_in_a_store_is_read_as_on_the_disk(store: str, tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfa.mp4\r\n\n  \nb\xe2\x80\xa8c.mp4\nd\xff.mp4\x0b\n"
    (tmp_path / "list.txt").write_bytes(content)
    put(f"s3://films/odd.txt{store}", content)
    names = read_work_list(str(tmp_path / "list.txt")).names
    assert names == ["a.mp4", "b\u2028c.mp4", "d\udcff.mp4\x0b"]
    assert read_work_list(f"s3://films/odd.txt{store}").names == names
    put(f"s3://films/empty.txt{store}", b"\n")
    with pytest.raises(DataError, match=r"empty\.txt.*: is empty; expected one path or URL a line"):
        read_work_list(f"s3://films/empty.txt{store}")


def test_lists(store: str, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    paths = ["a b.mp4", "s3://films/ä.mp4", "/c,d.mp4"]
    table = pyarrow.table({"label": [1, 2, 3], "path": paths})
    pyarrow.parquet.write_table(table, tmp_path / "list.parquet")
    (tmp_path / "list.csv").write_text('label,path\n1,a b.mp4\n2,s3://films/ä.mp4\n3,"/c,d.mp4"\n')
    (tmp_path / "list.txt").write_text("\n".join(paths))
    for suffix in ("parquet", "csv", "txt"):
        assert read_work_list(str(tmp_path / f"list.{suffix}")).names == paths
        put(f"s3://films/list.{suffix}{store}", (tmp_path / f"list.{suffix}").read_bytes())
        assert read_work_list(f"s3://films/list.{suffix}{store}").names == paths
    (tmp_path / "other.csv").write_text("file,label\na.mp4,1\n")
    with pytest.raises(DataError, match=r"other\.csv: has no column path; it has file, label"):
        read_work_list(str(tmp_path / "other.csv"))
    pyarrow.parquet.write_table(table.rename_columns(["label", "video"]), tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"other\.parquet: has no column path; it has label, video"):
        read_work_list(str(tmp_path / "other.parquet"))
    (tmp_path / "gap.csv").write_text("path,label\na.mp4,1\n,2\n")
    with pytest.raises(DataError, match=r"gap\.csv, row 2: has no path"):
        read_work_list(str(tmp_path / "gap.csv"))
    with pytest.raises(DataError, match=r"none\.csv: cannot be read: .*No such file"):
        read_work_list(str(tmp_path / "none.csv"))
    with pytest.raises(DataError, match=r"list\.jsonl: expected \*\.parquet, \*\.csv or \*\.txt"):
        read_work_list("list.jsonl")
    shutil.copy(tmp_path / "list.txt", tmp_path / "list.parquet")
    with pytest.raises(DataError, match=r"list\.parquet: cannot be read: "):
        read_work_list(str(tmp_path / "list.parquet"))
