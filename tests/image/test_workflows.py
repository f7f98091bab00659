"""Rules of the workflows that actionlint and zizmor do not know: every step is a make target, and rights are few."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from cache import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
# Rights of the job that publishes; no other job may write.
WRITES = {"release.yml/publish": {"contents", "packages", "id-token", "attestations"}}


def jobs() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{workflow.name}/{name}", job)
        for workflow in WORKFLOWS
        for name, job in yaml.safe_load(workflow.read_text())["jobs"].items()
    ]


def test_there_are_workflows_for_changes_and_for_releases() -> None:
    assert [workflow.name for workflow in WORKFLOWS] == ["ci.yml", "release.yml"]


@pytest.mark.parametrize(("name", "job"), jobs())
def test_every_step_is_a_target_of_the_makefile(name: str, job: dict[str, Any]) -> None:
    matrix = job.get("strategy", {}).get("matrix", {}).get("target", [])
    assert set(matrix) <= TARGETS
    for run in [step["run"] for step in job["steps"] if "run" in step]:
        (call,) = re.findall(r"\bmake .*", run)
        words = [word for word in call.split() if "=" not in word and not word.startswith(("-", ">", '"$GITHUB_OUTPUT'))]
        (target,) = words[1:]
        assert target in TARGETS or target == '"$TARGET"' and matrix, f"{name}: {run}"
        assert call == run or run.startswith("printenv "), f"{name}: {run}"


@pytest.mark.parametrize(("name", "job"), jobs())
def test_a_job_may_do_no_more_than_it_needs(name: str, job: dict[str, Any]) -> None:
    writes = {right for right, level in job["permissions"].items() if level == "write"}
    assert writes == WRITES.get(name, set())
    for step in job["steps"]:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.name)
def test_every_action_is_pinned_by_the_digest_of_its_commit(workflow: Any) -> None:
    assert yaml.safe_load(workflow.read_text())["permissions"] == {}
    uses = re.findall(r"uses: (.*)", workflow.read_text())
    assert uses
    for action in uses:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_every_change_has_to_pass_test_all_and_the_fuzz_targets() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    (everything,) = re.findall(r"^test-all: (.*?) ##", makefile, re.MULTILINE)
    (ci,) = [job for name, job in jobs() if name == "ci.yml/make"]
    assert set(ci["strategy"]["matrix"]["target"]) == {*everything.split(), "fuzz"}


def test_the_bills_of_dependencies_that_are_updated_exist() -> None:
    files = {"cargo": "Cargo.toml", "gomod": "go.mod", "npm": "package.json", "pip": "requirements.txt", "github-actions": ".github"}
    updates = yaml.safe_load((REPOSITORY / ".github" / "dependabot.yml").read_text())["updates"]
    assert {update["package-ecosystem"] for update in updates} == set(files)
    for update in updates:
        for directory in update.get("directories", [update.get("directory")]):
            found = list(REPOSITORY.glob(f"{directory.strip('/')}/{files[update['package-ecosystem']]}".lstrip("/")))
            assert found, f"{update['package-ecosystem']}: {directory}"
