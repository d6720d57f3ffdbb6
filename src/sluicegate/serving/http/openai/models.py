"""The models: `GET /v1/models` and `GET /v1/models/{model}`. Each workflow that is served is one."""

from starlette.requests import Request
from starlette.responses import Response

from sluicegate.serving.http.calls import as_json, caller_of, workflows_of
from sluicegate.serving.http.openai.asking import workflow_of
from sluicegate.serving.http.openai.messages import ModelCard, ModelCards
from sluicegate.serving.service import Service

__all__ = ["model", "models"]


async def models(request: Request) -> Response:
    caller_of(request)
    return as_json(ModelCards(data=[_card(request, service) for service in workflows_of(request)]))


async def model(request: Request) -> Response:
    caller_of(request)
    return as_json(_card(request, workflow_of(request, request.path_params["model"])))


def _card(request: Request, service: Service) -> ModelCard:
    workflow = service.versions.serving.workflow
    return ModelCard(
        id=workflow.name,
        created=request.app.state.since,
        sluicegate={"version": workflow.version, "digest": workflow.digest, "purpose": workflow.config.purpose},
    )
