"""Wikitext as its readers see it."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retriever.sources import Skipped, open_source
from retriever.sources.wikitext import paragraphs

MEDIA = frozenset({"file", "image", "category", "datei"})


def text_of(source: str) -> str:
    return "".join(paragraphs(source, MEDIA)).rstrip("\n")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("The '''sea''' is ''salt''.", "The sea is salt."),
        ("[[Sea]], [[Sea water|water]], [[:Category:Seas]]", "Sea, water, Category:Seas"),
        ("[[File:Sea.jpg|thumb|The [[sea]]\n{{legend|x}}]]Salt.", "Salt."),
        ("Salt.[[Datei:Meer.jpg]][[Category:Seas]][[fr:Mer]]", "Salt."),
        ("[https://w.org The page] and [https://w.org] and https://w.org", "The page and and https://w.org"),
        ("Salt{{cite|a={{b|}}}} water{{c|[[d]]}}.", "Salt water."),
        ("Salt<ref>{{cite}}</ref><ref name=a/><!-- why? --> water.", "Salt water."),
        ("Salt<ref>cut {{cite}}\n\nSea.", "Saltcut\nSea."),
        ("One.\n{| class=x\n|-\n| a || {{b}}\n{|\n|c\n|}\n|}\nTwo.", "One.\nTwo."),
        ("One.\n{| never closed\n|-\n| a\n\nTwo.", "One.\nTwo."),
        ("One\nline.\n\nTwo.", "One line.\nTwo."),
        ("* One\n** two\n# three\n; Term: what it is", "One\ntwo\nthree\nTerm: what it is"),
        ("Salt ({{ipa}}; Latin: ''sal'') and ({{x}}) {{y}}.", "Salt (Latin: sal) and."),
        ("AT&amp;T&nbsp;is &lt;3 &#91;1&#93;", "AT&T is <3 [1]"),
        ("H<sub>2</sub>O<br/>and<div style='x'>salt</div>", "H2O and\nsalt"),
        ("<math>a_{b_{c}}</math>It is <nowiki>{{raw}} [x]</nowiki>.", "It is raw [x]."),
        ("L''''amour'''", "L'amour"),
        ("__NOTOC__{{a", "a"),
        ("", ""),
    ],
)  # fmt: skip
def test_markup_becomes_what_a_reader_sees(source: str, text: str) -> None:
    assert text_of(source) == text


def test_a_heading_is_a_paragraph_where_something_stands_under_it() -> None:
    source = (
        "A.\n== One ==\n=== Two ===\nB.\n=== Empty ===\n{{x}}\n== See also ==\n[[Category:C]]\n"
    )
    assert text_of(source) == "A.\nOne\nTwo\nB."


_MARKUP = st.sampled_from(
    [
        *"[[ ]] {{ }} {{{ | = == === ''' '' <ref> </ref> <ref/> <!-- --> {| |} |- * # : ;".split(),
        *"<div> </div> <nowiki> </nowiki> [http://a ] &amp; &#3; &#0; &lt; &#9999999;".split(),
        *"File: sea salt ( ) , .".split(),
        "\n",
        "\n\n",
        " ",
    ]
)


@given(st.lists(_MARKUP, max_size=40).map("".join))
def test_any_markup_ends_in_whole_lines(source: str) -> None:
    for paragraph in paragraphs(source, MEDIA):
        assert paragraph.endswith("\n")
        assert paragraph.strip()
        assert len(paragraph.split("\n")) == 2


@given(st.lists(st.sampled_from(["word", "salt", ".", "\n\n", " "]), max_size=40).map(" ".join))
def test_no_word_of_a_plain_text_is_lost(source: str) -> None:
    assert re.findall(r"\w+", text_of(source)) == re.findall(r"\w+", source)


@pytest.mark.parametrize(
    "piece", "[[ {{ <ref> <!-- <div> *# {{a| [[a|\n {|\n [http:// '' ==a==\n &amp;".split(" ")
)
def test_brackets_that_never_close_take_no_longer_than_their_length(piece: str) -> None:
    text_of(piece * (30_000 // len(piece)))  # minutes to hours, if it were quadratic


def test_the_articles_of_a_real_dump_are_without_markup(shared: Path) -> None:
    path = shared / "data" / "wikipedia" / "enwiki-pages-articles-fragment.xml.bz2"
    source, skipped = open_source("mediawiki", path), Skipped()
    markup = re.compile(r"\[\[|\]\]|\{\{|\}\}|''|</?(?:ref|div|br)|&[a-z]+;|^\||\|-|==|__|\|thumb")
    count = 0
    for page in source.pages(skipped):
        count += 1
        assert not (found := markup.search(page.text)), page.text[found.start() - 80 :][:200]
        assert all(page.text[start - 1] == "\n" for start in page.paragraph_starts[1:])
        assert len(page.text.split()) > 20
    assert source.wikipedia_ids
    assert count == 106
    assert skipped.left_out == {"redirects": 99, "pages of other namespaces": 1}


def test_references_that_never_close_are_looked_for_once() -> None:
    assert text_of("<ref>" * 200_000 + "Salt.") == "Salt."  # minutes, if for each
