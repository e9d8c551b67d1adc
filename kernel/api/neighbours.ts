/** The id right before or after another, in the order in which lists are read: so one item is a list of one that begins there. */

export function idBefore(id: string): string {
  return shift(id, -1n);
}

export function idAfter(id: string): string {
  return shift(id, 1n);
}

function shift(id: string, by: bigint): string {
  const hex = BigInt.asUintN(128, BigInt(`0x${id.replaceAll('-', '')}`) + by)
    .toString(16)
    .padStart(32, '0');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
