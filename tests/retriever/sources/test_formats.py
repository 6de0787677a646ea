"""What is written in a format comes back as it was."""

import bz2
import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import datasets  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings

from retriever.errors import SourceError
from retriever.passages import Page
from retriever.sources import FORMATS, Skipped, open_source
from tests.retriever.sources import corpora
from tests.retriever.sources.corpora import Write, any_pages, paragraphs_of, plain_pages

same_folder = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(name: str, path: Path, content: bytes) -> list[Page]:
    path.write_bytes(content)
    return list(open_source(name, str(path)).pages())


@same_folder
@given(pages=any_pages)
def test_a_kilt_knowledge_source_comes_back_with_its_paragraphs(
    pages: list[Page], tmp_path: Path
) -> None:
    english = [replace(p, url=f"https://en.wikipedia.org/wiki?curid={p.id}") for p in pages]
    assert read("kilt", tmp_path / "corpus", corpora.kilt(pages)) == english


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("jsonl", corpora.jsonl),
        ("wikiextractor", corpora.wikiextractor),
        ("wikiextractor", corpora.wikiextractor_json),
        ("wikiextractor", corpora.wikiextractor_tar),
    ],
)
@same_folder
@given(pages=any_pages)
def test_pages_come_back_with_their_paragraphs(
    name: str, write: Write, pages: list[Page], tmp_path: Path
) -> None:
    assert read(name, tmp_path / "corpus", write(pages)) == pages


@same_folder
@given(pages=any_pages)
def test_dprs_passages_come_back_under_their_ids(pages: list[Page], tmp_path: Path) -> None:
    found = read("dpr", tmp_path / "corpus", corpora.dpr(pages))
    expected = [(p.id, p.title, paragraphs_of(p)[0].rstrip("\n")) for p in pages]
    assert [(p.id, p.title, p.text) for p in found] == expected


@same_folder
@given(pages=any_pages)
def test_dprs_file_is_read_as_the_csv_module_reads_it(pages: list[Page], tmp_path: Path) -> None:
    content = corpora.dpr(pages)
    rows = list(csv.reader(io.StringIO(content.decode()), delimiter="\t"))
    found = read("dpr", tmp_path / "corpus", content)
    assert [["id", "text", "title"], *([p.id, p.text, p.title] for p in found)] == rows


@same_folder
@given(pages=plain_pages)
def test_articles_of_a_dump_come_back_with_their_paragraphs(
    pages: list[Page], tmp_path: Path
) -> None:
    assert read("mediawiki", tmp_path / "corpus", corpora.mediawiki(pages)) == pages


@pytest.mark.parametrize("form", ["parquet", "json"])
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pages=any_pages)
def test_a_folder_that_datasets_wrote_comes_back(
    form: str, pages: list[Page], tmp_path: Path
) -> None:
    columns = ("id", "url", "title", "text")
    rows = datasets.Dataset.from_list([{c: getattr(p, c) for c in columns} for p in pages])
    datasets.disable_progress_bars()
    getattr(rows, f"to_{form}")(tmp_path / f"train.{form}")
    found = list(open_source("huggingface", str(tmp_path)).pages())
    assert found == [replace(page, paragraph_starts=()) for page in pages]


def test_a_dataset_without_a_title_is_refused_with_the_columns_it_has(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["One."], "name": ["A"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"no column title, only text, name"):
        list(open_source("huggingface", str(tmp_path)).pages())


def test_a_dataset_that_the_hub_does_not_give_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match=r"no folder no/such.*Hub gives no dataset"):
        open_source("huggingface", "no/such:config")


def test_a_line_of_plain_json_needs_a_text_alone(tmp_path: Path) -> None:
    content = b'{"text": "One."}\n\n{"text": ["Two.", "Three.\\n"], "id": 7, "title": null}\n'
    first, second = read("jsonl", tmp_path / "corpus", content)
    assert first == Page("line-1", "line-1", "One.", "")
    assert second == Page("7", "7", "Two.\nThree.\n", "", (0, 5))


def test_a_folder_of_wikiextractors_is_read_in_order_whatever_is_compressed(tmp_path: Path) -> None:
    pages = corpora.many_pages(4)
    for name, page in zip(["AA/wiki_00", "AA/wiki_01.bz2", "AB/wiki_00"], pages[:3], strict=True):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        content = corpora.wikiextractor([page])
        path.write_bytes(bz2.compress(content) if path.suffix else content)
    (tmp_path / "AB" / "wiki_01").write_bytes(corpora.wikiextractor_json(pages[3:]))
    source = open_source("wikiextractor", str(tmp_path))
    assert list(source.pages()) == pages
    assert not source.wikipedia_ids
    (tmp_path / "AB" / "wiki_02").write_bytes(b"")
    assert open_source("wikiextractor", str(tmp_path)).fingerprint != source.fingerprint


def test_page_ids_are_wikipedias_only_where_the_corpus_is_the_english_one(tmp_path: Path) -> None:
    path = tmp_path / "corpus"
    page = corpora.many_pages(1)[0]
    for name, write, other, english in (
        ("mediawiki", corpora.mediawiki, b"testwiki", b"enwiki"),
        ("wikiextractor", corpora.wikiextractor, b"https://w.org", b"https://en.wikipedia.org"),
    ):
        path.write_bytes(write([page]))
        assert not open_source(name, path).wikipedia_ids
        path.write_bytes(write([page]).replace(other, english))
        assert open_source(name, path).wikipedia_ids


def test_what_a_dump_leaves_out_is_counted_by_its_kind(tmp_path: Path) -> None:
    more = (
        '<page><title>Seas</title><ns>0</ns><id>8</id><redirect title="Sea"/><revision>'
        "<text>#REDIRECT [[Sea]]</text></revision></page>"
        "<page><title>Old</title><ns>0</ns><id>9</id><revision>"
        "<text> #redirect[[Sea]]</text></revision></page>"
        "<page><title>Talk:Sea</title><ns>1</ns><id>10</id><revision><text>x</text></revision></page>"
        "<page><title>Datei:Sea</title><id>11</id><revision><text>x</text></revision></page>"
    )
    path, pages = tmp_path / "dump.xml", corpora.many_pages(2)
    path.write_bytes(corpora.mediawiki(pages, more=more))
    skipped = Skipped()
    found = list(open_source("mediawiki", path).pages(skipped))
    assert [page.id for page in found] == ["1", "2"]
    assert skipped.left_out == {"redirects": 2, "pages of other namespaces": 2}
    assert skipped.malformed == 0


def test_a_dump_may_not_declare_entities(tmp_path: Path) -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + corpora.mediawiki([])
    with pytest.raises(SourceError, match="document type"):
        read("mediawiki", tmp_path / "dump.xml", bomb)


def test_without_its_extra_the_dumps_reader_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delitem(sys.modules, "retriever.sources.wikitext", raising=False)
    monkeypatch.setitem(sys.modules, "mwparserfromhell", None)
    with pytest.raises(SourceError, match=r"pip install 'rag-rt\[mediawiki\]'"):
        open_source("mediawiki", tmp_path / "dump.xml")


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.example])
def test_a_source_without_its_path_says_what_it_reads_and_how(name: str) -> None:
    with pytest.raises(SourceError, match=f"'{name}' reads .* --source {name} "):
        open_source(name)


def test_an_unknown_source_is_told_all_there_are(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no source 'zim'.*starter, kilt, dpr.*jsonl"):
        open_source("zim", str(tmp_path))
    with pytest.raises(SourceError, match="takes no path"):
        open_source("starter", str(tmp_path))


def test_json_is_read_as_the_standard_says(tmp_path: Path) -> None:
    line = json.dumps({"text": "naïve \u2028 text"}, ensure_ascii=False).encode()
    assert read("jsonl", tmp_path / "corpus", line)[0].text == "naïve \u2028 text"
