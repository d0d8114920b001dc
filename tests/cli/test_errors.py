# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a failure looks like: the message, the exit status, and when there is a traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
from collections.abc import Callable

import click
import pytest

from nld_trt import cli as command_line
from nld_trt import optional
from nld_trt.cli import run
from nld_trt.errors import InputError, OperationError


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Puts a command ``fail`` in the table, which raises what it is told to."""

    def install(error: BaseException) -> None:
        @click.command("fail")
        @click.option("--max-size", type=int, default=1, help="A number.")
        def command(max_size: int) -> None:
            raise error

        module = types.ModuleType("failing_command")
        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(command_line.COMMANDS, "fail", (module.__name__, "Fails."))

    monkeypatch.delenv("NLD_TRT_DEBUG", raising=False)
    return install


@pytest.mark.parametrize(("kind", "status"), [(InputError, 2), (OperationError, 1)])
def test_nld_error_is_a_message_without_traceback(failing, capsys, kind, status) -> None:
    failing(kind("checkpoint has no [config.json]", details=["it holds: a.txt"], fix="Pass a checkpoint folder."))
    assert run(["fail"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "nld-trt: error: checkpoint has no [config.json]\n  it holds: a.txt\nPass a checkpoint folder.\n"


def test_debug_adds_the_traceback(failing, capsys, monkeypatch) -> None:
    failing(InputError("no"))
    monkeypatch.setenv("NLD_TRT_DEBUG", "1")
    assert run(["fail"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("nld-trt: error: no\n")


def test_defect_keeps_its_traceback(failing) -> None:
    failing(ZeroDivisionError("a defect"))
    with pytest.raises(ZeroDivisionError):
        run(["fail"])


def test_interrupt_is_one_line_and_130(failing, capsys) -> None:
    failing(KeyboardInterrupt())
    assert run(["fail"]) == 130
    assert capsys.readouterr().err.strip() == "nld-trt: error: interrupted"


def test_end_of_file_is_a_defect_and_no_interrupt(failing) -> None:
    failing(EOFError("a defect"))
    with pytest.raises(EOFError):
        run(["fail"])


def test_missing_optional_module_names_command_extra_and_fix(failing, capsys) -> None:
    failing(ModuleNotFoundError("No module named 'tritonclient.grpc'", name="tritonclient.grpc"))
    assert run(["fail"]) == 2
    err = capsys.readouterr().err
    assert "nld-trt fail needs the Python module tritonclient" in err
    assert 'pip install "nld-trt[serve]"' in err


def test_missing_module_of_no_extra_is_a_defect(failing) -> None:
    failing(ModuleNotFoundError("No module named 'nonesuch'", name="nonesuch"))
    with pytest.raises(ModuleNotFoundError):
        run(["fail"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bild"], "did you mean build?"),
        (["xyzzy"], "commands: plan, convert, quantize, build"),
        (["fail", "--max-size", "many"], "--max-size"),
        (["fail", "--bogus"], "nld-trt fail --help"),
        (["-v", "-q", "fail"], "-v and -q"),
    ],
)
def test_wrong_usage_is_status_2_with_a_way_on(failing, capsys, arguments, said) -> None:
    failing(AssertionError("never reached"))
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("nld-trt: error: ")
    assert said in err


def test_underscores_in_options_are_understood(failing, capsys) -> None:
    failing(InputError("reached"))
    assert run(["fail", "--max_size", "3"]) == 2
    assert "reached" in capsys.readouterr().err


def test_options_come_from_the_environment(failing, capsys, monkeypatch) -> None:
    failing(AssertionError("never reached"))
    monkeypatch.setenv("NLD_TRT_FAIL_MAX_SIZE", "many")
    assert run(["fail"]) == 2
    assert "'many' is not a valid integer" in capsys.readouterr().err


def test_without_arguments_help_is_shown(capsys) -> None:
    assert run([]) == 2
    assert capsys.readouterr().err.startswith("Usage: nld-trt")


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.EACCES])
def test_path_that_the_system_refuses_is_a_message(failing, capsys, number: int) -> None:
    failing(OSError(number, os.strerror(number), "/" + "x" * 5000))
    assert run(["fail"]) == 2
    said = capsys.readouterr().err
    assert os.strerror(number) in said
    assert len(said) < 400


def test_other_failure_of_the_system_is_a_defect(failing) -> None:
    failing(OSError(errno.EBADF, "Bad file descriptor"))
    with pytest.raises(OSError, match="Bad file"):
        run(["fail"])


def test_standard_output_on_a_full_disk_is_a_message(root) -> None:
    command = [sys.executable, "-m", "nld_trt", "inspect", str(root / "examples" / "nld-tiny")]
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert ended.returncode == 1
    assert b"the standard output cannot be written: No space left on device" in ended.stderr
    assert b"Traceback" not in ended.stderr
    assert b"Exception ignored" not in ended.stderr


def test_reader_that_goes_away_leaves_no_traceback() -> None:
    code = "import sys\nfrom nld_trt.cli import main\nmain(['--help'])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 1


def test_require_imports() -> None:
    assert optional.require("json.decoder").__name__ == "json.decoder"


def test_require_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"nld-trt sweep --plots needs .* matplotlib") as error:
        optional.require("matplotlib", wanted_by="sweep --plots")
    assert error.value.fix == 'Install it: pip install "nld-trt[plot]"'


def test_require_lets_a_broken_installation_be_seen(monkeypatch, tmp_path) -> None:
    (tmp_path / "pytriton.py").write_text("import nonesuch", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pytriton", raising=False)
    with pytest.raises(ModuleNotFoundError, match="nonesuch"):
        optional.require("pytriton")
