"""What stands in the repository is free of one machine's ways, and its hooks need no network."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]

FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w.})])/(?:work|root|home/\w+|Users/\w+)/"),
    "a registry's address": re.compile(
        r"(?:index[-_]url|find[-_]links|trusted[-_]host)\s*[=: ]\s*\S*://|https?://\S*/(?:simple|maven2)/",
        re.IGNORECASE,
    ),
    "a credential in an address": re.compile(r"https?://[^/\s:@\"']+:[^/\s@\"'{<]+@"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{20}"),
}


def findings(text: str) -> list[str]:
    return [f"{what}: {match[0]}" for what, pattern in FORBIDDEN.items() if (match := pattern.search(text))]


def is_made(part: str) -> bool:
    hidden = part.startswith(".") and part not in {".ci", ".gitignore", ".pre-commit-config.yaml"}
    return hidden or part in {"var", "build", "dist", "_build", "__pycache__"}


def repository_files() -> list[Path]:
    """Every file that is or would be committed; without git, every file outside what tools made."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not any(map(is_made, path.relative_to(ROOT).parts))]
    return [path for path in paths if path.is_file()]


def test_no_file_holds_a_machine_path_a_registry_or_a_credential() -> None:
    files = repository_files()
    assert ROOT / "pyproject.toml" in files
    found = {
        str(path.relative_to(ROOT)): what
        for path in files
        if (what := findings(path.read_bytes().decode("utf-8", errors="replace")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "cd /" + "home/ann/engine",
        '"/' + 'work/main"'.replace("main", "main/x"),
        "pip install --index" + "-url=https://mirror.test/x",
        "https://mirror.test/" + "simple/numpy",
        "https://ann:" + "secret@mirror.test",
    ],
)
def test_what_is_forbidden_is_found(text: str) -> None:
    assert len(findings(text)) == 1


def test_hooks_are_local_and_run_from_the_environment_of_the_project() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert all(hook["entry"].startswith(".venv/bin/") for hook in hooks)
