"""From a model's name to its provider."""

from sluicegate.models.config import ModelConfig
from sluicegate.models.embedded.weights import LAYERS
from sluicegate.models.provider import Provider

__all__ = ["provider_for"]


def provider_for(config: ModelConfig) -> Provider:
    """The provider of `config.use`. Raises `ModelError` SG308 when its package or key is missing."""
    if config.provider == "embedded" and config.model.endswith(LAYERS):
        from sluicegate.models.embedded.layered import Layered

        return Layered(config.model)
    if config.provider == "embedded":
        from sluicegate.models.embedded.embedded import Embedded

        return Embedded(config.model, context=config.context, options=config.options, file=config.file)
    if config.provider == "ollama":
        from sluicegate.models.providers.ollama import Ollama

        return Ollama(config)
    from sluicegate.models.providers.langchain import LangChain

    return LangChain(config)
