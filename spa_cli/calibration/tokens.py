"""Text as the arrays that a model of tokens takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from spa_cli.calibration.filling import fillable
from spa_cli.calibration.reading import Reading
from spa_cli.errors import OptionError, UsageError
from spa_cli.extras import extra
from spa_cli.graph.model import Array, Graph
from spa_cli.runtime.inputs import input_dims

FILLED = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
# where neither the model nor the user says how long a text may be
_LONGEST = 128


@dataclass(frozen=True)
class TextInputs:
    """What fills the inputs of a model of tokens. ``fixed``: the length the model asks for, 0 if it is free."""

    names: dict[str, str]
    fixed: int
    longest: int
    tokenizer: Any

    @staticmethod
    def of(graph: Graph, reading: Reading, where: str) -> TextInputs:
        """Raises UsageError without the extra or a tokenizer, or for a model with inputs that text does not fill."""
        if reading.tokenizer is None:
            raise UsageError(f"'{where}' is text; give its tokenizer by --tokenizer tokenizer.json")
        # a single input of any name is the tokens themselves
        names = {n: n for n in graph.inputs} if len(graph.inputs) > 1 else dict.fromkeys(graph.inputs, FILLED[0])
        strange = [n for n, kind in names.items() if kind not in FILLED and not fillable(graph, n)]
        if strange or FILLED[0] not in names.values():
            lacks = f"takes '{strange[0]}' too" if strange else f"takes no {FILLED[0]}"
            raise UsageError(f"text fills {', '.join(FILLED)}, this model {lacks}; give an .npz with an array for each")
        ids = next(n for n, kind in names.items() if kind == FILLED[0])
        dims = input_dims(graph.inputs[ids])
        if dims is not None and len(dims) != 2:
            raise UsageError(f"input '{ids}' takes {dims}, tokens of text are (samples, length); give an .npz")
        length = dims[1] if dims else ""
        given = dict(reading.input_shape).get(ids, ())[1:2]
        fixed = length if isinstance(length, int) else (*given, 0)[0]
        longest = reading.max_length or fixed or _LONGEST
        if fixed and longest > fixed:
            raise OptionError(
                f"--max-length {longest} is more than the {fixed} tokens that input '{ids}' takes; give at most that"
            )
        return TextInputs(names, fixed, longest, _tokenizer(reading))

    def arrays(self, texts: list[str]) -> dict[str, Array]:
        """(texts, length) per input: padded to the model's fixed length, else to the longest of the texts.

        Raises UsageError for texts the tokenizer can't take, and if what it adds to each is more than fits.
        """
        own = self.tokenizer.padding or {"pad_id": self._padding(), "pad_type_id": 0, "direction": "right"}
        kept = {k: own[k] for k in ("direction", "pad_id", "pad_type_id", "pad_token") if k in own}
        self.tokenizer.enable_padding(**kept, length=self.fixed or None)
        try:
            self.tokenizer.enable_truncation(self.longest)
            encoded = self.tokenizer.encode_batch(texts)
        except Exception as error:  # the library raises plain Exception
            raise UsageError(f"the tokenizer can't take these texts: {error}; give the model's own") from error
        if not any(e.ids for e in encoded):
            raise UsageError("the tokenizer finds no token in any of the texts; give the model's own")
        if len(encoded[0].ids) > max(self.longest, self.fixed):
            raise UsageError(
                f"the tokenizer adds more to every text than {self.longest} tokens; raise --max-length, or give another"
            )
        mask = np.array([e.attention_mask for e in encoded], np.int64)
        # counted from the first token that is no padding, which may be on the left
        positions = np.maximum(np.arange(mask.shape[1]) - mask.argmax(1)[:, None], 0)
        ids, types = (np.array([getattr(e, n) for e in encoded], np.int64) for n in ("ids", "type_ids"))
        found = dict(zip(FILLED, (ids, mask, types, positions), strict=True))
        return {name: found[kind] for name, kind in self.names.items() if kind in found}

    def _padding(self) -> int:
        known = (self.tokenizer.token_to_id(token) for token in ("[PAD]", "<pad>", "<|endoftext|>", "</s>"))
        return next((number for number in known if number is not None), 0)


def _tokenizer(reading: Reading) -> Any:
    library = extra("tokenizers", "text needs tokenizers", "tokenizers")
    path = reading.tokenizer
    if path is None or not path.is_file():
        raise UsageError(f"there is no tokenizer file '{path}'; give the tokenizer.json of the model")
    try:
        return library.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise UsageError(f"the tokenizer '{path}' can't be read ({error}); give a tokenizer.json") from error
