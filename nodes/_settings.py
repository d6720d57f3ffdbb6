"""What all kinds' settings share: strict, frozen, no unknown keys."""

from pydantic import BaseModel, ConfigDict

__all__ = ["NoSettings", "Settings"]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class NoSettings(Settings):
    """Settings of a kind that has none."""
