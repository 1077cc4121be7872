"""What is held out."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from finetuned.policy.split import LEAST, Item, held_out, split


def items(count: int, label: str = "rock", *, start: int = 0, decided: bool | None = None) -> list[Item]:
    digests = (hashlib.sha256(f"{label} {start + index}".encode()).hexdigest() for index in range(count))
    return [Item(digest=digest, label=label, decided=decided) for digest in digests]


def test_the_share_that_is_held_out_is_the_one_asked_for() -> None:
    out = sum(held_out(item.digest, 0.2) for item in items(10_000))
    assert 1_880 < out < 2_120  # three standard deviations of a fair draw
    assert not any(held_out(item.digest, 0.0) for item in items(100))
    assert all(held_out(item.digest, 1.0) for item in items(100))


def test_the_same_content_falls_on_the_same_side_whatever_else_is_there() -> None:
    some, more = items(40), items(40) + items(60, start=40)
    assert split(some, 0.2) == split(more, 0.2) & {item.digest for item in some}


def test_of_fewer_than_ten_samples_none_is_held_out() -> None:
    assert split(items(LEAST - 1), 0.9) == frozenset()
    assert split(items(LEAST), 0.9)


def test_every_label_keeps_a_sample_to_train_on() -> None:
    samples = items(20, "rock") + items(1, "paper") + items(2, "scissors")
    out = split(samples, 1.0)
    assert len(out) == 19 + 0 + 1


def test_a_sample_stays_on_the_side_that_an_earlier_task_saw_it_on() -> None:
    trained = items(30, decided=False)
    kept = items(2, start=30, decided=True)
    new = items(30, start=32)
    out = split(trained + kept + new, 0.5)
    assert out & {item.digest for item in trained + kept} == {item.digest for item in kept}
    assert out & {item.digest for item in new}


@given(
    st.lists(
        st.builds(
            Item,
            digest=st.binary(min_size=32, max_size=32).map(bytes.hex),
            label=st.sampled_from("abc"),
            decided=st.sampled_from([None, None, False]),
        ),
        max_size=40,
        unique_by=lambda item: item.digest,
    ),
    st.floats(0.0, 1.0),
)
def test_no_label_is_ever_left_without_training_samples(samples: list[Item], share: float) -> None:
    out = split(samples, share)
    assert {item.label for item in samples} == {item.label for item in samples if item.digest not in out}
