"""Everything that needs torch.

Importing this room mends torchvision first (see `compat`): each of its modules may then import
torch, torchvision and timm in any order.
"""

from lotlens.vision.compat import mend_torchvision

mend_torchvision()
