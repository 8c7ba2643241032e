"""Folders as their makers write them: made here by optimum or by onnxruntime-genai's builder, pruned, and read again.

    pip install torch transformers==4.57.6 optimum-onnx==0.1.0 && python benchmarks/bench_folders.py optimum
    pip install torch 'transformers>=5' onnxruntime-genai==0.18.0 onnx_ir && python benchmarks/bench_folders.py genai

(in an environment each, beside spa: they want different versions of transformers). A Llama of 0.66 M parameters with
random weights and a tokenizer of its own; 32 tokens are generated before and after by the library that the folder is
for. Exits with 1 where they are not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROMPT, NEW = "Once upon a time", 32
TEXT = [PROMPT + " there was a little girl named Lily. She liked to play outside in the park with her friends."] * 10


def source(folder: Path) -> Path:
    """A model as transformers stores it."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    plain = Tokenizer(models.BPE(unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel()
    special = ["<unk>", "<s>", "</s>"]
    plain.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=512, special_tokens=special))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 3, "head_dim": 16}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4}
    config = LlamaConfig(
        vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2, max_position_embeddings=256, **sizes, **heads
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def by_optimum(model: Path, folder: Path, _: str) -> None:
    """Standard operators."""
    from optimum.exporters.onnx import main_export

    main_export(str(model), output=folder, task="text-generation-with-past", do_validation=False)


def read_by_optimum(folder: Path) -> list[int]:
    """Token numbers that optimum generates."""
    from optimum.onnxruntime import ORTModelForCausalLM
    from transformers import AutoTokenizer

    given = AutoTokenizer.from_pretrained(folder)(PROMPT, return_tensors="pt")
    model = ORTModelForCausalLM.from_pretrained(folder, use_io_binding=False)
    found: Any = model.generate(input_ids=given["input_ids"], min_new_tokens=NEW, max_new_tokens=NEW, do_sample=False)
    return [int(token) for token in found[0]]


def by_genai(model: Path, folder: Path, precision: str) -> None:
    """GroupQueryAttention."""
    line = ["-i", model, "-o", folder, "-p", precision, "-e", "cpu"]
    subprocess.run([sys.executable, "-m", "onnxruntime_genai.models.builder", *map(str, line)], check=True)


def read_by_genai(folder: Path) -> list[int]:
    """Token numbers that onnxruntime-genai generates."""
    import onnxruntime_genai as og

    model = og.Model(str(folder))
    given = og.Tokenizer(model).encode(PROMPT)
    params = og.GeneratorParams(model)
    params.set_search_options(min_length=len(given) + NEW, max_length=len(given) + NEW, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(given)
    while not generator.is_done():
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)]


Make, Read = Callable[[Path, Path, str], None], Callable[[Path], list[int]]
KINDS: dict[str, tuple[Make, Read, tuple[str, ...]]] = {
    "optimum": (by_optimum, read_by_optimum, ("fp32",)),
    "genai": (by_genai, read_by_genai, ("fp32", "int4")),
}


def main() -> None:
    """A line for every precision and way to prune."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    make, read, precisions = KINDS[parser.parse_args().kind]
    short = 0
    with tempfile.TemporaryDirectory() as place:
        model = source(Path(place) / "source")
        for precision in precisions:
            folder = Path(place) / precision
            make(model, folder, precision)
            whole = read(folder)
            print(f"{precision}: as made: {len(whole)} tokens", flush=True)
            for states in ("keep", "shrink"):
                out = Path(place) / f"{precision}-{states}"
                line = ["prune", folder, "-o", out, "--target-params", 0.8, "--states", states]
                subprocess.run(
                    [sys.executable, "-m", "spa_cli", *map(str, line)], check=True, stdout=subprocess.DEVNULL
                )
                found = read(out)
                short += len(found) < len(whole)
                print(f"{precision}, 0.8 of the parameters, --states {states}: {len(found)} tokens", flush=True)
    sys.exit(1 if short else 0)


if __name__ == "__main__":
    main()
