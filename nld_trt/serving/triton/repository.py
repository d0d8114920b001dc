# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Writes Triton model repositories, which contain an engine and appear complete or not at all."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nld_trt
from nld_trt import names
from nld_trt.engine import manifest as engine_manifests
from nld_trt.engine.backend import BACKENDS
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.manifest import Manifest
from nld_trt.errors import InputError
from nld_trt.files import inside, publish_folder, read_json, sha256_of, write_json
from nld_trt.machine import installed
from nld_trt.model.text.codec import Codec
from nld_trt.model.text.files import TEMPLATE_FILE, TEMPLATES_FOLDER
from nld_trt.model.text.template import DEFAULT_NAME as DEFAULT_TEMPLATE
from nld_trt.serving import settings
from nld_trt.serving.settings import ServingSettings
from nld_trt.serving.triton import model_config
from nld_trt.serving.triton.llm_api import MARKER as LLM_API_MARKER
from nld_trt.serving.triton.naming import check_model_name
from nld_trt.serving.triton.readme import render_readme

MANIFEST_FILE = "manifest.json"
SCHEMA_VERSION = 1
VERSION = "1"
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
        name: name of the model, in URLs and file names.
        chat_template: name of one of the engine's templates, or path of a Jinja file, that becomes the only template
            of the repository's engine; None keeps the engine's templates.
        command: the command that writes the repository, which the files quote.

    Raises:
        InputError: the name is not valid for Triton or file systems, settings do not fit the engine, the template
            cannot be used, or ``target`` exists. Nothing is written.
    """
    check_model_name(name)
    _check_settings(serving, engine.manifest)
    template = None if chat_template is None else _template(engine, chat_template)
    serving = replace(serving, engine="engine")
    with publish_folder(target, force, marker=f"{name}/{MANIFEST_FILE}") as work:
        version = work / name / VERSION
        version.mkdir(parents=True)
        text = model_config.render_config(
            name, instance_kind=_instance_kind(engine, serving), comment=f"Made by: {command}"
        )
        (work / name / model_config.FILE_NAME).write_text(text, encoding="utf-8", errors="backslashreplace")
        (version / "model.py").write_text(_MODEL_PY, encoding="utf-8")
        write_json(version / settings.FILE_NAME, serving.to_dict())
        linked = _take_engine(engine, version / serving.engine, template)
        manifest = _manifest(work / name, engine.manifest, name, command)
        write_json(work / name / MANIFEST_FILE, manifest)
        readme = render_readme(name, serving, manifest)
        (work / "README.md").write_text(readme, encoding="utf-8", errors="backslashreplace")
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
    manifests = [file for name in model_names(path) if (file := path / name / MANIFEST_FILE).is_file()]
    found = {backend for file in manifests for backend in read_json(file)["engine"]["backends"]}
    return tuple(name for name in BACKENDS if name in found)


def describe_repository(path: Path) -> dict[str, Any]:
    """Describe a repository, whose files are compared with their manifests.

    Raises:
        InputError: it is not a repository, or files have changed since it was written; all of them are listed.
    """
    models = {}
    for name in model_names(path):
        config = model_config.parse_config(
            (path / name / model_config.FILE_NAME).read_text(encoding="utf-8"), path / name / model_config.FILE_NAME
        )
        manifest = read_json(path / name / MANIFEST_FILE)
        problems = _damage(path / name, manifest)
        if problems:
            raise InputError(
                f"the model {name} in {path} is damaged",
                details=problems,
                fix=f"Write it again: nld-trt repo ENGINE_DIR -o {shlex.quote(str(path))} --force",
            )
        models[name] = {
            "edited": _edited(path / name, manifest),
            "decoupled": config.model_transaction_policy.decoupled,
            "inputs": [tensor.name for tensor in config.input],
            "outputs": [tensor.name for tensor in config.output],
            "engine": manifest["engine"],
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


def _check_settings(serving: ServingSettings, manifest: Manifest) -> None:
    serving.check()
    if serving.backend is not None and serving.backend not in manifest.backends:
        raise InputError(f"the engine has no {serving.backend} backend; it has {', '.join(manifest.backends)}")
    limits, defaults = manifest.limits, serving.defaults
    if defaults.block_length is not None and defaults.block_length > limits.max_block_length:
        raise InputError(
            f"the default block_length is {defaults.block_length}; the engine was built for {limits.max_block_length}",
        )
    drafts = limits.max_quadratic_length
    if defaults.mode == names.QUADRATIC and not drafts:
        raise InputError(
            "the default mode is quadratic, and the engine was built without quadratic passes",
            fix="Use another --mode, or rebuild with nld-trt build --quadratic-length 8.",
        )
    if defaults.mode == names.QUADRATIC and (defaults.block_length or 0) > drafts:
        raise InputError(
            f"the default mode is quadratic and the default block_length {defaults.block_length}; the engine was built "
            f"for quadratic passes of up to {drafts} drafts",
            fix="Use a smaller --block-length, or leave it out.",
        )
    if defaults.max_tokens is not None and defaults.max_tokens >= limits.max_seq_len:
        raise InputError(
            f"the default max_tokens is {defaults.max_tokens}; the engine has {limits.max_seq_len}, prompt included"
        )
    if defaults.lora and not manifest.has_adapter:
        raise InputError("--lora was asked for and the engine has no draft adapter", fix="Leave it out.")


def _instance_kind(engine: EngineFolder, serving: ServingSettings) -> str:
    backends = [serving.backend] if serving.backend else list(engine.manifest.backends)
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


def _manifest(folder: Path, engine: Manifest, name: str, command: str) -> dict[str, Any]:
    # Templates are left out because they can differ from the engine's.
    known = {f"{VERSION}/engine/{path}": record for path, record in engine.files.items() if not _is_template(path)}
    files = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_file():
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
        "engine": {
            "name": engine.model["name"],
            "sha256": engine.model["sha256"],
            "tool_version": engine.tool_version,
            "backends": {
                backend: {"precision": artefact.precision, "compute_capabilities": list(artefact.compute_capabilities)}
                for backend, artefact in engine.backends.items()
            },
            "limits": engine.limits.to_dict(),
            "has_adapter": engine.has_adapter,
        },
        "files": files,
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
