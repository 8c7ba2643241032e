from contextlib import suppress

from spa_cli.errors import UsageError
from spa_cli.gradients.backend import require

# onnx2torch alone doesn't import where torchvision is missing: pytest.importorskip would skip what works
with suppress(UsageError):
    require()
