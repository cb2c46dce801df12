"""The signature of a delivery."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlc_agents.webhooks.signature import is_authentic, sign

SECRET = b"It's a Secret to Everybody"


def test_the_vendors_example_is_authentic() -> None:
    # The example of WebSub's users: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert is_authentic(b"Hello, World!", header, [SECRET])


@given(body=st.binary(max_size=2000), secret=st.binary(min_size=1, max_size=80))
def test_what_was_signed_is_authentic(body: bytes, secret: bytes) -> None:
    assert is_authentic(body, sign(body, secret), [secret])


@given(body=st.binary(max_size=200), other=st.binary(max_size=200), secret=st.binary(min_size=1, max_size=40))
def test_another_body_is_not_authentic(body: bytes, other: bytes, secret: bytes) -> None:
    assert is_authentic(other, sign(body, secret), [secret]) == (body == other)


@given(body=st.binary(max_size=200), position=st.integers(0, 63), digit=st.sampled_from("0123456789abcdef"))
def test_one_changed_digit_is_not_authentic(body: bytes, position: int, digit: str) -> None:
    header = sign(body, SECRET)
    at = len("sha256=") + position
    changed = header[:at] + digit + header[at + 1 :]
    assert is_authentic(body, changed, [SECRET]) == (changed == header)


@given(header=st.text(max_size=100))
def test_any_other_header_is_refused_without_an_error(header: str) -> None:
    assert not is_authentic(b"{}", header, [SECRET])


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "sha256=",
        hmac.digest(SECRET, b"{}", "sha256").hex(),
        "sha1=" + hmac.digest(SECRET, b"{}", "sha1").hex(),
        sign(b"{}", SECRET) + "\n",
        " " + sign(b"{}", SECRET),
        sign(b"{}", SECRET)[:-2] + " 0",
        sign(b"{}", SECRET) + ",sha256=" + "0" * 64,
    ],
)
def test_other_forms_are_not_authentic(header: str | None) -> None:
    assert not is_authentic(b"{}", header, [SECRET])


def test_upper_case_digits_are_the_same_number() -> None:
    header = sign(b"{}", SECRET)
    assert is_authentic(b"{}", "sha256=" + header.removeprefix("sha256=").upper(), [SECRET])


def test_the_previous_secret_is_accepted_beside_the_current() -> None:
    assert is_authentic(b"{}", sign(b"{}", b"old"), [b"new", b"old"])
    assert is_authentic(b"{}", sign(b"{}", b"new"), [b"new", b"old"])
    assert not is_authentic(b"{}", sign(b"{}", b"older"), [b"new", b"old"])
