"""What a container was made from and on: written down, read with suspicion, compared."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysc.cabi.build_id import BUILD
from pysc.supervisor import manifest, manifest_view, plan, processor, spec
from pysc.supervisor.failure import Failure
from pysc.supervisor.manifest import Host, Manifest, Source
from pysc.supervisor.options import GlobalOptions
from pysc.supervisor.processor import Component, Processor
from pysc.supervisor.processor_flags import flag_names
from pysc.supervisor.state import Damaged, Store, new

OLD = Processor(
    vendor="GenuineIntel",
    signature=0xC06F2,
    features={
        "1.0.ecx": 1 << 28 | 1 << 29,
        "7.0.ebx": 1 << 5 | 1 << 16 | 0xF << 28,
        "7.1.eax": 1 << 31,
        "7.1.edx": 1 << 19,
    },
    avx10=1,
    xcr0=0xE7,
    components=(Component(2, 576, 256, aligned=False), Component(5, 1088, 64, aligned=False)),
)  # fmt: skip
TEXT = b'{"unknown": "\xff", "process": {}}'
MADE = Manifest(
    version=1,
    build="b" * 32,
    guest=b"g" * 20,
    bundle=b"/b\xff",
    spec=TEXT,
    spec_sha256=manifest.sha256(TEXT),
    processor=OLD,
    sources=(Source(b"/b/rootfs", (1 << 64) - 1, 7),),
)
LIKE = Host(MADE.build, MADE.guest, OLD)
replace = msgspec.structs.replace


def features(**changes: int) -> Processor:
    return replace(OLD, features=OLD.features | {name.replace("_", "."): bits for name, bits in changes.items()})


def test_what_is_written_is_read() -> None:
    assert manifest.decode_untrusted(manifest.encode(MADE)) == MADE


def test_it_is_of_what_a_plan_was_made_from(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "volume").mkdir()
    mounts = [{"destination": "/v", "type": "bind", "source": "volume"}]
    text = json.dumps({"process": {"args": ["x"]}, "root": {"path": "rootfs"}, "mounts": mounts}, indent=3).encode()
    (tmp_path / "config.json").write_bytes(text)
    bundle = spec.load(str(tmp_path))
    made_from = plan.make("box", bundle.spec, GlobalOptions(), overlay=False, window=(0, 0))
    made = manifest.make(bundle, made_from)
    assert (made.build, made.spec, made.bundle) == (BUILD, text, os.fsencode(tmp_path))
    assert made.sources == tuple(
        Source(os.fsencode(place), place.stat().st_dev, place.stat().st_ino)
        for place in (tmp_path / "rootfs", tmp_path / "volume")
    )
    assert made.misfit(manifest.here()) is None
    (tmp_path / "volume").rmdir()
    with pytest.raises(Failure, match=f"mount source {tmp_path}/volume: No such file"):
        manifest.make(bundle, made_from)


@pytest.mark.parametrize(
    "here",
    [
        OLD,
        features(**{"7_0_ebx": 0xFFFF_FFFF, "1_0_ecx": 0xFFFF_FFFF, "80000001_0_ecx": 1}),
        replace(OLD, xcr0=0x602E7, components=(*OLD.components, Component(18, 2816, 8192, aligned=True))),
        replace(OLD, avx10=2, vendor="AuthenticAMD", signature=1),
    ],
)
def test_what_has_all_fits(here: Processor) -> None:
    assert MADE.misfit(replace(LIKE, processor=here)) is None


MISFITS = [
    (replace(LIKE, build="c" * 32), "it was made by build bbbb"),
    (replace(LIKE, guest=b"h" * 20), "its guest half was compiled by other tools"),
    (replace(LIKE, processor=features(**{"7_0_ebx": OLD.features["7.0.ebx"] & ~(1 << 16)})), "no avx512f: use a host"),
    (replace(LIKE, processor=features(**{"7_1_eax": 0})), "no cpuid:7.1.eax.31: use a host"),
    (
        replace(LIKE, processor=replace(OLD, features={})),
        "no avx, f16c, avx2, avx512f, avx512cd, sha_ni, avx512bw, avx512vl and 2 more: use a host",
    ),
    (replace(LIKE, processor=replace(OLD, avx10=0)), "AVX10 of version 0, not 1"),
    (replace(LIKE, processor=replace(OLD, xcr0=0x7)), "AVX-512 (masks), AVX-512 (upper halves), AVX-512 (upper reg"),
    (replace(LIKE, processor=replace(OLD, components=OLD.components[:1])), "places here for the registers of AVX-512"),
    (
        replace(LIKE, processor=replace(OLD, components=(Component(2, 832, 256, aligned=False), OLD.components[1]))),
        "other places here for the registers of AVX:",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("here", "words"), MISFITS)
def test_what_does_not_fit(here: Host, words: str) -> None:
    said = MADE.misfit(here)
    assert said is not None
    assert words in said


def packed(**changes: Any) -> bytes:
    return msgspec.msgpack.encode({**msgspec.to_builtins(MADE, builtin_types=(bytes,)), **changes})


def cpu(**changes: Any) -> bytes:
    return packed(processor={**msgspec.to_builtins(OLD), **changes})


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"\xc0", b"\x91" * 100_000, b"\x82\xa7version\x01\xa1x" + b"\x91" * 100_000,
        manifest.encode(MADE)[:-1],
        manifest.encode(MADE) + b"\0", packed(more=1), packed(version="1"), packed(version=0), packed(build="x" * 65),
        packed(guest=b"g" * 19), packed(bundle=b"/" * 4097), packed(spec=TEXT + b" "), packed(spec_sha256=b""),
        packed(sources=[]), packed(sources=[{"path": b"/", "device": 1, "inode": 1}] * 251),
        packed(sources=[{"path": b"/", "device": -1, "inode": 1}]), packed(processor=None), cpu(vendor="x" * 13),
        cpu(features={"x" * 17: 1}), cpu(features={"x": 1 << 32}), cpu(features={str(n): 1 for n in range(33)}),
        cpu(xcr0=-1), cpu(components=[{"number": 1, "offset": 0, "size": 0, "aligned": False}]),
        cpu(components=msgspec.to_builtins(OLD.components) * 32), packed(build=b"\xff"),
    ],
)  # fmt: skip
def test_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(Damaged, match=r"anew|version"):
        manifest.decode_untrusted(data)


def test_another_version_says_so() -> None:
    with pytest.raises(Damaged, match="of version 2, this pysc reads 1: use the pysc that made it"):
        manifest.decode_untrusted(packed(version=2, field_of_the_future=1))


@given(st.integers(0, len(manifest.encode(MADE)) - 1), st.integers(0, 255))
def test_a_changed_byte_is_found_or_does_no_harm(place: int, byte: int) -> None:
    data = bytearray(manifest.encode(MADE))
    data[place] = byte
    try:
        found = manifest.decode_untrusted(bytes(data))
        manifest_view.as_json(found, found.misfit(LIKE))
    except Damaged:
        return
    assert found.spec == TEXT


@pytest.mark.parametrize("text", [b"{", b"[" * 100_000, b"1" * 5000])
def test_a_specification_that_is_none(text: bytes) -> None:
    with pytest.raises(Damaged, match="specification in the manifest is damaged"):
        manifest_view.as_json(replace(MADE, spec=text), None)


def test_nothing_in_it_steers_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    escape = Source(b"/\x1b[2J", 1, 1)
    manifest_view.show(replace(MADE, sources=(escape,), processor=replace(OLD, features={"\x1b[0m": 1})), "no\x1b")
    assert "\x1b" not in capsys.readouterr().out


def ask(highest: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Processor, list[tuple[int, int]]]:
    """Read a processor that says yes to everything, of which some leaves are there."""
    asked = []

    def cpuid(leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        asked.append((leaf, subleaf))
        return (highest if leaf == 0 else 0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF)

    monkeypatch.setattr(processor, "cpuid", cpuid)
    monkeypatch.setattr(processor, "xcr0", lambda: 0b111)
    return processor.read(), asked


def test_only_what_programs_can_use_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = ask(0x24, monkeypatch)
    assert len(asked) == len(set(asked))
    names = {name for word, bits in found.features.items() for name in flag_names(word, bits)}
    assert {"avx", "avx512f", "sse2", "lm", "clzero", "xsavec", "cpuid:7.1.eax.31"} <= names
    kernels = {
        "1.0.ecx": (5, 17, 21, 31), "1.0.edx": (9, 12), "7.0.ebx": (7, 20), "7.0.ecx": (2, 16, 31),
        "7.0.edx": (10, 26, 29, 31), "7.1.eax": (17, 26), "d.1.eax": (3, 4), "80000001.0.ecx": (2,),
        "80000001.0.edx": (20,), "80000008.0.ebx": (12, 14),
    }  # fmt: skip
    assert not [(word, bit) for word, bits in kernels.items() for bit in bits if found.features[word] >> bit & 1]
    assert [component.number for component in found.components] == [2]
    assert found.avx10 == 0xFF


def test_an_old_processor_is_not_asked_for_what_it_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = ask(1, monkeypatch)
    assert asked == [(0, 0), (1, 0), (0x8000_0001, 0), (0x8000_0008, 0), (0xD, 2)]
    assert "7.0.ebx" not in found.features
    assert manifest.encode(replace(MADE, processor=found))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "root"))
    made.create_root()
    made.create(new("box", "/b", "/r", {}, 5))
    return made


def test_its_file_is_the_caller_s_alone(store: Store) -> None:
    store.save_manifest("box", b"data")
    path = Path(store.directory("box"), "manifest")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert store.manifest("box", 4) == b"data"
    assert sorted(os.listdir(store.directory("box"))) == ["manifest", "state.json"]
    with pytest.raises(Damaged, match=f"{path} is no manifest"):
        store.manifest("box", 3)
    store.remove("box")
    assert not os.listdir(store.root)


def test_files_that_are_none(store: Store) -> None:
    with pytest.raises(Failure, match="container box has no manifest"):
        store.manifest("box", 10)
    path = Path(store.directory("box"), "manifest")
    os.mkfifo(path)
    with pytest.raises(Damaged, match="is no manifest"):
        store.manifest("box", 10)
    path.unlink()
    path.symlink_to("state.json")
    with pytest.raises(Failure, match="cannot read"):
        store.manifest("box", 10)
    path.unlink()
    path.mkdir()
    with pytest.raises(Failure, match="is no manifest"):
        store.manifest("box", 10)


def test_a_manifest_that_cannot_be_written(store: Store) -> None:
    Path(store.directory("box"), "manifest").mkdir()
    with pytest.raises(Failure, match="cannot write"):
        store.save_manifest("box", b"data")
    assert sorted(os.listdir(store.directory("box"))) == ["manifest", "state.json"]


def test_bytes_that_are_no_text_survive_in_a_specification() -> None:
    process = spec.Process(args=["x", os.fsdecode(b"\xff")])
    text = spec.encode(spec.Spec(process=process))
    assert json.loads(text) == {"process": {"args": ["x", "\udcff"]}}
    assert spec.encode(spec.Spec(hostname="é")) == '{"hostname":"é"}'.encode()
