"""Rules of the workflows that actionlint and zizmor do not know: every step is a make target, and rights are few."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from cache import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (REPOSITORY / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))
# No value of the event stands in a command: make has it from the environment.
CALL = re.compile(r'(.*?)make (?:-s )?([a-z0-9-]+|"\$TARGET")(?: PINNED=1)?(?: >> "\$GITHUB_OUTPUT")?')
# Words that may stand before `make`.
PREFIXES = {"", "printenv REGISTRY_PASSWORD | ", 'sudo -E env "PATH=$PATH" '}
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
        call = CALL.fullmatch(run)
        assert call is not None and call[1] in PREFIXES, f"{name}: {run}"
        assert call[2] in TARGETS or call[2] == '"$TARGET"' and matrix, f"{name}: {run}"


def test_root_runs_the_targets_that_make_namespaces_and_no_others() -> None:
    (ci,) = [job for name, job in jobs() if name == "ci.yml/make"]
    user, root = [step for step in ci["steps"] if "run" in step]
    condition = "startsWith(matrix.target, 'e2e-')"
    assert (user["if"], root["if"]) == (f"${{{{ !{condition} }}}}", f"${{{{ {condition} }}}}")
    assert (user["run"], root["run"]) == ('make "$TARGET"', 'sudo -E env "PATH=$PATH" make "$TARGET"')
    by_root = {target for target in ci["strategy"]["matrix"]["target"] if target.startswith("e2e-")}
    recipes = dict(re.findall(r"^([a-z0-9-]+):.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE))
    assert by_root == {target for target in ci["strategy"]["matrix"]["target"] if "/namespace.py" in recipes.get(target, "")}


def test_the_job_that_may_write_compiles_nothing() -> None:
    (build,), (publish,) = [[job for name, job in jobs() if name == f"release.yml/{which}"] for which in ("build", "publish")]
    calls = [(step, CALL.fullmatch(step["run"])[2]) for step in publish["steps"] if "run" in step]  # type: ignore[index]
    # The first target brings the package tools, so that the others find them.
    assert calls[0][1] == "take-release-tools"
    assert calls[0][0]["env"] == {"TOOLS_SHA256": "${{ needs.build.outputs.tools }}"}
    assert build["outputs"] == {"tools": "${{ steps.tools.outputs.tools }}"}
    assert "build/release-tools.tar" in str(build["steps"][-1]["with"]["path"]).split()
    for _, target in calls:
        ((prerequisites, recipe),) = re.findall(rf"^{target}:(.*?)##.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
        assert not prerequisites.strip(), target
        assert set(re.findall(r"\$\(SETUP\) (.*?)(?: >&2)?\n", recipe)) <= {"package-tools"}, target


@pytest.mark.parametrize("name", ["REGISTRY", "REGISTRY_USER", "TAG", "VERSION", "CHART", "TOOLS_SHA256"])
def test_no_recipe_puts_a_value_between_the_quotes_of_a_shell(name: str) -> None:
    recipes = [line for line in MAKEFILE.splitlines() if line.startswith("\t")]
    assert not [line for line in recipes if f"$({name})" in line or f"${{{name}}}" in line]


def test_the_commit_of_a_release_is_looked_for_on_all_of_main() -> None:
    (build,) = [job for name, job in jobs() if name == "release.yml/build"]
    checkout, check = build["steps"][:2]
    assert (checkout["with"]["fetch-depth"], check["run"]) == (0, "make release-check")


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
    everything = " ".join(re.findall(r"^(?:test-all|test-packages): (.*?) ##", MAKEFILE, re.MULTILINE))
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
