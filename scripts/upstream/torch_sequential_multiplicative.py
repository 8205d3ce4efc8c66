"""PyTorch's MultiplicativeLR continues from the rate before it in a SequentialLR, times f(0)."""

import torch

optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
schedulers = torch.optim.lr_scheduler
first = schedulers.ConstantLR(optimizer, 0.5, total_iters=9)
second = schedulers.MultiplicativeLR(optimizer, lambda step: 0.1 if step == 0 else 1.0)
both = schedulers.SequentialLR(optimizer, [first, second], milestones=[1])
optimizer.step()
both.step()
print(f"rate at the milestone: is {both.get_last_lr()[0]:g}; should be 1, where it starts alone")
raise SystemExit(int(both.get_last_lr()[0] == 1.0))
