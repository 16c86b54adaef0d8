"""What counts as support for a claim, with the real embedding model."""

import pytest
from files import HARBOUR, LIGHTHOUSE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matinee.citations import Checker, is_claim
from matinee.cited import Checked, CitedText
from matinee.documents.document import Kind
from matinee.engine import Engine
from matinee.stores.truth import Passage

RESULTS = (
    "BERT-LARGE has 24 layers and 1,874 units. Its pre-\ntraining took four days and costs 6.0 dollars. "
    "The authors call it “a simple recipe” and release the code on GitHub."
)


def passage(text: str, name: str = "report.pdf") -> Passage:
    """Return a passage that is all of its document."""
    return Passage(1, 1, name, Kind.TEXT, 0, len(text), None, None, text)


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        ("The harbour was dredged in 1874.", HARBOUR),
        ("A coal toll paid for the nine months of work.", HARBOUR),
        ("The channel is six metres deep.", HARBOUR),
        ("Lindow's harbour has been dredged because ships had run aground.", HARBOUR),
        ("The lamp has been electric since **1932**.", LIGHTHOUSE),
        ("It has 1874 units.", RESULTS),
        ("It costs 6 dollars.", RESULTS),
        ("Pretraining took 4 days.", RESULTS),
        ("BERTLARGE has 24 layers.", RESULTS),
        ('They call it "a simple recipe".', RESULTS),
    ],
)
def test_a_claim_its_passage_makes_is_supported(engine: Engine, claim: str, text: str) -> None:
    support = Checker(engine.embedder).support(claim, passage(text))
    assert support.holds, support


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        ("The harbour was dredged in 1875.", HARBOUR),
        ("The work took seven months.", HARBOUR),
        ("The harbour of Hartlepool was dredged in 1874.", HARBOUR),
        ("The lamp was first lit in 1881.", HARBOUR),
        ("The town council sold the fish market to a railway company.", HARBOUR),
        ("It has 18 layers.", RESULTS),
        ("RoBERTa-LARGE has 24 layers.", RESULTS),
        ("BERT-1874 has 24 layers.", RESULTS),
        ('They call it "a difficult recipe".', RESULTS),
    ],
)
def test_a_claim_with_another_number_name_or_quote_is_not(engine: Engine, claim: str, text: str) -> None:
    support = Checker(engine.embedder).support(claim, passage(text))
    assert not support.holds, support


def test_a_name_of_the_question_or_of_the_document_may_be_used(engine: Engine) -> None:
    text = "The model has 24 layers and was trained for four days."
    assert Checker(engine.embedder).support("PaLM has 24 layers.", passage(text, "palm.pdf")).holds
    assert Checker(engine.embedder, "How deep is PaLM?").support("PaLM has 24 layers.", passage(text)).holds
    assert not Checker(engine.embedder).support("PaLM has 24 layers.", passage(text)).holds


def test_the_quotes_are_the_sentences_that_support_the_claim(engine: Engine) -> None:
    support = Checker(engine.embedder).support("The lamp was first lit in 1881.", passage(LIGHTHOUSE))
    assert [LIGHTHOUSE[start:end] for start, end in support.quotes] == [
        "Its lamp was first lit in 1881 and burned rape oil."
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Hello there!",
        "Here is what the report says:",
        "## Results",
        "Would you like to know more?",
        "Let me know if you need more.",
        "The passages do not say when it was built.",
        "I could not find the date in the documents.",
        "",
    ],
)
def test_what_claims_nothing_needs_no_source(text: str) -> None:
    assert not is_claim(text)


@pytest.mark.parametrize(
    "text",
    [
        "The documents are not encrypted on the disk.",
        "No, the harbour was dredged.",
        "In 1874.",
        "- **Depth**: six metres",
    ],
)
def test_what_claims_something_does(text: str) -> None:
    assert is_claim(text)


@given(cuts=st.lists(st.integers(1, 12), max_size=60))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_answer_reads_the_same_however_its_parts_are_cut(cuts: list[int]) -> None:
    raw = (
        "It is, e.g., 3.5 m deep [1]. It was dredged in 1874. [2, 9] Mid [1] marker and end [2].\n\n"
        "1. A first item [1].\n2. **A second item [2].**\n\nIs that [all]? "
        "Call `args[1]. Then [2]` and row[0] first [1]. In `a [1`. A block:\n"
        "```python\nrow[1] = 2\n\n# Nothing supports this [1].\n```\n\n"
        "One ` alone [1]. Nothing supports this one."
    )

    def check(sentence: str, numbers: tuple[int, ...]) -> Checked:
        return Checked(tuple(n for n in numbers if n < 3), "Nothing supports" in sentence)

    cited, shown, at = CitedText(check), "", 0
    for cut in cuts:
        shown += cited.feed(raw[at : at + cut])
        at += cut
    shown += cited.feed(raw[at:]) + cited.finish()
    assert shown == (
        "It is, e.g., 3.5 m deep [1]. It was dredged in 1874. [2] Mid marker and end [1][2].\n\n"
        "1. A first item [1].\n2. **A second item [2].**\n\nIs that [all]? "
        "Call `args[1]. Then [2]` and row[0] first [1]. In `a [1`. A block:\n"
        "```python\nrow[1] = 2\n\n# Nothing supports this [1].\n```\n⚠\n\n"
        "One ` alone [1]. Nothing supports this one. ⚠"
    )
