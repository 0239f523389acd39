"""What the manifest of an artifact says: of the model, and of each plan under "plans", in their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def of_plan(manifest: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    """What it says of a plan; nothing where it does not: a manifest may hold anything."""
    plans = manifest.get("plans")
    record = plans[number] if isinstance(plans, list) and number < len(plans) else None
    return record if isinstance(record, Mapping) else {}
