"""How names are mapped to what W&B takes, and back."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from steplogd.delivery.wandb_names import (
    MAX_PROJECT,
    free_name,
    metric_pattern,
    project_name,
)
from tests.contract.wandb_originals import original_name, original_project

NAMES = st.text(st.characters(), max_size=40)


@pytest.mark.parametrize("name", ["loss", "a/b", "a.b", "loss%", "é\n", "a\\b", "k" * 300])
def test_most_names_stay_as_they_are(name: str) -> None:
    """W&B takes nearly anything."""
    assert name == free_name(name)


@pytest.mark.parametrize("name", ["", "_step", "_x25_", "steplog/step", "steplog.status", "\ud800"])
def test_a_name_that_means_something_already_is_set_apart(name: str) -> None:
    """Else W&B would drop the value, or overwrite its own, or we would."""
    assert free_name(name).startswith("steplog/key/")


@given(NAMES)
@example("steplog/key/a")
@example("_\\ud800\ud800")
def test_every_name_comes_back(name: str) -> None:
    """So that no two keys share a column; and any column is text that W&B can write."""
    column = free_name(name)

    assert name == original_name(column)
    column.encode()


@pytest.mark.parametrize(
    ("name", "pattern"), [("a", "a"), ("a.b", r"a\.b"), ("a*b", "a*"), ("*", "*"), ("a.*", r"a\.*")]
)
def test_a_dot_and_an_asterisk_mean_what_they_say(name: str, pattern: str) -> None:
    """W&B refuses an asterisk that stands within a name, and takes a dot for a path."""
    assert pattern == metric_pattern(name)


@given(NAMES.filter(bool))
@example("a_x2F_b")
@example("_x2F_x2F_")
def test_every_tag_comes_back_from_its_project(tag: str) -> None:
    """As long as it is short enough; and the project is one that W&B takes."""
    project = project_name(tag)

    if "_xHASH" not in project:
        assert tag == original_project(project)
    assert len(project) <= MAX_PROJECT
    assert not set("/\\#?%:") & set(project)


def test_long_tags_that_begin_alike_are_projects_of_their_own() -> None:
    """Cut alone they would be one."""
    assert project_name("t" * 200) != project_name("t" * 201)


def test_a_project_for_all_runs_goes_before_the_tag() -> None:
    """And a run without either has ours."""
    assert project_name("tag", "all") == "all"
    assert project_name("") == "steplog"
