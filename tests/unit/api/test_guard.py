"""Who may speak to the HTTP listener."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import SecretStr

from services.api.addresses import base_url
from services.api.guard import COOKIE, Guard, NotGuarded, check_listener, session_cookie
from services.common.settings import HttpSettings

TOKEN = "a-long-enough-token"


def client(**settings: object) -> httpx.AsyncClient:
    app = FastAPI()

    @app.api_route("/thing", methods=["GET", "POST"])
    def thing(request: Request) -> dict[str, str]:
        return {"base": base_url(request)}

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    guarded = Guard(app, HttpSettings.model_validate(settings))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=guarded), base_url="http://127.0.0.1:8080")


async def ask(
    method: str, headers: dict[str, str], path: str = "/thing", **settings: object
) -> httpx.Response:
    async with client(**settings) as http:
        return await http.request(method, path, headers=headers)


def run(method: str, headers: dict[str, str], path: str = "/thing", **settings: object) -> httpx.Response:
    return asyncio.run(ask(method, headers, path, **settings))


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8080", "localhost", "[::1]:8080", "pacs.example:443", "PACS.example"]
)
def test_known_hosts_are_answered(host: str) -> None:
    assert run("GET", {"Host": host}, allowed_hosts=["pacs.example"]).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "",
        "pacs.example.evil",
        "[",
        "[::1",
        "user@localhost",
        "localhost:port",
        "localhost:8080/path",
        "localhost, evil.example",
    ],
)
def test_unknown_host_gets_421(host: str) -> None:
    assert run("GET", {"Host": host}, allowed_hosts=["pacs.example"]).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Host": "evil.example"},
        {"Forwarded": "host=evil.example"},
        {"Forwarded": 'host="["'},
        {"X-Forwarded-Host": "localhost", "X-Forwarded-Port": "80/x"},
    ],
)
def test_unknown_forwarded_host_gets_421(headers: dict[str, str]) -> None:
    assert run("GET", headers).status_code == 421


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://127.0.0.1:8080"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://viewer.example", "Sec-Fetch-Site": "cross-site"}, 200),
    ],
)
def test_state_changes_from_other_sites_are_refused(headers: dict[str, str], status: int) -> None:
    assert run("POST", headers, allowed_origins=["http://viewer.example"]).status_code == status


def test_reading_from_another_site_is_not_a_state_change() -> None:
    assert run("GET", {"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_a_token_is_asked_for_where_one_is_configured() -> None:
    answer = run("GET", {}, bearer_token=TOKEN)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert run("GET", {"Authorization": "Bearer wrong"}, bearer_token=TOKEN).status_code == 401
    assert run("GET", {"Authorization": f"bearer {TOKEN}"}, bearer_token=TOKEN).status_code == 200
    assert run("GET", {}, "/healthz", bearer_token=TOKEN).status_code == 200


def test_a_browser_is_led_to_the_login_page_and_its_session_passes() -> None:
    answer = run("GET", {"Accept": "text/html"}, bearer_token=TOKEN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/thing")
    session = {"Cookie": f"{COOKIE}={session_cookie(TOKEN)}"}
    assert run("GET", session, bearer_token=TOKEN).status_code == 200
    assert run("POST", session | {"Sec-Fetch-Site": "cross-site"}, bearer_token=TOKEN).status_code == 403


def test_a_bearer_of_the_token_may_change_things_from_anywhere() -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Origin": "http://evil.example"}
    assert run("POST", headers, bearer_token=TOKEN).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.5", "::", "pacs.example"])
def test_listening_beyond_loopback_without_a_token_is_refused(host: str) -> None:
    with pytest.raises(NotGuarded, match="GANTRY_HTTP__BEARER_TOKEN"):
        check_listener(HttpSettings(host=host))
    check_listener(HttpSettings(host=host, bearer_token=SecretStr(TOKEN)))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_needs_no_token(host: str) -> None:
    check_listener(HttpSettings(host=host))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "http://127.0.0.1:8080"),
        (
            {"Forwarded": 'for=1.2.3.4;proto=https;host="pacs.example:8443", for=x'},
            "https://pacs.example:8443",
        ),
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "pacs.example"}, "https://pacs.example"),
        (
            {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "pacs.example", "X-Forwarded-Port": "443"},
            "https://pacs.example",
        ),
        (
            {"X-Forwarded-Host": "pacs.example", "X-Forwarded-Port": "81", "X-Forwarded-Prefix": "/a/b/"},
            "http://pacs.example:81/a/b",
        ),
        ({"X-Forwarded-Proto": "javascript"}, "http://127.0.0.1:8080"),
        ({"X-Forwarded-Prefix": '/a "x'}, "http://127.0.0.1:8080/a%20%22x"),
    ],
)
def test_urls_name_what_the_client_asked_for(headers: dict[str, str], expected: str) -> None:
    assert run("GET", headers, allowed_hosts=["pacs.example"]).json() == {"base": expected}


def test_urls_hold_the_path_prefix_of_the_server() -> None:
    app = FastAPI()

    @app.get("/thing")
    def thing(request: Request) -> dict[str, str]:
        return {"base": base_url(request)}

    async def ask_app() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, root_path="/radiology")
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as http:
            return await http.get("/radiology/thing")

    assert asyncio.run(ask_app()).json() == {"base": "http://127.0.0.1:8080/radiology"}
