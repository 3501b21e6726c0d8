"""Held-out quality of fields."""

from plenoxels.evaluation.evaluate import EvaluationResult, ViewScores, evaluate_views
from plenoxels.evaluation.measures import psnr, ssim

__all__ = ["EvaluationResult", "ViewScores", "evaluate_views", "psnr", "ssim"]
