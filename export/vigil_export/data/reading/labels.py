"""What the labels of a data set mean: which task they make, which are outputs, which mean "nothing happened".

In: the label names of each row, and what the user declared. Out: task, labels, negative labels. Names are
data; the only ones known here are those that the field uses for "nothing".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vigil_export.data.rows import DataError, Row, Task

# Taken for "nothing happened" where no negative label is declared. A wrong guess is seen at once: every command says
# how it read the labels.
_NEGATIVES = frozenset({"normal", "none", "nothing", "negative", "background"})
_NEGATIVE_OF_PAIR = {frozenset({"no", "yes"}): "no", frozenset({"false", "true"}): "false", frozenset({"0", "1"}): "0"}


@dataclass(frozen=True, slots=True)
class Meaning:
    """Task, names of the outputs in the order of the logits, and names that mean "nothing happened"."""

    task: Task
    labels: tuple[str, ...]
    negative: tuple[str, ...]


def understand(
    rows: Sequence[Row],
    *,
    task: Task | Literal["auto"],
    labels: tuple[str, ...],
    negative: tuple[str, ...],
    is_list: bool,
) -> Meaning:
    """Find out what the labels mean, and refuse labels that cannot be learned from.

    Args:
        rows: With the labels as found.
        task: As declared; `auto` is `multilabel` for a list of labels, `binary` for two names (or one, beside rows
            without any) of which one is negative, else `multiclass`.
        labels: As declared, in the order of the logits; empty: the found ones, sorted.
        negative: As declared; empty: the names that the field uses, where they occur.
        is_list: Whether the data set has a list of labels per row.

    Raises:
        DataError: Declared and found do not fit, a label of validation or test never occurs in training, or there is
            one class only.
    """
    found = sorted({name for row in rows for name in row.labels})
    is_many = is_list or task == "multilabel"
    if is_many and set(labels) & set(negative):
        raise DataError(
            f"labels: expected no name that is negative too, found {', '.join(set(labels) & set(negative))}"
        )
    negative = negative or tuple(name for name in _guess_negative(found, labels) if not is_many or name not in labels)
    positive = tuple(name for name in labels or found if name not in negative)
    chosen: Task = _choose_task(rows, positive, negative, is_list=is_list) if task == "auto" else task
    outputs = positive
    if chosen == "multiclass":
        outputs = (*labels, *(name for name in negative if name not in labels)) if labels else tuple(found)
    _check_classes(rows, negative, is_declared=bool(labels))
    _check_rows(rows, chosen, outputs, negative)
    if chosen == "binary" and len(outputs) != 1:
        raise DataError(
            f"binary: expected one label beside the negative ones, found {', '.join(outputs) or 'none'}; declare the "
            "negative label, or another task"
        )
    return Meaning(chosen, outputs, negative)


def _guess_negative(found: Sequence[str], labels: tuple[str, ...]) -> tuple[str, ...]:
    usual = tuple(name for name in found if name.lower() in _NEGATIVES)
    if usual:
        return usual
    names = {name.lower(): name for name in found}
    pair = _NEGATIVE_OF_PAIR.get(frozenset(names))
    if pair:
        return (names[pair],)
    rest = [name for name in found if name not in labels]
    return (rest[0],) if len(labels) == 1 and len(found) == 2 and len(rest) == 1 else ()


def _choose_task(rows: Sequence[Row], positive: tuple[str, ...], negative: tuple[str, ...], *, is_list: bool) -> Task:
    if is_list:
        return "multilabel"
    has_nothing = bool(negative) or any(not row.labels for row in rows)
    return "binary" if len(positive) == 1 and has_nothing else "multiclass"


def _check_rows(rows: Sequence[Row], task: Task, labels: tuple[str, ...], negative: tuple[str, ...]) -> None:
    known = {*labels, *negative}
    for row in rows:
        for name in row.labels:
            if name not in known:
                raise DataError(f"{row.id}: expected a label out of {', '.join(sorted(known))}, found {name!r}")
        if task == "multiclass" and len(row.labels) != 1:
            raise DataError(
                f"{row.id}: expected one label, found {', '.join(row.labels) or 'none'}; where a row may have none or "
                "several, the task is multilabel"
            )
        if len(row.labels) > 1 and set(row.labels) & set(negative):
            raise DataError(f"{row.id}: expected a negative label to stand alone, found {', '.join(row.labels)}")


def _check_classes(rows: Sequence[Row], negative: tuple[str, ...], *, is_declared: bool) -> None:
    trained = [row for row in rows if row.split == "train"]
    if trained:
        learnt = {name for row in trained for name in row.labels}
        for row in rows:
            unknown = [name for name in row.labels if name not in learnt and name not in negative]
            if unknown and row.split:
                raise DataError(
                    f"{row.id}: expected a label that occurs in training, found {unknown[0]!r} in {row.split} alone; "
                    "add training rows with it, or leave such rows out"
                )
    elif is_declared:
        return  # A set to be judged by a model that knows its labels; it may well hold one class.
    classes = Counter(frozenset(row.labels) - set(negative) for row in trained or rows)
    if len(classes) < 2:
        names = ", ".join(sorted(next(iter(classes)))) or "nothing but negative rows"
        raise DataError(
            f"expected rows of at least two classes{' in training' if trained else ''}, found {names} in all "
            f"{classes.total()} rows"
        )
