"""`compose.yaml`, read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[3] / "deploy" / "compose"
STACK: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
OURS = sorted(name for name, service in SERVICES.items() if service["image"] == "pearlstream:local")
"""The services that run our own image."""
