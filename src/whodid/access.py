"""Who may see what. An argument of every reading function of a store; the default is nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

from whodid.errors import PermissionRefusedError
from whodid.query.ast import Node

Permission: TypeAlias = Literal["read", "export", "reveal", "verify", "alerts", "manage"]
PERMISSIONS: frozenset[Permission] = frozenset(
    ("read", "export", "reveal", "verify", "alerts", "manage")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What one caller may see.

    Attributes:
        tenants: Ids of the tenants, or None for all of them.
        permissions: What may be done there.
        restriction: A search ANDed to every search of the caller's, outside its tree.
    """

    tenants: frozenset[str] | None = frozenset()
    permissions: frozenset[Permission] = frozenset()
    restriction: Node | None = None

    @classmethod
    def everything(cls) -> Self:
        """All tenants, all permissions: for the owner of the file and for our own jobs."""
        return cls(tenants=None, permissions=PERMISSIONS)

    @classmethod
    def reader(cls, tenants: Iterable[str], *, restriction: Node | None = None) -> Self:
        """May read these tenants and nothing else."""
        return cls(
            tenants=frozenset(tenants), permissions=frozenset({"read"}), restriction=restriction
        )

    def sees(self, tenant: str) -> bool:
        """Is this tenant among those the caller may see?"""
        return self.tenants is None or tenant in self.tenants

    def check(self, permission: Permission) -> None:
        """Let the caller pass if it has the permission.

        Raises:
            PermissionRefusedError: It has not.
        """
        if permission not in self.permissions:
            raise PermissionRefusedError(f"this access lacks the permission {permission!r}")
