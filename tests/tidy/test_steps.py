"""All steps together, on what exporters write."""

import onnx
import pytest

from spa_cli.errors import UsageError
from spa_cli.runtime.load import load
from spa_cli.runtime.session import openable
from spa_cli.tidy.steps import tidied, told, with_norms_folded
from tests.graph.files import dense
from tests.samples import model_path
from tests.tidy.same import left, same


def test_a_verbose_export_is_as_if_it_had_been_exported_well() -> None:
    path = model_path("digits_resnet")
    source = tidied(load(path))
    small, folded = with_norms_folded(source.model, "")
    same(onnx.load(path), small, 1e-5)
    assert len(onnx.load(path).graph.node) == 120
    assert folded == left(small)["Conv"] == 13
    assert len(small.graph.node) == 39 and not {"Expand", "CastLike", "BatchNormalization"} & left(small).keys()
    assert told(source.tidied | {"batch-norms": folded}) == (
        "27 idle, 26 constant, 15 unused, 13 BatchNormalization folded"
    )


def test_nothing_to_do_changes_nothing() -> None:
    model = dense()
    source = tidied(load(model))
    assert source.tidied == {} and source.model == model and source.warnings == []


def test_what_it_is_compared_with_is_what_was_given() -> None:
    path = model_path("digits_resnet")
    assert openable(tidied(load(path))) == str(path)
    model = onnx.load(path)
    assert openable(tidied(load(model))) is model
    assert openable(tidied(tidied(load(model), ["idle"]))) is model


def test_a_second_time_there_is_nothing_left() -> None:
    again = tidied(tidied(load(model_path("digits_vit"))))
    assert again.tidied == {}


def test_a_step_that_there_is_none_of() -> None:
    with pytest.raises(UsageError, match="there is no way to tidy called 'dust'; use one of inputs, idle, "):
        tidied(load(dense()), ["dust"])
