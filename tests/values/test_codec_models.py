"""Pydantic models: what is written of them by their own rules, and what is not."""

import warnings

import pydantic

from perdure.values import TypeRegistry, codec_for
from tests.values.samples import User
from tests.values.support import round_trip


class Account(pydantic.BaseModel):
    full_name: str = pydantic.Field(alias="fullName")


class Hook(pydantic.BaseModel):
    payload: pydantic.Json[list[int]]


def test_fields_are_written_by_the_names_by_which_they_are_read():
    assert round_trip(Account, Account(fullName="Ann")) == b'{"fullName":"Ann"}'


def test_a_field_of_json_is_written_as_the_text_that_it_is_read_from():
    assert round_trip(Hook, Hook(payload="[1, 2]")) == b'{"payload":"[1,2]"}'  # type: ignore[arg-type]


def test_a_field_of_another_type_than_declared_is_kept_and_nobody_is_warned():
    user = User(name="u")
    user.name = 5  # type: ignore[assignment]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        body = codec_for(User, TypeRegistry()).encode(user, "x")
    assert body.startswith(b'{"$')
    assert round_trip(User, user) == body
    assert told == []
