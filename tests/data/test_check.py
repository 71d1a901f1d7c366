"""The check of a data set: bad files lose themselves alone, copies are found, the list is kept."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import av
import pytest

from timesformer.data.check import check_data
from timesformer.data.inspect import Facts, inspect_video
from timesformer.data.manifest import read_manifest
from timesformer.data.report import Report
from timesformer.errors import DataError, SettingError
from timesformer.video.video import Video
from videos import picture, write

CASES = Path(__file__).parent / "cases"
FACTS = Facts(10, 25.0, 64, 48, "h264", "")


def remux(source: Path, target: Path, slower: int = 1) -> None:
    """The same packets in another container, shown so many times slower."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = read.streams.video[0]
        copy = written.add_stream_from_template(stream)
        for packet in read.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                packet.pts, packet.dts = (packet.pts or 0) * slower, packet.dts * slower
                written.mux(packet)


def odd_decoder(path: Path) -> Facts:
    """Runs in another process: hangs, crashes or fails as the file's name says."""
    if path.stem == "hang":
        time.sleep(600)
    if path.stem == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.stem == "mistake":
        raise KeyError("no such table")
    return FACTS._replace(content=path.name)


def sound(path: Path) -> Facts:
    """Of any file, there or not."""
    return FACTS._replace(content=path.name)


def report_of(data: Path, *splits: str, without: str = "") -> Report:
    """A report on files that need not be there."""
    manifests = {split: read_manifest(data, split) for split in splits}
    paths = [video.path for manifest in manifests.values() for video in manifest.videos]
    facts = {path: FACTS._replace(content=path.name) for path in paths if path.name != without}
    reasons = {path: "cut" for path in paths if path not in facts}
    return Report(data, manifests, {}, facts, reasons, data / "quarantine.csv", 1.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six good files of three contents, and three bad ones, in two splits. Not to be changed."""
    folder = tmp_path_factory.mktemp("check")
    for name in ("train/run", "train/jump", "test/run", "test/swim"):
        (folder / name).mkdir(parents=True)
    first = write(folder / "train/run/a.mp4", 30, size=(48, 64), options={"bf": "2"})
    write(folder / "train/run/b.mp4", 10, size=(64, 48), rate=10)
    remux(first, folder / "train/jump/a.mkv")
    shutil.copy(folder / "train/run/b.mp4", folder / "test/run/b.mp4")
    write(folder / "test/swim/c.mp4", 31, "mpeg4")
    write(folder / "train/run/cut.mp4", 30, container_options={"movflags": "faststart"})
    whole = (folder / "train/run/cut.mp4").read_bytes()
    (folder / "train/run/cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "train/run/empty.mp4").touch()
    (folder / "test/swim/text.mp4").write_text("hello")
    (folder / "test/swim/frames").mkdir()
    for number in range(3):
        image = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
        image.save(str(folder / f"test/swim/frames/{number}.png"))
    return folder


@pytest.fixture
def copy(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "data"))


def test_everything_that_is_found(copy: Path) -> None:
    calls: list[tuple[int, int]] = []
    report = check_data(copy, workers=2, on_file=lambda done, total: calls.append((done, total)))
    found = report.summary()
    assert calls == [(done, 9) for done in range(10)]
    assert (found["files"], report.sound) == (9, False)
    assert [(bad["path"], bad["reason"]) for bad in found["unreadable"]] == [
        ("train/run/cut.mp4", "truncated: the file ends before its last frame"),
        ("train/run/empty.mp4", "the file is empty"),
        ("test/swim/text.mp4", "cannot be opened as a video or an image: Invalid data found when processing input"),
    ]
    train, test = found["splits"]["train"], found["splits"]["test"]
    assert (train["videos"], train["unreadable"], train["classes"]) == (5, 2, {"jump": 1, "run": 2})
    assert (train["smallest_class"], train["largest_class"], train["imbalance"]) == ("jump", "run", 2.0)
    assert (test["videos"], test["unreadable"], test["classes"]) == (4, 1, {"run": 1, "swim": 2})
    assert found["classes_in_one_split"] == {"train": ["jump"], "test": ["swim"]}
    assert found["sizes"] == {"64x48": 4, "48x64": 2}
    assert found["frame_rates"] == {"25": 3, "10": 2, "unknown": 1}
    assert found["codecs"] == {"h264": 4, "mpeg4": 1, "images": 1}
    assert found["lengths"] == {"least": 1.0, "median": 1.2, "most": 1.24, "total": 5.64}
    assert found["frames"] == {"least": 3, "median": 20, "most": 31, "total": 114}


def test_copies_in_another_container_and_across_splits(data: Path, tmp_path: Path) -> None:
    found = check_data(data, out=tmp_path / "bad.csv", workers=1).summary()
    assert found["duplicates"] == [
        {
            "classes_differ": True,
            "videos": [
                {"split": "train", "path": "train/jump/a.mkv", "classes": ("jump",)},
                {"split": "train", "path": "train/run/a.mp4", "classes": ("run",)},
            ],
        }
    ]
    assert found["leaks"] == [
        {
            "classes_differ": False,
            "videos": [
                {"split": "train", "path": "train/run/b.mp4", "classes": ("run",)},
                {"split": "test", "path": "test/run/b.mp4", "classes": ("run",)},
            ],
        }
    ]
    assert found["quarantine"] == str(tmp_path / "bad.csv")
    assert not (data / "quarantine.csv").exists()


def test_what_the_digest_tells_apart(tmp_path: Path) -> None:
    """One frame more, other frames, another size are other videos; time stamps and the container are not."""
    first = inspect_video(write(tmp_path / "a.mp4", 20)).content
    for name, slower in (("a.mkv", 1), ("a.mov", 1), ("slow.mp4", 3)):
        remux(tmp_path / "a.mp4", tmp_path / name, slower)
        facts = inspect_video(tmp_path / name)
        assert facts.content == first
        assert facts.fps == pytest.approx(25 / slower, abs=0.05)
    others = [
        write(tmp_path / "longer.mp4", 21),
        write(tmp_path / "wide.mp4", 20, size=(48, 96)),
        write(tmp_path / "coarse.mp4", 20, options={"crf": "40"}),  # a re-encoded copy is not found
    ]
    assert len({first, *(inspect_video(path).content for path in others)}) == 4


def test_a_long_video_is_inspected_frame_by_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than one frame is ever read by number."""
    path = write(tmp_path / "a.mp4", 60)
    content = inspect_video(path).content
    asked: list[list[int]] = []
    read = Video.read
    monkeypatch.setattr(
        Video, "read", lambda self, numbers, *given: asked.append(numbers) or read(self, numbers, *given)
    )
    assert inspect_video(path) == FACTS._replace(num_frames=60, content=content)
    assert asked == [[0]]


def test_a_decoder_that_hangs_or_crashes_loses_one_file(tmp_path: Path) -> None:
    names = ["a", "hang", "b", "crash", "c", "mistake", "d", "e"]
    (tmp_path / "train.csv").write_text("path,label\n" + "".join(f"{name}.mp4,x\n" for name in names))
    report = check_data(tmp_path, workers=2, time_limit=2, inspect=odd_decoder)
    assert {path.stem: reason for path, reason in report.reasons.items()} == {
        "hang": "took longer than 2 seconds",
        "crash": "the decoder crashed: SIGSEGV",
        "mistake": "KeyError: 'no such table'",
    }
    assert [path.stem for path in report.facts] == ["a", "b", "c", "d", "e"]
    assert (tmp_path / "quarantine.csv").read_text() == (
        "path,reason\nhang.mp4,took longer than 2 seconds\ncrash.mp4,the decoder crashed: SIGSEGV\n"
        "mistake.mp4,KeyError: 'no such table'\n"
    )
    assert len(read_manifest(tmp_path, "train").videos) == 5


def test_a_picture_that_changes_its_size_is_mentioned(tmp_path: Path) -> None:
    """Such a file is sound: training reads it, at the size of its first frame."""
    (tmp_path / "train/x").mkdir(parents=True)
    shutil.copy(CASES / "size_changes.webm", tmp_path / "train/x/call.webm")
    write(tmp_path / "train/x/a.mp4", 10)
    report = check_data(tmp_path, workers=1)
    found = report.summary()
    assert report.sound
    assert found["size_changes"] == [{"path": "train/x/call.webm", "resized": 20, "frames": 40}]
    assert found["sizes"] == {"64x48": 2}
    assert (
        "files whose picture changes its size, resized to that of the first frame: 1\n"
        "  train/x/call.webm: 20 of 40 frames\n" in str(report)
    )


def test_mended_files_come_off_the_list(copy: Path) -> None:
    for path in ("train/run/cut.mp4", "test/swim/text.mp4"):
        (copy / path).unlink()
    check_data(copy, workers=1)
    assert read_manifest(copy, "train").quarantined == (copy / "train/run/empty.mp4",)
    assert len(read_manifest(copy, "test").videos) == 3
    shutil.copy(copy / "train/run/a.mp4", copy / "train/run/empty.mp4")
    report = check_data(copy, workers=1)
    assert report.sound
    assert not (copy / "quarantine.csv").exists()
    assert read_manifest(copy, "train").quarantined == ()


def test_data_that_are_not_split_yet(data: Path, tmp_path: Path) -> None:
    """Class folders, and one CSV: their quarantine is that of the lists that split them."""
    mine = Path(shutil.copytree(data / "train", tmp_path / "mine"))
    report = check_data(mine, workers=1)
    found = report.summary()
    assert list(found["splits"]) == ["all"]
    assert found["splits"]["all"]["classes"] == {"jump": 1, "run": 2}
    assert found["quarantine"] == str(mine / "quarantine.csv")
    assert {bad["path"] for bad in found["unreadable"]} == {"run/cut.mp4", "run/empty.mp4"}
    assert str(report).splitlines()[3].split()[:3] == ["all", "5", "2"]
    (mine / "all.csv").write_text("path,label\nrun/a.mp4,run\nrun/empty.mp4,run\njump/a.mkv,jump\n")
    listed = check_data(mine / "all.csv", workers=1)
    assert (listed.folder, list(listed.facts)) == (mine, [mine / "run/a.mp4", mine / "jump/a.mkv"])
    assert list(listed.reasons) == [mine / "run/empty.mp4"]
    (mine / "all.csv").rename(mine / "train.csv")
    assert read_manifest(mine, "train").quarantined == (mine / "run/empty.mp4",)


def test_files_that_were_not_checked_stay_on_the_list(tmp_path: Path) -> None:
    """Two CSVs that nothing splits yet share their folder's list; what is gone from the folder comes off."""
    for name, rows in (("one", "crash.mp4,x\na.mp4,y\n"), ("two", "mistake.mp4,x\nb.mp4,y\n")):
        (tmp_path / f"{name}.csv").write_text(f"path,label\n{rows}")
    for name in ("crash", "mistake"):
        (tmp_path / f"{name}.mp4").touch()
    check_data(tmp_path / "one.csv", workers=1, inspect=odd_decoder)
    report = check_data(tmp_path / "two.csv", workers=1, inspect=odd_decoder)
    both = ["crash.mp4,the decoder crashed: SIGSEGV", "mistake.mp4,KeyError: 'no such table'"]
    assert (tmp_path / "quarantine.csv").read_text().splitlines()[1:] == both
    assert report.summary()["unchecked"] == 1
    assert str(report).endswith("cannot be decoded, and 1 that was listed before and not checked now")
    check_data(tmp_path / "one.csv", workers=1, inspect=sound)
    assert (tmp_path / "quarantine.csv").read_text().splitlines()[1:] == both[1:]
    (tmp_path / "mistake.mp4").unlink()
    check_data(tmp_path / "one.csv", workers=1, inspect=sound)
    assert not (tmp_path / "quarantine.csv").exists()


@pytest.mark.parametrize("name", ["train.csv", "validation.csv", "sub/../train.csv"])
def test_the_list_of_a_split_is_not_checked_alone(tmp_path: Path, name: str) -> None:
    """It would take the files of the other splits off the list."""
    (tmp_path / "sub").mkdir()
    for split in ("train", "validation"):
        (tmp_path / f"{split}.csv").write_text(f"path,label\n{split}.mp4,x\n")
    (tmp_path / "quarantine.csv").write_text("path,reason\nother.mp4,cut\n")
    split = "train" if "train" in name else "val"
    with pytest.raises(DataError, match=rf"csv: the list of the {split} split of .*; check {tmp_path}"):
        check_data(tmp_path / name, workers=1, inspect=sound)
    assert (tmp_path / "quarantine.csv").read_text() == "path,reason\nother.mp4,cut\n"


def test_a_split_alone_is_no_data_set(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train: no data set found, but a split of one; did you mean"):
        check_data(data / "train")
    (tmp_path / "notes.md").write_text("mine\n")
    with pytest.raises(DataError, match=r"notes\.md: the first line is 'mine'; expected a header path,label"):
        check_data(tmp_path / "notes.md")
    assert not (tmp_path / "quarantine.csv").exists()


def test_a_split_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('{"Sitting": "0"}')
    (tmp_path / "train.json").write_text('[{"id": "1", "template": "Sitting"}]')
    (tmp_path / "test.json").write_text('[{"id": "2"}]')
    report = check_data(tmp_path, workers=1, inspect=odd_decoder)
    assert (list(report.splits), report.sound) == (["train"], False)
    assert "the test list has no labels" in report.broken["test"]
    assert "test cannot be read: " in str(report)


def test_multilabel_counts(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("path,labels\na.mp4,run;jump\nb.mp4,\nc.mp4,run\ncrash.mp4,swim\n")
    report = report_of(tmp_path, "train", without="crash.mp4")
    train = report.summary()["splits"]["train"]
    assert train["classes"] == {"jump": 1, "run": 2, "swim": 0}
    assert (train["empty_classes"], train["without_class"], train["imbalance"]) == (["swim"], 1, 2.0)
    assert "classes of train without a video: swim" in str(report)
    assert "(no class)      1" in str(report)


def test_groups_that_cross_splits(tmp_path: Path) -> None:
    for split, rows in (("train", "a.mp4,x,p1\nb.mp4,y,p2\nc.mp4,x,p2\n"), ("test", "d.mp4,x,p2\ne.mp4,y,p3\n")):
        (tmp_path / f"{split}.csv").write_text(f"path,label,person\n{rows}")
    report = check_data(tmp_path, by="person", workers=1, inspect=odd_decoder)
    assert report.summary()["crossing_groups"] == {"p2": {"train": 2, "test": 1}}
    assert "groups that cross splits: 1\n  p2: train 2, test 1" in str(report)
    plain = check_data(tmp_path, workers=1, inspect=odd_decoder)
    assert plain.summary()["crossing_groups"] is None
    assert "groups that cross" not in str(plain)
    with pytest.raises(DataError, match=r"train\.csv: has no column source; it has path, label, person$"):
        check_data(tmp_path, by="source", workers=1, inspect=odd_decoder)


def test_long_lists_are_cut_short(tmp_path: Path) -> None:
    names = [f"{number:03d}" for number in range(60)]
    (tmp_path / "train.csv").write_text("path,label\n" + "".join(f"{name}.mp4,class {name}\n" for name in names))
    (tmp_path / "test.csv").write_text("path,label\n" + "".join(f"{name}.mp4,class {name}\n" for name in names[:30]))
    report = report_of(tmp_path, "train", "test")
    text = str(report).splitlines()
    assert len(text) < 60
    assert "... 40 more" in text
    assert "leaks between splits: 30" in text
    assert "  train: 000.mp4 = test: 000.mp4" in text
    assert "  ... 20 more; --json has all" in text
    assert len(json.loads(json.dumps(report.summary()))["leaks"]) == 30


def test_places_where_no_list_can_go(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none/bad\.csv: no such folder .*/none"):
        check_data(data, out=tmp_path / "none" / "bad.csv")
    (tmp_path / "notes.txt").write_text("mine\n")
    with pytest.raises(DataError, match=r"notes\.txt: the first line is 'mine'.*name another with --out"):
        check_data(data, out=tmp_path / "notes.txt")
    with pytest.raises(SettingError, match="time limit 0"):
        check_data(data, time_limit=0)
    with pytest.raises(DataError, match="no data set found"):
        check_data(tmp_path)


SLOW_SECOND_PROCESS = """
import os, signal, sys, threading, time

def late():  # starts up only when it has been told to end, and ends two seconds after that
    import timesformer.data.check
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    until = time.monotonic() + 60
    while signal.SIGTERM not in signal.sigpending() and time.monotonic() < until:
        time.sleep(0.01)
    end = threading.Timer(2, signal.pthread_sigmask, (signal.SIG_UNBLOCK, [signal.SIGTERM]))
    end.daemon = True
    end.start()

if "--multiprocessing-fork" in sys.orig_argv:
    try:
        os.close(os.open(MARK, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        late()
"""


@pytest.mark.started_anew
def test_a_process_that_starts_late_says_nothing(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first process has inspected everything before the second one has started up."""
    slow = f"MARK = {str(tmp_path / 'mark')!r}\n" + SLOW_SECOND_PROCESS
    (tmp_path / "sitecustomize.py").write_text(slow)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    report = check_data(bars, workers=2, inspect=sound, out=tmp_path / "unreadable.txt")
    assert not report.reasons
    assert (tmp_path / "mark").exists()
    assert capfd.readouterr().err == ""
