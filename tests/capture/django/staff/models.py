"""User models of a project's own: one that adds to Django's, one that does without most of it."""

# The stubs of Django's fields say nothing without their plugin.
# mypy: disable-error-code="var-annotated, no-any-return"

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import AbstractUser
from django.db import models


class Employee(AbstractUser):
    badge = models.CharField(max_length=20, blank=True, default="")
    mfa_secret = models.CharField(max_length=50, blank=True, default="")
    manager = models.ForeignKey("self", models.SET_NULL, null=True, blank=True)
    teams = models.ManyToManyField("Team", blank=True, related_name="people")

    def __str__(self) -> str:
        return f"{self.username}, badge {self.badge}"


class Team(models.Model):
    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


class _People(BaseUserManager["Person"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> Person:
        person = self.model(email=self.normalize_email(email), **fields)
        person.set_password(password)
        person.save(using=self._db)
        return person

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> Person:
        return self.create_user(email, password, is_admin=True, **fields)


class Person(AbstractBaseUser):
    """Signs in with an address; has neither groups nor permissions nor Django's flags."""

    email = models.EmailField(unique=True)
    full_name = models.CharField(max_length=100, blank=True, default="")
    is_active = models.BooleanField(default=True)
    is_admin = models.BooleanField(default=False)

    objects: ClassVar[_People] = _People()
    USERNAME_FIELD = "email"

    def __str__(self) -> str:
        return f"Person {self.pk}"

    @property
    def is_staff(self) -> bool:
        return self.is_admin

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return self.is_admin

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_admin


class Card(AbstractBaseUser):
    """As little as can sign in: a number, and nothing that says what it may do."""

    number = models.CharField(max_length=20, primary_key=True)
    password = models.CharField(max_length=128, db_column="code")
    last_login = None  # as Django lets one leave it out

    objects: ClassVar[BaseUserManager[Card]] = BaseUserManager()
    USERNAME_FIELD = "number"
