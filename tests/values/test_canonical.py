"""The fingerprint of a body: what it hangs on, and that it is the same in every version."""

import msgspec
import pytest

from perdure.errors import DeserializationError
from perdure.values import FINGERPRINT_BYTES, fingerprint
from tests.values.support import tagged


@pytest.mark.parametrize(
    ("body", "print_"),
    [
        (b"null", "701bbea6aed9db88b0e594db9b62b799"),
        (b'{"a":1,"b":[true]}', "af2d880d3b284166073c1481111d3012"),
        (
            b'{"a":{"$":"v","v":{"$":"set","v":[1,2]}}}',
            "d4e7817f7212ff72482aad9b71042841",
        ),
    ],
)
def test_fingerprints_in_databases_stay_what_they_are(body, print_):
    assert fingerprint(body).hex() == print_
    assert len(fingerprint(body)) == FINGERPRINT_BYTES == 16


def members(node):
    return b'{"a":' + tagged(node) + b',"b":1}'


@pytest.mark.parametrize("wrap", [lambda node: node, tagged, members])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"$":"set","v":[1,2]}', b'{"$":"set","v":[2,1]}'),
        (b'{"$":"frozenset","v":["a",1]}', b'{"$":"frozenset","v":[1,"a"]}'),
        (b'{"$":"dict","v":[[1,2],[0,3]]}', b'{"$":"dict","v":[[0,3],[1,2]]}'),
        (b'{"$":"set","v":[{"b":1,"a":2},5]}', b'{"$":"set","v":[5,{"a":2,"b":1}]}'),
        (b'{"$x":[{"$":"set","v":[1,2]}]}', b'{"$x":[{"$":"set","v":[2,1]}]}'),
        (
            b'{"$":"tuple","v":[0,{"$":"set","v":[1,2]}]}',
            b'{"$":"tuple","v":[0,{"$":"set","v":[2,1]}]}',
        ),
        (
            b'{"$":"object","t":"shop.A","v":{"x":{"$":"set","v":[1,2]}}}',
            b'{"$":"object","t":"shop.A","v":{"x":{"$":"set","v":[2,1]}}}',
        ),
        (
            b'{"$":"set","v":[{"$":"frozenset","v":[1,2]},3]}',
            b'{"$":"set","v":[3,{"$":"frozenset","v":[2,1]}]}',
        ),
    ],
)
def test_what_has_no_order_may_stand_in_any(wrap, one, other):
    assert fingerprint(wrap(one)) == fingerprint(wrap(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"[1,2]", b"[2,1]"),
        (tagged(b'{"$":"tuple","v":[1,2]}'), tagged(b'{"$":"tuple","v":[2,1]}')),
        (tagged(b'{"$":"other","v":[1,2]}'), tagged(b'{"$":"other","v":[2,1]}')),
        (tagged(b'{"$":"set","w":[1,2]}'), tagged(b'{"$":"set","w":[2,1]}')),
        (tagged(b'{"$":"set","v":[1]}'), tagged(b'{"$":"frozenset","v":[1]}')),
        (tagged(b'{"v":[1,2]}'), tagged(b'{"v":[2,1]}')),
        # No body of ours: plain JSON that looks like a tag is data, whose lists have an order.
        (b'[{"$":"set","v":[1,2]}]', b'[{"$":"set","v":[2,1]}]'),
        (b'{"a":{"b":{"$":"set","v":[1,2]}}}', b'{"a":{"b":{"$":"set","v":[2,1]}}}'),
        (b'{"a":[{"$":"set","v":[1,2]}]}', b'{"a":[{"$":"set","v":[2,1]}]}'),
        (b'{"a":{"v":[1,2],"$":"set"}}', b'{"a":{"v":[2,1],"$":"set"}}'),
    ],
)
def test_what_has_an_order_or_a_type_hangs_on_it(one, other):
    assert fingerprint(one) != fingerprint(other)


def test_marks_may_be_spelt_as_escapes():
    escaped = rb'{"\u0024":"v","v":{"\u0024":"set","v":[2,1]}}'
    assert fingerprint(escaped) == fingerprint(tagged(b'{"$":"set","v":[1,2]}'))


@pytest.mark.parametrize(
    "node",
    [
        b'{"$":[],"v":[1]}',
        b'{"$":{"$":1},"v":[1]}',
        b'{"$":"set","v":5}',
        b'{"$":"set"}',
        b'{"$x":1}',
        b"{}",
        b"5",
    ],
)
def test_odd_nodes_have_a_fingerprint_too(node):
    assert len({fingerprint(node), fingerprint(tagged(node)), fingerprint(members(node))}) == 3


def test_an_empty_member_is_no_tag():
    one, other = (
        b'{"a":{},"b":' + tagged(b'{"$":"set","v":' + elements + b"}") + b"}"
        for elements in (b"[1,2]", b"[2,1]")
    )
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize("body", [b"", b"{", b"1 2", b'{"\xff":1}', b'"\xff"'])
def test_what_is_no_json_is_told(body):
    with pytest.raises(DeserializationError) as caught:
        fingerprint(body)
    cause = caught.value.__cause__
    assert isinstance(cause, msgspec.DecodeError | UnicodeDecodeError)
    assert str(caught.value) == f"fingerprint of a record: it is no JSON ({cause})."


def test_a_body_of_any_size_but_not_of_any_depth():
    assert fingerprint(b'"' + b"x" * 10_000_000 + b'"')
    assert fingerprint(b"[" * 256 + b"]" * 256)
    with pytest.raises(DeserializationError, match=r"^fingerprint of a record: at \$: .* deeper"):
        fingerprint(b"[" * 257 + b"]" * 257)
