# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``adapter_config.json``: PEFT has many ways to describe the same low-rank term on every attention output.

PEFT chooses modules by names, parts of names, regular expressions and layer numbers, and ranks for all modules or for
each. This module applies these settings to the network's modules as PEFT would, and compares the result with the one
supported choice: every attention output, with one rank and one alpha.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from nld_trt.model.config import ModelConfig
from nld_trt.model.inventory import BODY, EMBEDDING, FINAL_NORM, linear_modules
from nld_trt.model.names import canonical

CONFIG_FILE = "adapter_config.json"
TARGET = "o_proj"

# Settings that change the meaning of the tensors, with the values that mean plain LoRA. Required settings must be
# present; optional ones may be left out.
_REQUIRED: dict[str, tuple[Any, ...]] = {"peft_type": ("LORA",)}
_OPTIONAL: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "use_dora": (False, None),
    "use_rslora": (False, None),
    "use_qalora": (False, None),
    "lora_bias": (False, None),
    "fan_in_fan_out": (False, None),
    "modules_to_save": (None, []),
    "layer_replication": (None, []),
    "target_parameters": (None, []),
    "trainable_token_indices": (None, [], {}),
    # With this setting the term only applies after certain tokens.
    "alora_invocation_tokens": (None, []),
    # Other values, such as pissa, olora and loftq, subtract the term's initial value from the base weights.
    "init_lora_weights": (True, False, None, "gaussian", "eva", "orthogonal"),
}
# Settings that choose modules, ranks or scales, with the value that each has in the canonical form.
_CHOICES: dict[str, Any] = {
    "target_modules": [TARGET],
    "exclude_modules": None,
    "layers_to_transform": None,
    "layers_pattern": None,
    "rank_pattern": {},
    "alpha_pattern": {},
}


@dataclass(frozen=True)
class AdapterConfig:
    """One rank and one alpha for the attention output of every layer.

    Attributes:
        canonical: the file's settings, with those that choose modules, ranks and scales in their simplest form.
        respelled: keys that have another value in ``canonical`` than in the file.
    """

    rank: int
    alpha: float
    canonical: Mapping[str, Any]
    respelled: tuple[str, ...]

    @classmethod
    def read(cls, raw: Mapping[str, Any], config: ModelConfig) -> tuple[AdapterConfig | None, list[str]]:
        """Interpret ``raw``. Returns the settings, or None, with all problems."""
        problems = [
            f"{CONFIG_FILE}: {name} is {raw.get(name)!r}; supported: {accepted[0]!r}"
            for name, accepted in {**_REQUIRED, **_OPTIONAL}.items()
            if (name in raw or name in _REQUIRED) and raw.get(name) not in accepted
        ]
        modules = [name for name in linear_modules(config) if name.endswith(f".{TARGET}")]
        rank, rank_problems = _shared(raw, "r", "rank_pattern", modules)
        alpha, alpha_problems = _shared(raw, "lora_alpha", "alpha_pattern", modules)
        problems += [*_target_problems(raw, config, modules), *rank_problems, *alpha_problems]
        if rank is not None and rank != int(rank):
            problems.append(f"{CONFIG_FILE}: r is {rank!r}; it must be a positive whole number")
        if problems or rank is None or alpha is None:
            return None, problems
        plain = {**{name: value for name, value in _CHOICES.items() if name in raw}, "r": int(rank)}
        if alpha != raw["lora_alpha"]:
            plain["lora_alpha"] = alpha
        changes = {name: value for name, value in plain.items() if not _same(raw[name], value)}
        return cls(int(rank), float(alpha), {**raw, **changes}, tuple(changes)), []


def _same(value: Any, plain: Any) -> bool:
    """Whether a setting has the canonical value ``plain``, or is empty where ``plain`` is empty."""
    return (type(value) is type(plain) and value == plain) or (not plain and not value)


def _target_problems(raw: Mapping[str, Any], config: ModelConfig, wanted: list[str]) -> list[str]:
    """Find the settings because of which the chosen modules are not the ``wanted`` ones."""
    problems = []
    targets, excluded = raw.get("target_modules"), raw.get("exclude_modules")
    modules = [*linear_modules(config), EMBEDDING.removesuffix(".weight"), FINAL_NORM.removesuffix(".weight")]
    if not _chooses(targets) or [module for module in modules if _is_chosen(targets, module)] != wanted:
        problems.append(f"{CONFIG_FILE}: target_modules is {targets!r}; supported: {[TARGET]!r}")
    if excluded and not (_chooses(excluded) and not any(_is_chosen(excluded, module) for module in wanted)):
        problems.append(f"{CONFIG_FILE}: exclude_modules is {excluded!r}; supported: None")
    layers, pattern = raw.get("layers_to_transform"), raw.get("layers_pattern")
    if layers is None or layers == []:
        return problems
    numbers = layers if isinstance(layers, list) else [layers]
    if not set(range(config.num_hidden_layers)) <= {number for number in numbers if type(number) is int}:
        problems.append(f"{CONFIG_FILE}: layers_to_transform is {layers!r}; supported: None, or all layers")
    if pattern and pattern not in ("layers", ["layers"]):
        problems.append(f"{CONFIG_FILE}: layers_pattern is {pattern!r}; supported: None")
    return problems


def _chooses(choice: Any) -> TypeGuard[str | list[str]]:
    """Whether ``choice`` is valid: a list of names, or one regular expression."""
    if not isinstance(choice, str):
        return isinstance(choice, list) and all(isinstance(name, str) for name in choice)
    try:
        re.compile(choice)
    except (re.error, OverflowError):
        return False
    return True


def _is_chosen(choice: str | list[str], module: str) -> bool:
    """Whether PEFT would adapt ``module``: a text must match the whole name, an entry of a list the end of the name."""
    if isinstance(choice, str):
        return any(re.fullmatch(choice, name) for name in _spellings(module))
    return any(module.endswith(f".{name}") or module == canonical(name) for name in choice)


def _spellings(module: str) -> Iterator[str]:
    """Yield the names that a module can have: in the network, in the part that was trained, and in PEFT's wrappers."""
    for name in (module, module.removeprefix(f"{BODY}.")):
        yield from (name, f"model.{name}", f"base_model.model.{name}", f"base_model.model.model.{name}")


def _shared(raw: Mapping[str, Any], key: str, pattern_key: str, modules: list[str]) -> tuple[float | None, list[str]]:
    """Find the positive number that ``key`` and its pattern give to all ``modules``. Returns None with the problems."""
    general, pattern = raw.get(key), raw.get(pattern_key)
    if not _is_positive(general):
        kind = "positive whole number" if key == "r" else "positive number"
        return None, [f"{CONFIG_FILE}: {key} is {general!r}; it must be a {kind}"]
    if not pattern:
        return general, []
    stated = f"{CONFIG_FILE}: {pattern_key} is {pattern!r}"
    if not isinstance(pattern, Mapping) or not all(_is_positive(value) for value in pattern.values()):
        return None, [f"{stated}; supported: {{}}"]
    try:
        found = {_in_pattern(pattern, module, general) for module in modules}
    except (re.error, OverflowError) as error:
        return None, [f"{stated}, which is not a regular expression: {error}"]
    if len(found) > 1:
        return None, [f"{stated}, which gives the layers different values: {', '.join(map(str, sorted(found)))}"]
    return found.pop(), []


def _in_pattern(pattern: Mapping[str, Any], module: str, general: Any) -> Any:
    """Returns the value of the first entry whose pattern matches the name or its end."""
    for key, value in pattern.items():
        whole = re.compile(key if key.startswith("^") else rf"(.*\.)?({key})$")
        if any(whole.match(name) for name in _spellings(module)):
            return value
    return general


def _is_positive(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= sys.float_info.max
