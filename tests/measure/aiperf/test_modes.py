# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a server is asked before it is measured, and what is made of its answers."""

from __future__ import annotations

import socket

import pytest

from nld_trt.errors import InputError, OperationError
from nld_trt.measure.aiperf.endpoint import Endpoint
from nld_trt.measure.aiperf.modes import Prober
from nld_trt.measure.sweep.settings import SweepSettings


def settings(
    modes: str | None = None, lengths: list[int] | None = None, levels: tuple[int, ...] = (1,)
) -> SweepSettings:
    return SweepSettings(
        modes=modes, block_lengths=lengths, concurrency=levels, threshold=0.9, requests=2, max_new_tokens=4,
        ignore_eos=False, warmup=0, repeats=1,
    )  # fmt: skip


def grid(front, *args, **more):
    return Prober(front.endpoint, "nld", "its address").grid(settings(*args, **more))


def test_without_names_every_mode_that_the_server_has_is_measured(front) -> None:
    found = grid(front, levels=(1, 4))
    assert [point.label for point in found.points] == [
        "ar_c1", "ar_c4", "diffusion_t0.9_c1", "diffusion_t0.9_c4", "linear_c1", "linear_c4",
    ]  # fmt: skip
    assert found.left_out["quadratic"] == "mode is 'quadratic', which the engine lacks; Rebuild it."


def test_a_request_that_asks_the_server_generates_one_token(front) -> None:
    grid(front, "linear")
    assert {body["max_completion_tokens"] for body in front.asked} == {1}


def test_block_lengths_that_the_server_refuses_are_left_out(front) -> None:
    found = grid(front, "ar,linear", [8, 64])
    assert [point.label for point in found.points] == ["ar_c1", "linear_b8_c1"]
    assert found.left_out == {"linear_b64": "the block is too long"}


def test_a_named_mode_that_the_server_lacks_is_refused(front) -> None:
    with pytest.raises(
        InputError, match="the server at its address cannot decode in mode quadratic: mode is 'quadratic'"
    ):
        grid(front, "linear,quadratic")


def test_a_server_without_modes_is_measured_as_it_is(front) -> None:
    front.modes = ()
    assert [point.label for point in grid(front, levels=(1, 2)).points] == ["default_c1", "default_c2"]
    for flag, given in (("--modes", ("linear", None)), ("--block-length", (None, [8]))):
        with pytest.raises(InputError, match=f"{flag} is for servers of nld-trt"):
            grid(front, *given)


def test_a_server_that_is_not_ready_is_no_users_error(front) -> None:
    front.status = 503
    with pytest.raises(OperationError, match="the server at its address is not ready: not ready: nld"):
        grid(front)


def test_a_server_that_refuses_a_plain_request_is_told(front) -> None:
    front.status = 401
    with pytest.raises(InputError, match="refused a request to nld"):
        grid(front)


@pytest.mark.parametrize(("levels", "lengths", "flag"), [((0,), None, "--concurrency"), ((1,), [0], "--block-length")])
def test_numbers_below_1_are_refused(front, levels, lengths, flag) -> None:
    with pytest.raises(InputError, match=f"{flag} has 0"):
        grid(front, "linear", lengths, levels=levels)


def test_models_are_those_that_the_server_lists(front) -> None:
    assert front.endpoint.models() == ["nld"]
    front.models = None
    assert front.endpoint.models() is None


def test_an_address_that_nothing_answers_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(InputError, match=f"nothing answers at {url}"):
            Endpoint.parse(url).models()


def test_the_path_of_the_api_is_not_part_of_the_address() -> None:
    assert Endpoint.parse("http://host:9000/v1/").url == "http://host:9000"


@pytest.mark.parametrize("text", ["ftp://host", "http://", "http://host:0", "http://host:port"])
def test_what_is_no_address_is_refused(text) -> None:
    with pytest.raises(InputError, match="is not an address of HTTP"):
        Endpoint.parse(text)
