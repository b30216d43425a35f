"""State files and locks."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from pysc.supervisor.failure import Failure
from pysc.supervisor.state import ALL, Damaged, NoContainer, Store, check_id, new, process_start


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "root"))
    made.create_root()
    return made


@pytest.mark.parametrize("container", ["a", "A-b_c.d+1", "x" * 128])
def test_ids(container: str) -> None:
    check_id(container)


@pytest.mark.parametrize("container", ["", ".", "..", ".hidden", "a/b", "a b", "é", "a\n", "x" * 129, "../a"])
def test_what_is_no_id(container: str) -> None:
    with pytest.raises(Failure, match="invalid container ID format"):
        check_id(container)


def test_a_state_lives_as_long_as_its_supervisor(store: Store) -> None:
    state = new("box", "/b", "/b/rootfs", {}, 5)
    store.create(state)
    state.status = "running"
    store.save(state)
    assert store.load("box").status == "running"
    state.start_time += 1  # another process has the number now
    store.save(state)
    assert (store.load("box").status, store.load("box").pid) == ("stopped", 0)
    state.start_time -= 1
    state.boot_id = "before"
    store.save(state)
    assert store.load("box").status == "stopped"
    assert store.raw("box").status == "running"


def test_an_id_is_taken_once(store: Store) -> None:
    store.create(new("box", "/b", "/r", {}, 5))
    with pytest.raises(Failure, match="container with given ID already exists"):
        store.create(new("box", "/b", "/r", {}, 5))
    assert sorted(os.listdir(store.root)) == ["box"]


def test_kuids_differ(store: Store) -> None:
    first = store.allocate_kuid()
    store.create(new("one", "/b", "/r", {}, first))
    assert store.allocate_kuid() != first


def test_missing_and_damaged(store: Store) -> None:
    with pytest.raises(NoContainer):
        store.load("box")
    store.create(new("box", "/b", "/r", {}, 5))
    Path(store.directory("box"), "state.json").write_text("{}")
    with pytest.raises(Failure, match=r"damaged.*delete --force"):
        store.load("box")
    assert store.ids() == ["box"]


def test_what_is_left_of_a_removal_is_seen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody should be told that an id is in use, and that there is no such container."""
    removed: list[str] = []
    store.create(new("box", "/b", "/r", {}, 5))
    for name in ("control", "manifest", "zzz"):
        Path(store.directory("box"), name).touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", lambda name, **_: removed.append(name))
        store.remove("box")
    assert (len(removed), removed[-1]) == (4, "state.json")
    Path(store.directory("box"), "state.json").unlink()
    with pytest.raises(Damaged, match=r"incomplete.*delete --force"):
        store.load("box")
    assert store.ids() == ["box"]


def test_what_is_no_container_is_not_listed(store: Store, tmp_path: Path) -> None:
    Path(store.directory("file")).touch()
    os.mkdir(store.directory("a b"))
    os.mkdir(os.path.join(os.fsencode(store.root), b"\xff"))
    os.symlink(tmp_path, store.directory("link"))
    assert store.ids() == []
    for name in ("file", "link"):
        with pytest.raises(NoContainer):
            store.load(name)


def test_cleaning_up_spares_who_has_the_id_now(store: Store) -> None:
    state = new("box", "/b", "/r", {}, 5)
    store.create(state)
    store.remove_of("box", state.pid + 1)
    assert store.ids() == ["box"]
    os.mkdir(store.temporary("box", state.pid))
    for lock in ("box", ALL):
        Path(store.root, f".{lock}.lock").touch()
    store.remove_of("box", state.pid)
    assert os.listdir(store.root) == []


def test_cleaning_up_ends_a_removal_that_was_begun(store: Store) -> None:
    os.mkdir(store.directory("box"))
    store.remove_of("box", 1)
    assert os.listdir(store.root) == []


def test_removing_stays_inside(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    os.symlink(outside, store.directory("box"))
    store.remove("box")
    store.create(new("other", "/b", "/r", {}, 5))
    os.symlink(outside / "file", os.path.join(store.directory("other"), "link"))
    store.remove("other")
    assert os.listdir(store.root) == ["box"]
    assert os.listdir(outside) == ["file"]


def _count(root: str, path: str) -> None:
    store = Store(root)
    for _ in range(50):
        with store.locked("box"):
            number = int(Path(path).read_text())
            time.sleep(0)
            Path(path).write_text(str(number + 1))


def test_a_lock_excludes_although_its_file_is_removed_each_time(store: Store, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_count, args=(store.root, str(counter))) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert counter.read_text() == "150"
    assert os.listdir(store.root) == []


def test_start_time_tells_processes_apart() -> None:
    assert process_start(os.getpid()) > 0
    assert process_start(1 << 30) == 0
