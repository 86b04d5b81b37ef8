"""Everything that needs torch.

Importing this room sets right first what cannot be later (see `compat`): each of its modules may
then import torch, torchvision and timm in any order.
"""

from lotlens.answering.engines import silence_onnxruntime
from lotlens.vision.compat import limit_spinning, mend_torchvision, silence_tqdm

limit_spinning()
silence_onnxruntime()
silence_tqdm()
mend_torchvision()
