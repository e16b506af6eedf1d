"""One state backend over several servers."""

from __future__ import annotations

from perdure.backends.sharded.backend import ShardedBackend

__all__ = ["ShardedBackend"]
