"""The checkout keeps the contract: commands, targets, and the results of the tiny study.

What changes on purpose changes in contract.json, in view: `python tests/contract/record.py --write`.
Numbers may move by rounding; on a machine like the one that recorded them the digests must be equal,
on others those of trainings are not compared.
"""

import json
import math
import re

import pytest
from tests.contract import record

EXPECTED = json.loads(record.CONTRACT.read_text())
RENEW = "if meant: python tests/contract/record.py --write"


def differences(expected, found, place=""):
    """Return a line for all that is missing, added or changed; lists of words are sets."""
    if isinstance(expected, dict) and isinstance(found, dict):
        lines = [f"missing: {place}{key}" for key in expected if key not in found]
        lines += [f"added: {place}{key}" for key in found if key not in expected]
        for key in expected.keys() & found.keys():
            lines += differences(expected[key], found[key], f"{place}{key} | ")
        return sorted(lines)
    if isinstance(expected, list) and isinstance(found, list):
        # Which files have a key that only some have, and what list is empty, depends on numbers.
        old, new = ({re.sub(r"(\[\])?\??$", "", w) for w in words} for words in (expected, found))
        missing, added = sorted(old - new), sorted(new - old)
        return [f"missing: {place}{w}" for w in missing] + [f"added: {place}{w}" for w in added]
    return [] if close(expected, found) else [f"changed: {place}{expected} -> {found}"]


def close(a, b):
    numbers = all(isinstance(value, (int, float)) for value in (a, b))
    return math.isclose(a, b, rel_tol=1e-4, abs_tol=5e-7) if numbers else a == b


def none(lines):
    assert not lines, "\n".join([f"{len(lines)} differences, {RENEW}", *lines[:60]])


@pytest.mark.parametrize("section", ["commands", "targets"])
def test_what_is_typed(section):
    none(differences(EXPECTED[section], getattr(record, section)()))


@pytest.mark.parametrize("section", ["files", "keys", "arrays"])
def test_what_a_study_leaves(tiny_run, section):
    none(differences(EXPECTED[section], tiny_run.record[section]))


@pytest.fixture(scope="module")
def elsewhere(tiny_run):
    """What numbers depend on and is not as on the machine that recorded them."""
    here, recorded = (found["digests"]["platform"] for found in (tiny_run.record, EXPECTED))
    return [f"{k} {here[k]}, recorded on {recorded[k]}" for k in here if here[k] != recorded[k]]


def test_numbers_move_by_rounding_at_most(tiny_run, elsewhere):
    """On another machine those that no training was part of: training amplifies rounding."""
    old, new = (
        {
            file: {key: dict(enumerate(values)) for key, values in keys.items()}
            for file, keys in numbers.items()
            if not elsewhere or file.startswith(("simulate/", "reconstruct/"))
        }
        for numbers in (EXPECTED["numbers"], tiny_run.record["numbers"])
    )
    assert old
    none(differences(old, new))


def test_results_are_the_same_to_the_last_digit(tiny_run, elsewhere):
    if elsewhere:
        pytest.skip("; ".join(elsewhere))
    none(differences(EXPECTED["digests"], tiny_run.record["digests"]))
