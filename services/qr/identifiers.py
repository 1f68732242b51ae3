"""The identifier of a C-FIND, C-MOVE or C-GET request: what is asked, from bytes of a peer (PS3.4 C.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.common.attributes import ATTRIBUTES, BY_KEYWORD, BY_TAG, Attribute, Matching
from services.common.errors import InvalidInstance, InvalidQuery
from services.common.matching import condition
from services.common.model import Level
from services.common.part10 import DataSet, Element, Header, HeaderScanner, Inflater, is_deflated
from services.common.query import Condition, Equals, OneOf, Query, Selection

QUERY_RETRIEVE_LEVEL = 0x00080052
SPECIFIC_CHARACTER_SET = 0x00080005
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

_ABOUT_THE_QUESTION = frozenset(
    (
        QUERY_RETRIEVE_LEVEL,
        SPECIFIC_CHARACTER_SET,
        0x00080053,  # Query/Retrieve View
        0x00080054,  # Retrieve AE Title
        0x00080056,  # Instance Availability
        0x00080201,  # Timezone Offset From UTC
    )
)
"""Never matched on, and answered whether asked or not where they say something."""

_LEVELS = {"PATIENT": Level.PATIENT, "STUDY": Level.STUDY, "SERIES": Level.SERIES, "IMAGE": Level.IMAGE}
_UNIQUE_KEYS = [attribute for attribute in ATTRIBUTES if attribute.is_unique_key]
_PATIENT_KEYS = [BY_KEYWORD["PatientID"], BY_KEYWORD["IssuerOfPatientID"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a C-FIND asks.

    `columns` are the return keys that the catalog has columns for, `others` those that the header of an
    instance answers.  `private_creators` are the private blocks that the question reserves (PS3.5 7.8.1), by
    the tag of their creator element.  `is_fully_supported` is False where a key was given to match that
    is not matched on.
    """

    query: Query
    columns: tuple[Attribute, ...]
    others: tuple[int, ...]
    private_creators: Mapping[int, str]
    specific_character_set: str
    is_fully_supported: bool


def question(identifier: bytes, transfer_syntax_uid: str, levels: Sequence[Level]) -> Question:
    """Read the identifier of a C-FIND in an information model of `levels`.

    Group lengths, which old peers send, count for nothing.

    Raises:
        InvalidQuery: the level is missing or not in the model, a key is broken, or the bytes are no
            data set; names the tag.
    """
    data_set = _DataSet.read(identifier, transfer_syntax_uid)
    level = data_set.level(levels)
    conditions: list[Condition] = []
    columns: list[Attribute] = []
    others: list[int] = []
    creators: dict[int, str] = {}
    supported = True
    for element in data_set.elements.values():
        attribute = BY_TAG.get(element.tag)
        if element.tag in _ABOUT_THE_QUESTION or not element.tag & 0xFFFF:
            continue
        if _is_private_creator(element.tag):
            creators[element.tag] = data_set.text(element).strip()
            continue
        if attribute is None or attribute.level > level:
            if attribute is None or not _is_meaningless_above(attribute):
                others.append(element.tag)
        else:
            columns.append(attribute)
        if attribute is None or attribute.matching is Matching.COUNT:
            supported = supported and not data_set.has_key(element)
        elif (asked := condition(attribute, data_set.text(element))) is not None:
            conditions.append(asked)
    return Question(
        query=Query(
            level=level,
            conditions=tuple(conditions),
            headers=bool(others),
            patient_counts=any(a.level is Level.PATIENT and a.matching is Matching.COUNT for a in columns),
        ),
        columns=tuple(columns),
        others=tuple(others),
        private_creators=creators,
        specific_character_set=data_set.specific_character_set,
        is_fully_supported=supported,
    )


def selection(identifier: bytes, transfer_syntax_uid: str, levels: Sequence[Level]) -> Selection:
    """Read the identifier of a C-MOVE or C-GET: the unique keys of its level and of those above.

    PS3.4 C.4.2.2.1: other keys are not allowed there and count for nothing; wildcards are characters.

    Raises:
        InvalidQuery: the level is missing or not in the model, its unique key is missing or broken, or
            the bytes are no data set; names the tag.
    """
    data_set = _DataSet.read(identifier, transfer_syntax_uid)
    level = data_set.level(levels)
    conditions = []
    for key in [*_PATIENT_KEYS, *_UNIQUE_KEYS[1:]]:
        element = data_set.elements.get(key.tag)
        if element is None or key.level > level:
            continue
        values = [value for part in data_set.text(element).split("\\") if (value := part.strip(" \0"))]
        if key.matching is Matching.UID:
            asked = condition(key, "\\".join(values))
            conditions += [] if asked is None else [asked]
        elif len(values) == 1:
            conditions.append(Equals(attribute=key, value=values[0]))
        elif values:
            conditions.append(OneOf(attribute=key, values=tuple(values)))
    unique = _UNIQUE_KEYS[level]
    if unique not in [asked.attribute for asked in conditions]:
        raise InvalidQuery(f"{unique.keyword} is required to retrieve at this level", tag=unique.tag)
    return Selection(conditions=tuple(conditions), headers=False)


def _is_private_creator(tag: int) -> bool:
    return bool(tag >> 16 & 1) and 0x10 <= tag & 0xFFFF <= 0xFF


def _is_meaningless_above(attribute: Attribute) -> bool:
    """Whether one entity's value says nothing of the whole above it: its identity and its counts."""
    return attribute.is_unique_key or attribute.matching is Matching.COUNT


@dataclass(frozen=True, slots=True)
class _DataSet:
    """The top-level elements of an identifier by tag, and its bytes for values that a header leaves out."""

    elements: Mapping[int, Element]
    header: DataSet
    content: bytes

    @classmethod
    def read(cls, identifier: bytes, transfer_syntax_uid: str) -> _DataSet:
        try:
            if is_deflated(transfer_syntax_uid):
                identifier = b"".join(Inflater().feed(identifier))
                transfer_syntax_uid = EXPLICIT_VR_LITTLE_ENDIAN
            scanner = HeaderScanner(transfer_syntax_uid, limit=max(len(identifier), 1))
            scanner.feed(identifier)
            header = Header(scanner.finish(), transfer_syntax_uid)
        except InvalidInstance as exc:
            raise InvalidQuery(f"the identifier cannot be read: {exc}", tag=exc.tag) from exc
        return cls({element.tag: element for element in header.elements()}, header, identifier)

    @property
    def specific_character_set(self) -> str:
        return self.header.text(SPECIFIC_CHARACTER_SET) or ""

    def level(self, levels: Sequence[Level]) -> Level:
        name = (self.header.text(QUERY_RETRIEVE_LEVEL) or "").strip()
        level = _LEVELS.get(name)
        if level is None or level not in levels:
            complaint = "is not in this information model" if level is not None else "is missing or unknown"
            raise InvalidQuery(f"the Query/Retrieve Level {complaint}", tag=QUERY_RETRIEVE_LEVEL)
        return level

    def text(self, element: Element) -> str:
        """The key as text; long lists of UIDs are not in the header and are cut from the bytes."""
        if element.items is not None:
            return ""
        if element.value is None:
            end = element.offset + element.length
            return self.content[element.offset : end].decode("ascii", "replace")
        text = self.header.text(element.tag)
        return element.value.decode("ascii", "replace") if text is None else text

    def has_key(self, element: Element) -> bool:
        """Whether the element asks for something: a value that is not universal, in an item too."""
        if element.items is not None:
            return any(self.has_key(inner) for item in element.items for inner in item.elements())
        return element.value is None or bool(element.value.strip(b" \0*"))
