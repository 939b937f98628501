"""What a model consists of, where its time and bytes go, and which recipes that speaks for.

Law: every figure is counted in the file or measured on this host, and says which; what could not be
measured is absent with the reason. Advice names the figure it rests on.
"""

from edgeloop.compress.analysis.analyze import Analysis, LayerAnalysis, Recommendation, analyze
from edgeloop.compress.analysis.sensitivity import LayerSensitivity
from edgeloop.compress.analysis.weights import WeightStatistics

__all__ = ["Analysis", "LayerAnalysis", "LayerSensitivity", "Recommendation", "WeightStatistics", "analyze"]
