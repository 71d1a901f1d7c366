"""The file in a form, as the body comes."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from timesformer.serve.problems import Problem

FIELD = b"video"
HEADER_BYTES = 4096  # of a part's header, such as the name of a file
EXPECTED = "expected multipart/form-data with one file in a field named video"


class FileField:
    """Takes a body's chunks, and gives back what of them is in the field `video`; all other fields are ignored.

    Attributes: `filename`, what the client calls it; None where it has no name, or has not come yet.
    """

    def __init__(self, content_type: str) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise Problem("bad_request", f"the content type has no boundary; {EXPECTED}")
        self.filename: str | None = None
        self._found = self._wanted = self._complete = False
        self._part = bytearray()
        self._name, self._value = bytearray(), bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_part_data": self._data,
                    "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._header,
                    "on_end": self._end,
                },
                max_header_size=HEADER_BYTES,
            )
        except FormParserError:
            raise Problem("bad_request", f"the boundary is too long; {EXPECTED}") from None

    def feed(self, chunk: bytes) -> bytes:
        """What of a chunk is of the file. Raises Problem for what is no form."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise Problem("bad_request", f"the body is not a form; {EXPECTED}") from None
        found, self._part = bytes(self._part), bytearray()
        return found

    def end(self) -> None:
        """Raises Problem for a body that ended early, or had no such field."""
        if not self._complete:
            raise Problem("bad_request", f"the form ends before its last boundary; {EXPECTED}")
        if not self._found:
            raise Problem("bad_request", f"the form has no field named video; {EXPECTED}")

    def _begin(self) -> None:
        self._wanted = False

    def _header(self) -> None:
        name, value = bytes(self._name).strip().lower(), bytes(self._value)
        self._name, self._value = bytearray(), bytearray()
        if name != b"content-disposition":
            return
        options = parse_options_header(value)[1]
        if options.get(b"name") != FIELD:
            return
        if self._found:
            raise Problem("bad_request", f"the form has several fields named video; {EXPECTED}")
        self._found = self._wanted = True
        if filename := options.get(b"filename"):
            self.filename = filename.decode("utf-8", "replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self._part += data[start:end]

    def _end(self) -> None:
        self._complete = True
