# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt convert`` as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nld_trt.cli.convert import command
from nld_trt.errors import InputError
from nld_trt.model.checkpoint import Checkpoint


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_result_names_folder_size_and_adapter(release, tmp_path: Path) -> None:
    result = run(release.folder, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"checkpoint in {tmp_path / 'out'}: 106,816 parameters, ")
    assert "draft adapter of rank 4" in result.stdout
    Checkpoint.open_converted(tmp_path / "out", verify=True)


def test_next_command_can_be_pasted(release, tmp_path: Path) -> None:
    result = run(release.folder, "-o", tmp_path / "out")
    assert f"next: nld-trt build {tmp_path / 'out'} -o ENGINE_DIR" in result.stderr


def test_json_holds_the_manifest(release, tmp_path: Path) -> None:
    result = run(release.folder, "-o", tmp_path / "out", "--json")
    printed = json.loads(result.stdout)
    assert printed["format"] == "nld"
    assert printed["manifest"] == json.loads((tmp_path / "out" / "checkpoint.json").read_text())


def test_ministral3_says_that_the_adapter_stays_behind(release, tmp_path: Path) -> None:
    result = run(release.folder, "-o", tmp_path / "out", "--to", "ministral3")
    assert "Ministral3ForCausalLM" in result.stdout
    assert "draft adapter has no place in it" in result.stdout
    assert "from_pretrained" in result.stderr


def test_ministral3_of_a_converted_checkpoint_is_the_same(release, tmp_path: Path) -> None:
    run(release.folder, "-o", tmp_path / "converted")
    for source in ("release", "converted"):
        assert run(tmp_path / source, "-o", tmp_path / f"from-{source}", "--to", "ministral3").exit_code == 0
    weights = [(tmp_path / f"from-{source}" / "model.safetensors").read_bytes() for source in ("release", "converted")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("form", ["nld", "ministral3"])
def test_what_will_not_work_without_tokenizer_or_template_is_said(release, tmp_path: Path, form: str) -> None:
    (release.folder / "chat_template.jinja").unlink()
    result = run(release.folder, "-o", tmp_path / "a", "--to", form)
    assert result.exit_code == 0
    assert "warning: " in result.stderr
    assert "has no chat template" in result.stderr
    (release.folder / "tokenizer.json").unlink()
    result = run(release.folder, "-o", tmp_path / "b", "--to", form)
    assert result.exit_code == 0
    assert "has no tokenizer.json" in result.stderr


def test_a_whole_release_gives_no_warning(release, tmp_path: Path) -> None:
    assert "warning" not in run(release.folder, "-o", tmp_path / "out").stderr


@pytest.mark.parametrize("form", ["nld", "ministral3"])
def test_force_is_needed_to_write_again(release, tmp_path: Path, form: str) -> None:
    arguments = (release.folder, "-o", tmp_path / "out", "--to", form)
    assert run(*arguments).exit_code == 0
    assert isinstance(run(*arguments).exception, InputError)
    assert run(*arguments, "--force").exit_code == 0


def test_user_error_is_an_input_error(tmp_path: Path) -> None:
    result = run(tmp_path / "absent", "-o", tmp_path / "out")
    assert isinstance(result.exception, InputError)
    assert list(tmp_path.iterdir()) == []


def test_unknown_form_is_refused(release, tmp_path: Path) -> None:
    result = run(release.folder, "-o", tmp_path / "out", "--to", "gguf")
    assert result.exit_code == 2
    assert "'nld', 'ministral3'" in result.output


def test_help_needs_no_heavy_module() -> None:
    script = (
        "import sys; from click.testing import CliRunner; from nld_trt.cli.convert import command; "
        "assert CliRunner().invoke(command, ['--help']).exit_code == 0; "
        "print([name for name in ('numpy', 'torch', 'ml_dtypes', 'transformers', 'rich') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    assert subprocess.check_output([sys.executable, "-c", script], text=True, cwd=root).strip() == "[]"
