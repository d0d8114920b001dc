# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Writes Triton model repositories, which contain an engine and appear complete or not at all."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nld_trt
from nld_trt import names
from nld_trt.decode.auto.stored import is_table, tables_in
from nld_trt.engine import manifest as engine_manifests
from nld_trt.engine.backend import BACKENDS
from nld_trt.engine.choice import check_each_is_chosen_somewhere
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.manifest import Manifest
from nld_trt.errors import InputError
from nld_trt.files import inside, publish_folder, read_json, sha256_of, write_json
from nld_trt.machine import installed
from nld_trt.model.checkpoint import companions_in
from nld_trt.model.text.codec import Codec
from nld_trt.model.text.files import TEMPLATE_FILE, TEMPLATES_FOLDER
from nld_trt.model.text.template import DEFAULT_NAME as DEFAULT_TEMPLATE
from nld_trt.serving import settings
from nld_trt.serving.settings import ServingSettings
from nld_trt.serving.triton import aiperf_config, model_config
from nld_trt.serving.triton.llm_api import MARKER as LLM_API_MARKER
from nld_trt.serving.triton.naming import check_model_name
from nld_trt.serving.triton.readme import EXAMPLE_PROMPT, render_readme
from nld_trt.serving.triton.served_model import VERSION, check_model, check_settings

MANIFEST_FILE = "manifest.json"
SCHEMA_VERSION = 1
# The files that an operator may edit. A change of any other file is damage.
EDITABLE = (model_config.FILE_NAME, f"{VERSION}/{settings.FILE_NAME}")

# The model's code is in the installed package, so that a fix does not require editing repositories.
_MODEL_PY = '''\
# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Written by nld-trt repo. The model is in the installed nld_trt package; its settings are in model.json."""

from nld_trt.serving.triton.model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


@dataclass(frozen=True)
class Repository:
    """A written repository.

    Attributes:
        manifest: content of ``manifest.json``.
        linked: number of engine files that are hard links to the engine folder's.
    """

    path: Path
    model: str
    manifest: Mapping[str, Any]
    linked: int

    @property
    def config_file(self) -> Path:
        return self.path / self.model / model_config.FILE_NAME


def write_repository(
    engine: EngineFolder,
    target: Path,
    *,
    also: Sequence[EngineFolder] = (),
    name: str = names.DEFAULT_MODEL_NAME,
    serving: ServingSettings = ServingSettings(),  # noqa: B008  (frozen)
    chat_template: str | None = None,
    command: str = "nld-trt repo",
    force: bool = False,
) -> Repository:
    """Write a repository with one model into ``target``.

    Engine files are hard-linked where the file system allows it, so that a repository beside its engine takes no
    extra space; elsewhere they are copied.

    Args:
        also: engines of the same checkpoint for other GPUs, of which a server takes the one for its own.
        name: name of the model, in URLs and file names.
        chat_template: name of one of the engine's templates, or path of a Jinja file, that becomes the only template
            of the repository's engine; None keeps the engine's templates.
        command: the command that writes the repository, which the files quote.

    Raises:
        InputError: the name is not valid for Triton or file systems, settings do not fit an engine, engines are of
            different checkpoints, the template cannot be used, or ``target`` exists. Nothing is written.
    """
    check_model_name(name)
    engines = {"engine" if index == 1 else f"engine-{index}": each for index, each in enumerate((engine, *also), 1)}
    for each in engines.values():
        check_settings(serving, each.manifest)
        _check_is_of_the_same_model(engine, each)
    check_each_is_chosen_somewhere([*engines.values()])
    template = None if chat_template is None else _template(engine, chat_template)
    first, *others = engines
    mode = engine.manifest.config.family.offered(serving.defaults.mode)
    defaults = replace(serving.defaults, mode=mode)
    serving = replace(serving, engine=first, alternatives=tuple(others), defaults=defaults)
    with publish_folder(target, force, marker=f"{name}/{MANIFEST_FILE}") as work:
        version = work / name / VERSION
        version.mkdir(parents=True)
        text = model_config.render_config(
            name, instance_kind=_instance_kind(engines, serving), comment=f"Made by: {command}"
        )
        (work / name / model_config.FILE_NAME).write_text(text, encoding="utf-8", errors="backslashreplace")
        (version / "model.py").write_text(_MODEL_PY, encoding="utf-8")
        write_json(version / settings.FILE_NAME, serving.to_dict())
        linked = sum(_take_engine(each, version / folder, template) for folder, each in engines.items())
        manifest = _manifest(work / name, engines, name, command)
        write_json(work / name / MANIFEST_FILE, manifest)
        readme = render_readme(name, serving, manifest)
        (work / "README.md").write_text(readme, encoding="utf-8", errors="backslashreplace")
        benchmark = aiperf_config.render_aiperf_config(
            name, manifest["engine"], engine.manifest.config.family.modes, default=mode, prompt=EXAMPLE_PROMPT
        )
        (work / aiperf_config.FILE_NAME).write_text(benchmark, encoding="utf-8")
    return Repository(target, name, manifest, linked)


def model_names(path: Path) -> list[str]:
    """List the models of a repository.

    Raises:
        InputError: ``path`` is not a repository.
    """
    if (path / LLM_API_MARKER).is_file():
        raise InputError(
            f"{path} is a repository for TensorRT-LLM's container, which nld-trt does not serve",
            fix=f"Its README says how to start it: {path / 'README.md'}",
        )
    names = sorted(config.parent.name for config in path.glob(f"*/{model_config.FILE_NAME}"))
    if names:
        return names
    if (path / engine_manifests.FILE_NAME).is_file():
        raise InputError(
            f"{path} is an engine folder; a Triton model repository was expected",
            fix=f"Write one: nld-trt repo {shlex.quote(str(path))} -o REPO_DIR",
        )
    if (path / model_config.FILE_NAME).is_file():
        raise InputError(
            f"{path} is one model of a repository", fix=f"Pass the folder around it: {path.resolve().parent}"
        )
    present = "holds no model (no */config.pbtxt)" if path.is_dir() else "is not a folder"
    found = present if path.exists() else "does not exist"
    raise InputError(
        f"the model repository {path} {found}",
        fix=f"Write one: nld-trt repo ENGINE_DIR -o {shlex.quote(str(path))}",
    )


def backends_of(path: Path) -> tuple[str, ...]:
    """List the backends of all engines in a repository, as far as their manifests say."""
    manifests = [read_json(file) for name in model_names(path) if (file := path / name / MANIFEST_FILE).is_file()]
    engines = [engine for each in manifests for engine in (each["engine"], *each.get("alternatives", {}).values())]
    found = {backend for engine in engines for backend in engine["backends"]}
    return tuple(name for name in BACKENDS if name in found)


def describe_repository(path: Path) -> dict[str, Any]:
    """Describe a repository, whose files are compared with their manifests.

    Raises:
        InputError: it is not a repository, files have changed since it was written, all of which are listed, or a
            model cannot be served as it is configured.
    """
    models = {}
    for name in model_names(path):
        config = model_config.read_config(path / name)
        manifest = read_json(path / name / MANIFEST_FILE)
        problems = _damage(path / name, manifest)
        if problems:
            raise InputError(
                f"the model {name} in {path} is damaged",
                details=problems,
                fix=f"Write it again: nld-trt repo ENGINE_DIR -o {shlex.quote(str(path))} --force",
            )
        check_model(path / name)
        models[name] = {
            "edited": _edited(path / name, manifest),
            "decoupled": config.model_transaction_policy.decoupled,
            "inputs": [tensor.name for tensor in config.input],
            "outputs": [tensor.name for tensor in config.output],
            "engine": manifest["engine"],
            "alternatives": manifest.get("alternatives", {}),
            "settings": read_json(path / name / VERSION / settings.FILE_NAME),
            "tool_version": manifest["tool_version"],
            "command": manifest["command"],
        }
    return {
        "kind": "Triton model repository",
        "models": models,
        "intact": True,
        "next": f"nld-trt serve {shlex.quote(str(path))}",
    }


def _check_is_of_the_same_model(first: EngineFolder, other: EngineFolder) -> None:
    """Refuse engines whose answers, or whose texts of the same tokens, would differ by more than rounding."""

    def identity(engine: EngineFolder) -> dict[str, Any]:
        manifest = engine.manifest
        texts = {path.relative_to(engine.path).as_posix(): "" for path in companions_in(engine.path)}
        return {
            "checkpoint": dict(manifest.model),
            "quantization": manifest.quantization,
            "draft adapter": manifest.has_adapter,
            "text files": {name: manifest.files[name].sha256 for name in texts},
        }

    mine, theirs = identity(first), identity(other)
    different = [what for what in mine if mine[what] != theirs[what]]
    if different:
        raise InputError(
            f"the engines in {first.path} and {other.path} differ in {', '.join(different)}; engines of one repository "
            "are builds of one checkpoint for different GPUs",
            fix="Build both from the same folder, or write a repository for each.",
        )


def _instance_kind(engines: Mapping[str, EngineFolder], serving: ServingSettings) -> str:
    built = {name for engine in engines.values() for name in engine.manifest.backends}
    backends = [serving.backend] if serving.backend else built
    return "KIND_CPU" if all(BACKENDS[name].device == "cpu" for name in backends) else "KIND_MODEL"


def _template(engine: EngineFolder, asked: str) -> str:
    """Returns the Jinja source of the template that was asked for."""
    codec = Codec.open(engine.path, asked)
    assert codec is not None, "an engine without a tokenizer was refused"
    return codec.templates[DEFAULT_TEMPLATE].source


def _take_engine(engine: EngineFolder, target: Path, template: str | None) -> int:
    """Link or copy the engine's files into ``target``, with another chat template if one is given.

    Returns:
        The number of files that were linked.
    """
    linked = 0
    if template is not None:
        _write_template(engine, target, template)
    for name in (engine_manifests.FILE_NAME, *engine.manifest.files):
        if template is not None and (name == engine_manifests.FILE_NAME or _is_template(name)):
            continue
        source, copy = inside(engine.path, name), target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            # The source is resolved because a hard link to a symbolic link would point out of the repository.
            os.link(source.resolve(), copy)
            linked += 1
        except OSError:
            shutil.copyfile(source, copy)
    # What forwards cost on a device is good for the copy as well. The manifest does not have it: a server adds to it.
    for table in tables_in(engine.path):
        shutil.copyfile(table, target / table.name)
    return linked


def _is_template(name: str) -> bool:
    return name == TEMPLATE_FILE or name.startswith(f"{TEMPLATES_FOLDER}/")


def _write_template(engine: EngineFolder, target: Path, template: str) -> None:
    """Write the template's file, and an engine manifest that lists it in place of all other templates."""
    target.mkdir(parents=True, exist_ok=True)
    path = target / TEMPLATE_FILE
    path.write_text(template, encoding="utf-8")
    manifest = read_json(engine.path / engine_manifests.FILE_NAME)
    kept = {name: record for name, record in manifest["files"].items() if not _is_template(name)}
    record = {"sha256": sha256_of(path), "size": path.stat().st_size}
    files = dict(sorted({**kept, TEMPLATE_FILE: record}.items()))
    write_json(target / engine_manifests.FILE_NAME, {**manifest, "files": files})


def _manifest(folder: Path, engines: Mapping[str, EngineFolder], name: str, command: str) -> dict[str, Any]:
    # Templates are left out because they can differ from the engine's.
    known = {
        f"{VERSION}/{place}/{path}": record
        for place, engine in engines.items()
        for path, record in engine.manifest.files.items()
        if not _is_template(path)
    }
    facts = {place: _engine_facts(engine.manifest) for place, engine in engines.items()}
    first, *others = facts
    files = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_file() and not is_table(path):
            # The engine was verified when it was opened: its files need not be read again.
            digest = known[relative].sha256 if relative in known else sha256_of(path)
            files[relative] = {"sha256": digest, "size": path.stat().st_size}
    return {
        "schema_version": SCHEMA_VERSION,
        "model": name,
        "tool_version": nld_trt.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "tools": {tool: installed.package_version(tool) for tool in ("tritonclient", "protobuf")},
        "engine": facts[first],
        "alternatives": {place: facts[place] for place in others},
        "files": files,
    }


def _engine_facts(engine: Manifest) -> dict[str, Any]:
    return {
        "name": engine.model["name"],
        "sha256": engine.model["sha256"],
        "tool_version": engine.tool_version,
        "backends": {
            backend: {"precision": artefact.precision, "compute_capabilities": list(artefact.compute_capabilities)}
            for backend, artefact in engine.backends.items()
        },
        "limits": engine.limits.to_dict(),
        "has_adapter": engine.has_adapter,
    }


def _damage(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    records = manifest.get("files")
    if not isinstance(records, dict) or not all(
        isinstance(record, dict) and {"sha256", "size"} <= record.keys() for record in records.values()
    ):
        return [f"{MANIFEST_FILE} lists no files with sizes and hashes"]
    problems = [f"{MANIFEST_FILE} does not list {name}" for name in EDITABLE if name not in records]
    for name, record in records.items():
        file = inside(folder, name)
        if not file.is_file():
            problems.append(f"{name} is missing")
        elif name not in EDITABLE and sha256_of(file) != record["sha256"]:
            problems.append(f"{name} has changed since it was written")
    return problems


def _edited(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    return [name for name in EDITABLE if sha256_of(inside(folder, name)) != manifest["files"][name]["sha256"]]
