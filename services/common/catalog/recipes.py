"""A rendition's recipe, to and from the JSON of its column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from services.common.model import Recipe


def recipe_to_json(recipe: Recipe) -> Mapping[str, Any]:
    """Every field by its name; the padding in hex."""
    return asdict(recipe) | {"padding": recipe.padding.hex()}


def recipe_from_json(column: Mapping[str, Any]) -> Recipe:
    """What `recipe_to_json` made it of."""
    return Recipe(**{**column, "padding": bytes.fromhex(column["padding"])})
