"""Ways to print the rows of a prediction: as they come, or at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from timesformer.files import as_json

if TYPE_CHECKING:
    from rich.console import Console

    from timesformer.inference.rows import Row


CONTROL = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Printed(Protocol):
    """What takes rows: one of the classes below."""

    def add(self, row: Row) -> None: ...

    def end(self) -> None: ...


class Nothing:
    """Rows that go to a file."""

    def add(self, row: Row) -> None:
        pass

    def end(self) -> None:
        pass


class JsonLines:
    """One JSON object a line, as soon as it is known."""

    def add(self, row: Row) -> None:
        print(as_json(row), flush=True)

    def end(self) -> None:
        pass


class Array:
    """One JSON array, at the end."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        self.rows.append(row)

    def end(self) -> None:
        print(as_json(self.rows))


class Tabs:
    """Lines of fields below a header, as soon as they are known; a video that cannot be read is a line with why. Tabs
    and line ends in names are escapes, as in JSON."""

    def __init__(self) -> None:
        self.began = False

    def add(self, row: Row) -> None:
        if not self.began:
            print("video", "label", "score", "problem", sep="\t")
            self.began = True
        video = row["video"].translate(CONTROL)
        for one in row["predictions"]:
            print(video, one["label"].translate(CONTROL), f"{one['score']:.3f}", "", sep="\t", flush=True)
        if "problem" in row:
            print(video, "", "", row["problem"], sep="\t", flush=True)

    def end(self) -> None:
        pass


class Table:
    """A table for people, at the end."""

    def __init__(self, console: Console) -> None:
        from rich.table import Column
        from rich.table import Table as Rich

        self.console = console
        names = ("video", "label", "score")
        self.table = Rich(*(Column(name, overflow="fold") for name in names), box=None, pad_edge=False)

    def add(self, row: Row) -> None:
        for rank, one in enumerate(row["predictions"]):
            self.table.add_row("" if rank else row["video"], one["label"], f"{one['score']:.3f}")
        if "problem" in row:
            self.table.add_row(row["video"], f"({row['problem']})", "")

    def end(self) -> None:
        if self.table.rows:
            self.console.print(self.table, markup=False)
