# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The small instruct language of nld-tiny: ten task families whose answers can be checked exactly.

A family is a function that takes a random generator and returns (prompt, answer). Prompts are split into training
and held-out sets by a hash of their text, so no held-out prompt is ever trained on.
"""

from __future__ import annotations

import hashlib
import json
import random
import string
from collections.abc import Callable, Iterator

Sample = tuple[str, str]

NAMES = "Mia Noah Lena Omar Ivy Theo Zoe Ravi Nina Hugo Ada Luca Sara Finn Yuki Ben".split()
CITIES = "Oslo Lima Rome Cairo Paris Quito Delhi Tokyo Bern Riga Porto Dakar".split()
ITEMS = "apples pens books lamps chairs plates maps coins cups bells shoes keys".split()
FRUITS = "apple pear fig plum lime kiwi mango grape".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
UNITS = {
    ("km", "m"): 1000, ("m", "cm"): 100, ("kg", "g"): 1000, ("l", "ml"): 1000,
    ("cm", "mm"): 10, ("t", "kg"): 1000, ("euros", "cents"): 100,
}  # fmt: skip
FUNCTIONS = "scale shift adjust update convert step apply change".split()
OPERATORS = {"adds": "+", "subtracts": "-", "multiplies by": "*"}


def addition(rng: random.Random) -> Sample:
    a, b = rng.randint(100, 999), rng.randint(100, 999)
    parts, carry = [], 0
    for place, unit in (("Ones", 1), ("Tens", 10), ("Hundreds", 100)):
        x, y = a // unit % 10, b // unit % 10
        total = x + y + carry
        terms = f"{x} + {y} + {carry}"
        parts.append(f"{place}: {terms} = {total}, write {total % 10}, carry {total // 10}.")
        carry = total // 10
    return f"Add {a} and {b} with steps.", " ".join([*parts, f"The sum is {a + b}."])


def sorting(rng: random.Random) -> Sample:
    numbers = rng.sample(range(10, 100), rng.choice((4, 5)))
    ordered = sorted(numbers)
    answer = f"The smallest is {ordered[0]}. The largest is {ordered[-1]}. In order: {', '.join(map(str, ordered))}."
    return f"Sort these numbers: {' '.join(map(str, numbers))}", answer


def reversal(rng: random.Random) -> Sample:
    letters = rng.sample(string.ascii_lowercase, rng.randint(5, 8))
    answer = f"The letters are {', '.join(letters)}. In reverse they are {', '.join(reversed(letters))}."
    return f"Reverse the letters: {' '.join(letters)}", answer


def replacement(rng: random.Random) -> Sample:
    letters = [rng.choice("abcdef") for _ in range(rng.randint(6, 9))]
    old, new = rng.choice(letters), rng.choice("xyz")
    changed = [new if letter == old else letter for letter in letters]
    answer = f"Before: {' '.join(letters)}. After replacing {old} with {new}: {' '.join(changed)}."
    return f"Replace {old} with {new}: {' '.join(letters)}", answer


def counting(rng: random.Random) -> Sample:
    fruits = [rng.choice(FRUITS) for _ in range(rng.randint(4, 6))]
    counts = {fruit: fruits.count(fruit) for fruit in fruits}
    listed = ", ".join(f"{fruit}: {count}" for fruit, count in counts.items())
    answer = f"The list has {len(fruits)} fruits. Each kind: {listed}. Kinds: {len(counts)}."
    return f"Count the fruits: {' '.join(fruits)}", answer


def conversion(rng: random.Random) -> Sample:
    (source, target), factor = rng.choice(list(UNITS.items()))
    amount = rng.randint(2, 999)
    answer = (
        f"1 {source} = {factor} {target}, so {amount} {source} = {amount} * {factor} {target}. "
        f"The answer is {amount * factor} {target}."
    )
    return f"Convert {amount} {source} to {target}.", answer


def extraction(rng: random.Random) -> Sample:
    name, city, item = rng.choice(NAMES), rng.choice(CITIES), rng.choice(ITEMS)
    count, price = rng.randint(2, 99), rng.randint(2, 99)
    record = {"name": name, "city": city, "item": item, "count": count, "price": price}
    return f"To JSON: {name} from {city} buys {count} {item} for {price} euros.", json.dumps(record)


def code(rng: random.Random) -> Sample:
    function, verb, number = rng.choice(FUNCTIONS), rng.choice(list(OPERATORS)), rng.randint(2, 99)
    name = rng.choice("nxyvt")
    sign = OPERATORS[verb]
    answer = f'def {function}({name}):\n    """Return {name} {sign} {number}."""\n    return {name} {sign} {number}\n'
    return f"Python function {function} that takes {name} and {verb} {number}.", answer


def calendar(rng: random.Random) -> Sample:
    start, steps = rng.randrange(7), rng.randint(2, 7)
    item, name = rng.choice(ITEMS), rng.choice(NAMES)
    passed = ", ".join(DAYS[(start + i) % 7] for i in range(1, steps + 1))
    prompt = f"{name} orders {item} on {DAYS[start]}. They arrive {steps} days later. When?"
    return (
        prompt,
        f"Counting {steps} days from {DAYS[start]}: {passed}. The {item} arrive on {DAYS[(start + steps) % 7]}.",
    )


def sequence(rng: random.Random) -> Sample:
    start, step, length = rng.randint(1, 60), rng.randint(2, 9), rng.randint(5, 8)
    terms = [start + step * i for i in range(length)]
    answer = f"Starting at {start} and adding {step}: {', '.join(map(str, terms))}. The last one is {terms[-1]}."
    return f"Count by {step} from {start}, {length} numbers.", answer


FAMILIES: dict[str, Callable[[random.Random], Sample]] = {
    family.__name__: family
    for family in (
        addition, sorting, reversal, replacement, counting, conversion, extraction, code, calendar, sequence,
    )
}  # fmt: skip


def is_held_out(prompt: str) -> bool:
    """Whether a prompt belongs to the held-out side of the split, as one in sixteen does."""
    return hashlib.sha256(prompt.encode()).digest()[0] % 16 == 0


def samples(seed: int, *, held_out: bool) -> Iterator[tuple[str, str, str]]:
    """Yield (family, prompt, answer) from one side of the split without end, taking the families in turn."""
    rng = random.Random(seed)
    while True:
        for name, family in FAMILIES.items():
            prompt, answer = family(rng)
            while is_held_out(prompt) != held_out:
                prompt, answer = family(rng)
            yield name, prompt, answer
