"""The kinds of conflict in the words of who looks after an archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.common.catalog.conflicts import ConflictKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a kind is called, what it means, and what to do about it."""

    title: str
    meaning: str
    remedy: str


WORDS: Mapping[ConflictKind, Words] = {
    ConflictKind.TWO_PEOPLE: Words(
        title="One Patient ID, two people",
        meaning="Studies with the same Patient ID and issuer state another birth date or another sex. They"
        " are kept as two patients.",
        remedy="Compare with the RIS. If it is one person, correct the wrong studies at their source and send"
        " them again; if it is two, one of them needs another Patient ID, or the senders need issuers of"
        " their own.",
    ),
    ConflictKind.TWO_NAMES: Words(
        title="One Patient ID, two names",
        meaning="Studies with the same Patient ID and issuer, and no other birth date or sex, state different"
        " names. They are kept as one patient under the name that came last.",
        remedy="A marriage or a spelling is harmless. Names of two people mean that a Patient ID was given"
        " twice: correct the wrong studies at their source and send them again.",
    ),
    ConflictKind.SHARED_STUDY: Words(
        title="One study, several patients",
        meaning="Images with the same Study Instance UID state different Patient IDs. Each patient has a"
        " study of their own here, and C-FIND and QIDO-RS give a match for each.",
        remedy="Usually an ID was corrected on the modality in the middle of an examination, or images were"
        " sent before and after a correction. Send the whole study again from the place where it is right:"
        " an image with the same SOP Instance UID moves to the patient that came last.",
    ),
    ConflictKind.TWO_STATEMENTS: Words(
        title="A study that states its patient in two ways",
        meaning="Images of one study state two birth dates or two sexes. The study shows what came last.",
        remedy="Correct the images that are wrong at their source and send them again. The entry stays,"
        " because replaced images count with what they stated.",
    ),
    ConflictKind.VERSIONS: Words(
        title="Images that came in several versions",
        meaning="The same SOP Instance UID came with different bytes. What came last is served; the others"
        " are kept.",
        remedy="Expected where a study was corrected, or sent in another transfer syntax, under the old UIDs."
        " Otherwise two machines give out the same UIDs: have the vendor put that right.",
    ),
}
