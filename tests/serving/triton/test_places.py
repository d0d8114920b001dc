# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Repositories, temporary folders and working folders wherever users have them, under any locale."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nld_trt
from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request
from nld_trt.engine.folder import EngineFolder
from nld_trt.errors import InputError, OperationError
from nld_trt.model.text.codec import Codec
from nld_trt.serving.triton import installation, workplace
from nld_trt.serving.triton import server as tritonserver
from nld_trt.serving.triton.container import container_commands
from nld_trt.serving.triton.processes import unnoticed_ends
from nld_trt.serving.triton.repository import write_repository
from nld_trt.serving.triton.server import FREE_PORTS, TritonServer
from tests.conftest import ASCII_LOCALE
from tests.serving.conftest import Server, wait_until

# All that a shell interprets, and what ASCII lacks.
UNUSUAL = "a b'c\"d$HOME;e&f(g)h|i*j?k[l]m{n,o}p~q!r#s<t>u`v`w\\x\ty\nz é日本😀"
PROMPT = "Sort these numbers: 42 17"


@pytest.mark.slow
@pytest.mark.triton
def test_served_from_any_path_in_any_locale_the_answer_is_the_same(non_ascii_engine, tmp_path, monkeypatch) -> None:
    """One server for all of it: the repository's path, TMPDIR, the working folder, the template, the locale."""
    places = {name: tmp_path / f"{name} {UNUSUAL}" for name in ("repository", "temporary", "here")}
    for name in ("temporary", "here"):
        places[name].mkdir()
    (places["here"] / "json.py").write_text("raise RuntimeError('not this one')", encoding="utf-8")
    monkeypatch.chdir(places["here"])
    monkeypatch.setattr(tempfile, "tempdir", str(places["temporary"]))
    for name, value in ASCII_LOCALE.items():
        monkeypatch.setenv(name, value)
    engine = EngineFolder.open(non_ascii_engine)
    repository = write_repository(engine, places["repository"]).path
    codec = Codec.open(engine.path)
    assert codec is not None
    batch = Batch(engine.open_session("ort"), codec)
    batch.submit(Request(codec.encode_prompt(PROMPT), max_new_tokens=30, threshold=0.0))
    expected = "".join(emission.text for emission in batch.run())
    assert "é😀" in expected
    with TritonServer(repository, ports=FREE_PORTS, timeout=300) as triton:
        (chunk,) = Server(triton).ask(text_input=PROMPT, max_tokens=30, stream=False)
        (event,) = Server(triton).generate_stream(text_input=PROMPT, max_tokens=30)
    assert chunk.text == event["text_output"] == expected


@pytest.mark.triton
def test_model_whose_process_cannot_start_is_told_at_once(repository, tmp_path, monkeypatch) -> None:
    find = installation.find_installation

    def with_broken_stub(work: Path) -> installation.Installation:
        found = find(work)
        stub = work / "backends" / "python" / "triton_python_backend_stub"
        stub.unlink()
        stub.write_text("#!/bin/sh\necho no such library >&2\nexit 127\n", encoding="utf-8")
        stub.chmod(0o755)
        return found

    monkeypatch.setattr(tritonserver, "find_installation", with_broken_stub)
    monkeypatch.setattr(tritonserver, "_NOTICE_SECONDS", 0.5)
    started = time.monotonic()
    with pytest.raises(OperationError, match="died while starting") as caught:
        TritonServer(repository, ports=FREE_PORTS, log_file=tmp_path / "server.log", timeout=10_000).start()
    assert "no such library" in str(caught.value)
    assert time.monotonic() - started < 5_000


@pytest.mark.triton
def test_failure_names_the_repository_as_the_user_does(served_engine, tmp_path) -> None:
    repository = write_repository(served_engine, tmp_path / "my models").path
    (repository / "nld" / "1" / "engine" / "tokenizer.json").unlink()
    with pytest.raises(OperationError) as caught:
        TritonServer(repository, ports=FREE_PORTS, log_file=tmp_path / "server.log", timeout=300).start()
    assert f"{repository}/nld/1/engine is damaged" in str(caught.value)


@pytest.mark.slow
@pytest.mark.triton
def test_environment_may_have_any_path_without_a_colon(repository, tmp_path) -> None:
    environment = tmp_path / UNUSUAL.replace("\n", "").replace("\\", "")
    venv.create(environment, symlinks=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    paths = [Path(nld_trt.__file__).parents[1], *filter(None, sys.path)]
    (packages / "paths.pth").write_text("\n".join(map(str, paths)), encoding="utf-8")
    code = (
        "import sys\nfrom pathlib import Path\nfrom nld_trt.serving.triton.server import FREE_PORTS, TritonServer\n"
        "with TritonServer(Path(sys.argv[1]), ports=FREE_PORTS, log_file=Path(sys.argv[2]), timeout=300):\n"
        "    print(sys.prefix)\n"
    )
    command = [environment / "bin" / "python", "-c", code, repository, tmp_path / "server.log"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout) == (0, f"{environment}\n"), done.stderr


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_path_that_counts_as_plain_is_one_word_to_a_shell(name: str) -> None:
    path = f"/tmp/{name}"
    if workplace.is_plain(Path(path)):
        assert shlex.split(path) == [path]
        assert path.isascii()
        assert not set(path) & set("~*?[]{}!$`;&|<>()#^=:,\\\n\t ")


@pytest.mark.parametrize("letter", sorted(set(UNUSUAL) - set("abcdefghijklmnopqrstuvwxyzHOME")))
def test_path_with_a_sign_of_the_shell_gets_a_plain_link(letter, tmp_path) -> None:
    folder = tmp_path / f"a{letter}b"
    folder.mkdir()
    found = workplace.plain_path(folder, tmp_path / "link")
    assert found == tmp_path / "link"
    assert found.resolve() == folder


def test_plain_path_is_passed_as_it_is(tmp_path) -> None:
    (tmp_path / "repository").mkdir()
    assert workplace.plain_path(tmp_path / "repository", tmp_path / "link") == tmp_path / "repository"
    assert not (tmp_path / "link").exists()


def test_work_folder_is_plain_where_the_temporary_folder_is_not(tmp_path, monkeypatch) -> None:
    (tmp_path / "a b").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a b"))
    monkeypatch.setattr(workplace, "_OTHER_PLACES", (str(tmp_path / "missing"), str(tmp_path)))
    work = workplace.make_work_folder()
    assert (work.parent, work.is_dir()) == (tmp_path, True)
    monkeypatch.setattr(workplace, "_OTHER_PLACES", (str(tmp_path / "missing"),))
    with pytest.raises(InputError, match="Set TMPDIR") as caught:
        workplace.make_work_folder()
    assert "a b" in str(caught.value)


def test_python_that_path_cannot_name_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/a:b/bin/python")
    with pytest.raises(InputError, match="cannot hold a ':'"):
        installation.find_installation(tmp_path)


def test_child_that_nobody_waited_for_is_seen() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    assert wait_until(lambda: child.pid in unnoticed_ends(os.getpid()))
    child.wait()
    assert child.pid not in unnoticed_ends(os.getpid())


@pytest.mark.parametrize("name", ["a b", "a'b", 'a"b', "a$b", "a`b`", "a\nb", "é"])
def test_printed_commands_survive_a_shell(name) -> None:
    words = shlex.split(container_commands(Path("/models") / name)[1])
    assert f"/models/{name}:/models:ro" in words


def test_path_that_docker_cannot_mount_is_refused() -> None:
    with pytest.raises(InputError, match="has a colon"):
        container_commands(Path("/models/a:b"))
