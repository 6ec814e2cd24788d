"""A child's own loopback: reached through the sockets it handed out, by nobody else, open for its own ports."""

from __future__ import annotations

from typing import Any

import pytest
from tests.confine.harness import WHO, perform

pytestmark = [pytest.mark.confined, pytest.mark.parametrize("who", WHO)]

NO = "Permission denied"


def act(who: str, scenario: str, **arguments: Any) -> Any:
    return perform(who, f"loopback_scenarios.{scenario}", **arguments)


def test_its_port_is_reached_through_inside_sockets_again_and_again_and_not_from_the_host(who: str) -> None:
    found = act(who, "reached")

    assert found == {"answers": ["one x"] * 4, "host": ["ECONNREFUSED", "ECONNREFUSED"]}


def test_two_programs_with_the_same_port_are_each_reached_by_their_own_sockets_alone(who: str) -> None:
    assert act(who, "two_agents") == ["one x", "two x"]


def test_only_its_own_ports_can_be_bound_and_only_the_doors_connected_to(who: str) -> None:
    granted, others = act(who, "ports")

    assert granted == "ok,ok"
    assert others.split(",") == [NO] * 7


def test_without_a_network_of_its_own_landlock_alone_keeps_it_to_its_ports(who: str) -> None:
    granted, others = act(who, "ports", layers=["landlock", "seccomp"])

    assert granted == "ok,ok"
    assert others.split(",") == [NO] * 7


def test_without_landlock_its_own_network_keeps_other_ports_from_meaning_anything(who: str) -> None:
    granted, others = act(who, "ports", layers=["namespaces", "seccomp"])

    assert granted == "ok,ok"
    # The door's port is taken; nobody listens on the others; and no way leads anywhere else.
    assert others.split(",")[2] == "Address already in use"
    assert others.split(",")[4:] == ["Connection refused", "Connection refused", "Network is unreachable"]


def test_the_door_arrives_outside_and_the_program_holds_no_descriptor_of_it(who: str) -> None:
    found = act(who, "door")

    assert found["fds"] == ["0", "1", "2", "3"]  # 3 lists them
    assert found["said"] == "heard\n"


def test_an_ordinary_python_program_works_where_only_one_process_may_be(who: str) -> None:
    assert act(who, "plain_python") == ["asyncio 20 True True True True 1", "refused"]


def test_no_descriptor_stays_behind_neither_of_a_child_that_ran_nor_of_one_that_failed(who: str) -> None:
    found = act(who, "leaves_nothing")

    assert "cwd: ENOENT" in found["said"]
    assert found["kept"] is True


def test_a_port_that_somebody_else_has_refuses_the_launch_and_names_step_and_remedy(who: str) -> None:
    said = act(who, "taken_port")

    assert "loopback: EADDRINUSE" in said
    assert "choose another" in said


def test_a_limit_on_open_files_that_is_too_low_refuses_the_launch(who: str) -> None:
    assert act(who, "too_few_descriptors") == "too_few_descriptors"


def test_the_next_core_is_given_the_same_sockets_and_reaches_the_same_program(who: str) -> None:
    found = act(who, "core_restart")

    assert found == {"status": 2, "said": [["it first", 2], [["it second", "it second"], 1, True, 4096, 4096]]}
