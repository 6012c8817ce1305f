"""Thumbnails that are made anew, and what a policy takes out: people, places, or all."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faceblurd.imaging.metadata import (
    Scrub,
    orientation_of,
    scrub_exif,
    scrub_resources,
    scrub_xmp,
    thumbnail_of,
    without_thumbnail,
)
from faceblurd.imaging.metadata.exif import GPS_IFD, ORIENTATION, TiffBlock
from faceblurd.imaging.metadata.photoshop import scrub_iptc
from faceblurd.model import MetadataPolicy, MetadataSpec

NO_PLACES = Scrub(MetadataSpec(MetadataPolicy.STRIP_LOCATION))
NOTHING = Scrub(MetadataSpec(MetadataPolicy.STRIP_ALL))
WITH_NAMES = Scrub(MetadataSpec(keep_names=True))


def gray(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def face(width: int, height: int) -> np.ndarray:
    picture = gray(width, height)
    picture[height // 4 : height // 2, width // 4 : width // 2 : 2] = 250
    return picture


def as_jpeg(pixels: np.ndarray, quality: int = 90) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels[:, :, ::-1]).save(out, "JPEG", quality=quality)
    return out.getvalue()


def exif(thumbnail: bytes, *, order: str = "<", gps: bool = False) -> bytes:
    """IFD0 with orientation and a GPS directory, IFD1 with a thumbnail, by Pillow's writer and by hand."""
    ifd0 = [(ORIENTATION, 3, 1, struct.pack(order + "HH", 6, 0))]
    start1 = 8 + 2 + 12 * (1 + gps) + 4
    start_gps = start1 + 2 + 24 + 4
    data = start_gps + (2 + 12 + 4 + 24 if gps else 0)
    if gps:
        ifd0.append((GPS_IFD, 4, 1, struct.pack(order + "I", start_gps)))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    first = struct.pack(order + "H", len(ifd0)) + b"".join(struct.pack(order + "HHI", *e[:3]) + e[3] for e in ifd0)
    pairs = ((0x201, data), (0x202, len(thumbnail)))
    second = struct.pack(order + "H", 2) + b"".join(struct.pack(order + "HHII", t, 4, 1, v) for t, v in pairs)
    place = b""
    if gps:
        where = struct.pack(order + "HHII", 2, 5, 3, start_gps + 18)
        place = struct.pack(order + "H", 1) + where + bytes(4) + struct.pack(order + "6I", 52, 1, 31, 1, 7, 1)
    return b"Exif\0\0" + head + first + struct.pack(order + "I", start1) + second + bytes(4) + place + thumbnail


def shown(block: bytes) -> np.ndarray:
    thumbnail = thumbnail_of(block)
    assert thumbnail is not None
    return np.asarray(Image.open(io.BytesIO(thumbnail)).convert("RGB")).astype(int)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_thumbnail_becomes_the_redacted_picture_and_no_offset_moves(order: str) -> None:
    block = exif(as_jpeg(face(160, 120)), order=order)
    clean = scrub_exif(block, Scrub(thumbnail=gray))
    assert len(clean) == len(block)
    assert clean[: len(block) - len(as_jpeg(face(160, 120)))] == block[: len(block) - len(as_jpeg(face(160, 120)))]
    assert np.abs(shown(clean) - 90).max() < 8
    assert as_jpeg(face(160, 120))[200:240] not in clean
    assert scrub_exif(clean, Scrub(thumbnail=gray, clean=True)) == clean


def test_a_thumbnail_of_a_clean_photo_stays_if_it_shows_the_same() -> None:
    block = exif(as_jpeg(face(160, 120)))
    assert scrub_exif(block, Scrub(thumbnail=face, clean=True)) == block
    assert scrub_exif(block, Scrub(thumbnail=gray, clean=True)) != block
    assert scrub_exif(block, Scrub(thumbnail=face)) != block  # a redacted photo's is made anew whatever it shows


def test_a_replacement_that_would_be_longer_is_not_made() -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (120, 160, 3), np.uint8)
    tiny = as_jpeg(gray(160, 120), 5)
    clean = scrub_exif(exif(tiny), Scrub(thumbnail=lambda _w, _h: noise))
    assert thumbnail_of(clean) is None
    assert tiny not in clean
    assert orientation_of(clean) == 6


def test_a_thumbnail_that_is_no_sound_jpeg_is_wiped() -> None:
    broken = as_jpeg(face(160, 120))[:600]
    clean = scrub_exif(exif(broken), Scrub(thumbnail=gray))
    assert thumbnail_of(clean) is None
    assert broken[100:200] not in clean


def test_only_the_thumbnail_itself_is_excused() -> None:
    hidden = as_jpeg(face(40, 40))
    block = exif(as_jpeg(gray(160, 120))) + hidden
    assert hidden in without_thumbnail(block)
    assert hidden not in scrub_exif(block, Scrub(thumbnail=gray))


@given(st.data())
def test_damaged_blocks_never_raise_and_never_grow(data: st.DataObject) -> None:
    block = bytearray(exif(as_jpeg(face(32, 24)), gps=True))
    for _ in range(data.draw(st.integers(1, 6))):
        block[data.draw(st.integers(6, 120))] = data.draw(st.integers(0, 255))
    scrub = data.draw(st.sampled_from([Scrub(thumbnail=gray), Scrub(thumbnail=gray, clean=True), NO_PLACES, NOTHING]))
    assert len(scrub_exif(bytes(block), scrub)) <= max(len(block), 40)


# --- places


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_gps_directory_goes_and_the_rest_stays(order: str) -> None:
    block = exif(as_jpeg(gray(160, 120)), order=order, gps=True)
    clean = scrub_exif(block, Scrub(NO_PLACES.spec, thumbnail=gray))
    first = TiffBlock(clean[6:]).first()
    assert set(first.entries) == {ORIENTATION}
    assert orientation_of(clean) == 6
    assert thumbnail_of(clean) is not None
    assert struct.pack(order + "4I", 52, 1, 31, 1) in block
    assert struct.pack(order + "4I", 52, 1, 31, 1) not in clean


def xmp(inner: str, attributes: str = "") -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/"'
        ' xmlns:lr="http://ns.adobe.com/lightroom/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"'
        ' xmlns:ext="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'
        f"{attributes}>{inner}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


KEYWORDS = "<dc:subject><rdf:Bag><rdf:li>harbour</rdf:li></rdf:Bag></dc:subject>"


def test_names_of_people_go_and_other_keywords_stay() -> None:
    packet = xmp(
        "<mwg-rs:Regions><rdf:li mwg-rs:Name='Ada'/></mwg-rs:Regions>"
        "<ext:PersonInImage><rdf:Bag><rdf:li>Ada</rdf:li></rdf:Bag></ext:PersonInImage>"
        "<lr:hierarchicalSubject><rdf:Bag><rdf:li>People|Ada</rdf:li><rdf:li>Places|Harbour</rdf:li></rdf:Bag>"
        f"</lr:hierarchicalSubject>{KEYWORDS}"
    )
    clean = scrub_xmp(packet)
    assert clean is not None
    assert b"Ada" not in clean
    assert b"Places|Harbour" in clean
    assert KEYWORDS.encode() in clean
    assert scrub_xmp(packet, WITH_NAMES) == packet


def test_places_go_only_when_asked_for() -> None:
    attributes = ' exif:GPSLatitude="51,12N" photoshop:City="Bruges"'
    packet = xmp(f"<ext:LocationShown>Bruges</ext:LocationShown>{KEYWORDS}", attributes)
    assert scrub_xmp(packet) == packet
    clean = scrub_xmp(packet, NO_PLACES)
    assert clean is not None
    assert b"Bruges" not in clean
    assert b"51,12N" not in clean
    assert KEYWORDS.encode() in clean


def test_what_speaks_of_a_gain_map_goes() -> None:
    clean = scrub_xmp(xmp(KEYWORDS, ' hdrgm:Version="1.0" hdrgm:GainMapMax="3.5"'))
    assert clean == xmp(KEYWORDS)


def test_iptc_loses_its_places_and_keeps_its_caption() -> None:
    texts = ((120, b"Regatta"), (90, b"Bruges"))
    iim = b"".join(b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(text)) + text for number, text in texts)
    block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iim)) + iim + b"\0" * (len(iim) % 2)
    assert scrub_resources(block) == block
    clean = scrub_resources(block, NO_PLACES)
    assert b"Regatta" in clean
    assert b"Bruges" not in clean


def test_strip_all_leaves_the_orientation_only() -> None:
    block = exif(as_jpeg(gray(160, 120)), gps=True)
    clean = scrub_exif(block, NOTHING)
    assert orientation_of(clean) == 6
    assert len(clean) < 40
    assert scrub_xmp(xmp(KEYWORDS), NOTHING) is None
    assert scrub_resources(b"8BIM\x04\x04\0\0\0\0\0\0", NOTHING) == b""


# --- whatever the field is called


def described(inner: str, *schemas: tuple[str, str]) -> bytes:
    return xmp(inner, "".join(f' xmlns:{prefix}="{name}"' for prefix, name in schemas))


SCHEMAS = (
    ("q", "http://example.com/of/some/program/"), ("g", "http://www.georss.org/georss"),
    ("c", "http://developer.sonyericsson.com/cell/1.0/"), ("w", "http://www.w3.org/2003/01/geo/wgs84_pos#"), ("rdf2", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"),
)  # fmt: skip
PEOPLE = {
    "a field of people": "<q:Personality>ZZNAME</q:Personality>",
    "another": "<q:recognizedPersons><rdf:Bag><rdf:li>ZZNAME</rdf:li></rdf:Bag></q:recognizedPersons>",
    "areas": "<q:FaceRegions><rdf:li q:Name='ZZNAME'/></q:FaceRegions>",
    "a branch": "<q:TagsTree><rdf:Seq><rdf:li>People/ZZNAME</rdf:li></rdf:Seq></q:TagsTree>",
    "a branch in another place": "<dc:subject><rdf:Bag><rdf:li>Club|01 Family|ZZNAME</rdf:li></rdf:Bag></dc:subject>",
    "a branch in German": "<q:LastKeyword>Personen/ZZNAME</q:LastKeyword>",
    "a tree as structures": (
        "<q:Keywords><q:Hierarchy><rdf:Bag><rdf:li><rdf:Description><q:Keyword>People</q:Keyword><q:Children><rdf:Bag>"
        "<rdf:li q:Keyword='ZZNAME'/></rdf:Bag></q:Children></rdf:Description></rdf:li></rdf:Bag>"
        "</q:Hierarchy></q:Keywords>"
    ),
    "a tree of attributes": "<q:Tree><rdf:li q:Keyword='People'><q:Below q:Keyword='ZZNAME'/></rdf:li></q:Tree>",
    "a word of several": "<q:TaggedPeople><rdf:Bag><rdf:li>ZZNAME</rdf:li></rdf:Bag></q:TaggedPeople>",
    "a word in the middle": "<q:RegionPersonDisplayName>ZZNAME</q:RegionPersonDisplayName>",
    "a field in German": "<q:Gesichter>ZZNAME</q:Gesichter>",
    "a branch in Finnish": "<q:TagsList><rdf:Seq><rdf:li>Henkilöt/ZZNAME</rdf:li></rdf:Seq></q:TagsList>",
    "a branch in Greek": "<q:TagsList><rdf:Seq><rdf:li>Άτομα/ZZNAME</rdf:li></rdf:Seq></q:TagsList>",
    "a machine's keyword": "<dc:subject><rdf:Bag><rdf:li>person=ZZNAME</rdf:li></rdf:Bag></dc:subject>",
    "a branch by arrows": "<dc:subject><rdf:Bag><rdf:li>People \u2192 ZZNAME</rdf:li></rdf:Bag></dc:subject>",
    "a branch by dashes": "<dc:subject><rdf:Bag><rdf:li>Family - ZZNAME</rdf:li></rdf:Bag></dc:subject>",
    "a branch from its end": "<dc:subject><rdf:Bag><rdf:li>ZZNAME &lt; Family</rdf:li></rdf:Bag></dc:subject>",
    "a tree of labels": (
        "<q:TagStructure><rdf:Bag><rdf:li rdf:parseType='Resource'><q:LabelName>People</q:LabelName><q:SubLabels>"
        "<rdf:Bag><rdf:li q:LabelName='ZZNAME'/></rdf:Bag></q:SubLabels></rdf:li></rdf:Bag></q:TagStructure>"
    ),
    "a tree in a text": '<q:categories>&lt;C&gt;People&lt;C A="1"&gt;ZZNAME&lt;/C&gt;&lt;/C&gt;</q:categories>',
}
PLACES = {
    "degrees": "<q:GpsLatitude>ZZPLACE</q:GpsLatitude>",
    "decimal degrees": "<q:decimalLongitude>ZZPLACE</q:decimalLongitude>",
    "misspelt degrees": "<q:GpsLongtitude>ZZPLACE</q:GpsLongtitude>",
    "a name": "<q:locationName>ZZPLACE</q:locationName>",
    "a locality": "<q:verbatimLocality>ZZPLACE</q:verbatimLocality>",
    "half a word": "<q:HomeLat>ZZPLACE</q:HomeLat>",
    "a cell of a network": "<c:lac>ZZPLACE</c:lac>",
    "a tower": "<q:CellTowerID>ZZPLACE</q:CellTowerID>",
    "a network at home": "<q:BSSID>ZZPLACE</q:BSSID>",
    "both degrees": "<q:latlon>ZZPLACE</q:latlon>",
    "a word that looks like allocation": "<q:PhysicalLocation>ZZPLACE</q:PhysicalLocation>",
    "a word of several": "<q:TakenAtPlace>ZZPLACE</q:TakenAtPlace>",
    "a height": "<q:maximumElevationInMeters>ZZPLACE</q:maximumElevationInMeters>",
    "a field in German": "<q:Ort>ZZPLACE</q:Ort>",
    "a schema of places": "<g:point>ZZPLACE</g:point>",
    "another": "<w:pos>ZZPLACE</w:pos>",
    "a branch in German": "<q:TagsList><rdf:Seq><rdf:li>Standorte/ZZPLACE</rdf:li></rdf:Seq></q:TagsList>",
    "an island": "<q:island>ZZPLACE</q:island>",
    "a branch": "<lr:hierarchicalSubject><rdf:Bag><rdf:li>Places|ZZPLACE</rdf:li></rdf:Bag></lr:hierarchicalSubject>",
}
OTHERS = (
    "<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>People/Places: a regatta</rdf:li></rdf:Alt></dc:title>"
    "<dc:subject><rdf:Bag><rdf:li>people</rdf:li><rdf:li>sports|sailing</rdf:li></rdf:Bag></dc:subject>"
    "<photoshop:Category>people</photoshop:Category><q:interface>surface</q:interface><q:Rating>5</q:Rating>"
    "<q:allocation>9</q:allocation><q:PosterTypeface>x</q:PosterTypeface><q:FontFace>x</q:FontFace><q:Latency>9</q:Latency>"
    "<q:GeometricDistortion>1</q:GeometricDistortion><q:FaceBalanceStrength>1</q:FaceBalanceStrength>"
    "<q:CameraElevationAngle>3</q:CameraElevationAngle><q:PlacedXResolution>72</q:PlacedXResolution>"
    "<dc:creator><rdf:Seq><rdf:li>A photographer</rdf:li></rdf:Seq></dc:creator>"
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("what", PEOPLE)
def test_people_go_under_whatever_name_and_all_else_stays(what: str, encoding: str) -> None:
    packet = described(PEOPLE[what] + OTHERS, *SCHEMAS).decode().encode(encoding)
    clean = scrub_xmp(packet)
    assert clean is not None
    text = clean.decode(encoding)
    assert "ZZNAME" not in text
    assert OTHERS in text
    assert scrub_xmp(packet, WITH_NAMES) == packet


@pytest.mark.parametrize("what", PLACES)
def test_places_go_under_whatever_name_and_all_else_stays(what: str) -> None:
    packet = described(PLACES[what] + OTHERS, *SCHEMAS)
    clean = scrub_xmp(packet, NO_PLACES)
    assert clean is not None
    assert b"ZZPLACE" not in clean
    assert OTHERS.encode() in clean
    assert scrub_xmp(packet) == packet


@pytest.mark.parametrize("coding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_keywords_of_windows_lose_their_branches_in_either_order_of_bytes(order: str, coding: str) -> None:
    words = "regatta;People/ZZNAME".encode(coding)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    block = start + struct.pack(order + "HHHIII", 1, 40094, 1, len(words), 26, 0) + words
    assert scrub_exif(block, WITH_NAMES) == block
    assert "ZZNAME".encode(coding) not in scrub_exif(block)


def test_keywords_of_iptc_lose_their_branches() -> None:
    texts = ((25, b"People|ZZNAME"), (25, b"Places|ZZPLACE"), (25, b"regatta"))
    iim = b"".join(b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(text)) + text for number, text in texts)
    block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iim)) + iim + b"\0" * (len(iim) % 2)
    digest = b"8BIM\x04\x25\0\0" + struct.pack(">I", 16) + bytes(16)
    clean = scrub_resources(block + digest)
    assert b"ZZNAME" not in clean
    assert b"ZZPLACE" in clean
    assert b"regatta" in clean
    assert digest not in clean  # of what no longer is
    assert b"ZZPLACE" not in scrub_resources(block, NO_PLACES)
    assert scrub_resources(block + digest, WITH_NAMES) == block + digest


def test_iptc_whose_bytes_are_turned_round_by_fours_is_read_as_well() -> None:
    texts = ((25, b"People|ZZNAME"), (25, b"regatta"), (120, b"A caption"))
    iim = b"".join(b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(text)) + text for number, text in texts)
    iim += bytes(-len(iim) % 4)
    turned = b"".join(iim[at : at + 4][::-1] for at in range(0, len(iim), 4))
    clean = scrub_iptc(turned)
    back = b"".join(clean[at : at + 4][::-1] for at in range(0, len(clean), 4))
    assert (b"ZZNAME" in back, b"regatta" in back, b"A caption" in back) == (False, True, True)
    assert scrub_iptc(turned, WITH_NAMES) == turned


@pytest.mark.parametrize("junk", [b"raw pixels" * 900, b"\x1c\2\x78\0\3abc" + b"raw pixels" * 900])
def test_what_is_no_record_of_iptc_goes(junk: bytes) -> None:
    assert b"raw pixels" not in scrub_iptc(junk)


def with_tag(tag: int, value: bytes) -> bytes:
    return b"II*\0" + struct.pack("<IHHHIII", 8, 1, tag, 7, len(value), 26, 0) + value


@pytest.mark.parametrize("tag", [40961, 36867, 37386, 34675, 50341, 33723])
def test_a_known_tag_with_raw_samples_in_it_goes_from_exif(tag: int) -> None:
    assert b"raw pixels" not in scrub_exif(with_tag(tag, b"raw pixels" * 900))


@pytest.mark.parametrize("tag", [37500, 37510, 41730, 270])
def test_a_long_note_or_comment_stays(tag: int) -> None:
    block = with_tag(tag, b"words of some length. " * 900)
    assert scrub_exif(block) == block


@pytest.mark.parametrize("maker", [b"MeSa", b"AgHg", b"DCSR", b"PHUT"])
def test_what_follows_a_resource_of_another_maker_stays(maker: bytes) -> None:
    iim = b"\x1c\x02\x78\0\7Regatta"
    caption = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iim)) + iim
    block = maker + b"\x1b\x58\0\0" + struct.pack(">I", 3) + b"abc\0" + caption
    assert scrub_resources(block) == block


NOTES = {
    "Panasonic": (b"Panasonic\0\0\0", 0x61, "<", 1),
    "Fujifilm": (b"FUJIFILM\x0c\0\0\0", 0x4282, "<", 0),
    "Samsung": (b"", 0x123, "<", 0),
}


@pytest.mark.parametrize("maker", NOTES)
def test_names_that_a_camera_recognised_go_and_the_note_stays(maker: str) -> None:
    prefix, tag, order, from_block = NOTES[maker]
    place = 8 + 2 + 12 + 4  # of the note in the block
    at = len(prefix) + 2 + 24 + 4
    entries = struct.pack(order + "HHII", 1, 7, 8, at + 6 + place * from_block)
    entries += struct.pack(order + "HHII", tag, 7, 6, at + place * from_block)
    note = prefix + struct.pack(order + "H", 2) + entries + bytes(4) + b"ZZNAMEsettings"
    block = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x927C, 7, len(note), place, 0) + note
    clean = scrub_exif(block)
    assert clean == block.replace(b"ZZNAME", bytes(6))
    assert scrub_exif(block, WITH_NAMES) == block


def test_points_of_a_map_go_from_a_tiff_with_the_places() -> None:
    points = struct.pack("<6d", 0, 0, 0, 11.5, 48.1, 0)
    block = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 33922, 12, 6, 26, 0) + points
    assert scrub_exif(block) == block
    assert points[24:40] not in scrub_exif(block, NO_PLACES)
