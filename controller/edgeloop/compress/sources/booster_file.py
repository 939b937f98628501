"""A model in its library's own safe format: XGBoost JSON or UBJSON, LightGBM text, CatBoost binary."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError, NotFoundError

from edgeloop.compress.quiet import quiet
from edgeloop.compress.sources.base import Source

__all__ = ["BoosterFile"]

_LIBRARIES = {".json": "xgboost", ".ubj": "xgboost", ".txt": "lightgbm", ".cbm": "catboost"}


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
        work_directory.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]
        target = work_directory / f"source-{name}.onnx"
        save_model(estimator_to_onnx(_loaded(path), path.name), target)
        return target


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
