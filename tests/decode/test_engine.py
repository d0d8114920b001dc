# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The Python interface: prompts in every form, streams and batches, several callers at once, and what goes wrong."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt import Engine, InputError, OperationError, Request
from nld_trt.decode.batch import Batch
from nld_trt.decode.fields import FIELDS
from nld_trt.decode.generate import generate
from nld_trt.decode.options import Options

PROMPT = "Sort these numbers: 42 17 88 35"
OTHERS = ("Convert 37 km to m.", "Add 478 and 356 with steps.", "Sort these numbers: 9 4 6")


class Faulty:
    """A session whose forwards do what ``fault`` says; ``fault`` gets the buffers that were launched."""

    def __init__(self, session, fault):
        self._session, self.fault = session, fault

    def __getattr__(self, name):
        return getattr(self._session, name)

    def wait(self, buffers):
        self._session.wait(buffers)
        self.fault(buffers)


def nothing(buffers):
    pass


def not_finite(buffers):
    buffers.outputs["finite"][:] = 0


def once(error):
    """A fault of the next forward alone."""
    left = [error]

    def fault(buffers):
        if left:
            raise left.pop()

    return fault


@pytest.fixture(scope="module")
def folder(engine):
    return engine("nld-tiny")


@pytest.fixture(scope="module")
def opened(folder):
    with Engine.open(folder.path) as made:
        yield made


@pytest.fixture(scope="module")
def answer(opened):
    """The result of a prompt alone, by its text; each is decoded once."""
    known = {}

    def alone(prompt):
        if prompt not in known:
            known[prompt] = opened.generate(prompt, max_new_tokens=64)
        return known[prompt]

    return alone


@pytest.fixture(params=[False, True], ids=["in step", "runs ahead"])
def faulty(request, opened, folder):
    """An engine over the session of ``opened``, and that session, whose fault can be set; as on a CPU, and on a GPU."""
    session = Faulty(opened.session, nothing)
    session.runs_ahead = request.param
    return Engine(folder, session, opened.codec), session


def test_answer_is_the_decoder_s(opened, answer):
    ids = opened.codec.encode_prompt(PROMPT)
    ((_, expected),) = generate(Batch(opened.session, opened.codec), [Request(ids, max_new_tokens=64, threshold=0.0)])
    assert (answer(PROMPT).tokens, answer(PROMPT).text) == (expected.output_ids, expected.text)


@pytest.mark.parametrize(
    "form",
    [
        lambda engine: engine.codec.encode_prompt(PROMPT),
        lambda engine: list(engine.codec.encode_prompt(PROMPT)),
        lambda engine: np.array(engine.codec.encode_prompt(PROMPT)),
        lambda engine: [{"role": "user", "content": PROMPT}],
        lambda engine: ({"role": "user", "content": PROMPT},),
        lambda engine: {"prompt": PROMPT},
        lambda engine: {"messages": [{"role": "user", "content": PROMPT}], "id": 7},
        lambda engine: engine.request(PROMPT),
    ],
)
def test_every_form_of_a_prompt_is_the_same_request(opened, form):
    assert opened.request(form(opened)) == opened.request(PROMPT)


@pytest.mark.parametrize("name", ["prompt", "messages", "prompt_ids"])
def test_prompt_can_be_given_by_its_name(opened, name):
    values = {
        "prompt": PROMPT,
        "messages": [{"role": "user", "content": PROMPT}],
        "prompt_ids": opened.codec.encode_prompt(PROMPT),
    }
    assert opened.request(**{name: values[name]}) == opened.request(PROMPT)


def test_options_are_the_fields_of_a_requests_file():
    assert set(Options.__annotations__) == set(FIELDS) - {"id"}


def test_options_reach_the_request(opened):
    made = opened.request(PROMPT, mode="ar", temperature=1, top_k=np.int64(5), seed=3, stop="88", lora=np.bool_(False))
    assert (made.mode, made.temperature, made.top_k, made.seed, made.stop, made.lora) == ("ar", 1, 5, 3, ("88",), False)


def test_none_means_the_default_and_for_a_threshold_the_fixed_schedule(opened):
    names = set(Options.__annotations__) - {"prompt", "prompt_ids", "messages", "threshold", "mode"}
    assert opened.request(PROMPT, **dict.fromkeys(names)) == opened.request(PROMPT)
    assert opened.request(PROMPT, mode="diffusion", threshold=None).threshold is None
    assert opened.request(PROMPT, mode="diffusion").threshold == 0.9


def test_stop_string_ends_the_text(opened):
    result = opened.generate(PROMPT, stop=["88"], max_new_tokens=64)
    assert result.finish_reason == "stop"
    assert "88" not in result.text


def test_seed_repeats_samples(opened):
    first, second = (opened.generate(PROMPT, temperature=1.5, seed=11, max_new_tokens=24) for _ in range(2))
    assert first.tokens == second.tokens
    assert first.seed == 11


def test_result_has_its_figures(answer):
    result = answer(PROMPT)
    assert 0 < result.time_to_first_token <= result.seconds
    assert result.tokens_per_second == len(result.tokens) / result.seconds
    assert result.tokens_per_forward > 1
    assert result.acceptance_length > 1
    assert result.prompt_tokens > 0
    assert "tokens_per_forward=" in repr(result)
    assert repr(result.text) in repr(result)


def test_batch_gives_results_in_order_whatever_ends_first(opened, answer):
    prompts = [OTHERS[1], PROMPT, OTHERS[0], OTHERS[2]]
    results = opened.batch(prompts, max_new_tokens=64)
    assert [result.text for result in results] == [answer(prompt).text for prompt in prompts]


def test_batch_takes_more_prompts_than_rows(folder, answer):
    with Engine.open(folder, max_batch_size=2) as narrow:
        results = narrow.batch(iter((PROMPT, *OTHERS)), max_new_tokens=64)
    assert [result.text for result in results] == [answer(prompt).text for prompt in (PROMPT, *OTHERS)]


def test_settings_of_a_prompt_win_over_those_of_the_batch(opened):
    prompts = [PROMPT, {"prompt": PROMPT, "max_new_tokens": 3}, opened.request(PROMPT, max_new_tokens=2)]
    assert [len(result.tokens) for result in opened.batch(prompts, max_new_tokens=5)] == [5, 3, 2]


def test_batch_of_nothing_is_nothing(opened):
    assert opened.batch([]) == []


@pytest.mark.parametrize("mode", ["ar", "diffusion", "linear"])
def test_pieces_of_a_stream_are_the_text(opened, mode):
    stream = opened.stream(PROMPT, mode=mode, max_new_tokens=64)
    pieces = list(stream)
    assert len(pieces) > 1
    assert all(pieces)
    assert "".join(pieces) == stream.result.text == opened.generate(PROMPT, mode=mode, max_new_tokens=64).text
    assert stream.tokens == stream.result.tokens


def test_stream_ends_with_its_result_as_a_generator_would(opened):
    found = []

    def wrapper():
        found.append((yield from opened.stream(PROMPT, max_new_tokens=8)))

    assert "".join(wrapper()) == found[0].text
    assert len(found[0].tokens) == 8


def test_result_of_a_stream_is_there_once_it_was_read(opened):
    stream = opened.stream(PROMPT, mode="ar", max_new_tokens=8)
    next(stream)
    assert stream.result is None
    assert stream.finish() is stream.result
    assert list(stream) == []


@settings(max_examples=4)
@given(st.lists(st.integers(0, 3), max_size=12))
def test_streams_read_in_any_order_give_their_own_texts(opened, answer, order):
    prompts = (PROMPT, *OTHERS)
    streams = [opened.stream(prompt, max_new_tokens=64) for prompt in prompts]
    texts = [""] * len(streams)
    for number in order:
        texts[number] += next(streams[number], "")
    for number, stream in enumerate(streams):
        texts[number] += "".join(stream)
    assert texts == [answer(prompt).text for prompt in prompts]


def test_other_answers_can_be_had_between_the_pieces_of_a_stream(opened, answer):
    pieces = []
    for number, piece in enumerate(opened.stream(PROMPT, mode="ar", max_new_tokens=64)):
        pieces.append(piece)
        if number < 2:
            assert opened.generate(OTHERS[0], max_new_tokens=64).text == answer(OTHERS[0]).text
    assert "".join(pieces) == answer(PROMPT).text


def close(stream):
    stream.close()


def leave(stream):
    with stream:
        pass


@pytest.mark.parametrize("end", [close, leave])
def test_stream_that_is_closed_frees_its_row_and_keeps_what_it_had(opened, end):
    stream = opened.stream(PROMPT, mode="ar", max_new_tokens=64)
    piece = next(stream)
    end(stream)
    assert not opened.decoder.live_rows
    assert stream.result.finish_reason == "cancelled"
    assert stream.result.text.startswith(piece)
    assert len(stream.result.tokens) < 64
    assert list(stream) == []


def test_stream_that_nobody_holds_any_more_gives_its_row_to_the_next(folder, answer):
    with Engine.open(folder, max_batch_size=1) as narrow:
        for _ in narrow.stream(PROMPT, mode="ar", max_new_tokens=400, eos_token_id=-1):
            break
        gc.collect()
        before = narrow.decoder.steps
        assert narrow.generate(OTHERS[0], max_new_tokens=64).text == answer(OTHERS[0]).text
        assert narrow.decoder.steps - before < 100


def test_stream_that_waits_for_a_row_can_be_closed(folder):
    with Engine.open(folder, max_batch_size=1) as narrow:
        first = narrow.stream(PROMPT, mode="ar", max_new_tokens=16)
        next(first)
        second = narrow.stream(OTHERS[0])
        second.close()
        assert (second.result.finish_reason, second.result.tokens) == ("cancelled", [])
        assert len(first.finish().tokens) == 16


def test_threads_share_the_engine(opened, answer):
    prompts = (PROMPT, *OTHERS) * 2
    expected = [answer(prompt).text for prompt in prompts]
    found = [None] * len(prompts)
    before = opened.decoder.steps

    def ask(number):
        found[number] = opened.generate(prompts[number], max_new_tokens=64).text

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected
    assert opened.decoder.steps > before
    assert not opened.decoder.busy


def test_stream_that_is_closed_while_another_thread_decodes_ends_there(faulty):
    engine, session = faulty
    stream = engine.stream(PROMPT, mode="ar", max_new_tokens=400, eos_token_id=-1)
    next(stream)
    decoding = threading.Event()
    session.fault = lambda buffers: decoding.set()
    other = threading.Thread(target=engine.generate, args=(OTHERS[0],), kwargs={"mode": "ar", "max_new_tokens": 64})
    other.start()
    assert decoding.wait(60)
    stream.close()
    assert stream.result.finish_reason == "cancelled"
    other.join()


def test_engine_that_is_closed_while_another_thread_decodes_ends_its_requests(folder):
    engine = Engine.open(folder)
    stream, said = engine.stream(PROMPT, mode="ar", max_new_tokens=400, eos_token_id=-1), []
    next(stream)

    def read():
        try:
            list(stream)
        except OperationError as error:
            said.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    engine.close()
    reader.join()
    assert said == ["the engine was closed before this request had ended"]


def test_interrupt_in_a_forward_leaves_the_engine_usable(faulty, answer):
    engine, session = faulty
    other = engine.stream(OTHERS[0], mode="ar")
    next(other)
    session.fault = once(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        engine.generate(PROMPT)
    with pytest.raises(OperationError, match="interrupted"):
        list(other)
    assert engine.generate(PROMPT, max_new_tokens=64).text == answer(PROMPT).text


def test_failure_of_the_engine_reaches_every_caller(faulty, answer):
    engine, session = faulty
    other = engine.stream(OTHERS[0], mode="ar")
    next(other)
    session.fault = once(OperationError("the device is gone"))
    with pytest.raises(OperationError, match="the device is gone"):
        engine.batch([PROMPT, OTHERS[1]])
    with pytest.raises(OperationError, match="the device is gone"):
        other.finish()
    assert engine.generate(PROMPT, max_new_tokens=64).text == answer(PROMPT).text


def test_answer_that_fails_raises_alone_and_is_told_in_a_batch(faulty):
    engine, session = faulty
    session.fault = not_finite
    with pytest.raises(OperationError, match="not finite"):
        engine.generate(PROMPT)
    (result,) = engine.batch([PROMPT])
    assert result.finish_reason == "error"
    assert "not finite" in result.error
    with pytest.raises(OperationError, match="not finite"):
        result.or_raise()


def test_stream_that_fails_gives_first_what_was_good(faulty):
    engine, session = faulty
    stream = engine.stream(PROMPT, mode="ar", max_new_tokens=64)
    pieces = [next(stream), next(stream)]
    session.fault = not_finite
    with pytest.raises(OperationError, match="not finite"):
        pieces.extend(stream)
    assert stream.result.text == "".join(pieces)
    assert stream.result.finish_reason == "error"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda engine: engine.generate([PROMPT, PROMPT]), r"(?s)list with .*engine\.batch"),
        (lambda engine: engine.generate(), "give either prompt"),
        (lambda engine: engine.generate([]), "empty"),
        (lambda engine: engine.generate(3), "the prompt is 3; it must be a text"),
        (lambda engine: engine.generate(b"text"), "it must be a text"),
        (lambda engine: engine.generate([1, True]), "list with True"),
        (lambda engine: engine.generate({"role": "user", "content": "x"}), "messages are given as a list"),
        (lambda engine: engine.generate(PROMPT, messages=[]), "two prompts"),
        (lambda engine: engine.generate(PROMPT, prompt=PROMPT), "two prompts"),
        (lambda engine: engine.generate(PROMPT, temprature=1), "unknown field 'temprature'"),
        (lambda engine: engine.generate(PROMPT, max_new_tokens="9"), "max_new_tokens is '9'"),
        (lambda engine: engine.generate(PROMPT, max_new_tokens=9999), "max_new_tokens"),
        (lambda engine: engine.generate(PROMPT, mode="quadratic"), "quadratic"),
        (lambda engine: engine.generate(engine.request(PROMPT), seed=1), "seed was given beside a Request"),
        (lambda engine: engine.stream(PROMPT, mode="fast"), "mode is 'fast'"),
        (lambda engine: engine.batch(PROMPT), "batch takes a list"),
        (lambda engine: engine.batch({"prompt": PROMPT}), "batch takes a list"),
        (lambda engine: engine.batch([PROMPT, ""], raw=True), r"prompts\[1\]: .*empty"),
        (lambda engine: engine.batch([1, 2, 3]), r"prompts\[0\]: the prompt is 1"),
        (lambda engine: engine.batch([PROMPT, {"prompt": PROMPT, "mod": 1}]), r"prompts\[1\]: unknown field 'mod'"),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_forward(opened, call, said):
    steps = opened.decoder.steps
    with pytest.raises(InputError, match=said):
        call(opened)
    assert opened.decoder.steps == steps
    assert not opened.decoder.busy


def test_engine_without_a_tokenizer_takes_token_ids(engine):
    with Engine.open(engine("tiny-a")) as bare:
        result = bare.generate([1, 73, 20], max_new_tokens=4, eos_token_id=-1)
        assert (len(result.tokens), result.text) == (4, None)
        assert repr(result.tokens) in repr(result)
        for call in (bare.stream, bare.generate):
            with pytest.raises(InputError, match="no tokenizer"):
                call(PROMPT)
        with pytest.raises(InputError, match=r"prompts\[0\]: the engine has no tokenizer"):
            bare.batch([[1, 2]], stop="x")


def test_closed_engine_says_so_and_ends_what_is_open(folder):
    with Engine.open(folder) as engine:
        stream = engine.stream(PROMPT, mode="ar")
        next(stream)
    engine.close()
    assert "closed" in repr(engine)
    for call in (engine.generate, engine.stream, engine.request, lambda text: engine.batch([text])):
        with pytest.raises(InputError, match="closed"):
            call(PROMPT)
    with pytest.raises(OperationError, match="closed"):
        list(stream)


def test_engine_says_what_it_is(opened):
    assert repr(opened).startswith("<Engine nld-tiny, ort fp32: ar, diffusion, linear; up to 8 requests of 512 tokens")
    assert opened.modes == ("ar", "diffusion", "linear")
    assert opened.info.backend == "ort"


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("no-such-folder", {}, "not an engine folder"),
        ("nvidia/Nemotron-Labs-Diffusion-8B", {}, "(?s)must be converted first.*nld-trt build"),
        (None, {"backend": "trt"}, "no trt backend"),
        (None, {"max_batch_size": 0}, "max_batch_size is 0"),
        (None, {"max_batch_size": 9}, r"(?s)built for 1 to 8.*--max-batch-size 9"),
        (None, {"chat_template": "no-such"}, "no-such"),
    ],
)
def test_engine_that_cannot_be_opened_says_why(folder, name, options, said):
    with pytest.raises(InputError, match=said):
        Engine.open(name or folder.path, **options)


def test_chat_template_can_be_a_path(folder, tmp_path):
    (tmp_path / "bare.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    with Engine.open(folder, chat_template=tmp_path / "bare.jinja") as engine:
        assert engine.request(PROMPT) == engine.request(engine.codec.encode_part(PROMPT))


def test_home_folder_can_be_abbreviated(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.path.parent))
    with Engine.open(Path("~") / folder.path.name) as engine:
        assert engine.folder.path == folder.path
