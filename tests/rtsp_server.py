"""The least of an RTSP server (RFC 2326): one MPEG-TS stream over the connection that asks for it."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=live\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 33\r\na=control:video\r\n"
)
PACKETS = 7 * 188  # bytes of MPEG-TS in a packet of RTP


class Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        if not self.server.left:
            return
        while words := self.rfile.readline().decode().split():
            fields = {}
            while line := self.rfile.readline().decode().strip():
                name, _, value = line.partition(":")
                fields[name.lower()] = value.strip()
            self.answer(words[0], fields)
            if words[0] == "PLAY":
                self.server.left -= 1
                self.play()
                self.connection.shutdown(socket.SHUT_WR)
                self.rfile.read()  # what closes with something unread takes back what it has sent
                return

    def answer(self, method: str, fields: dict[str, str]) -> None:
        self.server.asked.append((method, fields.get("transport", "")))
        more, body = "", ""
        if method == "OPTIONS":
            more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif method == "DESCRIBE":
            more, body = "Content-Type: application/sdp\r\n", SDP
        elif method == "SETUP":
            more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        head = f"RTSP/1.0 200 OK\r\nCSeq: {fields['cseq']}\r\nSession: 1\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        self.wfile.write((head + body).encode())

    def play(self) -> None:
        for number, start in enumerate(range(0, len(self.server.content), PACKETS)):
            piece = self.server.content[start : start + PACKETS]
            rtp = struct.pack(">BBHII", 0x80, 33, number, 0, 1) + piece
            self.wfile.write(struct.pack(">cBH", b"$", 0, len(rtp)) + rtp)


class Server(socketserver.ThreadingTCPServer):
    """Plays `content` once to each of as many connections as are `left`, and closes further ones. `asked`: methods, and
    the transports that were asked for."""

    daemon_threads = True
    content: bytes
    left: int
    asked: list[tuple[str, str]]

    def handle_error(self, *_: object) -> None:
        """The other end has closed."""


@contextmanager
def rtsp_served(content: bytes, plays: int) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The URL of a stream that plays `content` so many times, and what its server was asked."""
    server = Server(("127.0.0.1", 0), Handler)
    server.content, server.left, server.asked = content, plays, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"rtsp://127.0.0.1:{server.server_address[1]}/live", server.asked
    finally:
        server.shutdown()
        server.server_close()
