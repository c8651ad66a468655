"""scripts/run_tests counts what the test programs wrote, and nothing else."""

import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def run_tests():
    loader = importlib.machinery.SourceFileLoader("run_tests", str(ROOT / "scripts" / "run_tests"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("run_tests", loader))
    loader.exec_module(module)
    return module


def write(path, *cases):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("<testsuite>" + "".join(cases) + "</testsuite>")


def case(name, inner="", status="run"):
    return f'<testcase classname="S" name="{name}" status="{status}">{inner}</testcase>'


def test_unit_results_are_counted_by_case(run_tests, tmp_path):
    write(tmp_path / "gtest" / "test_io.xml", case("a"), case("b", '<failure message="x"/>'),
          case("c", '<skipped message="no GPU"/>'), case("d", status="notrun"))
    write(tmp_path / "ctest.xml", case("unit.io", status="fail"))
    tally = run_tests.tally_unit(tmp_path)
    assert (tally.passed, tally.failed) == (1, ["S.b"])
    assert tally.skipped == {"no GPU": 1, "no reason given": 1}


def test_a_program_that_died_is_a_failure(run_tests, tmp_path):
    write(tmp_path / "gtest" / "test_io.xml", case("a"))
    write(tmp_path / "gtest" / "test_config.xml", case("b"))
    write(tmp_path / "ctest.xml", case("unit.io"), case("unit.data", status="fail"), case("unit.config", status="fail"))
    tally = run_tests.tally_unit(tmp_path)
    assert tally.passed == 2
    assert tally.failed == ["unit.data (the program died)", "unit.config (the program died)"]


def test_pytest_that_could_not_start_is_a_failure(run_tests, tmp_path):
    assert run_tests.tally_pytest(tmp_path / "none.xml", "e2e", 4).failed
    write(tmp_path / "e2e.xml", case("a"), case("b", "<error/>"))
    tally = run_tests.tally_pytest(tmp_path / "e2e.xml", "e2e", 1)
    assert tally.passed == 1 and tally.failed == ["S.b"]
