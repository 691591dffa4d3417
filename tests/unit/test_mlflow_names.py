"""How names are mapped to what MLflow takes."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from steplogd.delivery.mlflow_names import (
    MAX_FILE,
    MAX_NAME,
    MAX_STEM,
    digest_in,
    file_name,
    mlflow_name,
    original_name,
    param_name,
)
from steplogd.delivery.naming import full_name

AWKWARD = [
    "",
    ".",
    "..",
    "/",
    "//",
    "/a",
    "a/",
    "a//b",
    "./a",
    "../x",
    "..x",
    "a/../b",
    "loss%",
    "loss\n",
    "a\0b",
    "\ud800",
    "💥",
    "e\u0301",
    "_x25_",
    "_xEMPTY_",
    "_x_x25_",
    "_x25%",
    "%x25_",
    f"_xHASH{'0' * 32}_",
]
"""Names that MLflow refuses, or that look as if they had been mapped already."""

PLAIN = [
    "loss",
    "train/loss",
    "läuft",
    "损失",
    "a b",
    "a:b",
    "grad_x_norm",
    "_x",
    "a/...",
    "A",
    " a ",
]
"""Names that MLflow takes as they are."""

# Short and made of what matters here, so that hypothesis meets the awkward ones.
names = st.text(st.sampled_from("_x25FE%/. \n\ud800é"), max_size=12) | st.text(max_size=40)
long_names = st.text(st.sampled_from("ax2_%/."), min_size=200, max_size=300)


@pytest.mark.parametrize("name", PLAIN)
def test_a_name_that_mlflow_takes_stays_as_it_is(name: str) -> None:
    """Most users never see a mapped name."""
    assert name == mlflow_name(name)


@pytest.mark.parametrize(
    ("name", "mapped"),
    [
        ("loss%", "loss_x25_"),
        ("a//b", "a/_xEMPTY_/b"),
        ("../x", "_x2E_./x"),
        ("", "_xEMPTY_"),
        ("_x25_", "_x5F_x25_"),
    ],
)
def test_a_name_that_mlflow_refuses_is_escaped_where_it_must_be(name: str, mapped: str) -> None:
    """A mapped name can still be read."""
    assert mapped == mlflow_name(name)


@pytest.mark.parametrize("name", AWKWARD + PLAIN)
def test_a_mapped_name_can_be_undone(name: str) -> None:
    """The original comes back from the mapped name alone."""
    assert name == original_name(mlflow_name(name))


@given(names)
@example("_x25%")
@example("_x_x25_")
def test_any_name_can_be_undone(name: str) -> None:
    """Which also means that no two names are mapped to the same one."""
    assert name == original_name(mlflow_name(name))


@settings(deadline=None)  # the first example imports mlflow
@given(names | long_names, st.sampled_from([MAX_NAME, MAX_STEM]))
def test_mlflow_takes_every_mapped_name(name: str, limit: int) -> None:
    """MLflow's own check, and no newline at the end, which it lets pass."""
    validation = pytest.importorskip("mlflow.utils.validation")
    mapped = mlflow_name(name, limit)

    validation._validate_metric_name(mapped)
    validation._validate_param_name(param_name(mapped, -(2**63)) if limit == MAX_STEM else mapped)

    assert len(mapped) <= limit
    assert not mapped.endswith("\n")


@given(long_names)
def test_a_long_name_keeps_its_beginning_and_says_that_it_was_cut(name: str) -> None:
    """A long name is not undone from the mapped one alone, but its digest finds it."""
    name += "a" * MAX_NAME

    mapped = mlflow_name(name)

    assert original_name(mapped) is None
    assert digest_in(mapped) == digest_in(mlflow_name(name, MAX_STEM))
    assert mapped[:20] == mlflow_name(name[:100])[:20]


def test_long_names_that_begin_alike_stay_apart() -> None:
    """The digest is of the whole name."""
    assert mlflow_name("a" * 300) != mlflow_name("a" * 299 + "b")


def test_a_short_name_has_no_digest() -> None:
    """Only what was cut needs looking up, whatever it looks like."""
    assert digest_in(mlflow_name(f"_xHASH{'0' * 32}_")) is None


def test_a_key_of_an_outermost_task_stands_bare() -> None:
    """Pipelines with one level of tasks read as if there were none."""
    assert full_name(("train",), "loss") == "loss"


def test_a_key_of_a_nested_task_stands_below_its_path() -> None:
    """The inner task's loss is not the outer's."""
    assert full_name(("outer", "inner"), "loss") == "outer/inner/loss"


@given(names, names)
def test_names_that_differ_have_files_that_differ(one: str, other: str) -> None:
    """A document never overwrites that of another name."""
    files = [file_name(mlflow_name(name)) for name in (one, other)]

    assert (one == other) == (files[0] == files[1])


@given(names | long_names)
def test_the_name_of_a_file_fits_any_file_system(name: str) -> None:
    """Letters, digits, dots, dashes and underscores, no path, not hidden, not too long."""
    file = file_name(mlflow_name(name))

    assert file.isascii()
    assert not set(file) & set('/\\:*?"<>| \n')
    assert not file.startswith(".")
    assert 0 < len(file) <= MAX_FILE
