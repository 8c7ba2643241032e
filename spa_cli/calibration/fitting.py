"""What is fitted to: the user's samples, or synthetic ones; some of them more often."""

from __future__ import annotations

from spa_cli.analysis import Analysis
from spa_cli.calibration.chunks import Calibration
from spa_cli.calibration.focus import Focus
from spa_cli.calibration.read import Data
from spa_cli.calibration.split import emphasised, from_user
from spa_cli.calibration.streaming import streamed
from spa_cli.calibration.synthetic import synthetic
from spa_cli.errors import ModelError, OptionError
from spa_cli.options import Options
from spa_cli.progress import stage


def fitted_to(analysis: Analysis, options: Options, focus: Focus, data: Data) -> Calibration:
    """Samples to measure and to fit on; raises UsageError for a focus that they can't serve.

    And ModelError for a model that takes none.
    """
    if not analysis.input_shapes:
        raise ModelError(
            f"'{analysis.source.name}' has no inputs, so that there are no samples to measure or to fit on; give "
            "--method l1 or l2, which look at the weights alone"
        )
    if data.fit is not None:
        chosen = streamed(analysis, from_user(analysis, data.fit, options, focus))
    elif focus.samples is not None:
        raise OptionError("--focus samples counts the samples of --calib; give the file")
    else:
        stage("making samples")
        chosen = synthetic(analysis, options.calib_samples, options.seed)
    return emphasised(analysis, chosen, focus) if focus.classes else chosen
