"""Everything that needs torch.

Importing this room sets right first what cannot be later (see `compat`): each of its modules may
then import torch, torchvision and timm in any order.
"""

from lotlens.vision.compat import let_waiting_threads_sleep, mend_torchvision

let_waiting_threads_sleep()
mend_torchvision()
