"""Knowledge distillation: a pruned network learns from the dense one's probabilities, too.

Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def distillation_loss(student: torch.Tensor, teacher: torch.Tensor, *, temperature: float = 2.0) -> torch.Tensor:
    """Kullback-Leibler divergence of the student's from the teacher's distribution, times temperature squared.

    The factor keeps its gradient as large as that of a cross-entropy it is mixed with.

    Shapes: student and teacher, logits [N, classes]; the mean over N.
    """
    log_student = functional.log_softmax(student / temperature, dim=-1)
    log_teacher = functional.log_softmax(teacher / temperature, dim=-1)
    divergence = functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2
