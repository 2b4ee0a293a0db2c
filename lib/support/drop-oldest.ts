/**
 * Deletes the entries that were added first, many together. A Map skips all deleted entries before it finds its first
 * one. To delete each alone would cost more than everything else that is done with the Map.
 */
export function dropOldest(map: Map<unknown, unknown>, count: number): void {
  let left = count;
  for (const key of map.keys()) {
    if (left === 0) return;
    map.delete(key);
    left -= 1;
  }
}
