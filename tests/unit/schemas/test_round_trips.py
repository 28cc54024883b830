"""Whatever the types can hold survives JSON, and the exported schema accepts it."""

from __future__ import annotations

import json
import string
from datetime import timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import inspect

from schemas import export
from schemas.content import Image, blob
from schemas.envelope import decode_stored_input
from schemas.inputs import Input, canonical, payload_digest
from tests.unit.schemas.examples import NOW
from tests.unit.schemas.test_messages import TYPES

# --- from a type to a strategy -------------------------------------------------------------------

_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e300, 1e300) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_BLOBS = st.builds(blob, st.just("image/png"), st.just("aGk="))
_IMAGES = st.one_of(
    st.builds(Image, st.just("image/png"), st.just("inline"), data=st.just("aGk=")),
    _BLOBS.map(lambda stored: Image("image/png", "blob", blob_id=stored.blob_id)),
)


def values(kind: inspect.Type) -> st.SearchStrategy[Any]:  # noqa: C901, PLR0911, PLR0912 -- a table
    """Give values of a type, as the decoder understands the type."""
    match kind:
        case inspect.StructType(cls=cls) if cls is Image:
            return _IMAGES
        case inspect.StructType():
            return structs(kind)
        case inspect.UnionType(types=types):
            return st.one_of([values(each) for each in types])
        case inspect.VarTupleType(item_type=item):
            return st.lists(values(item), max_size=3).map(tuple)
        case inspect.DictType():
            return st.dictionaries(_TEXT, _JSON, max_size=3)
        case inspect.EnumType(cls=cls):
            return st.sampled_from(cls)
        case inspect.LiteralType(values=literals):
            return st.sampled_from(literals)
        case inspect.StrType(pattern=str(pattern)):
            return st.from_regex(
                pattern.removesuffix(r"(?!\n)"), fullmatch=True, alphabet=string.printable
            ).filter(lambda text: not text.endswith("\n"))
        case inspect.StrType():
            return _TEXT
        case inspect.IntType(ge=low, le=high):
            return st.integers(
                -(2**63) if low is None else low, 2**63 - 1 if high is None else high
            )
        case inspect.FloatType():
            return st.floats(-1e300, 1e300)
        case inspect.BoolType():
            return st.booleans()
        case inspect.UUIDType():
            return st.uuids()
        case inspect.DateTimeType():
            return st.datetimes(timezones=_OFFSETS)
        case inspect.NoneType():
            return st.none()
        case inspect.AnyType():
            return _JSON
        case _:
            pytest.fail(f"no strategy for {kind}")


def structs(kind: inspect.StructType) -> st.SearchStrategy[Any]:
    required = {field.name: values(field.type) for field in kind.fields if field.required}
    optional = {field.name: values(field.type) for field in kind.fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional).map(lambda given: kind.cls(**given))


# --- the promises --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(TYPES))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_every_message_survives_json_and_fits_its_schema(kind: str, data: st.DataObject) -> None:
    message = data.draw(values(inspect.type_info(TYPES[kind])))
    text = msgspec.json.encode(message)
    assert msgspec.json.decode(text, type=TYPES[kind]) == message
    validator(kind).validate(json.loads(text))


_VALIDATORS: dict[str, Draft202012Validator] = {}


def validator(kind: str) -> Draft202012Validator:
    if kind not in _VALIDATORS:
        schema = json.loads(export.documents()[f"{kind}.json"])
        _VALIDATORS[kind] = Draft202012Validator(schema)
    return _VALIDATORS[kind]


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_an_input_keeps_its_digest_over_storage(data: st.DataObject) -> None:
    received = data.draw(values(inspect.type_info(Input)))
    item = canonical(received, received_at=NOW)
    stored = decode_stored_input(msgspec.json.encode(item))
    assert stored == item
    assert payload_digest(stored) == payload_digest(item)
    assert canonical(stored, received_at=NOW + timedelta(days=1)) == item
