"""Fitted estimators of scikit-learn, XGBoost, LightGBM and CatBoost as ONNX.

Law: what is written here answers as the estimator answers for the same float32 rows, labels included; what cannot be
written so is refused with the reason. Tree ensembles and nearest neighbours have their own writer: converters fail on
histogram boosting, weigh neighbours wrongly, and round 64-bit thresholds to the wrong side. Everything else of
scikit-learn goes through skl2onnx. Estimator libraries are imported inside functions; nothing here reads a pickle.
"""

from __future__ import annotations

from edgeloop.compress.classic.convert import LIBRARIES, estimator_to_onnx, is_estimator

__all__ = ["LIBRARIES", "estimator_to_onnx", "is_estimator"]
