"""Gradients with the same bits each time: marched in parallel, added in the order of the rays (native/ordered.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import torch

from plenoxels.kernels.cpu import structures
from plenoxels.kernels.cpu.threads import ThreadPool

_CONTRIBUTIONS = 1 << 14  # of a block: some 1000 rays' samples, 1.5 MB


@dataclass
class _Block:
    """One stretch of rays: what its samples add to the gradients, and what was counted on the way."""

    first_ray: int
    memory: torch.Tensor
    list: structures.ContributionList
    work: structures.Work


class OrderedGradients:
    """Adds gradients in an order that depends on the rays alone. Keeps its memory between batches.

    Every row of the gradients has one owner, a thread that adds to it ray by ray; so the sums are the same however the
    threads run, and however many there are.
    """

    def __init__(self, pool: ThreadPool) -> None:
        self._pool = pool
        self._spare: list[torch.Tensor] = []
        self._owners = min(pool.threads, structures.MOST_OWNERS)

    def add(
        self,
        rays: int,
        works: list[structures.Work],
        gradients: structures.Gradients,
        march: Callable[[int, int, int], None],
        scatter: Callable[[int, int, int], None],
    ) -> list[structures.Work]:
        """Marches a batch and adds its gradients.

        Args:
            rays: in the batch.
            works: each worker's scratch memory.
            gradients: where to add.
            march: called with the address of a Work and a range of rays [begin, end), from any thread.
            scatter: called with the addresses of one owner's Gradients and of the ContributionLists, and their number.

        Returns:
            What was counted, in the order of the rays.
        """
        blocks: list[_Block] = []

        def keep(worker: int, begin: int, end: int) -> None:
            while begin < end:  # a block that is full leaves the rest of the rays to the next one
                block = self._block(begin, works[worker])
                march(ctypes.addressof(block.work), begin, end)
                blocks.append(block)
                begin = block.list.next_ray

        self._pool.run(rays, keep)
        blocks.sort(key=lambda block: block.first_ray)
        lists = (structures.ContributionList * len(blocks))(*(block.list for block in blocks))

        self.for_owners(gradients, lambda owned: scatter(ctypes.addressof(owned), ctypes.addressof(lists), len(blocks)))
        self._spare.extend(block.memory for block in blocks)
        return [block.work for block in blocks]

    def for_owners(self, gradients: structures.Gradients, add: Callable[[structures.Gradients], None]) -> None:
        """Calls `add` once for each owner, in parallel, with gradients of which that owner's rows alone are changed."""

        def add_owned(_worker: int, begin: int, end: int) -> None:
            for owner in range(begin, end):
                rows, visibility = gradients.rows, gradients.visibility
                add(structures.Gradients(rows=rows, visibility=visibility, locks=0, owner=owner, owners=self._owners))

        self._pool.run(self._owners, add_owned, smallest_chunk=1)

    def _block(self, first_ray: int, scratch: structures.Work) -> _Block:
        size = max(_CONTRIBUTIONS, scratch.sample_capacity) * structures.CONTRIBUTION_BYTES
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = torch.empty(0, dtype=torch.uint8)
        if memory.numel() < size:
            memory = torch.empty(size, dtype=torch.uint8)
        kept = structures.ContributionList(
            items=memory.data_ptr(),
            capacity=memory.numel() // structures.CONTRIBUTION_BYTES,
            next_ray=first_ray,
            owners=self._owners,
        )
        work = structures.Work(
            samples=scratch.samples, sample_capacity=scratch.sample_capacity, kept=ctypes.addressof(kept)
        )
        return _Block(first_ray, memory, kept, work)
