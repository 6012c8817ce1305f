"""What the names of fields and the branches of keywords say: whether they name a person or tell a place.

By meaning, whatever the schema: programs invent fields faster than a list of them grows. Free text (captions, titles,
single keywords) is nobody's field, and stays.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from faceblurd.imaging.scrub import Scrub

_PEOPLE: Final = re.compile(
    r"people|people(?:in|tag|name)\w*|person(?!al)\w*|personalit(?:y|ies)"
    r"|faces?|face(?:name|id|info|list|tag|rec|region|area)\w*|regions?|region(?:info|list|name|tag)\w*"
    r"|imageregion\w*|tagregions?|recogni[sz]ed\w*|(?:baby|pet|child)name\w*|depict(?:s|ed|ion)?\w*|portray\w*"
)
_PLACE: Final = re.compile(
    r".*gps.*|.*latitude.*|.*longt?itude.*|.*altitude.*|geo.*|.*geo(?:tag|hash|name|code|location).*|lat|lon|lng|long"
    r"|(?!.*(?:al|col|re)location)\w*location\w*|(?:created|shown|verbatim|decimal)?(?:coordinates?|locality)"
    r"|(?:state|province|country|city|region|continent|county|district)(?:name|code)?"
    r"|provincestate|stateprovince|worldregion|venue\w*|places?|place(?:name|id)\w*|town|village|municipality|island\w*"
    r"|neighbou?rhood|landmark\w*|waterbody|habitat|verbatim(?:srs|coordinatesystem)|footprint\w*|street\w*|address\w*"
    r"|post(?:al)?code|zip(?:code)?|pointofinterest|poi|mgrs|utm\w*|pluscode|spatial|coverage|where"
)
_KEYWORDS: Final = re.compile(r".*(?:keyword|tag|subject|categor|catalog|hierarch|classif|term).*|li")
_NODE: Final = re.compile(r"name|title|label|value")
_PLAIN: Final = re.compile(r"[\s_.-]+")

# The branches of keyword trees, in the languages of the programs that grow them.
_PEOPLE_BRANCHES: Final = frozenset(
    """
    people person persons faces face family friends who names
    leute personen menschen gesichter familie freunde wer namen personnes gens visages famille amis
    personas gente caras familia amigos persone volti famiglia amici mensen gezichten vrienden
    pessoas rostos família människor ansikten folk personer osoby lidé ludzie люди лица 人物 人 家族 사람
    """.split()  # noqa: SIM905 - 60 words in quotes each are not easier to read
)
_PLACE_BRANCHES: Final = frozenset(
    """
    places place locations location countries country cities city where geo gps geotags
    orte ort länder städte wo lieux lieu pays villes lugares lugar países ciudades luoghi luogo paesi città
    plaatsen landen locais platser steder místa miejsca места 地点 場所 장소
    """.split()  # noqa: SIM905 - same
)
_STEPS: Final = re.compile(r"[|/\\>;:]")
_NODES: Final = re.compile(r">([^<>]{1,60})<")
_LETTER: Final = re.compile(r"[^\W\d_]")
_LETTER_OR_DIGIT: Final = re.compile(r"[^\W_]")
_LONGEST: Final = 4000  # of a keyword with its branches, or a list of them


def is_field_of(name: str, scrub: Scrub) -> bool:
    """Say whether a field of this local name holds people or places that may not stay."""
    plain = _PLAIN.sub("", name).casefold()
    return (not scrub.names and bool(_PEOPLE.fullmatch(plain))) or (
        not scrub.location and bool(_PLACE.fullmatch(plain))
    )


def holds_keywords(name: str) -> bool:
    """Say whether the values of a field of this local name are keywords, and may so lie in a branch."""
    return bool(_KEYWORDS.fullmatch(name.casefold()))


def names_a_node(name: str) -> bool:
    """Say whether a field of this local name says what a node of a tree of keywords is called."""
    return name != "li" and (holds_keywords(name) or bool(_NODE.fullmatch(name.casefold())))


def is_branch(text: str, scrub: Scrub) -> bool:
    """Say whether a keyword is one below which people or places stand that may not stay."""
    word = _unadorned(text.strip().casefold())
    return (not scrub.names and word in _PEOPLE_BRANCHES) or (not scrub.location and word in _PLACE_BRANCHES)


def _unadorned(word: str) -> str:
    """Take off numbers and marks before a word, and marks behind it; a pattern for the latter takes quadratic time."""
    first, last = _LETTER.search(word), _LETTER_OR_DIGIT.search(word[::-1])
    return word[first.start() : len(word) - last.start()] if first and last else ""


def lies_in_branch(text: str, scrub: Scrub) -> bool:
    """Say whether a keyword lies below such a branch (`People|Ada`, `01 Family/Ada`), or is a tree with one."""
    if len(text) > _LONGEST:
        return any(is_branch(node, scrub) for node in _NODES.findall(text))
    *above, _ = _STEPS.split(text) if "<" not in text else [*_NODES.findall(text), ""]
    return any(is_branch(step, scrub) for step in above)
