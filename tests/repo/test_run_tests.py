"""scripts/run_tests counts what the test programs wrote, and nothing else."""

import importlib.machinery
import importlib.util
import shutil
import subprocess
import sys
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


def test_pytest_that_fails_without_a_failed_case_is_a_failure(run_tests, tmp_path):
    write(tmp_path / "e2e.xml", case("a"))
    assert run_tests.tally_pytest(tmp_path / "e2e.xml", "e2e", 1).failed
    assert not run_tests.tally_pytest(tmp_path / "e2e.xml", "e2e", 0).failed


def side_by_side(folder, *tests):
    """Runs a small suite on two workers, under the conftest of this project's; returns pytest's exit code and its JUnit file."""
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    shutil.copy(ROOT / "pytest.ini", folder)
    (folder / "test_it.py").write_text("import os, pathlib, time\nimport pytest\n" + "\n".join(tests))
    result = subprocess.run([sys.executable, "-m", "pytest", "test_it.py", "-q", "-n", "2", "--dist", "worksteal", "--junit-xml=it.xml",
                             f"--basetemp={folder / 'temporary'}"], cwd=folder, capture_output=True, text=True)
    return result.returncode, folder / "it.xml"


def test_a_worker_that_died_is_one_failure_and_the_others_tests_count(run_tests, tmp_path):
    code, path = side_by_side(tmp_path, "@pytest.mark.parametrize('n', range(6))\ndef test_good(n): pass", "def test_bad(): assert False",
                              "def test_dies(): os._exit(3)")
    tally = run_tests.tally_pytest(path, "it", code)
    assert code == 1 and tally.passed == 6, path.read_text()
    assert sorted(name.rpartition(".")[2] for name in tally.failed) == ["test_bad", "test_dies"]


def test_alone_means_alone_and_once_means_once(tmp_path):
    log = tmp_path / "log"
    code, _ = side_by_side(
        tmp_path, f"LOG = pathlib.Path({str(log)!r})",
        "def note(word):\n    with open(LOG, 'a') as file: file.write(word + '\\n')",
        "@pytest.fixture\ndef model(made_once): return made_once('model', lambda folder: (note('made'), time.sleep(0.1), (folder / 'file').touch()))",
        "@pytest.mark.parametrize('n', range(12))\ndef test_beside(n, model):\n    assert (model / 'file').exists()\n    note('+')\n    time.sleep(0.05)\n    note('-')",
        "@pytest.mark.alone\n@pytest.mark.parametrize('n', range(4))\ndef test_alone(n):\n    note('[')\n    time.sleep(0.05)\n    note(']')")
    assert code == 0
    words = log.read_text().split()
    assert words.count("made") == 1 and words.count("+") == 12 and words.count("[") == 4
    running = 0
    for word, following in zip(words, words[1:]):
        running += {"+": 1, "-": -1}.get(word, 0)
        if word == "[":
            assert running == 0 and following == "]"
