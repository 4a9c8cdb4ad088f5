"""`import workers.workflows`: what a workflow's steps raise."""

from __future__ import annotations

from homing.workflows import NonRetryableError

__all__ = ["NonRetryableError"]
