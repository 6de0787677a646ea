import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag_rt.grounding.checks import mismatches, names, replaced_names, spelled_numbers

QUOTE = "In 1912 the Titanic sank with 1,500 people; it did not carry enough boats for three days."


@pytest.mark.parametrize(
    ("claim", "numbers", "missing", "negated"),
    [
        ("The Titanic sank in 1912 with 1500 people.", set(), set(), set()),
        ("The Titanic sank in 1921 with 1,500 people.", {"1921"}, set(), set()),
        ("It did not carry enough boats for four days.", {"4"}, set(), set()),
        ("It did not carry enough boats for 3 days.", set(), set(), set()),
        ("In 1912 the Olympic sank with 1,500 people.", set(), {"Olympic"}, set()),
        ("The Titanic did carry enough boats.", set(), set(), {"carry"}),
        ("In 1912 the Titanic never sank with 1,500 people.", set(), set(), {"sank"}),
    ],
)
def test_what_the_evidence_does_not_hold_is_found(
    claim: str, numbers: set[str], missing: set[str], negated: set[str]
) -> None:
    found = mismatches(claim, QUOTE, QUOTE)
    assert found.numbers == numbers
    assert found.names == missing
    assert found.negated >= negated
    assert bool(found) is bool(numbers or missing or negated)


def test_a_negation_elsewhere_denies_nothing() -> None:
    assert not mismatches("The sea is salty.", QUOTE, "Lakes are not salty.").negated


@example("On Em’s debut and Bo's.")
@given(st.text(max_size=200))
def test_a_text_holds_all_that_it_says(text: str) -> None:
    assert not mismatches(text, text, text)


def test_a_name_is_no_first_word_unless_another_name_follows() -> None:
    assert names("Rivers reach the Dead Sea.") == {"Dead", "Sea"}
    assert names("Titus Ulpian ruled Rome, and After that Gaul.") == {
        "Titus",
        "Ulpian",
        "Rome",
        "Gaul",
    }
    assert names("In Encryption it is a key.") == {"Encryption"}


def test_spelled_numbers_equal_digits() -> None:
    assert spelled_numbers("Twelve apostles, 3,000 sheep") == {"12", "3000"}


@pytest.mark.parametrize(
    ("claim", "quote", "replaced"),
    [
        ("By 146 Gaul beat Carthage.", "By 146 Rome beat Carthage and Gaul.", {"Gaul"}),
        ("It is in New Delhi, near Agra.", "It is in Old Cairo, near Agra.", {"New", "Delhi"}),
        ("It lies in France, Italy and Spain.", "It lies in Italy, Spain and France.", set()),
        ("It is of the European Union.", "It is of the EU.", set()),
        ("It speaks of German law.", "It speaks of Germany's law.", set()),
        ("Later Caesar crossed the river.", "Later he crossed the river.", set()),
        ("Later the general crossed it.", "Later Caesar crossed it.", set()),
    ],
)
def test_a_name_in_the_place_of_another_is_found(
    claim: str, quote: str, replaced: set[str]
) -> None:
    assert replaced_names(claim, quote) == replaced
