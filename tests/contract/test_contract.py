"""The checkout keeps the contract: commands, targets, settings, and the results of the tiny study.

What changes on purpose changes in contract.json, in view: `python tests/contract/record.py --write`.
Numbers may move by rounding; on a machine like the one that recorded them the digests must be equal.
"""

import json
import math

import pytest

RENEW = "if meant: python tests/contract/record.py --write"


@pytest.fixture(scope="module")
def expected(contract):
    return json.loads(contract.CONTRACT.read_text())


def differences(expected, found, place=""):
    """Return a line for all that is missing, added or changed; lists of words are sets."""
    if isinstance(expected, dict) and isinstance(found, dict):
        lines = [f"missing: {place}{key}" for key in expected if key not in found]
        lines += [f"added: {place}{key}" for key in found if key not in expected]
        for key in expected.keys() & found.keys():
            lines += differences(expected[key], found[key], f"{place}{key} | ")
        return sorted(lines)
    if isinstance(expected, list) and all(isinstance(word, str) for word in [*expected, *found]):
        return [f"missing: {place}{word}" for word in expected if word not in found] + [
            f"added: {place}{word}" for word in found if word not in expected
        ]
    return [] if close(expected, found) else [f"changed: {place}{expected} -> {found}"]


def close(a, b):
    numbers = all(isinstance(value, (int, float)) for value in (a, b))
    return math.isclose(a, b, rel_tol=1e-4, abs_tol=5e-7) if numbers else a == b


def none(lines):
    assert not lines, "\n".join([f"{len(lines)} differences, {RENEW}", *lines[:60]])


@pytest.mark.parametrize("section", ["commands", "targets", "settings"])
def test_what_is_typed_and_configured(contract, expected, section):
    none(differences(expected[section], getattr(contract, section)()))


@pytest.mark.parametrize("section", ["files", "keys", "arrays"])
def test_what_a_study_leaves(expected, tiny_run, section):
    none(differences(expected[section], tiny_run.record[section]))


def test_numbers_move_by_rounding_at_most(expected, tiny_run):
    old, new = (
        {file: {k: dict(enumerate(v)) for k, v in keys.items()} for file, keys in numbers.items()}
        for numbers in (expected["numbers"], tiny_run.record["numbers"])
    )
    none(differences(old, new))


def test_results_are_the_same_to_the_last_digit(expected, tiny_run):
    old, new = dict(expected["digests"]), dict(tiny_run.record["digests"])
    recorded, here = old.pop("platform"), new.pop("platform")
    if other := [
        f"{k} {here[k]}, recorded on {recorded[k]}" for k in here if here[k] != recorded[k]
    ]:
        pytest.skip(f"last digits depend on {'; '.join(other)}")
    none(differences(old, new))
