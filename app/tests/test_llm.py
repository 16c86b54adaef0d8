"""Models of several providers, over HTTP from a local server that speaks their APIs and fails on demand."""

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event, Thread, Timer

import pytest
from conftest import free_port
from llmock.pytest_plugin import LLMock

from matinee.llm import Chain, CutOffError, LanguageModelError, Limits, StoppedError, Writer
from matinee.llm.breaker import Breaker
from matinee.settings import Settings, SettingsError

KEY = "sk-this-is-a-secret-of-the-test"
TEXT = "It was dredged in 1874. A toll on coal paid for it."
PROVIDERS = ["openai", "anthropic"]
QUICK = Limits(first_token=0.4, between_tokens=0.3)
HASTY = Limits(first_token=0.3, total=0.6)

type MakeChain = Callable[..., Chain]


@pytest.fixture
def make_chain(llmock: LLMock) -> MakeChain:
    """Make a chain of providers, each with a key and all of them at the local server."""

    def make(*providers: str, limits: Limits | None = None, **variables: str) -> Chain:
        settings: dict[str, str] = {"MATINEE_MODELS": ", ".join(f"{name}/{name}-1" for name in providers)}
        for name in providers:
            settings |= {f"{name.upper()}_API_KEY": KEY, f"{name.upper()}_BASE_URL": llmock.base_url(name)}
        chain = Chain.from_settings(Settings.model_validate(settings | variables), limits)
        assert chain is not None
        return chain

    return make


def ask(chain: Chain) -> tuple[str, Writer]:
    """Return the text, and who wrote it."""
    *parts, writer = chain.stream("Answer briefly.", "When was the harbour dredged?")
    assert isinstance(writer, Writer)
    return "".join(str(part) for part in parts), writer


def read_until_it_breaks(parts: Generator[str | Writer]) -> tuple[str, CutOffError]:
    """Return what came, and the error which ended it."""
    text = ""
    with pytest.raises(CutOffError) as caught:
        for part in parts:
            text += str(part)
    return text, caught.value


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "groq", "mistral"])
def test_each_provider_is_asked_in_its_own_way(llmock: LLMock, provider: str) -> None:
    served = {"gemini": "openai"}.get(provider, provider)  # it speaks OpenAI's chat completions as well
    variables = {
        "MATINEE_MODELS": f"{provider}/model",
        f"{provider.upper()}_API_KEY": KEY,
        f"{provider.upper()}_BASE_URL": llmock.base_url(served),
    }
    chain = Chain.from_settings(Settings.model_validate(variables))
    assert chain is not None
    llmock.reply(TEXT)
    text, writer = ask(chain)
    assert text == TEXT
    assert writer.provider == provider
    assert "Answer briefly." in str(llmock.last_request.body)


@pytest.mark.parametrize("provider", ["ollama", "compatible"])
def test_a_local_model_needs_no_key(llmock: LLMock, provider: str) -> None:
    variables = {
        "MATINEE_MODELS": f"{provider}/llama3.2",
        f"{provider.upper()}_BASE_URL": llmock.base_url("openai"),
    }
    chain = Chain.from_settings(Settings.model_validate(variables))
    assert chain is not None
    llmock.reply(TEXT)
    assert ask(chain)[0] == TEXT


def test_without_keys_there_is_no_chain() -> None:
    assert Chain.from_settings(Settings()) is None


def test_the_providers_with_a_key_are_asked_in_a_fixed_order() -> None:
    settings = Settings.model_validate(
        {"MISTRAL_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY, "OPENAI_API_KEY": KEY, "OPENAI_MODEL": "mine"}
    )
    chain = Chain.from_settings(settings)
    assert chain is not None
    assert [label.split("/")[0] for label in chain.labels] == ["openai", "anthropic", "mistral"]
    assert chain.labels[0] == "openai/mine"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"MATINEE_MODELS": "gpt-6-luna"}, "Write provider/model"),
        ({"MATINEE_MODELS": "nobody/model"}, "providers are openai, anthropic"),
        ({"MATINEE_MODELS": "anthropic/claude-haiku-5-5"}, "needs ANTHROPIC_API_KEY"),
        ({"MATINEE_MODELS": "compatible/model"}, "needs COMPATIBLE_BASE_URL"),
        ({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "localhost:8000"}, "OPENAI_BASE_URL is not an address"),
        ({"OPENAI_API_KEY": KEY, "MATINEE_PRICES": "openai/m=cheap"}, "MATINEE_PRICES has"),
        ({"OPENAI_API_KEY": KEY, "MATINEE_PRICES": "openai/m=-1/2"}, "MATINEE_PRICES has"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told_in_words(variables: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        Chain.from_settings(Settings.model_validate(variables))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_tokens_are_counted_and_priced_by_what_was_set(make_chain: MakeChain, provider: str) -> None:
    chain = make_chain(provider, MATINEE_PRICES=f"{provider}/{provider}-1=1000000/0")
    _, writer = ask(chain)
    assert writer.input_tokens
    assert writer.output_tokens
    assert writer.price_usd == writer.input_tokens


def test_a_price_is_not_invented_for_another_address_or_model(llmock: LLMock) -> None:
    variables = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": llmock.base_url(), "OPENAI_MODEL": "gpt-6-luna"}
    chain = Chain.from_settings(Settings.model_validate(variables))
    assert chain is not None
    assert ask(chain)[1].price_usd is None


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529])
@pytest.mark.parametrize("order", [("openai", "anthropic"), ("anthropic", "openai")])
def test_the_next_provider_answers_where_one_cannot(
    make_chain: MakeChain, llmock: LLMock, order: tuple[str, str], status: int
) -> None:
    first, second = order
    llmock.outage(provider=first, status=status)
    llmock.reply(TEXT, provider=second)
    text, writer = ask(make_chain(first, second))
    assert text == TEXT
    assert writer.provider == second
    assert writer.passed_over == (f"{first}/{first}-1: status {status}",)
    llmock.assert_resilient()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
@pytest.mark.parametrize("order", [("openai", "anthropic"), ("anthropic", "openai")])
def test_a_mistake_in_the_settings_is_told_and_not_covered_up(
    make_chain: MakeChain, llmock: LLMock, order: tuple[str, str], status: int
) -> None:
    llmock.fail(status, provider=order[0], times=None, message=f"Incorrect API key provided: {KEY}")
    with pytest.raises(LanguageModelError, match=f"status {status}") as caught:
        ask(make_chain(*order))
    assert KEY not in str(caught.value)
    assert len(llmock.requests) == 1
    llmock.assert_resilient()


def test_nobody_listening_is_told_in_words() -> None:
    variables = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"http://127.0.0.1:{free_port()}/v1"}
    chain = Chain.from_settings(Settings.model_validate(variables))
    assert chain is not None
    with pytest.raises(LanguageModelError, match="check OPENAI_BASE_URL"):
        ask(chain)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("fault", ["truncate", "disconnect", "corrupt"])
def test_a_stream_that_breaks_is_told_and_continued_by_nobody(
    make_chain: MakeChain, llmock: LLMock, provider: str, fault: str
) -> None:
    other = "groq"
    llmock.reply(TEXT, times=None)
    getattr(llmock, fault)(after_chunks=6, provider=provider)
    text, error = read_until_it_breaks(make_chain(provider, other).stream("", "question"))
    assert text
    assert TEXT.startswith(text.strip().split(" ")[0])
    assert error.writer.provider == provider
    assert [request.provider for request in llmock.requests] == [provider]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("fault", ["truncate", "disconnect", "corrupt"])
def test_a_stream_that_breaks_before_its_first_word_is_answered_by_the_next(
    make_chain: MakeChain, llmock: LLMock, provider: str, fault: str
) -> None:
    getattr(llmock, fault)(after_chunks=1, provider=provider)
    llmock.reply(TEXT, times=None)
    text, writer = ask(make_chain(provider, "groq"))
    assert (text, writer.provider) == (TEXT, "groq")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_late_first_word_is_not_waited_for(make_chain: MakeChain, llmock: LLMock, provider: str) -> None:
    llmock.slow_first_token(30, provider=provider)
    llmock.reply(TEXT, times=None)
    text, writer = ask(make_chain(provider, "groq", limits=QUICK))
    assert text == TEXT
    assert writer.passed_over == (f"{provider}/{provider}-1: time-out",)


@pytest.mark.parametrize("provider", ["ollama", "compatible"])
def test_a_local_model_is_given_longer_for_its_first_word(llmock: LLMock, provider: str) -> None:
    variables = {
        "MATINEE_MODELS": f"{provider}/llama3.2",
        f"{provider.upper()}_BASE_URL": llmock.base_url("openai"),
    }
    chain = Chain.from_settings(Settings.model_validate(variables), HASTY)
    assert chain is not None
    llmock.slow_first_token(1)
    llmock.reply(TEXT)
    assert ask(chain)[0] == TEXT


def test_the_first_word_is_waited_for_as_long_as_is_set(make_chain: MakeChain, llmock: LLMock) -> None:
    llmock.slow_first_token(1, provider="openai")
    llmock.reply(TEXT)
    chain = make_chain("openai", limits=HASTY, MATINEE_FIRST_WORD_SECONDS="20")
    assert ask(chain)[0] == TEXT


def test_the_first_word_is_waited_for_no_longer_than_is_set(make_chain: MakeChain, llmock: LLMock) -> None:
    llmock.slow_first_token(30, provider="openai")
    llmock.reply(TEXT, times=None)
    chain = make_chain("openai", "groq", MATINEE_FIRST_WORD_SECONDS="1.5")
    assert ask(chain)[1].passed_over == ("openai/openai-1: time-out",)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stream_that_stalls_is_cut(make_chain: MakeChain, llmock: LLMock, provider: str) -> None:
    llmock.reply(TEXT)
    llmock.stall(after_chunks=6, seconds=30)
    text, error = read_until_it_breaks(make_chain(provider, limits=QUICK).stream("", "question"))
    assert text.startswith("It was")
    assert "fell silent" in str(error)


def test_an_answer_that_never_ends_is_cut(make_chain: MakeChain, llmock: LLMock) -> None:
    llmock.reply("word " * 2000)
    llmock.pace(50)
    limits = replace(QUICK, total=0.6)
    text, error = read_until_it_breaks(make_chain("openai", limits=limits).stream("", "question"))
    assert text.startswith("word word")
    assert "fell silent" in str(error)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_tool_call_is_no_answer(make_chain: MakeChain, llmock: LLMock, provider: str) -> None:
    llmock.call_tool("delete_everything", {"now": True}).break_tool_call()
    with pytest.raises(LanguageModelError, match="called a tool instead of answering"):
        ask(make_chain(provider))


def test_a_short_limit_is_waited_for(make_chain: MakeChain, llmock: LLMock) -> None:
    llmock.rate_limit(times=1, retry_after=0.2, provider="openai")
    llmock.reply(TEXT)
    assert ask(make_chain("openai", "anthropic"))[1].provider == "openai"
    llmock.assert_resilient()


def test_a_long_limit_is_left_to_the_next_provider(make_chain: MakeChain, llmock: LLMock) -> None:
    llmock.rate_limit(times=None, retry_after=3600, provider="openai")
    assert ask(make_chain("openai", "anthropic"))[1].provider == "anthropic"
    llmock.assert_resilient()


def test_a_limit_that_makes_no_sense_is_left_to_the_next_provider(
    make_chain: MakeChain, llmock: LLMock
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(429)
            self.send_header("Retry-After", "-1")
            self.send_header("Content-Length", "0")
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        chain = make_chain("openai", "anthropic", OPENAI_BASE_URL=url)
        llmock.reply(TEXT)
        assert ask(chain)[1].passed_over == ("openai/openai-1: status 429",)
        server.shutdown()


def test_a_provider_that_keeps_failing_is_left_alone_until_it_answers_again(
    make_chain: MakeChain, llmock: LLMock
) -> None:
    chain = make_chain("openai", "anthropic", limits=Limits(failures=2, pause=0.0))
    llmock.fail(503, times=3, retry_after=3600, provider="openai")
    assert [ask(chain)[1].passed_over for _ in range(3)] == [("openai/openai-1: status 503",)] * 3
    assert ask(chain)[1].provider == "openai"  # the pause is over: a probe was let through, and it answered

    chain = make_chain("openai", "anthropic", limits=Limits(failures=2, pause=3600.0))
    llmock.fail(503, times=2, retry_after=3600, provider="openai")
    for _ in range(3):
        _, writer = ask(chain)
    assert writer.passed_over == ("openai/openai-1: left alone",)


def test_an_open_breaker_lets_one_probe_through() -> None:
    now = 0.0
    breaker = Breaker(failures=2, pause=30.0, clock=lambda: now)
    for _ in range(2):
        assert breaker.allows()
        breaker.failed()
    assert not breaker.allows()
    now = 31.0
    assert [breaker.allows(), breaker.allows()] == [True, False]
    breaker.failed()
    assert not breaker.allows()
    now = 62.0
    assert breaker.allows()
    breaker.succeeded()
    assert [breaker.allows(), breaker.allows()] == [True, True]


def test_closing_the_answer_closes_the_connection(make_chain: MakeChain, llmock: LLMock) -> None:
    llmock.reply("word " * 200)
    llmock.pace(50)
    stream = make_chain("openai").stream("", "question")
    assert next(stream) == "word "
    stream.close()
    assert not llmock.last_request.completed


@pytest.mark.parametrize("provider", PROVIDERS)
def test_stopping_while_a_model_is_silent_ends_the_wait_and_asks_no_other(
    make_chain: MakeChain, llmock: LLMock, provider: str
) -> None:
    llmock.slow_first_token(30, provider=provider)
    chain, stop = make_chain(provider, "groq"), Event()
    Timer(1.0, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(StoppedError) as caught:
        list(chain.stream("", "question", stop))
    assert time.monotonic() - begun < 20
    assert caught.value.writer is None
    assert "groq" not in [request.provider for request in llmock.requests]


def test_stopping_before_a_retry_asks_nobody_again(make_chain: MakeChain, llmock: LLMock) -> None:
    llmock.rate_limit(times=None, retry_after=3)
    chain, stop = make_chain("openai", "groq"), Event()
    Timer(1.0, stop.set).start()
    with pytest.raises(StoppedError):
        list(chain.stream("", "question", stop))
    assert [request.provider for request in llmock.requests] == ["openai"]


def test_once_stopped_nobody_is_asked(make_chain: MakeChain, llmock: LLMock) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(StoppedError):
        list(make_chain("openai").stream("", "question", stop))
    with pytest.raises(StoppedError):
        make_chain("openai").complete("", "question", stop=stop)
    assert not llmock.requests


def test_a_model_that_was_stopped_is_not_left_alone_for_it(make_chain: MakeChain, llmock: LLMock) -> None:
    chain = make_chain("openai", limits=Limits(failures=1, pause=3600.0))
    llmock.reply("word " * 200)
    llmock.pace(50)
    stop = Event()
    with pytest.raises(StoppedError) as caught:
        for _ in chain.stream("", "question", stop):
            stop.set()
    assert caught.value.writer is not None
    assert not llmock.last_request.completed
    llmock.pace(0)
    llmock.reply(TEXT)
    assert ask(chain)[0] == TEXT


def test_a_short_job_is_given_whole_or_not_at_all(make_chain: MakeChain, llmock: LLMock) -> None:
    chain = make_chain("openai")
    llmock.reply(f" {TEXT}\n")
    assert chain.complete("", "question") == TEXT
    llmock.reply(TEXT)
    llmock.truncate(after_chunks=6)
    with pytest.raises(LanguageModelError):
        chain.complete("", "question")


def test_a_key_is_in_no_text_the_app_gives(make_chain: MakeChain) -> None:
    chain = make_chain(*PROVIDERS)
    settings = Settings.model_validate({"ANTHROPIC_API_KEY": KEY})
    for text in (repr(chain), repr(chain.__dict__), repr(settings), settings.model_dump_json()):
        assert KEY not in text
