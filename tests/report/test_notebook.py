"""Results at a prompt and in a notebook."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import onnx
import pytest

import spa_cli
from spa_cli import shown
from tests.samples import model_path

MLP = model_path("digits_mlp")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("notebook")
    small = folder / "small.onnx"
    vit = model_path("digits_vit")
    cut = spa_cli.prune(vit, ratio=0.1, method="l2").model
    return {
        "Result": spa_cli.prune(MLP, small, ratio=0.1, method="l2"),
        "Analysis": spa_cli.inspect(MLP),
        "Comparison": spa_cli.verify(MLP, small, max_drift=0.01),
        "Sweep": spa_cli.sweep(MLP, folder / "sweep", points=[0.9, 0.8], method="l2"),
        "TuneResult": spa_cli.tune(cut, vit, epochs=1, samples=8),
    }


@pytest.mark.parametrize(
    ("name", "line", "table"),
    [
        ("Result", r"digits_mlp\.onnx: MACs 17 k -> .*, drift .*, written to .*small\.onnx", "pruned digits_mlp.onnx"),
        ("Analysis", r"digits_mlp\.onnx: 2 groups, 192 removable channels, .* parameters, .* MACs", "2 groups"),
        ("Comparison", r"0 of 1 gates passed, drift .*, 70\.9 kB -> .*, MACs .* of the latency", "not verified"),
        ("Sweep", r"digits_mlp\.onnx: 2 of 2 budgets in macs, drift at 0\.9 \(.*\) to 0\.8 \(.*\)", "digits_mlp.onnx"),
        ("TuneResult", r".*: drift .* -> .*", "drift"),
    ],
)
def test_one_line_and_a_table(results, name, line, table) -> None:
    found = results[name]
    assert re.fullmatch(rf"<{name} {line}>", repr(found))
    shown_as = found._repr_html_()
    assert shown_as.startswith("<pre")
    assert table in re.sub(r"<[^>]*>", "", shown_as)


def test_weights_that_were_cut(results) -> None:
    plan = results["Result"].plan
    state = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(MLP).graph.initializer}
    carried = spa_cli.apply_weights(plan, state)
    assert re.fullmatch(r"<Carried .*: \d+ weights cut, .* -> .* numbers>", repr(carried))
    assert carried._repr_html_().startswith("<pre")


def test_a_name_can_be_no_markup() -> None:
    model = onnx.load(MLP)
    model.graph.input[0].name = "<script>alert(1)</script>"
    for node in model.graph.node:
        node.input[:] = ["<script>alert(1)</script>" if n == "pixels" else n for n in node.input]
    found = spa_cli.inspect(model)._repr_html_()
    assert "<script>" not in found
    assert "&lt;script&gt;" in found


def test_without_tables_there_is_the_line(results, monkeypatch) -> None:
    monkeypatch.setattr(shown, "_tables", [])
    assert results["Result"]._repr_html_() is None


def test_in_a_notebook_a_table_is_shown_once_in_its_words_and_with_its_warnings(results, monkeypatch) -> None:
    """Where rich prints into a file in Jupyter, it also shows what it prints."""
    shown_by_rich = []
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *given: shown_by_rich.append(given))
    cut = replace(results["Result"], warnings=["[b]ware[/b]"])
    assert "warning: [b]ware[/b]" in re.sub(r"<[^>]*>", "", cut._repr_html_())
    assert "see only &#x27;*/heads&#x27;" in spa_cli.inspect(model_path("digits_vit"))._repr_html_()
    assert shown_by_rich == []


def test_what_ruins_a_result_leads_and_is_said_once(results) -> None:
    found = spa_cli.prune(model_path("digits_resnet"), target_macs=0.1, method="random")
    assert found.drift.resembles is False
    text = html.unescape(re.sub(r"<[^>]*>", "", found._repr_html_()))
    assert text.startswith("the outputs no longer resemble the original's")
    assert text.count("no longer resemble") == 1
    assert re.search(r", RUINED, \d+ warnings?>$", repr(found))


def test_parts_of_results_are_short_at_a_prompt_and_what_is_ruined_is_said(results) -> None:
    found = results["Result"]
    analysis = found.analysis
    assert repr(analysis.grouping) == "<Grouping: 2 groups, 3 frozen axes>"
    assert repr(analysis.grouping.groups[0]) == "<Group coefficient: 128 channels on 3 axes, exact>"
    assert re.fullmatch(r"<Plan of digits_mlp\.onnx: \d weights to cut>", repr(found.plan))
    assert "RUINED" not in repr(found)
    assert repr(replace(found, warnings=["a", "b"])).endswith(", 2 warnings>")
