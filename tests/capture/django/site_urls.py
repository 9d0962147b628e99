"""The pages of the site that the tests of requests, sign-ins and accounts visit."""

# Django REST framework has no types.
# mypy: disable-error-code="import-untyped, misc"

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.contrib import admin
from django.contrib.auth import logout, views
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from rest_framework.authentication import (
    BasicAuthentication,
    SessionAuthentication,
    TokenAuthentication,
)
from rest_framework.authtoken.views import obtain_auth_token
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.authentication import (
    JWTAuthentication,
    JWTStatelessUserAuthentication,
)
from rest_framework_simplejwt.views import TokenObtainPairView

from whodid import context
from whodid.event import Actor


def empty(request: HttpRequest) -> HttpResponse:
    return HttpResponse("nothing happens here")


def make(request: HttpRequest, name: str) -> HttpResponse:
    Group.objects.create(name=name)
    return HttpResponse()


async def make_async(request: HttpRequest, name: str) -> HttpResponse:
    group = await Group.objects.acreate(name=name)
    group.name = f"{name}, renamed"
    await group.asave()
    return HttpResponse()


def make_in_thread(request: HttpRequest, name: str) -> HttpResponse:
    """With the context carried along by hand: a thread begins without one."""
    carried = context.carry(lambda: context.current().actor)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(carried()))
    thread.start()
    thread.join()
    return HttpResponse(found[0].id)


def make_then_break(request: HttpRequest, name: str) -> HttpResponse:
    Group.objects.create(name=name)
    raise ValueError(f"{name} can't be made, password=hunter2")


async def break_async(request: HttpRequest) -> HttpResponse:
    raise KeyError("in the loop")


def refuse(request: HttpRequest, token: str = "") -> HttpResponse:
    raise PermissionDenied("not here")


def answer(request: HttpRequest, status: int) -> HttpResponse:
    return HttpResponse(status=status)


def stream(request: HttpRequest, name: str) -> StreamingHttpResponse:
    def pieces() -> Iterator[bytes]:
        yield b"begun, "
        Group.objects.create(name=name)
        yield b"done"
        if name == "broken":
            raise ValueError("in the middle of the answer")

    return StreamingHttpResponse(pieces())


async def stream_async(request: HttpRequest, name: str) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"begun, "
        await Group.objects.acreate(name=name)
        yield b"done"
        if name == "broken":
            raise ValueError("in the middle of the answer")

    return StreamingHttpResponse(pieces())


def stream_as(request: HttpRequest, name: str) -> StreamingHttpResponse:
    def pieces() -> Iterator[bytes]:
        try:
            yield b"begun, "
            with context.bind(actor=Actor(type="service_account", id=name)):
                Group.objects.create(name="1")
                yield b"one, "
                Group.objects.create(name="2")
                yield b"two"
        except GeneratorExit:
            Group.objects.create(name="at the end")

    return StreamingHttpResponse(pieces())


async def stream_async_as(request: HttpRequest, name: str) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"begun, "
        with context.bind(actor=Actor(type="service_account", id=name)):
            await Group.objects.acreate(name="1")
            yield b"one, "
            await Group.objects.acreate(name="2")
            yield b"two"

    return StreamingHttpResponse(pieces())


def download(request: HttpRequest) -> FileResponse:
    return FileResponse(open(__file__, "rb"))


def delete_me(request: HttpRequest) -> HttpResponse:
    request.user.delete()
    Group.objects.create(name="made by nobody who is left")
    return HttpResponse()


@login_required
def lose_session(request: HttpRequest) -> HttpResponse:
    Session.objects.all().delete()
    request.session["basket"] = 1
    Group.objects.create(name="made without a session")
    return HttpResponse()


def leave_then_make(request: HttpRequest) -> HttpResponse:
    logout(request)
    Group.objects.create(name="made after leaving")
    return HttpResponse()


class Api(APIView):
    authentication_classes = (
        TokenAuthentication, JWTAuthentication, SessionAuthentication, BasicAuthentication
    )  # fmt: skip
    permission_classes = (IsAuthenticated,)

    def post(self, request: Request, name: str) -> Response:
        Group.objects.create(name=name)
        return Response({})


class StatelessApi(Api):
    authentication_classes = (JWTStatelessUserAuthentication,)  # type: ignore[assignment]  # DRF has no types


urlpatterns = [
    path("", empty),
    path("admin/", admin.site.urls),
    path("login/", views.LoginView.as_view(template_name="admin/login.html", next_page="/")),
    path("logout/", views.LogoutView.as_view(next_page="/")),
    path(
        "reset/<uidb64>/<token>/",
        views.PasswordResetConfirmView.as_view(template_name="admin/login.html", success_url="/"),
    ),
    path("make/<str:name>/", make),
    path("make-async/<str:name>/", make_async),
    path("make-in-thread/<str:name>/", make_in_thread),
    path("make-then-break/<str:name>/", make_then_break),
    path("break-async/", break_async),
    path("refuse/", refuse),
    path("invite/<str:token>/", refuse),
    path("answer/<int:status>/", answer),
    path("stream/<str:name>/", stream),
    path("stream-async/<str:name>/", stream_async),
    path("stream-as/<str:name>/", stream_as),
    path("stream-async-as/<str:name>/", stream_async_as),
    path("download/", download),
    path("delete-me/", delete_me),
    path("lose-session/", lose_session),
    path("leave-then-make/", leave_then_make),
    path("api/<str:name>/", Api.as_view()),
    path("stateless-api/<str:name>/", StatelessApi.as_view()),
    path("token/", obtain_auth_token),
    path("jwt/", TokenObtainPairView.as_view()),
]
