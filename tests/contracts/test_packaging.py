"""What is installed: names that are ours alone, and versions that are written down."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OURS = "bpm-os-engine"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def constrained() -> list[str]:
    return [canonicalize_name(line.partition("==")[0]) for line in CONSTRAINTS]


def closure(requirements: list[str]) -> set[str]:
    """Names of all that the requirements bring, as installed here."""
    seen: set[tuple[str, str]] = set()
    waiting = [(requirement, "") for requirement in requirements]
    while waiting:
        text, extra = waiting.pop()
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                waiting += [(needed, wanted) for needed in metadata.requires(name) or []]
    return {name for name, _ in seen}


def test_no_other_distribution_owns_a_package_name_of_ours() -> None:
    owners = metadata.packages_distributions()
    assert "numpy" in owners["numpy"]
    packages = [*PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], "tests"]
    assert {name: set(owners.get(name, ())) - {OURS} for name in packages} == {
        name: set() for name in packages
    }


def test_wheel_holds_every_package_that_the_import_contracts_know() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(wheel) == set(PROJECT["tool"]["importlinter"]["root_packages"])


def test_every_constraint_is_a_name_and_one_version() -> None:
    wrong = [line for line in CONSTRAINTS if re.fullmatch(r"[A-Za-z0-9][\w.-]*==[0-9][\w.+!]*", line) is None]
    assert wrong == []
    assert len(set(constrained())) == len(CONSTRAINTS)


def test_everything_that_runtime_and_tests_bring_is_constrained() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = closure([*PROJECT["project"]["dependencies"], *extras["mf4"], *extras["test"]])
    assert {"starlette", "psycopg-binary", "llvmlite"} <= wanted
    assert wanted - set(constrained()) - {OURS} == set()


def test_every_requirement_of_every_extra_is_constrained() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    named = {canonicalize_name(Requirement(text).name) for texts in extras.values() for text in texts}
    assert named - set(constrained()) - {OURS} == set()
