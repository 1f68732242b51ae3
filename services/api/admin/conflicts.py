"""Conflicts of identity: over REST, as pages, and as the line that the study list shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from services.api.admin.page import PageRoute, page
from services.api.dependencies import Here
from services.common.catalog.conflict_words import WORDS, Words
from services.common.catalog.conflicts import BY_SLUG, Conflict, ConflictKind
from services.common.errors import NotFound

SHOWN = 50
SHOWN_OF_EACH = 5

router = APIRouter()
_pages = APIRouter(prefix="/conflicts", route_class=PageRoute, include_in_schema=False)


class KindBody(BaseModel):
    """A kind of conflict, and how many there are."""

    kind: str = Field(examples=["two-people"])
    title: str
    meaning: str
    remedy: str
    number: int = Field(description="As it was at most a minute ago.")


class StudyBody(BaseModel):
    """A study and what it says of whose it is."""

    study_instance_uid: str
    issuer: str
    patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    stated_birth_dates: tuple[str, ...] = Field(description="By any of its images, replaced ones included.")
    stated_sexes: tuple[str, ...]
    study_date: str
    description: str
    instances: int


class InstanceBody(BaseModel):
    """An instance that came with different bytes."""

    sop_instance_uid: str
    replaced: int = Field(description="How many other versions are kept beside the one that is served.")


class ConflictBody(BaseModel):
    """What contradicts itself."""

    kind: str
    subject: str = Field(
        description="A Study Instance UID; for identities the issuer, `|` and the Patient ID."
    )
    studies: tuple[StudyBody, ...] = Field(description="At most 20, each different statement first.")
    number_of_studies: int
    instances: tuple[InstanceBody, ...] = Field(description="At most 50, of the kind `versions` alone.")
    number_of_instances: int


_Limit = Annotated[int, Query(ge=1, le=1000)]
_After = Annotated[str, Query(description="The subject behind which to go on.")]


@router.get("/api/conflicts", tags=["Conflicts"])
def list_kinds(archive: Here) -> list[KindBody]:
    """The kinds, and how many conflicts there are of each."""
    counts = archive.conflicts.counts()
    return [KindBody(kind=kind.slug, number=counts[kind], **asdict(WORDS[kind])) for kind in ConflictKind]


@router.get("/api/conflicts/{kind}", tags=["Conflicts"])
def list_conflicts(archive: Here, kind: str, after: _After = "", limit: _Limit = 100) -> list[ConflictBody]:
    """The conflicts of a kind, by subject."""
    found = archive.conflicts.of_kind(_kind(kind), after=after, limit=limit)
    return [ConflictBody.model_validate({**asdict(one), "kind": one.kind.slug}) for one in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """A kind on a page."""

    kind: ConflictKind
    words: Words
    number: int
    conflicts: Sequence[Conflict]


@_pages.get("")
def conflicts(request: Request, archive: Here) -> Response:
    """The first of every kind."""
    counts = archive.conflicts.counts()
    sections = [
        _Section(kind=kind, words=WORDS[kind], number=max(counts[kind], len(found)), conflicts=found)
        for kind in ConflictKind
        if (found := archive.conflicts.of_kind(kind, limit=SHOWN_OF_EACH))
    ]
    return page(request, "conflicts.html", {"sections": sections})


@_pages.get("/count")
def count_fragment(request: Request, archive: Here) -> Response:
    """How many there are, in a line; empty where there is none."""
    counts = archive.conflicts.counts()
    versions = counts[ConflictKind.VERSIONS]
    return page(
        request, "_conflict_count.html", {"number": sum(counts.values()) - versions, "versions": versions}
    )


@_pages.get("/{kind}")
def conflicts_of_kind(request: Request, archive: Here, kind: str, after: str = "") -> Response:
    """All of a kind, page by page."""
    one = _kind(kind)
    found = archive.conflicts.of_kind(one, after=after, limit=SHOWN + 1)
    section = _Section(kind=one, words=WORDS[one], number=len(found), conflicts=found[:SHOWN])
    following = found[SHOWN - 1].subject if len(found) > SHOWN else None
    return page(request, "conflict_kind.html", {"section": section, "after": after, "next": following})


def _kind(slug: str) -> ConflictKind:
    """The kind of that name.

    Raises:
        NotFound: there is none.
    """
    try:
        return BY_SLUG[slug]
    except KeyError:
        raise NotFound(f"there is no such kind of conflict; there are {', '.join(BY_SLUG)}") from None


router.include_router(_pages)
