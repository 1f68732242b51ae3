"""Signing in and out."""

from __future__ import annotations

import asyncio
from http.cookies import SimpleCookie

import pytest

from services.api.admin import login
from services.api.admin.login import Doorman, local_path
from services.api.guard import COOKIE
from tests.fakes.web_archive import WebArchive

TOKEN = "a-long-enough-token"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> WebArchive:
    monkeypatch.setattr(login, "_doorman", Doorman(pause_seconds=0))
    return WebArchive(bearer_token=TOKEN)


@pytest.mark.parametrize("target", ["/", "/studies/1.2?x=1", "/viewer/viewer?StudyInstanceUIDs=1.2"])
def test_a_path_of_this_archive_is_gone_to(target: str) -> None:
    assert local_path(target) == target


@pytest.mark.parametrize(
    "target",
    [
        "",
        "nodes",
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "/a\nb",
    ],
)
def test_no_other_place_is_gone_to(target: str) -> None:
    assert local_path(target) == "/"


def test_a_browser_is_sent_to_sign_in_and_back(web: WebArchive) -> None:
    sent = web.get("/viewer/viewer?StudyInstanceUIDs=1.2&x=y")
    assert sent.status_code == 303
    form = web.get(sent.headers["Location"])
    assert form.status_code == 200
    assert 'name="next" value="/viewer/viewer?StudyInstanceUIDs=1.2&amp;x=y"' in form.text


def test_behind_a_proxy_a_browser_stays_below_its_prefix(web: WebArchive) -> None:
    headers = {"X-Forwarded-Prefix": "/pacs"}
    assert web.get("/nodes", headers=headers).headers["Location"] == "/pacs/login?next=/nodes"
    answer = web.ask("POST", "/login", data={"token": TOKEN, "next": "/nodes"}, headers=headers)
    assert answer.headers["Location"] == "/pacs/nodes"


def test_the_token_opens_a_session_that_scripts_cannot_read(web: WebArchive) -> None:
    answer = web.ask("POST", "/login", data={"token": TOKEN, "next": "/nodes"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/nodes")
    morsel = SimpleCookie(answer.headers["Set-Cookie"])[COOKIE]
    assert morsel["httponly"] and morsel["samesite"] == "strict" and not morsel["secure"]
    assert TOKEN not in morsel.value
    assert web.get("/nodes", headers={"Cookie": f"{COOKIE}={morsel.value}"}).status_code == 200


def test_over_https_the_session_stays_there(web: WebArchive) -> None:
    headers = {"X-Forwarded-Proto": "https"}
    answer = web.ask("POST", "/login", data={"token": TOKEN}, headers=headers)
    assert SimpleCookie(answer.headers["Set-Cookie"])[COOKIE]["secure"]


def test_a_wrong_token_is_refused(web: WebArchive) -> None:
    answer = web.ask("POST", "/login", data={"token": "guess", "next": "//evil.example"})
    assert answer.status_code == 403 and "Set-Cookie" not in answer.headers
    assert "not the token" in answer.text and 'name="next" value="/"' in answer.text


def test_signing_out_ends_the_session(web: WebArchive) -> None:
    signed_in = web.ask("POST", "/login", data={"token": TOKEN})
    session = SimpleCookie(signed_in.headers["Set-Cookie"])[COOKIE].value
    answer = web.ask("POST", "/logout", headers={"Cookie": f"{COOKIE}={session}"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    assert SimpleCookie(answer.headers["Set-Cookie"])[COOKIE].value == ""


def test_without_a_token_there_is_nothing_to_sign_in_to() -> None:
    web = WebArchive()
    assert web.get("/login?next=/nodes").headers["Location"] == "/nodes"
    assert "Sign out" not in web.get("/").text


def test_guesses_wait_and_few_wait_at_once() -> None:
    async def guesses() -> list[bool | None]:
        doorman = Doorman(pause_seconds=0.05, waiting=2)
        return list(await asyncio.gather(*(doorman.admits("guess", TOKEN) for _ in range(5))))

    assert asyncio.run(guesses()) == [False, False, None, None, None]


def test_those_who_waited_leave_their_place() -> None:
    async def guesses() -> list[bool | None]:
        doorman = Doorman(pause_seconds=0, waiting=1)
        return [await doorman.admits(said, TOKEN) for said in ("guess", "guess", TOKEN)]

    assert asyncio.run(guesses()) == [False, False, True]


def test_whoever_has_not_signed_in_learns_nothing_of_the_archive(web: WebArchive) -> None:
    text = web.get("/login").text
    assert "4711" not in text and "Sign out" not in text and "/quarantine" not in text
