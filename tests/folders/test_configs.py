"""A configuration with other numbers is otherwise the same."""

from __future__ import annotations

import json

from spa_cli.folders import configs, keys


def test_order_indent_and_values_stay(tmp_path) -> None:
    text = '{\n   "eps": 1e-05,\n   "hidden_size": 12,\n   "name": "Wört",\n   "none": null,\n   "of": [1, 2]\n}'
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    config = configs.read(tmp_path / "config.json", keys.KNOWN)
    assert config is not None
    assert (config.number("hidden_size"), config.number("none"), config.number("eps")) == (12, None, None)
    assert config.first(("d_model", "hidden_size")) == 12
    new = config.text({"hidden_size": 8, "head_dim": 4})
    assert json.loads(new) == {**json.loads(text), "hidden_size": 8, "head_dim": 4}
    assert new.startswith('{\n   "eps": 1e-05,\n   "hidden_size": 8,\n   "name": "Wört",\n   "none": null,')
    assert config.said == json.loads(text), "what was read is as it was"


def test_characters_are_written_as_they_were(tmp_path) -> None:
    for text in ('{"dim": 4, "a": "\\u00f6"}', '{"dim": 4, "a": "\\ud800"}'):
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
        config = configs.read(tmp_path / "config.json", keys.KNOWN)
        assert config is not None
        assert config.text({"dim": 4}) == f"{text}\n"


def test_one_line_stays_one(tmp_path) -> None:
    (tmp_path / "genai_config.json").write_text('{"model": {"decoder": {"head_size": 4}}, "search": {}}')
    config = configs.read(tmp_path / "genai_config.json", keys.KNOWN)
    assert config is not None
    assert config.text({"head_size": 2}) == '{"model": {"decoder": {"head_size": 2}}, "search": {}}\n'


def test_keys_of_the_other_side_are_not_of_this_model() -> None:
    both = ("d_model", "encoder_ffn_dim", "decoder_ffn_dim")
    assert keys.of_side(both, "encoder_model.onnx") == ("d_model", "encoder_ffn_dim")
    assert keys.of_side(both, "decoder_model.onnx") == ("d_model", "decoder_ffn_dim")
    assert keys.of_side(both, "model.onnx") == both
