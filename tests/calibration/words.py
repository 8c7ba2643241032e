"""A tokenizer of a few words."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors

IDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "the": 4, "cat": 5, "dog": 6, "sat": 7}
CLS, SEP = IDS["[CLS]"], IDS["[SEP]"]


def word_level(path: Path, direction: str | None = None, pad_id: int = 0, marks: bool = True) -> Path:
    """One word a token, between [CLS] and [SEP] with ``marks``; padding in the file itself with ``direction``."""
    tokenizer = Tokenizer(models.WordLevel(IDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if marks:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
        )
    if direction is not None:
        tokenizer.enable_padding(direction=direction, pad_id=pad_id)
    tokenizer.save(str(path))
    return path
