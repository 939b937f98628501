"""A model in its library's own safe format: XGBoost JSON or UBJSON, LightGBM text, CatBoost binary."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError, NotFoundError

from edgeloop.compress.quiet import quiet
from edgeloop.compress.sources.base import Source

__all__ = ["BoosterFile", "try_out"]

_LIBRARIES = {".json": "xgboost", ".ubj": "xgboost", ".txt": "lightgbm", ".cbm": "catboost"}
_TRIAL = "import sys; from edgeloop.compress.sources.booster_file import try_out; try_out(sys.argv[1])"
_TRIAL_LIMIT_S = 600


class BoosterFile(Source):
    """Takes paths that end in ``.json``, ``.ubj``, ``.txt`` or ``.cbm``."""

    name = "booster_file"

    def accepts(self, spec: str) -> bool:
        """Return whether the path ends so."""
        return Path(spec).suffix.lower() in _LIBRARIES

    def locate(self, spec: str, work_directory: Path) -> Path:
        """Read the model with its library and write it as ONNX.

        Raises:
            NotFoundError: there is no such file.
            InvalidInputError: the library does not read it.
            UnsupportedError: it has no ONNX form that answers as it does.
            MissingDependencyError: the library is not installed.
        """
        from edgeloop.compress.classic import estimator_to_onnx
        from edgeloop.compress.graph import save_model

        path = Path(spec).expanduser()
        if not path.is_file():
            raise NotFoundError(f"model {spec} does not exist.", next_step="Check the path.")
        _survive(path)
        work_directory.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]
        target = work_directory / f"source-{name}.onnx"
        save_model(estimator_to_onnx(_loaded(path), path.name), target)
        return target


def try_out(path: str) -> None:
    """Read the model and write its ONNX form nowhere; only whether the process lives through it counts."""
    from edgeloop.compress.classic import estimator_to_onnx

    estimator_to_onnx(_loaded(Path(path)), Path(path).name)


def _survive(path: Path) -> None:
    """Try the file out in a process of its own.

    The libraries' readers are native code: LightGBM ends the whole process on a file that was cut off.

    Raises:
        InvalidInputError: the process died or did not end.
    """
    library = _LIBRARIES[path.suffix.lower()]
    command = [sys.executable, "-c", _TRIAL, str(path.absolute())]
    # Without it a file of the working directory may stand in for a module.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    try:
        code = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_TRIAL_LIMIT_S,
        ).returncode
        outcome = "its reader died on it"
    except subprocess.TimeoutExpired:
        code, outcome = -1, f"its reader did not end within {_TRIAL_LIMIT_S} s"
    # 1 is a Python exception, which reading it here turns into its own sentence.
    if code not in (0, 1):
        raise InvalidInputError(
            f"{path.name} is not a model that {library} reads: {outcome}.",
            next_step=f"The file may be cut off or damaged: save it again with {library}'s own save_model.",
        )


def _loaded(path: Path) -> Any:
    library = _LIBRARIES[path.suffix.lower()]
    readers = {"xgboost": _xgboost, "lightgbm": _lightgbm, "catboost": _catboost}
    try:
        with quiet():
            return readers[library](str(path))
    except ImportError as error:
        raise MissingDependencyError(
            f"{path.name} needs the package {library!r}, which is not installed.",
            next_step="Install it: pip install 'edgeloop[classic]'.",
        ) from error
    except Exception as error:  # each library raises a family of its own
        raise InvalidInputError(
            f"{path.name} is not a model that {library} reads: {' '.join(str(error).split())[:120]}.",
            next_step=f"Save it with {library}'s own save_model.",
        ) from error


def _xgboost(path: str) -> Any:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(path)
    return booster


def _lightgbm(path: str) -> Any:
    import lightgbm

    return lightgbm.Booster(model_file=path)


def _catboost(path: str) -> Any:
    import catboost

    model = catboost.CatBoost()
    model.load_model(path)
    return model
