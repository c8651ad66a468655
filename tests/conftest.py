"""What all Python tests share: the switch for slow ones, one thread a process, who runs beside whom, what is made once."""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path

import pytest

# Cases run side by side, one a core: a second thread of a process would only wait for a core. The peers read these when they are
# imported, lorica when it starts (with OMP_WAIT_POLICY set it needn't start itself again).
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    # Deselected, not skipped: a skip is reserved for a machine that lacks something.
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@contextlib.contextmanager
def locked(path: Path, how: int = fcntl.LOCK_EX):
    """Other processes wait at the same path; a worker that dies gives its lock back by dying."""
    with open(path, "a") as file:
        fcntl.flock(file, how)
        yield


def workers_folder(config) -> Path | None:
    """The folder that all workers of this run share; None if the tests run in this process."""
    return Path(config.option.basetemp).parent if hasattr(config, "workerinput") else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """A test marked `alone` waits until the other workers' tests have ended, and they wait for it."""
    folder = workers_folder(item.config)
    if folder is None:
        return (yield)
    with contextlib.ExitStack() as turn:
        # Whoever waits for its turn holds the gate: otherwise the others would pass by it for ever.
        with locked(folder / "gate.lock"):
            turn.enter_context(locked(folder / "turn.lock", fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH))
        return (yield)


@pytest.fixture(scope="session")
def made_once(request, tmp_path_factory):
    """made_once(name, make): the folder that make(folder) filled, for all workers of this run: the first to ask makes it. A `make` that
    fails leaves nothing, so that the next one who asks sees the same failure."""
    shared = (workers_folder(request.config) or tmp_path_factory.getbasetemp()) / "made_once"

    def get(name: str, make) -> Path:
        folder = shared / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        done = folder.with_name(folder.name + ".done")
        with locked(folder.with_name(folder.name + ".lock")):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that died in the middle
                folder.mkdir()
                try:
                    make(folder)
                except BaseException:
                    shutil.rmtree(folder)
                    raise
                done.touch()
        return folder

    return get
