"""scripts/bootstrap and scripts/setup_python.py: what they decide, without installing anything."""

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def setup():
    spec = importlib.util.spec_from_file_location("setup_python", ROOT / "scripts" / "setup_python.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CUDA = {"version": "2.13.0", "requires_dist": ["filelock", "nvidia-cublas==13.0; platform_system == 'Linux'"],
        "project_url": ["Homepage, https://www.example.org", "Repository, https://git.example.net/x"]}
CPU = {"version": "2.13.0+cpu", "requires_dist": ["filelock"], "home_page": "https://example.org"}


def test_a_cpu_build_is_recognised(setup):
    assert setup.is_cpu_build(CPU, "x86_64")
    assert not setup.is_cpu_build(CUDA, "x86_64")
    assert not setup.is_cpu_build({"version": "2.13.0+cu130"}, "x86_64")
    plain = {"version": "2.13.0", "requires_dist": ["nvidia-cublas; platform_machine == 'x86_64'", "numpy; extra == 'triton'"]}
    assert setup.is_cpu_build(plain, "aarch64") and not setup.is_cpu_build(plain, "x86_64")


def test_a_machine_without_a_gpu_asks_the_cpu_index_first(setup, monkeypatch):
    monkeypatch.delenv("LORICA_TORCH_INDEX", raising=False)
    attempts = setup.torch_attempts("torch==2.13.0", CUDA, gpu=False, machine="x86_64")
    assert attempts[0][0] == ["torch==2.13.0", "--index-url", "https://download.example.org/whl/cpu"]
    assert attempts[1][0] == ["torch==2.13.0"]
    assert "download.example.org" in attempts[0][1] and "GB" in attempts[1][1]


def test_a_gpu_or_a_cpu_default_asks_pip_alone(setup, monkeypatch):
    monkeypatch.delenv("LORICA_TORCH_INDEX", raising=False)
    for metadata, gpu in ((CUDA, True), (CPU, False)):
        attempts = setup.torch_attempts("torch==2.13.0", metadata, gpu=gpu, machine="x86_64")
        assert [arguments for arguments, _ in attempts] == [["torch==2.13.0"]]


def test_the_index_can_be_given(setup, monkeypatch):
    monkeypatch.setenv("LORICA_TORCH_INDEX", "file:///mirror")
    attempts = setup.torch_attempts("torch==2.13.0", CPU, gpu=True, machine="x86_64")
    assert attempts[0][0][1:] == ["--index-url", "file:///mirror"]


def test_a_step_runs_once_for_the_same_inputs(setup, monkeypatch, tmp_path):
    monkeypatch.setattr(setup, "MARKERS", tmp_path / "markers")
    runs = []
    for inputs in ("a", "a", "b", "b", "a"):
        setup.once("step", inputs, lambda: runs.append(inputs))
    assert runs == ["a", "b", "a"]


def test_a_step_that_fails_runs_again(setup, monkeypatch, tmp_path):
    monkeypatch.setattr(setup, "MARKERS", tmp_path / "markers")
    with pytest.raises(ZeroDivisionError):
        setup.once("step", "a", lambda: 1 / 0)
    runs = []
    setup.once("step", "a", lambda: runs.append(1))
    assert runs == [1]


def bootstrap(tmp_path, os_release, *arguments, **environment):
    path = tmp_path / "os-release"
    path.write_text(os_release)
    return subprocess.run([ROOT / "scripts" / "bootstrap", "--dry-run", *arguments], capture_output=True, text=True,
                          env={**os.environ, "LORICA_OS_RELEASE": str(path), **environment})


@pytest.mark.parametrize("os_release", ['ID=fedora\nPRETTY_NAME="Fedora 42"\n', "ID=debian\nVERSION_ID=11\n",
                                        "ID=ubuntu\nVERSION_ID=20.04\n"])
def test_an_unknown_system_lists_what_to_install_by_hand(tmp_path, os_release):
    result = bootstrap(tmp_path, os_release)
    assert result.returncode == 2
    assert "by hand" in result.stderr and "libtomlplusplus-dev" in result.stderr and "torch 2.11" in result.stderr
    assert "will install" not in result.stdout + result.stderr


@pytest.mark.parametrize("os_release", ["ID=debian\nVERSION_ID=12\n", "ID=debian\n", "ID=ubuntu\nVERSION_ID=24.04\n",
                                        "ID=linuxmint\nID_LIKE='ubuntu debian'\nVERSION_ID=22\n"])
def test_the_plan_is_printed_first(tmp_path, os_release):
    result = bootstrap(tmp_path, os_release, "--tests")
    assert result.returncode == 0, result.stderr
    assert "system packages" in result.stdout and "requirements-test.txt" in result.stdout


def test_packages_can_be_left_alone(tmp_path):
    result = bootstrap(tmp_path, "ID=fedora\n", LORICA_SKIP_PACKAGES="1")
    assert result.returncode == 0, result.stderr
    assert "nothing to install" in result.stdout


def test_unknown_option():
    result = subprocess.run([ROOT / "scripts" / "bootstrap", "--frobnicate"], capture_output=True, text=True)
    assert result.returncode == 2 and "--frobnicate" in result.stderr
