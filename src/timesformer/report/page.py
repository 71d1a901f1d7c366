"""Pages for people: one HTML file each, which holds all it shows and asks for nothing outside of itself.

Templates lie in `templates/`: `base.html` has the look, styles (`base.css`) and behaviour (`base.js`) of every page.
"""

from __future__ import annotations

import base64
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timesformer import __version__
from timesformer.errors import SettingError
from timesformer.evaluation.metrics import metric_name
from timesformer.files import replacing, writing

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
MARK = b'<meta name="generator" content="timesformer'  # of pages that may be written over


def check_page(file: str | Path) -> Path:
    """The path of a page, checked before long work is done for it.

    Raises SettingError for a name without .html, for a folder, for a file that is no page of this package, and where no
    file can be written.
    """
    path = Path(file)
    if path.suffix not in (".html", ".htm"):
        raise SettingError(f"{path}: cannot be a page; expected *.html")
    if path.is_dir():
        raise SettingError(f"{path}: is a folder; expected a file")
    if not path.parent.is_dir():
        raise SettingError(f"{path}: no such folder {path.parent}")
    with writing(path):
        if path.exists():
            with path.open("rb") as stream:
                head = stream.read(2000)
            if head and MARK not in head:
                raise SettingError(f"{path}: exists and is no page of timesformer; name another file")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    return path


def write_page(file: str | Path, template: str, **values: Any) -> Path:
    """Write a page from a template and its values; it appears when it is complete. Returns its path.

    Bytes of names that are not UTF-8 are visible escapes. Raises SettingError as `check_page`.
    """
    path = check_page(file)
    text = _environment().get_template(template).render(version=__version__, **values)
    with writing(path), replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))  # lone surrogates as `files.escape` has them
    return path


def data_uri(content: bytes, media_type: str) -> str:
    """A file in an address, such as for `src` of a picture."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # A value that a template asks for and does not get is an error; text is escaped unless it is Markup.
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["metric"] = metric_name
    return environment
