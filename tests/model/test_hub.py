# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Models by their id on the hub: what counts as one, which files are fetched, and what is said when it fails."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from huggingface_hub import constants

from nld_trt.cli import run
from nld_trt.errors import InputError, OperationError
from nld_trt.files import inside
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.hub import SETTINGS, HubModel, look_up, refuse_hub_id
from nld_trt.model.safetensors_file import SafetensorsFile, SafetensorsWriter
from tests.hub_server import Repository, serving

NAME = "nvidia/tiny-a"
# What lies beside a release's files in many repositories, and is not read.
UNREAD = {
    "README.md": b"# card",
    ".gitattributes": b"*.safetensors filter=lfs",
    "modeling_nld.py": b"raise SystemExit('remote code was run')",
    "pytorch_model.bin": b"\x80\x04pickle",
    "training_args.bin": b"\x80\x04pickle",
    "original/consolidated.safetensors": b"weights once more",
    "consolidated.safetensors": b"weights once more",
    "linear_spec_lora/optimizer.pt": b"\x80\x04pickle",
    "onnx/model.onnx": b"onnx",
}


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def hub(cache, monkeypatch):
    """A hub, which huggingface_hub in this process takes for the real one."""
    with serving() as made:
        monkeypatch.setattr(constants, "ENDPOINT", made.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", made.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield made


@pytest.fixture(scope="module")
def released(goldens):
    return Repository.of(goldens / "tiny-a")


@pytest.fixture(scope="module")
def sharded(released, tmp_path_factory):
    """The same weights in two files and an index."""
    folder = tmp_path_factory.mktemp("sharded")
    (folder / "whole").write_bytes(released.files["model.safetensors"])
    source = SafetensorsFile.open(folder / "whole")
    names, files, weight_map = list(source.tensors), dict(released.files), {}
    del files["model.safetensors"]
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"model-0000{number}-of-00002.safetensors"
        declared = {name: (source.tensors[name].dtype, source.tensors[name].shape) for name in part}
        with SafetensorsWriter(folder / shard, declared) as writer:
            for name in part:
                writer.write(name, source.read(name))
        files[shard] = (folder / shard).read_bytes()
        weight_map |= dict.fromkeys(part, shard)
    files["model.safetensors.index.json"] = json.dumps({"weight_map": weight_map}).encode()
    return Repository(files)


def offline(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nvidia/Nemotron-Labs-Diffusion-8B", ("nvidia/Nemotron-Labs-Diffusion-8B", None)),
        ("nvidia/Nemotron-Labs-Diffusion-8B@v1.0", ("nvidia/Nemotron-Labs-Diffusion-8B", "v1.0")),
        ("a_b/c.d@0123abc", ("a_b/c.d", "0123abc")),
        ("./nvidia/model", None),
        ("../nvidia", None),
        ("/nvidia/model", None),
        ("~/model", None),
        ("nvidia/", None),
        ("nvidia", None),
        ("a/b/c", None),
        ("nvidia/model/", None),
        ("nvidia/model@refs/pr/1", None),
        ("nvidia/model@", None),
        ("nvidia/mod el", None),
        ("nvidia/-model", None),
        ("nvidia/.hidden", None),
        ("nvidia/a--b", None),
        ("nvidia/a..b", None),
        ("nvidia/model.git", None),
        ("nvidia\\model", None),
        ("", None),
    ],
)
def test_ids_and_paths_are_told_apart(text, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = HubModel.parse(text)
    assert (found and (found.repository, found.revision)) == expected


@pytest.mark.parametrize("name", ["nvidia/model", "nvidia/model@main"])
def test_local_folder_comes_before_the_hub(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir(parents=True)
    assert HubModel.parse(name) is None


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("https://huggingface.co/nvidia/model", "nvidia/model"),
        ("https://huggingface.co/nvidia/model/tree/main", "nvidia/model"),
        ("hf://nvidia/model", "nvidia/model"),
        ("hf://models/nvidia/model@v1", "nvidia/model"),
        ("https://huggingface.co/", "OWNER/NAME"),
    ],
)
def test_address_is_refused_with_the_id_in_it(address, named):
    with pytest.raises(InputError, match=f"Write {named}, or"):
        HubModel.parse(address)


def test_only_what_convert_reads_is_fetched(hub, released):
    hub.add(NAME, Repository({**released.files, **UNREAD}))
    folder = look_up(HubModel(NAME)).fetch()
    wanted = {
        *("config.json", "generation_config.json", "model.safetensors"),
        *("linear_spec_lora/adapter_config.json", "linear_spec_lora/adapter_model.safetensors"),
    }
    assert files_in(folder) == wanted
    assert set(hub.bodies) == wanted
    Checkpoint.open(folder)


def test_tokenizer_and_every_template_come_along(hub, root, cache):
    source = Repository.of(root / "examples" / "nld-tiny")
    template = source.files["chat_template.jinja"]
    extra = {"additional_chat_templates/tool_use.jinja": template, "additional_chat_templates/notes.txt": b"x"}
    hub.add(NAME, Repository({**source.files, **extra, "special_tokens_map.json": b"{}"}))
    found = look_up(HubModel(NAME))
    assert set(found.names) == {"model.safetensors", "linear_spec_lora/adapter_model.safetensors"}
    assert found.size == sum(len(source.files[name]) for name in found.names)
    names = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"}
    assert files_in(found.folder) >= {*names, "additional_chat_templates/tool_use.jinja"}
    assert not {"additional_chat_templates/notes.txt", "train.py"} & files_in(found.folder)


def test_shards_are_those_of_the_index(hub, sharded):
    hub.add(NAME, Repository({**sharded.files, "model-00003-of-00002.safetensors": b"stray", **UNREAD}))
    folder = look_up(HubModel(NAME)).fetch()
    assert {name for name in files_in(folder) if name.startswith("model-")} == {
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    }
    Checkpoint.open(folder)


def test_progress_counts_every_byte_of_the_weights(hub, sharded):
    hub.add(NAME, sharded)
    found, received = look_up(HubModel(NAME)), []
    found.fetch(received.append)
    assert sum(received) == found.size > 0


def test_fetched_model_is_not_fetched_again(hub, released):
    hub.add(NAME, released)
    look_up(HubModel(NAME)).fetch()
    hub.bodies.clear()
    found = look_up(HubModel(NAME))
    assert (found.names, found.size) == ((), 0)
    found.fetch()
    assert not hub.bodies


def test_broken_connection_is_taken_up_where_it_was(hub, released, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    # Smaller than this file, as the real one is smaller than a model.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    hub.add(NAME, released)
    hub.cuts["model.safetensors"] = 100_000
    folder = look_up(HubModel(NAME)).fetch()
    assert (folder / "model.safetensors").read_bytes() == released.files["model.safetensors"]
    first, second = hub.ranges("model.safetensors")
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 100_000


def test_interrupted_download_goes_on_with_what_is_missing(hub, sharded):
    complete, broken = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    sent = threading.Event()

    def wait_for_the_other(name):
        # So that one file is complete when the download ends.
        if name == broken and name in hub.failures:
            assert sent.wait(60)

    hub.add(NAME, sharded)
    hub.failures[broken], hub.before_body = 403, wait_for_the_other
    found = look_up(HubModel(NAME))

    def received(count):
        if complete in hub.bodies:
            sent.set()

    with pytest.raises(InputError):
        found.fetch(received)
    hub.failures.clear()
    hub.bodies.clear()
    again = look_up(HubModel(NAME))
    assert again.names == (broken,)
    Checkpoint.open(again.fetch())
    assert hub.bodies == [broken]


def test_revision_is_the_one_that_was_asked_for(hub, released):
    config = json.loads(released.files["config.json"])
    other = Repository(
        {**released.files, "config.json": json.dumps({**config, "note": 1}).encode()}, ("v2", "refs/pr/1")
    )
    hub.add(NAME, released, other)
    assert look_up(HubModel(NAME)).folder.name == released.commit
    assert look_up(HubModel(NAME, "v2")).folder.name == other.commit
    assert look_up(HubModel(NAME, "refs/pr/1")).folder.name == other.commit
    assert look_up(HubModel(NAME, other.commit)).folder.name == other.commit


def test_moving_branch_does_not_mix_two_commits(hub, released):
    hub.add(NAME, released)
    found = look_up(HubModel(NAME))
    later = Repository({**released.files, "config.json": b"{}"}, ("main",))
    hub.repositories[NAME] = [later, Repository(released.files, ())]
    assert found.fetch().name == released.commit
    Checkpoint.open(found.folder)


def test_offline_takes_the_model_from_the_cache(hub, released, monkeypatch):
    hub.add(NAME, released)
    look_up(HubModel(NAME)).fetch()
    hub.asked.clear()
    offline(monkeypatch)
    Checkpoint.open(look_up(HubModel(NAME)).fetch())
    assert not hub.asked


def test_offline_without_the_model_says_so(hub, cache, monkeypatch):
    offline(monkeypatch)
    with pytest.raises(
        InputError, match=r"(?s)no folder nvidia/tiny-a here.* not in the cache .*HF_HUB_OFFLINE.*Un"
    ) as caught:
        look_up(HubModel(NAME))
    assert str(cache) in str(caught.value)


def test_offline_with_a_part_of_the_model_says_so(hub, released, monkeypatch):
    hub.add(NAME, released)
    found = look_up(HubModel(NAME))
    offline(monkeypatch)
    for download in (found, look_up(HubModel(NAME))):
        with pytest.raises(InputError, match="in part in the cache"):
            download.fetch()


@pytest.mark.parametrize(
    ("repository", "revision", "kind", "said"),
    [
        (None, None, InputError, "(?s)no folder nvidia/tiny-a here, and .* has no model of that name.*hf auth login"),
        (Repository({}, refusal=(403, "GatedRepo")), None, InputError, "(?s)is gated.*Ask for access.*hf auth login"),
        (Repository({}, refusal=(401, "GatedRepo")), None, InputError, "(?s)is gated.*Ask for access.*hf auth login"),
        (Repository({}, refusal=(404, "RepoNotFound")), None, InputError, "no model of that name"),
        (Repository({}), "v9", InputError, "(?s)has no revision v9.*main branch"),
        (Repository({}, refusal=(403, "")), None, InputError, "(?s)does not accept your token.*status 403.*HF_TOKEN"),
        (Repository({}, refusal=(503, "")), None, OperationError, "(?s)status 503.*same command again"),
        (Repository({}, refusal=(429, "")), None, OperationError, "(?s)status 429.*same command again"),
        (Repository({"README.md": b""}), None, InputError, "(?s)no config.json.*README.md"),
        (Repository({"config.json": b"{}", "pytorch_model.bin": b""}), None, InputError, "(?s)safetensors.*pytorch_mo"),
        (
            Repository({"config.json": b"{}", "model.safetensors.index.json": b'{"weight_map": {"a": "gone"}}'}),
            *(None, InputError, "(?s)lacks 1 of the 1 files.*gone"),
        ),
    ],
)
def test_refusal_of_the_hub_is_one_message_with_what_to_do(hub, repository, revision, kind, said):
    if repository is not None:
        hub.add(NAME, repository)
    with pytest.raises(kind, match=said):
        look_up(HubModel(NAME, revision))


def test_hub_that_cannot_be_reached_is_named(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        OperationError,
        match=r"(?s)no folder nvidia/tiny-a here.* cannot be downloaded from http://127\.0\.0\.1:9.*HF_ENDPOINT",
    ):
        look_up(HubModel(NAME))


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OperationError, "(?s)disk of the cache.*HF_HOME"),
        (PermissionError(errno.EACCES, "Permission denied", "/cache"), InputError, "(?s)cannot be written.*HF_HOME"),
        (OSError("Consistency check failed"), OperationError, "(?s)Consistency check failed.*same command again"),
        (RuntimeError("CAS service error"), OperationError, "(?s)CAS service error.*same command again"),
    ],
)
def test_failure_of_the_disk_or_the_storage_is_one_message(hub, released, monkeypatch, error, kind, said):
    hub.add(NAME, released)

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(kind, match=said):
        look_up(HubModel(NAME))


def test_disk_that_is_too_small_is_found_before_the_download(hub, released, monkeypatch):
    hub.add(NAME, released)
    found = look_up(HubModel(NAME))
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=1000))
    hub.bodies.clear()
    with pytest.raises(OperationError, match=r"(?s)no room to download.*HF_HOME"):
        found.fetch()
    assert not hub.bodies


def test_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r'(?s)nvidia/tiny-a.*huggingface_hub.*pip install "nld-trt\[hub\]"'):
        look_up(HubModel(NAME))


def test_blobs_that_repositories_share_belong_to_a_snapshot(tmp_path):
    snapshot = tmp_path / "models--nvidia--x" / "snapshots" / "0123"
    shared = tmp_path / "blobs" / "01" / ("01" * 32)
    blob = tmp_path / "models--nvidia--x" / "blobs" / "abc"
    for folder in (snapshot, shared.parent, blob.parent):
        folder.mkdir(parents=True)
    shared.write_text("{}", encoding="utf-8")
    blob.symlink_to(shared)
    (snapshot / "config.json").symlink_to(blob)
    assert inside(snapshot, "config.json").read_text(encoding="utf-8") == "{}"
    stray = tmp_path / "stray"
    stray.write_text("{}", encoding="utf-8")
    (snapshot / "stray").symlink_to(stray)
    with pytest.raises(InputError, match="leaves its folder"):
        inside(snapshot, "stray")


def test_settings_are_those_that_a_checkpoint_reads(root):
    for folder in (root / "examples" / "nld-tiny", root / "tests" / "goldens" / "tiny-a"):
        read = {path.relative_to(folder).as_posix() for path in Checkpoint.open(folder).companions()}
        assert read <= set(SETTINGS)


@pytest.mark.parametrize("command", [["build"], ["quantize", "--int4"], ["inspect"]])
def test_other_commands_say_that_a_model_must_be_converted(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    output = [] if command == ["inspect"] else ["-o", "out"]
    assert run([*command, NAME, *output]) == 2
    assert f"Run: nld-trt convert {NAME} -o DIR" in capsys.readouterr().err


def test_path_is_not_taken_for_a_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    refuse_hub_id(f"./{NAME}")
    assert run(["convert", f"./{NAME}", "-o", "out"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_convert_takes_a_model_by_its_id(hub, released, tmp_path, capsys):
    hub.add(NAME, Repository(released.files, ("v1",)))
    assert run(["convert", f"{NAME}@v1", "-o", str(tmp_path / "out"), "--json"]) == 0
    captured = capsys.readouterr()
    source = json.loads(captured.out)["manifest"]["source"]
    assert (source["repository"], source["revision"]) == (NAME, released.commit)
    assert "downloading nvidia/tiny-a@v1" in captured.err
    Checkpoint.open_converted(tmp_path / "out", verify=True)


def test_convert_writes_the_other_form_from_the_hub_too(hub, released, tmp_path):
    hub.add(NAME, released)
    words = ["convert", NAME, "--revision", "main", "--to", "ministral3", "-o", str(tmp_path / "out")]
    assert run(words) == 0
    assert (tmp_path / "out" / "config.json").is_file()


def test_output_folder_is_refused_before_the_download(hub, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    assert run(["convert", NAME, "-o", str(tmp_path / "out")]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert not hub.asked


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([f"{NAME}@v1", "--revision", "v2"], "names a revision"),
        (["./x", "--revision", "v2"], "goes with a model on the hub"),
    ],
)
def test_revision_belongs_to_one_model_once(words, said, tmp_path, capsys):
    assert run(["convert", *words, "-o", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def environment_for(hub, folder):
    """Variables of a process that takes ``hub`` for the real one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    return {**kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "NO_PROXY": "127.0.0.1"}


def test_environment_of_the_hub_is_honoured(released, tmp_path):
    """A process of its own: the library reads these when it is loaded."""
    with serving() as made:
        made.add(NAME, released)
        environment = {**environment_for(made, tmp_path), "HF_TOKEN": "hf_test"}
        words = [sys.executable, "-m", "nld_trt", "convert", NAME, "-o", str(tmp_path / "out")]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        assert "Bearer hf_test" in made.tokens
    assert (tmp_path / "home" / "hub" / "models--nvidia--tiny-a" / "snapshots" / released.commit).is_dir()
    # The server is gone.
    again = subprocess.run(
        [*words, "--force"],
        env={**environment, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert again.returncode == 0, again.stderr


def test_interrupt_ends_a_download_in_the_middle_of_a_file(released, tmp_path):
    code = (
        "import sys\nfrom huggingface_hub import constants\nfrom nld_trt.cli import run\n"
        "constants.DOWNLOAD_CHUNK_SIZE = 10_000\nsys.exit(run(sys.argv[1:]))"
    )
    with serving() as made:
        made.add(NAME, released)
        made.endless.add("model.safetensors")
        words = [sys.executable, "-c", code, "convert", NAME, "-o", str(tmp_path / "out")]
        with subprocess.Popen(
            words, env=environment_for(made, tmp_path), stderr=subprocess.PIPE, text=True, encoding="utf-8"
        ) as process:
            for line in process.stderr:
                if line.startswith("downloading") and "MB" in line:
                    break
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
