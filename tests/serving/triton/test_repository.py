# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The written repository: complete, self-contained, and refused where it would do harm."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nld_trt.cli import run
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.errors import InputError
from nld_trt.files import sha256_of
from nld_trt.graph.contract import Limits
from nld_trt.model.text.codec import Codec
from nld_trt.serving.settings import Defaults, ServingSettings
from nld_trt.serving.triton.model_config import parse_config
from nld_trt.serving.triton.repository import describe_repository, model_names, write_repository
from nld_trt.serving.triton.served_model import check_model
from nld_trt.serving.triton.tensors import INPUTS, OUTPUTS


def test_config_says_what_the_table_says(repository: Path) -> None:
    config = parse_config((repository / "nld" / "config.pbtxt").read_text(encoding="utf-8"), "config.pbtxt")
    assert (config.name, config.backend, config.max_batch_size) == ("nld", "python", 0)
    assert config.model_transaction_policy.decoupled
    assert [(group.count, group.kind == group.KIND_CPU) for group in config.instance_group] == [(1, True)]
    assert {tensor.name: tuple(tensor.dims) for tensor in config.input} == {t.name: t.dims for t in INPUTS.values()}
    assert {tensor.name: tuple(tensor.dims) for tensor in config.output} == {t.name: t.dims for t in OUTPUTS.values()}
    assert all(tensor.optional for tensor in config.input)


def test_config_shows_its_command_and_the_batch_size_that_printers_drop(served_engine, tmp_path) -> None:
    repository = write_repository(served_engine, tmp_path / "r", command="nld-trt repo engine -o r")
    lines = repository.config_file.read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["# Made by: nld-trt repo engine -o r", "max_batch_size: 0"]


def test_engine_in_the_repository_is_whole_and_shares_space(served_engine, repository) -> None:
    engine = EngineFolder.open(repository / "nld" / "1" / "engine")
    assert engine.manifest == served_engine.manifest
    weights = engine.manifest.backends["ort"].files["weights"]
    assert (engine.path / weights).samefile(served_engine.path / weights)


@pytest.fixture
def several(served_engine, tmp_path) -> EngineFolder:
    """The engine with templates of several names, as a build from such a checkpoint would have them."""
    folder = tmp_path / "several"
    shutil.copytree(served_engine.path, folder)
    (folder / "additional_chat_templates").mkdir()
    extra = folder / "additional_chat_templates" / "tool_use.jinja"
    extra.write_text("tools: {{ messages[0].content }}", encoding="utf-8")
    manifest = json.loads((folder / "engine.json").read_text(encoding="utf-8"))
    record = {"sha256": sha256_of(extra), "size": extra.stat().st_size}
    manifest["files"]["additional_chat_templates/tool_use.jinja"] = record
    (folder / "engine.json").write_text(json.dumps(manifest), encoding="utf-8")
    return EngineFolder.open(folder)


@pytest.mark.parametrize("asked", ["file", "tool_use"])
def test_another_template_is_the_repositorys_only_one_and_its_manifests_say_so(several, tmp_path, asked) -> None:
    before = {path: path.read_bytes() for path in several.path.rglob("*") if path.is_file()}
    path = tmp_path / "mine.jinja"
    path.write_text("mine é: {{ messages[0].content }}", encoding="utf-8")
    name, text = (str(path), "mine é: Hi") if asked == "file" else (asked, "tools: Hi")
    written = write_repository(several, tmp_path / "r", chat_template=name)

    assert describe_repository(written.path)["intact"]
    engine = EngineFolder.open(written.path / "nld" / "1" / "engine")
    codec = Codec.open(engine.path)
    for tools in (None, [{"name": "f"}]):
        ids = codec.encode_chat([{"role": "user", "content": "Hi"}], tools=tools)
        assert ids == codec.encode_part(text)
    # Linked files are the engine's own: nothing may have been written through them.
    assert {path: path.read_bytes() for path in several.path.rglob("*") if path.is_file()} == before
    weights = engine.manifest.backends["ort"].files["weights"]
    assert (engine.path / weights).samefile(several.path / weights)


def test_all_templates_of_the_engine_are_served_unless_one_is_asked_for(several, tmp_path) -> None:
    written = write_repository(several, tmp_path / "r")
    codec = Codec.open(written.path / "nld" / "1" / "engine")
    assert sorted(codec.templates) == ["default", "tool_use"]


def test_a_changed_template_in_a_repository_is_damage(served_engine, tmp_path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("mine", encoding="utf-8")
    written = write_repository(served_engine, tmp_path / "r", chat_template=str(path))
    (written.path / "nld" / "1" / "engine" / "chat_template.jinja").write_text("other", encoding="utf-8")
    with pytest.raises(InputError, match=r"chat_template\.jinja has changed"):
        describe_repository(written.path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "neither a file nor one of the checkpoint's"), ("{% if %}", "is not a template"), ("", "is empty")],
)
def test_a_template_that_cannot_be_used_leaves_no_repository(served_engine, tmp_path, content, message) -> None:
    path = tmp_path / "mine.jinja"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        write_repository(served_engine, tmp_path / "r", chat_template=str(path))
    assert not (tmp_path / "r").exists()


def test_files_are_copied_where_links_are_impossible(served_engine, tmp_path, monkeypatch) -> None:
    def refuse(*_):
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    repository = write_repository(served_engine, tmp_path / "r")
    assert repository.linked == 0
    assert describe_repository(repository.path)["intact"]


def test_no_path_of_this_machine_is_written(served_engine, repository) -> None:
    texts = [
        path.read_text(encoding="utf-8")
        for path in repository.rglob("*")
        if path.suffix in (".pbtxt", ".json", ".md", ".py")
    ]
    places = (str(repository), str(served_engine.path), str(Path.home()))
    assert not [place for place in places for text in texts if place in text]


def test_model_file_is_python_that_exposes_the_class(repository) -> None:
    text = (repository / "nld" / "1" / "model.py").read_text(encoding="utf-8")
    compile(text, "model.py", "exec")
    assert "import TritonPythonModel" in text


def test_existing_repository_is_replaced_only_by_force(served_engine, repository) -> None:
    with pytest.raises(InputError, match="exists and is not empty"):
        write_repository(served_engine, repository)
    write_repository(served_engine, repository, force=True)
    assert model_names(repository) == ["nld"]


def test_force_does_not_replace_a_folder_that_is_something_else(served_engine, tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(InputError, match="--force does not replace"):
        write_repository(served_engine, tmp_path, force=True)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b"])
def test_names_that_cannot_be_served_are_refused(served_engine, tmp_path, name) -> None:
    with pytest.raises(InputError, match="--name"):
        write_repository(served_engine, tmp_path / "r", name=name)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("serving", "message"),
    [
        (ServingSettings(backend="trt"), "has no trt backend; it has ort"),
        (ServingSettings(defaults=Defaults(block_length=33)), "block_length is 33"),
        (ServingSettings(defaults=Defaults(max_tokens=512)), "max_tokens is 512"),
        (ServingSettings(generation_config="mine"), "generation_config is 'mine'; it must be checkpoint or none"),
        (ServingSettings(defaults=Defaults(mode="quadratic")), "built without quadratic passes"),
    ],
)
def test_settings_that_do_not_fit_the_engine_are_refused(served_engine, tmp_path, serving, message) -> None:
    with pytest.raises(InputError, match=message):
        write_repository(served_engine, tmp_path / "r", serving=serving)
    assert not (tmp_path / "r").exists()


def test_default_block_that_no_quadratic_pass_can_have_is_refused(golden, tmp_path) -> None:
    limits = Limits(max_batch_size=1, max_seq_len=128, max_block_length=16, prompt_chunk=16, max_quadratic_length=4)
    plan = BuildPlan("ort", "fp32", limits, adapter=True)
    build_engine(golden("tiny-a"), [plan], tmp_path / "engine")
    serving = ServingSettings(defaults=Defaults(mode="quadratic", block_length=5))
    with pytest.raises(InputError, match=r"block_length 5; .* up to 4 drafts"):
        write_repository(EngineFolder.open(tmp_path / "engine"), tmp_path / "r", serving=serving)


def test_damage_is_found_and_edits_are_told(repository) -> None:
    settings = repository / "nld" / "1" / "model.json"
    settings.write_text(
        json.dumps({**json.loads(settings.read_text(encoding="utf-8")), "max_waiting": 1}), encoding="utf-8"
    )
    assert describe_repository(repository)["models"]["nld"]["edited"] == ["1/model.json"]
    (repository / "nld" / "1" / "model.py").write_text("pass\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"1/model\.py has changed"):
        describe_repository(repository)


@pytest.mark.parametrize("files", [None, [], {"1/model.json": {"size": 1}}, {}, {"1/model.json": "x"}])
def test_manifest_of_another_shape_is_damage(repository, files) -> None:
    path = repository / "nld" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "files": files}), encoding="utf-8")
    with pytest.raises(InputError, match=r"manifest\.json (lists no files|does not list)"):
        describe_repository(repository)


def test_other_folders_are_told_apart(served_engine, repository, tmp_path) -> None:
    with pytest.raises(InputError, match="is an engine folder") as caught:
        model_names(served_engine.path)
    assert f"nld-trt repo {served_engine.path}" in str(caught.value)
    with pytest.raises(InputError, match="is one model of a repository"):
        model_names(repository / "nld")
    with pytest.raises(InputError, match="does not exist"):
        model_names(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no model"):
        model_names(tmp_path / "empty")


def test_readme_has_a_line_for_every_client(repository) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    for part in (
        "nld-trt serve",
        "tritonserver --model-repository",
        "docker run",
        "curl -N",
        "nld-trt client",
        "aiperf profile --config aiperf.yaml",
        "nld-trt sweep http",
    ):
        assert part in text


def change_default(repository, **values) -> None:
    settings = repository / "nld" / "1" / "model.json"
    content = json.loads(settings.read_text(encoding="utf-8"))
    content["defaults"] |= values
    settings.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("command", ["inspect", "serve"])
def test_default_that_the_engine_cannot_serve_is_refused_by_name(repository, capsys, command) -> None:
    change_default(repository, mode="quadratic")
    assert run([command, str(repository)]) == 2
    said = capsys.readouterr().err
    assert "1/model.json: the default mode is quadratic, and the engine was built without quadratic passes" in said


@pytest.mark.parametrize("command", ["inspect", "serve"])
@pytest.mark.parametrize("edited", ["decoupled: false", ""])
def test_model_that_would_answer_within_its_call_is_refused_by_name(repository, capsys, command, edited) -> None:
    config = repository / "nld" / "config.pbtxt"
    text = config.read_text(encoding="utf-8")
    assert "decoupled: true" in text
    config.write_text(text.replace("decoupled: true", edited), encoding="utf-8")
    assert run([command, str(repository)]) == 2
    assert "nld/config.pbtxt has no model_transaction_policy with decoupled: true" in capsys.readouterr().err


def test_model_of_others_in_the_repository_is_left_alone(repository) -> None:
    other = repository / "other"
    other.mkdir()
    (other / "config.pbtxt").write_text('name: "other" backend: "python"', encoding="utf-8")
    check_model(other)
