"""What the names of fields and the branches of keywords say: whether they name a person or tell a place.

By meaning, whatever the schema: programs invent fields faster than a list of them grows. Free text (captions, titles,
single keywords) stays.
"""

# ruff: noqa: RUF001 - words in the letters of their languages

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from faceblurd.imaging.metadata.scrub import Scrub

_PEOPLE: Final = re.compile(
    r"people|people(?:in|tag|name)\w*|person(?!al)\w*|personalit(?:y|ies)"
    r"|faces?|face(?:name|id|info|list|tag|rec|region|area)\w*|regions?|region(?:info|list|name|tag)\w*"
    r"|imageregion\w*|tagregions?|recogni[sz]ed\w*|(?:baby|pet|child)name\w*|depict(?:s|ed|ion)?\w*|portray\w*"
)
_PLACE: Final = re.compile(
    r".*gps.*|.*latitude.*|.*longt?itude.*|.*altitude.*|geo(?!met).*|.*geo(?:tag|hash|name|code|location|ref).*"
    r"|lat|lon|lng|long|(?!.*(?:al|col|re)location)\w*location\w*"
    r"|(?:created|shown|verbatim|decimal)?(?:coordinates?|locality)"
    r"|(?:state|province|country|city|region|continent|county|district|prefecture|suburb|borough)(?:name|code)?"
    r"|provincestate|stateprovince|worldregion|venue\w*|places?|place(?:name|id)\w*|town|village|municipality|island\w*"
    r"|neighbou?rhood|landmark\w*|waterbody|habitat|verbatim(?:srs|coordinatesystem)|footprint\w*|street\w*|address\w*"
    r"|thoroughfare|post(?:al)?code|zip(?:code)?|pointofinterest|poi|mgrs|utm\w*|pluscode|openlocationcode|what3words"
    r"|cell(?:id|tower\w*|globalid)|mobile(?:country|network)code|(?:wifi)?[be]?ssid"  # whose places are known
    r"|.*elevation(?!angle).*|spatial|coverage|spatialcoverage|where|(?:home|takeoff|launch|landing|way)points?|maps?(?:url|link|uri)"
)
# Words of a field's name that tell it (`TaggedPeople`, `HomeLat`).
_WORDS_OF_PEOPLE: Final = frozenset({"person", "persons", "people", "peoples", "face", "faces"})
_WORDS_OF_OTHERS: Final = frozenset({"font", "balance"})  # Apple's white balance by faces
_WORDS_OF_PLACES: Final = frozenset(
    """
    lat lon lng latlng latlon latlong coordinate coordinates location locations locality place places where geography
    easting northing wgs town village municipality suburb
    """.split()  # noqa: SIM905 - as below
)
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PLACE_SCHEMA: Final = re.compile(r"(?:^|[^a-z])(?:geo(?!met)[a-z]*|gml|gps|wgs84|cell)(?:[^a-z]|$)")
_KEYWORDS: Final = re.compile(r".*(?:keyword|tag|subject|categor|catalog|hierarch|classif|term).*|li")
_NODE: Final = re.compile(r"\w*(?:name|title|label|value)")
_PLAIN: Final = re.compile(r"[\s_.-]+")

# The branches of keyword trees, in the languages of the programs that grow them.
_PEOPLE_BRANCHES: Final = frozenset(
    """
    people person persons faces face family friends who names
    leute personen menschen gesichter familie freunde wer namen personnes gens visages famille amis
    personas gente caras familia amigos persone volti famiglia amici mensen gezichten vrienden
    pessoas rostos família människor ansikten folk personer osoby lidé ludzie люди лица 人物 人 家族 사람
    henkilöt ihmiset kasvot emberek személyek arcok kişiler insanlar yüzler άτομα άνθρωποι πρόσωπα אנשים פנים
    أشخاص وجوه oameni persoane fețe ľudia tváře twarze osoby ljudi osebe хора особи обличчя orang wajah
    人像 人脸 人们 얼굴
    """.split()  # noqa: SIM905 - 60 words in quotes each are not easier to read
)
_PLACE_BRANCHES: Final = frozenset(
    """
    places place locations location countries country cities city where geo gps geotags
    orte ort länder städte wo lieux lieu pays villes lugares lugar países ciudades luoghi luogo paesi città
    plaatsen landen locais platser steder místa miejsca места 地点 場所 장소
    geography geographic geografie géographie geografia geografía standort standorte stadt ville ciudad land europe
    africa asia america oceania antarctica
    paikat helyek yerler τοποθεσίες מקומות أماكن locuri tempat местоположения 位置
    """.split()  # noqa: SIM905 - same
)
_STEPS: Final = re.compile(r"[|/\\>;:=.→»›⟩▸·]|\s[-–—]\s")
_NODES: Final = re.compile(r">([^<>]{1,60})<")
_LETTER: Final = re.compile(r"[^\W\d_]")
_LETTER_OR_DIGIT: Final = re.compile(r"[^\W_]")
_LONGEST: Final = 4000  # of a keyword with its branches, or a list of them
Property = tuple[str, str]
"""Namespace and local name."""

_GOOGLE = "http://ns.google.com/photos/"

PICTURES: Final[dict[str, frozenset[str]]] = {
    "http://ns.adobe.com/xap/1.0/": frozenset({"Thumbnails"}),
    "http://ns.adobe.com/xap/1.0/g/img/": frozenset({"image"}),
    "http://ns.adobe.com/xmp/note/": frozenset({"HasExtendedXMP"}),
    "http://ns.xiaomi.com/photos/1.0/camera/": frozenset({"XMPMeta"}),
    _GOOGLE + "1.0/depthmap/": frozenset({"Data", "Confidence"}),
    _GOOGLE + "1.0/image/": frozenset({"Data"}),
    _GOOGLE + "1.0/audio/": frozenset({"Data"}),
    _GOOGLE + "1.0/camera/": frozenset({
        "RelitInputImageData", "MotionPhoto", "MotionPhotoVersion", "MotionPhotoPresentationTimestampUs",
        "MicroVideo", "MicroVideoOffset", "MicroVideoVersion", "MicroVideoPresentationTimestampUs",
    }),
    _GOOGLE + "1.0/container/": frozenset({"Directory"}),
    _GOOGLE + "dd/1.0/device/": frozenset({"Container"}),
}  # fmt: skip
"""By namespace: what holds a picture, or points at one behind the main picture, which is dropped."""

PICTURE_NAMESPACES: Final = frozenset({"http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.apple.com/HDRGainMap/1.0/"})
"""Schemas that describe a picture that is dropped: Ultra HDR's gain map."""


def is_field_of(name: str, scrub: Scrub) -> bool:
    """Say whether a field of this local name holds people or places that may not stay."""
    return (not scrub.names and names_people(name)) or (not scrub.location and tells_a_place(name))


def names_people(field: str) -> bool:
    """Say whether a field of this local name holds people, or the areas of their faces."""
    plain, words = _PLAIN.sub("", field).casefold(), _words(field)
    by_words = bool(words & _WORDS_OF_PEOPLE) and not words & _WORDS_OF_OTHERS
    return by_words or plain in _PEOPLE_BRANCHES or bool(_PEOPLE.fullmatch(plain))


def tells_a_place(field: str) -> bool:
    """Say whether a field of this local name holds places."""
    plain = _PLAIN.sub("", field).casefold()
    return bool(_words(field) & _WORDS_OF_PLACES) or plain in _PLACE_BRANCHES or bool(_PLACE.fullmatch(plain))


def _words(field: str) -> set[str]:
    """Take a name apart (`RegionPersonDisplayName`, `person_shown`)."""
    return {word.casefold() for word in _WORD.findall(field)}


def is_schema_of_places(namespace: str) -> bool:
    """Say whether a namespace is about places (`http://www.georss.org/georss`)."""
    return bool(_PLACE_SCHEMA.search(namespace.casefold()))


def holds_keywords(name: str) -> bool:
    """Say whether the values of a field of this local name are keywords, which may lie in a branch."""
    return bool(_KEYWORDS.fullmatch(name.casefold()))


def names_a_node(name: str) -> bool:
    """Say whether a field of this local name holds the name of a node in a tree of keywords."""
    return name != "li" and (holds_keywords(name) or bool(_NODE.fullmatch(name.casefold())))


def is_branch(text: str, scrub: Scrub) -> bool:
    """Say whether a keyword is the branch of people, or of places, that may not stay."""
    word = _unadorned(text.strip().casefold())
    return (not scrub.names and word in _PEOPLE_BRANCHES) or (not scrub.location and word in _PLACE_BRANCHES)


def _unadorned(word: str) -> str:
    """Take off numbers and marks before a word, and marks behind it (for which a pattern takes quadratic time)."""
    first, last = _LETTER.search(word), _LETTER_OR_DIGIT.search(word[::-1])
    return word[first.start() : len(word) - last.start()] if first and last else ""


def lies_in_branch(text: str, scrub: Scrub) -> bool:
    """Say whether a keyword lies below such a branch (`People|Ada`, `Ada < Family`), or is a tree with one."""
    if len(text) > _LONGEST or ("<" in text and ">" in text):
        return any(is_branch(node, scrub) for node in _NODES.findall(text))
    steps = text.split("<") if "<" in text else _STEPS.split(text)[:-1]
    return any(is_branch(step, scrub) for step in steps)
