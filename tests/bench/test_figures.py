"""The arithmetic of a run, its words and its drawing, by numbers made up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.installed import REPOSITORY

import rounds
from crypto_calls import NOTHING, SIGN_RS256, SOFTWARE_RS256, VERIFY_RS256, member, varint
from figures import Figure, difference, each, figure, milliseconds, ratio, times
from memory import Memory, Seen
from plot import Bar, Line, plot
from pools import Cursor, Pool, write
from report import BEGIN, END, into, table
from rounds import Round, Row
from targets import MIB, Target, _memory, _rate, _signature, _software, at_least, at_most, nothing
from usage import cpu_seconds, rest
from wrk import Came, Sent, WrongAnswers, Wrk, came

PRINTED = (
    'Running 1s test\nwrk: {"requests": 300, "seconds": 1.5, "p50": 0.0002, "p90": 0.001, "p99": 0.0125, "max": 0.5, "errors": 0, '
    '"begun_anew": 0, "statuses": {"200": 299, "503": 1}}\n'
)


def test_a_figure_is_the_median_and_between_what_half_of_the_rounds_are() -> None:
    assert figure([5.0, 1.0, 4.0, 2.0, 3.0]) == Figure(3.0, 2.0, 4.0)
    assert figure([7.0]) == Figure(7.0, 7.0, 7.0)


def test_a_ratio_is_made_within_each_round() -> None:
    """A round in which the machine was ten times slower changes nothing."""
    assert ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == Figure(2.0, 2.0, 2.0)
    assert difference([3.0, 13.0, 3.0], [1.0, 11.0, 1.0]) == Figure(2.0, 2.0, 2.0)
    assert each(lambda a, b, c: (a - b) / c, [9.0], [1.0], [4.0]).median == 2.0


def test_rounds_that_are_not_the_same_make_no_ratio() -> None:
    with pytest.raises(ValueError):
        ratio([1.0, 2.0], [1.0])


def test_small_numbers_keep_their_digits() -> None:
    assert times(Figure(0.0023, 0.002, 0.0031)) == "0.0023 (0.0020 to 0.0031) x"
    assert times(Figure(1.2345, 1.0, 2.0)) == "1.23 (1.00 to 2.00) x"
    assert [milliseconds(value) for value in (0.000234, 0.0125)] == ["0.23", "12"]


def test_what_wrk_prints_is_read() -> None:
    result = came(PRINTED)
    assert result == Came(300, 1.5, 0.0002, 0.001, 0.0125, 0.5, 0, 0, {200: 299, 503: 1})
    assert result.rate == 200.0
    with pytest.raises(WrongAnswers):
        came("unable to connect")


@pytest.mark.parametrize(
    "wrong",
    [{"statuses": {200: 2, 401: 1}}, {"errors": 1}, {"requests": 0, "statuses": {}}],
    ids=lambda wrong: ",".join(wrong),
)
def test_an_answer_that_was_not_due_is_no_number(wrong: dict[str, object]) -> None:
    good = {"requests": 3, "seconds": 1.0, "p50": 0.1, "p90": 0.1, "p99": 0.1, "max": 0.1, "errors": 0, "begun_anew": 0, "statuses": {200: 3}}
    Came(**good).check("a row", {200})  # type: ignore[arg-type]
    with pytest.raises(WrongAnswers):
        Came(**{**good, **wrong}).check("a row", {200})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (at_most("a", Figure(1.15, 1.0, 1.3), 1.15), True), (at_most("a", Figure(1.16, 1.0, 1.3), 1.15), False),
        (at_least("a", Figure(0.75, 0.7, 0.8), 0.75), True), (at_least("a", Figure(0.74, 0.7, 0.8), 0.75), False),
    ],
)
def test_a_target_is_met_by_the_median(target: Target, met: bool) -> None:
    assert target.met is met
    assert target.verdict == ("met" if met else "**NOT met**")


def test_a_reissue_is_held_against_calls_in_a_row_and_against_such_in_requests_of_their_own_it_is_told() -> None:
    def row(microseconds: float) -> SimpleNamespace:
        return SimpleNamespace(cpus=[microseconds])

    one = {"fresh": row(760.0), "behind": row(20.0), NOTHING: row(21.0), SIGN_RS256: row(661.0), VERIFY_RS256: row(45.0)}
    called = SimpleNamespace(cpu={SIGN_RS256: [610.0], VERIFY_RS256: [19.0]})
    target = _signature(SimpleNamespace(one=one, called=called))  # type: ignore[arg-type]
    # 740 of 610 and 19; in requests of their own, of 640 and 24
    assert target.met is False and target.measured.startswith("1.18 ") and target.measured.endswith("1.11")
    without = _signature(SimpleNamespace(one={"fresh": row(9000.0), "behind": row(20.0)}, called=called))  # type: ignore[arg-type]
    assert without.met is None


@pytest.mark.parametrize(
    ("rate", "cpu", "met"), [(80.0, 12.0, True), (74.0, 12.0, False), (80.0, 14.0, False)], ids=["both", "rate misses", "CPU time misses"]
)
def test_a_ratio_of_rates_holds_by_cpu_time_too(rate: float, cpu: float, met: bool) -> None:
    def row(key: str, rate: float, cpu: float) -> Row:
        return Row(key, key, 1, Wrk(1, Sent("GET", "/", "h")), 200, rounds=[Round(rate, 0.1, 0.1, cpu, 1)] * 3)

    results = SimpleNamespace(one={"ours": row("ours", rate, cpu), "theirs": row("theirs", 100.0, 10.0)})
    assert _rate(results, "a", "ours", "theirs", 0.75).met is met  # type: ignore[arg-type]


def test_of_software_the_signature_alone_is_judged_and_the_whole_is_told() -> None:
    def measured(in_a_row: float, of_its_own: float) -> Target:
        one = {
            "software": SimpleNamespace(cpu=Figure(0.0084, 0.0083, 0.0085)),
            SOFTWARE_RS256: SimpleNamespace(cpus=[of_its_own + 0.00002] * 3), NOTHING: SimpleNamespace(cpus=[0.00002] * 3),
        }
        return _software(SimpleNamespace(one=one, called=SimpleNamespace(cpu={SOFTWARE_RS256: [in_a_row] * 3})))  # type: ignore[arg-type]

    target = measured(0.0078, 0.0079)
    assert target.met and target.measured == (
        "7.80 (7.80 to 7.80) ms in a row, 7.90 (7.90 to 7.90) ms in a request of its own; a whole reissue by it 8.40 (8.30 to 8.50) ms"
    )
    assert measured(0.0078, 0.0081).met is False and measured(0.0081, 0.0079).met is False


def test_cpu_time_is_shared_by_all_that_it_was_spent_on_answered_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, spent, rested = iter([100, 110]), iter([1.0, 2.5, 3.0]), []
    monkeypatch.setattr(rounds, "requests_begun", lambda _: next(begun))
    monkeypatch.setattr(rounds, "cpu_seconds", lambda _: next(spent))
    monkeypatch.setattr(rounds, "rest", rested.append)
    monkeypatch.setattr(rounds, "rss_bytes", lambda _: 1)
    monkeypatch.setattr(rounds, "forget_log", lambda _: None)
    came = Came(7, 1.0, 0.1, 0.1, 0.1, 0.1, 0, 0, {200: 7})
    load = SimpleNamespace(run=lambda *_: came)
    row = Row("a", "a", 5, load, 200, gateway=SimpleNamespace())  # type: ignore[arg-type]
    row.measure(1)
    assert row.cpus == [0.2] and row.rates == [7.0] and rested == [5]


@pytest.mark.parametrize(
    ("measured", "met"),
    [
        (Figure(1.1, -0.1, 1.2), True),
        (Figure(0.9, 0.5, 1.2), True),
        (Figure(1.1, 0.5, 1.2), False),
        (Figure(-3.0, -4.0, -2.0), True),
        (Figure(2.1, -0.1, 6.0), False),
    ],
    ids=["both sides of nothing", "within the noise", "beyond the noise", "faster", "both sides, and far beyond"],
)
def test_nothing_measurable_is_within_what_an_envoy_differs_from_itself(measured: Figure, met: bool) -> None:
    assert nothing(measured, noise=Figure(0.0, -1.0, 0.8)) is met


def seen(*added_mib: float) -> list[Seen]:
    counts = (0, 1_000, 10_000, 100_000, 1_000_000)
    return [Seen(count, int(mib * MIB), 0, None) for count, mib in zip(counts, added_mib)]


@pytest.mark.parametrize(
    ("counts", "met"),
    [
        (seen(40, 41, 42, 43, 43.5), (True, True)),
        (seen(40, 41, 42, 43, 45), (True, False)),
        (seen(40, 41, 42, 47, 47), (False, True)),
        (seen(40, 41, 42, 43), (None, None)),
        (seen(40, 41, 49), (False, None)),
    ],
    ids=["both", "it grows", "too much", "not all of them", "too much already"],
)
def test_memory_is_judged_by_all_subjects_or_by_what_is_too_much_before(counts: list[Seen], met: tuple[bool | None, ...]) -> None:
    judged = list(_memory(Memory(engine=0, once=38 * MIB, worker=2 * MIB, seen=counts)))
    assert tuple(target.met for target in judged) == met


def test_only_what_is_between_the_marks_is_replaced() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert into(page, "new\n") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert into(into(page, "x"), "new") == into(page, "new")
    with pytest.raises(ValueError):
        into("no marks", "new")


def test_the_page_has_the_marks() -> None:
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    assert "new" in into(page, "new")


def test_a_cell_does_not_break_its_row() -> None:
    assert table(("a", "b"), [("1|2", "3\n4")]) == ["| a | b |", "| --- | --- |", "| 1\\|2 | 3 4 |"]


def test_bars_are_as_long_as_their_logarithms_and_inside_of_the_picture() -> None:
    svg = plot("t", [Bar("thousand <&>", 1000, True), Bar("ten", 10, True), Bar("hundred", 100, False)], [Line("l", [("1", 2.0), ("2", 1.0)])])
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    names = "{http://www.w3.org/2000/svg}"
    ten, hundred, thousand = [float(each.attrib["width"]) for each in root.iter(f"{names}rect") if each.attrib.get("height") == "14"]
    assert ten < hundred < thousand and thousand == pytest.approx(2 * hundred, rel=0.01)
    for text in root.iter(f"{names}text"):
        assert 0 <= float(text.attrib["x"]) <= width and 0 <= float(text.attrib["y"]) <= height


def test_a_row_knows_its_medians() -> None:
    row = Row("k", "t", 1, Wrk(1, Sent("GET", "/", "h")), 200, rounds=[Round(100.0 * n, 0.1 * n, n, n * 1e-6, n) for n in (1, 2, 3)])
    assert (row.rate.median, row.p99.median, row.cpu.median, row.rss) == (200.0, 2, 2e-6, 3)


class Counted:
    """A load that uses up what tokens it is given, and is faster each time than it was before."""

    connections, threads = 4, 1

    def __init__(self, tokens_a_second: list[int]):
        self._rates = iter(tokens_a_second)
        self.given: list[int] = []

    def run(self, seconds: int, tokens: Path) -> Came:
        sent, given = next(self._rates) * seconds, len(tokens.with_name("numbers.0").read_text().split())
        self.given.append(given)
        return Came(sent, float(seconds), 0.1, 0.1, 0.1, 0.1, 0, max(0, sent - given), {200: sent})


def test_a_round_in_which_tokens_came_twice_is_none(tmp_path: Path) -> None:
    load = Counted([100, 500, 600])
    row = Row("k", "t", os.getpid(), load, 200, fresh=Cursor(Pool(Numbers(), tmp_path, "numbers")))  # type: ignore[arg-type]
    row.warm()
    row.measure(1)
    assert [each.rate for each in row.rounds] == [600.0]
    # First blindly, then by what was needed last, and more.
    assert load.given == [3000, 176, 816]


def test_a_load_that_outruns_its_tokens_each_time_is_not_told(tmp_path: Path) -> None:
    load = Counted([100, 1000, 10_000, 100_000, 1_000_000, 10_000_000])
    row = Row("k", "t", os.getpid(), load, 200, fresh=Cursor(Pool(Numbers(), tmp_path, "numbers")))  # type: ignore[arg-type]
    row.warm()
    with pytest.raises(WrongAnswers):
        row.measure(1)
    assert row.rounds == []


def test_a_row_may_be_silent_while_it_warms_up_and_not_when_it_is_measured() -> None:
    load = Silent()
    row = Row("k", "t", os.getpid(), load, 200)  # type: ignore[arg-type]
    assert row.warm().requests == 0
    with pytest.raises(WrongAnswers):
        row.measure(1)


class Silent:
    connections, threads = 4, 1

    def run(self, seconds: int, _: object) -> Came:
        return Came(0, float(seconds), 0.0, 0.0, 0.0, 0.0, 0, 0, {})


class Numbers:
    """Signs nothing."""

    def tokens(self, first: int, count: int) -> list[bytes]:
        return [b"%d" % number for number in range(first, first + count)]


def test_a_cursor_never_gives_a_token_twice(tmp_path: Path) -> None:
    cursor = Cursor(Pool(Numbers(), tmp_path, "numbers"))  # type: ignore[arg-type]
    taken: list[str] = []
    for used in (3, 2, 5):
        taken += cursor.take(6, 1).with_name("numbers.0").read_text().split()[:used]
        cursor.used(used)
    assert taken == [str(number) for number in range(10)]


def test_threads_share_tokens_and_have_none_in_common(tmp_path: Path) -> None:
    write(tmp_path / "t", [b"1", b"2", b"3"], 2)
    assert (tmp_path / "t.0").read_text() == "1\n3\n" and (tmp_path / "t.1").read_text() == "2\n"


def test_protobuf_is_written_as_it_is_specified() -> None:
    assert varint(1) == b"\x01" and varint(300) == b"\xac\x02"
    assert member(2, b"testing") == bytes.fromhex("120774657374696e67")


def test_cpu_time_is_that_of_the_process() -> None:
    before, began = cpu_seconds(os.getpid()), os.times()
    # Mostly in the kernel.
    os.urandom(64 << 20)
    spent, ended = cpu_seconds(os.getpid()) - before, os.times()
    assert spent == pytest.approx(ended.user - began.user + ended.system - began.system, abs=0.03) and spent > 0.01


def test_a_process_is_at_rest_when_it_has_ended_what_it_was_at() -> None:
    program = "import time; until = time.process_time() + 0.4\nwhile time.process_time() < until: pass\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        try:
            # Longer than it takes to be loaded.
            while cpu_seconds(process.pid) < 0.1:
                time.sleep(0.01)
            rest(process.pid)
            assert cpu_seconds(process.pid) > 0.4
        finally:
            process.kill()


def test_the_signatures_that_are_measured_alone_are_made_by_what_the_module_is_built_from() -> None:
    def versions(lock: Path) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for package in tomllib.loads(lock.read_text())["package"]:
            found.setdefault(package["name"], set()).add(package["version"])
        return found

    alone = REPOSITORY / "benches" / "software_crypto"
    shipped, measured = versions(REPOSITORY / "Cargo.lock"), versions(alone / "Cargo.lock")
    assert "crypto-bigint" in measured
    assert {name: seen for name, seen in measured.items() if name != "software_crypto" and not seen <= shipped.get(name, set())} == {}

    def manifest(directory: Path) -> Any:
        return tomllib.loads((directory / "Cargo.toml").read_text())

    profile, ours = manifest(REPOSITORY)["profile"]["release"], manifest(alone)["profile"]["release"]
    # Of another curve's code, which no signature is made by.
    del profile["package"]["jwt-reissuer-es512"]
    assert ours == profile
    tables = {name: manifest(REPOSITORY / "wasm" / "envoy")["dependencies"][name] for name in ("p256", "primeorder")}
    assert {name: manifest(alone)["dependencies"][name] for name in tables} == tables
