"""What is held out."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from finetuned.policy.split import LEAST, Item, split


def items(count: int, label: str = "rock", *, start: int = 0, decided: bool | None = None) -> list[Item]:
    digests = (hashlib.sha256(f"{label} {start + index}".encode()).hexdigest() for index in range(count))
    return [Item(digest=digest, label=label, decided=decided) for digest in digests]


def held(samples: list[Item], share: float) -> dict[str, int]:
    """Count what is held out by label."""
    out = split(samples, share)
    labels = [item.label for item in samples if item.digest in out]
    return {label: labels.count(label) for label in sorted(set(labels))}


def test_every_label_gives_its_share() -> None:
    samples = items(10, "rock") + items(20, "paper") + items(5, "scissors")
    assert held(samples, 0.2) == {"rock": 2, "paper": 4, "scissors": 1}
    assert held(samples, 0.0) == {}


def test_the_largest_remainders_make_up_the_whole() -> None:
    samples = [item for label in "abcdefghij" for item in items(3, label)]  # 0.6 of each: 6 of 30
    assert sum(held(samples, 0.2).values()) == 6
    assert max(held(samples, 0.2).values()) == 1


def test_the_same_samples_fall_on_the_same_sides_in_any_order() -> None:
    samples = items(40) + items(25, "paper")
    assert split(samples, 0.3) == split(samples[::-1], 0.3)


def test_new_samples_bring_a_label_up_to_its_share_and_no_further() -> None:
    seen = items(8, decided=False) + items(2, start=8, decided=True)
    assert held(seen + items(10, start=10), 0.2) == {"rock": 4}
    assert held(items(5, decided=True) + items(5, start=5), 0.2) == {"rock": 5}


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
