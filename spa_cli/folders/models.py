"""The model of a folder, for what looks at models alone, read with the folder's tokenizer."""

from __future__ import annotations

from dataclasses import replace

from spa_cli.folders.recognise import ModelFolder, folder_of
from spa_cli.options import Options
from spa_cli.runtime.load import Model


def its_model(model: Model) -> Model:
    """Of a model folder its model; anything else as it is."""
    folder = folder_of(model)
    return model if folder is None else folder.model


def opened(model: Model, options: Options) -> tuple[Model, Options]:
    """The same, and options by which text is read as the folder reads it, where it is one."""
    folder = folder_of(model)
    return (model, options) if folder is None else (folder.model, by_its_tokenizer(folder, options))


def by_its_tokenizer(folder: ModelFolder, options: Options) -> Options:
    """The same, but that samples of text are read by the folder's tokenizer where no other is named."""
    if options.tokenizer is None and folder.tokenizer is not None and (options.calib or options.test):
        return replace(options, tokenizer=folder.tokenizer)
    return options
