"""README, CONTRIBUTING and SECURITY name what there is: settings, files, tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from steplogd.config import load_config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
SAMPLES = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
TESTS = {
    f"{path.relative_to(ROOT / 'tests')}::{name}"
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"def (test_\w+)\(", path.read_text("utf-8"))
}


def names(document: str) -> set[str]:
    """Return all that a document of the project sets as code within a line."""
    text = (ROOT / document).read_text("utf-8")
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))


@pytest.mark.parametrize("sample", SAMPLES)
def test_configuration_in_the_readme_is_accepted(sample: str, tmp_path: Path) -> None:
    """As it stands, by who copies it."""
    path = tmp_path / "steplogd.toml"
    path.write_text(sample)

    assert load_config(path).home.is_absolute()


def test_readme_has_the_samples_that_are_tried() -> None:
    """Else nothing would be."""
    assert any("[retention]" in sample for sample in SAMPLES)


def test_tests_that_security_names_are_there() -> None:
    """Each promise has a test that somebody can run."""
    named = {name for name in names("SECURITY.md") if "test_" in name or name.endswith(".py")}
    files = {test.partition("::")[0] for test in TESTS}
    alone = {test.partition("::")[2] for test in TESTS}

    assert [name for name in named if name not in TESTS | files | alone] == []


def test_files_on_the_map_are_there() -> None:
    """In full, or by the end of their path where a file beside them was named just before."""
    files = {
        str(path.relative_to(ROOT))
        for room in ("sdk", "daemon", "tests", "systemd")
        for path in (ROOT / room).rglob("*")
    }
    named = {name for name in names("CONTRIBUTING.md") if name.endswith((".py", ".sql", ".sh"))}

    assert len(named) > 100
    assert [n for n in named if not any(f"/{file}".endswith(f"/{n}") for file in files)] == []
