"""The checkout keeps the contract: commands, targets, settings, and the results of the tiny study.

What changes on purpose changes in contract.json, in view: `python tests/contract/record.py --write`.
Numbers may move by rounding; on a machine like the one that recorded them the digests must be equal,
which is what "the same results" means.
"""

import json
import math

import pytest

RENEW = "if meant: python tests/contract/record.py --write"
RELATIVE, ABSOLUTE = 1e-4, 5e-7


@pytest.fixture(scope="module")
def expected(contract):
    return json.loads(contract.CONTRACT.read_text())


def differences(expected, found, place=""):
    """Return a line for all that is missing, added or changed; lists of words are sets."""
    if isinstance(expected, dict) and isinstance(found, dict):
        lines = [f"missing: {place}{key}" for key in expected if key not in found]
        lines += [f"added: {place}{key}" for key in found if key not in expected]
        for key in expected:
            if key in found:
                lines += differences(expected[key], found[key], f"{place}{key} | ")
        return lines
    if isinstance(expected, list) and all(isinstance(word, str) for word in [*expected, *found]):
        return [f"missing: {place}{word}" for word in expected if word not in found] + [
            f"added: {place}{word}" for word in found if word not in expected
        ]
    same = expected == found
    return [] if same else [f"changed: {place}{expected} -> {found}"]


def moved(expected, found):
    """Return a line for each number that moved by more than rounding, and each other word."""
    lines = []
    for name in expected.keys() & found.keys():
        for key in expected[name].keys() & found[name].keys():
            old, new = expected[name][key], found[name][key]
            if len(old) != len(new):
                lines.append(f"{name} | {key}: {len(old)} values -> {len(new)}")
                continue
            lines += [
                f"{name} | {key} [{place}]: {a} -> {b}"
                for place, (a, b) in enumerate(zip(old, new, strict=True))
                if not close(a, b)
            ]
    return sorted(lines)


def close(a, b):
    if isinstance(a, (str, bool)) or isinstance(b, (str, bool)):
        return a == b
    return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def none(lines):
    assert not lines, "\n".join([f"{len(lines)} differences, {RENEW}", *lines[:60]])


@pytest.mark.parametrize("section", ["commands", "targets", "settings"])
def test_what_is_typed_and_configured(contract, expected, section):
    none(differences(expected[section], getattr(contract, section)()))


@pytest.mark.parametrize("section", ["files", "keys", "arrays"])
def test_what_a_study_leaves(expected, tiny_run, section):
    none(differences(expected[section], tiny_run.record[section]))


def test_numbers_move_by_rounding_at_most(expected, tiny_run):
    found = tiny_run.record["numbers"]
    keys = [{k: list(v) for k, v in numbers.items()} for numbers in (expected["numbers"], found)]
    none(differences(*keys) + moved(expected["numbers"], found))


def test_results_are_the_same_to_the_last_digit(expected, tiny_run):
    old, new = dict(expected["digests"]), dict(tiny_run.record["digests"])
    if old.pop("platform") != new.pop("platform"):
        pytest.skip("digests are of another machine or other versions")
    none(differences(old, new))
