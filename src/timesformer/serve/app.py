"""The HTTP interface: routes, what they take, and what they answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from timesformer import __version__
from timesformer.config.explain import Explain, Method
from timesformer.errors import SettingError
from timesformer.inference.timeline import TimelineOptions
from timesformer.serve import schema
from timesformer.serve.envelope import CLIENT_LEFT, Envelope, log_fields
from timesformer.serve.job import Disconnected
from timesformer.serve.models import ServedModel
from timesformer.serve.pages import Page
from timesformer.serve.problems import Problem
from timesformer.serve.service import Service
from timesformer.serve.timeline import TimelineResponse
from timesformer.serve.uploads import Upload

Model = Annotated[str | None, Query(description="A name of /v1/models; the default one if not given.")]
Seconds = Annotated[float | None, Query(gt=0, description="Seconds.")]
NAME_SHOWN = 64  # characters, at most, of an unknown parameter's name that its refusal has


def create_app(
    service: Service, *, token: str | None = None, host: str | None = None, page: Page | None = None
) -> FastAPI:
    """The application of a service, which it closes when it ends.

    token: what requests to the API must bring as `Authorization: Bearer TOKEN`; None for anybody. host: a name by which
    it is asked without a token, beside addresses and names without a dot.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            service.close()

    app = FastAPI(
        title="timesformer",
        version=__version__,
        description="Videos classified by space-time attention.",
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        dependencies=[Depends(check_query)],
    )
    app.add_middleware(Envelope, metrics=service.metrics, token=token, host=host)
    _add_problems(app)
    _add_api(app, service)
    _add_operations(app, service)
    _add_page(app, Page() if page is None else page)
    return app


async def check_query(request: Request) -> None:
    """Raises Problem for a parameter that a route of the API does not have: one that is mistyped would be ignored."""
    route = request.scope["route"]
    known = [field.alias for field in route.dependant.query_params]
    unknown = [name for name in request.query_params if name not in known]
    if unknown and route.path.startswith("/v1/"):
        expected = ", ".join(known) or "none"
        raise Problem(
            "unknown_parameter", f"{unknown[0][:NAME_SHOWN]!r}: not a parameter of {route.path}; expected {expected}"
        )


def _add_api(app: FastAPI, service: Service) -> None:
    @asynccontextmanager
    async def upload_for(request: Request, model: ServedModel, clips: int) -> AsyncIterator[Upload]:
        """The upload of a request for which the queue has room."""
        fields = log_fields(request.scope)
        fields["model"] = model.name
        model.batcher.check_room(clips)  # before its body comes, and again after
        async with service.receiver.receive(request) as upload:
            fields["upload_bytes"] = upload.size
            service.metrics.upload_bytes.inc(upload.size)
            service.metrics.stages.labels("upload").observe(upload.seconds)
            with model.batcher.reserve(clips):
                yield upload

    @app.post("/v1/predict", **schema.PREDICT)
    async def predict(
        request: Request,
        model: Model = None,
        top_k: Annotated[int, Query(ge=1, description="Classes of the answer.")] = 5,
    ) -> Response:
        """The best classes of a video, best first."""
        served = service.find(model)
        async with upload_for(request, served, served.views) as upload:
            row = await service.run(request, lambda job: service.predict(job, served, upload, top_k))
        return JSONResponse(row)

    @app.post("/v1/explain", **schema.EXPLAIN)
    async def explain(
        request: Request,
        model: Model = None,
        method: Method = "rollout",
        label: Annotated[str | None, Query(description="The class; the best one if not given.")] = None,
        plain: Annotated[bool, Query(description="The frames alone, as large as they are in the video.")] = False,
    ) -> Response:
        """Where and when a model looked: the frames that it saw under a map, as a video.

        The headers Overlay-Start and Overlay-End say which seconds of the video it shows.

        rollout follows attention back to the patches; relevance weighs it by what the class gains; occlusion hides
        parts one by one, which any model takes, slowly.
        """
        served = service.find(model)
        settings = Explain(method=method)
        await to_thread.run_sync(service.check_explain, served, settings, label)
        async with upload_for(request, served, served.views) as upload:
            overlay = await service.run(
                request, lambda job: service.explain(job, served, upload, settings, label, plain=plain)
            )
        stretch = zip(("Overlay-Start", "Overlay-End"), overlay.stretch or (), strict=False)
        return Response(
            overlay.content, media_type="video/mp4", headers={name: f"{value:.6f}" for name, value in stretch}
        )

    @app.post("/v1/features", **schema.FEATURES)
    async def features(request: Request, model: Model = None) -> Response:
        """The features of a video: what the model's head sees, mean over all views."""
        served = service.find(model)
        async with upload_for(request, served, served.views) as upload:
            row = await service.run(request, lambda job: service.features(job, served, upload))
        return JSONResponse(row)

    @app.post("/v1/timeline", **schema.TIMELINE)
    async def timeline(
        request: Request, model: Model = None, window: Seconds = None, stride: Seconds = None
    ) -> Response:
        """What a video shows over time: a row a window, as soon as it is known, then {"video": ..., "done": true}.

        What goes wrong after the first row is a last line {"error": ..., "detail": ...} in its place.
        """
        served = service.find(model)
        options = TimelineOptions(window, stride)
        try:
            options.check(served.predictor.engine, served.predictor.preprocessing)
        except SettingError as error:
            raise Problem("bad_parameter", str(error)) from None
        return TimelineResponse(service, served, upload_for(request, served, served.views), options)

    @app.get("/v1/models", **schema.MODELS)
    async def models() -> dict[str, Any]:
        """The models of this service."""
        first = next(iter(service.models))
        return {"models": [{**one.as_dict(), "default": one.name == first} for one in service.models.values()]}


def _add_operations(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["operations"])
    async def healthz() -> dict[str, str]:
        """Whether the service runs."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["operations"])
    async def readyz() -> dict[str, str]:
        """Whether it takes requests: 503 where a model's engine has ended."""
        if not service.ready:
            ended = ", ".join(name for name, model in service.models.items() if not model.batcher.alive)
            raise Problem("unavailable", f"{ended}: the engine has ended; restart the service")
        return {"status": "ok"}

    @app.get("/metrics", tags=["operations"])
    async def metrics() -> Response:
        """Metrics in the format of Prometheus."""
        return service.metrics.response()


def _add_page(app: FastAPI, page: Page) -> None:
    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return page.response("index.html")

    @app.get("/page/{name:path}", include_in_schema=False)
    async def page_file(name: str) -> Response:
        return page.response(name)


def _add_problems(app: FastAPI) -> None:
    """Refusals have one form, whoever refuses, and the log has their code."""

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        log_fields(request.scope)["error"] = error.code
        return error.response()

    @app.exception_handler(Disconnected)
    async def gone(request: Request, error: Disconnected) -> Response:
        log_fields(request.scope)["error"] = "client_left"
        return Response(status_code=CLIENT_LEFT)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"][1:])) or "request"
        message = str(first["msg"]).removeprefix("Input should be ")
        return await problem(request, Problem("bad_parameter", f"{name}: expected {message}"))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return await problem(request, Problem("not_found", f"{request.url.path}: not found; see /openapi.json"))
        if error.status_code == 405:
            return await problem(
                request,
                Problem(
                    "method_not_allowed",
                    f"{request.method}: not of this path; see /openapi.json",
                ),
            )
        return await problem(request, Problem("bad_request", f"the request: {error.detail}; see /openapi.json"))
