"""`timesformer serve`: an HTTP service, with a page."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from timesformer.cli.options import Device, Engine, Threads
from timesformer.cli.stop import draining
from timesformer.threads import use_threads

TOKEN = "TIMESFORMER_TOKEN"  # environment variable


def serve(
    weights: Annotated[
        list[str],
        typer.Argument(
            help="Models: weights, folders of runs, exported files, hub ids; the first is the default.",
            metavar="[NAME=]WEIGHTS...",
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")] = 8080,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"File with the token that the API asks for; or the variable {TOKEN}.", metavar="FILE"),
    ] = None,
    allow_urls: Annotated[
        str | None, typer.Option(help="Hosts that videos may be downloaded from.", metavar="HOST,...")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Uploads decoded at a time; one a core if not given.")
    ] = None,
    queue_clips: Annotated[
        int | None, typer.Option(help="Clips that may wait for a model; more are refused.", show_default="256")
    ] = None,
    max_mb: Annotated[float | None, typer.Option(help="MiB of a body.", show_default="512")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Seconds of a video.", show_default="600")] = None,
    max_frames: Annotated[int | None, typer.Option(help="Frames of a video.", show_default="36000")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Pixels of a frame.", show_default="9437184")] = None,
    decode_seconds: Annotated[
        float | None, typer.Option(help="Seconds that decoding may take.", show_default="60")
    ] = None,
    decode_mb: Annotated[
        int | None, typer.Option(help="MiB of memory that decoding may take.", show_default="2048")
    ] = None,
    drain_seconds: Annotated[
        float | None, typer.Option(help="Seconds that requests have to end at SIGTERM.", show_default="30")
    ] = None,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    threads: Threads = None,
) -> None:
    """Answer over HTTP what models see in videos; http://HOST:PORT/ is a page for people.

    docs/serve.md has the API. Logs are lines of JSON on standard error. SIGTERM and Ctrl-C let requests end first.
    """
    from timesformer.errors import SettingError
    from timesformer.settings import make

    use_threads(threads)
    token = _token(token_file)
    try:
        from timesformer.serve.app import create_app
        from timesformer.serve.logs import use_json_logs
        from timesformer.serve.models import load_models, name_weights
        from timesformer.serve.problems import Problem
        from timesformer.serve.server import address_of, listen
        from timesformer.serve.server import serve as answer
        from timesformer.serve.service import Service
        from timesformer.serve.settings import ServiceSettings
    except ModuleNotFoundError as error:
        raise SettingError(f"serve needs {error.name}: pip install '.[serve]' in the checkout") from None
    given = {
        "workers": workers,
        "queue_clips": queue_clips,
        "max_mb": max_mb,
        "max_seconds": max_seconds,
        "max_frames": max_frames,
        "max_pixels": max_pixels,
        "decode_seconds": decode_seconds,
        "decode_mb": decode_mb,
        "drain_seconds": drain_seconds,
        "allow_urls": None if allow_urls is None else tuple(allow_urls.split(",")),
    }
    settings = make(ServiceSettings, {name: value for name, value in given.items() if value is not None}, "serve")
    named = name_weights(weights)
    with listen(host, port) as listening:
        models = load_models(
            named,
            device=device,
            engine=engine,  # type: ignore[arg-type]
            precision=precision,  # type: ignore[arg-type]
            queue_clips=settings.queue_clips,
        )
        service = Service(models, settings)
        try:
            service.decoder.warm_up()
        except Problem:
            service.close()
            raise SettingError(
                "serve: the system starts no process to decode with; see `ulimit -u` and the memory that is free"
            ) from None
        use_json_logs()
        for name, model in models.items():
            print(f"{name}: {model.predictor.engine}", file=sys.stderr)
        print(f"timesformer: {', '.join(models)} at {address_of(listening)}", file=sys.stderr, flush=True)
        with draining():
            answer(create_app(service, token=token, host=host), listening, settings.drain_seconds)


def _token(file: Path | None) -> str | None:
    from timesformer.errors import SettingError

    given = os.environ.pop(TOKEN, None)  # processes that decode uploads would have it in their environment
    token = given if file is None else file.read_text("utf-8")
    if token is None:
        return None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingError(f"{file or TOKEN}: expected a token of printable ASCII without spaces")
    return token
