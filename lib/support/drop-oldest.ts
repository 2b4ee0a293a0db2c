/**
 * Deletes the entries that were added first. Many at once: a Map skips all entries that were deleted before it finds
 * its first one, so that one by one each would cost more than everything else that is done with it.
 */
export function dropOldest(map: Map<unknown, unknown>, count: number): void {
  let left = count;
  for (const key of map.keys()) {
    if (left === 0) return;
    map.delete(key);
    left -= 1;
  }
}
