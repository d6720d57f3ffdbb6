"""The models: `GET /v1/models` and `GET /v1/models/{model}`. The workflow that is served is one."""

from starlette.requests import Request
from starlette.responses import Response

from sluicegate.serving.http.calls import as_json, caller_of, service_of
from sluicegate.serving.http.openai.asking import no_model
from sluicegate.serving.http.openai.messages import ModelCard, ModelCards

__all__ = ["model", "models"]


async def models(request: Request) -> Response:
    caller_of(request)
    return as_json(ModelCards(data=[_card(request)]))


async def model(request: Request) -> Response:
    caller_of(request)
    name = request.path_params["model"]
    if name != service_of(request).name:
        raise no_model(name)
    return as_json(_card(request))


def _card(request: Request) -> ModelCard:
    workflow = service_of(request).versions.serving.workflow
    return ModelCard(
        id=workflow.name,
        created=request.app.state.since,
        sluicegate={"version": workflow.version, "digest": workflow.digest, "purpose": workflow.config.purpose},
    )
