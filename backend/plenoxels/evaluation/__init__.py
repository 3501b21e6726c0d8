"""Held-out quality of fields."""

from plenoxels.evaluation.evaluate import EvaluationResult, evaluate_views, psnr

__all__ = ["EvaluationResult", "evaluate_views", "psnr"]
