// Subnets for networks of our own: Docker's default pools end at about 31 networks, and one for each App and Environment takes hundreds.

import { createHash } from 'node:crypto';

/** IPv4, both as unsigned numbers. */
interface Range {
  readonly first: number;
  readonly last: number;
}

/** Of one network: 253 containers beside its gateway. */
const SUBNET_BITS = 24;

/** null where it is no IPv4 range such as 10.212.0.0/14. */
function parseRange(text: string): Range | null {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/u.exec(text);
  if (match === null) return null;
  const [a = 0, b = 0, c = 0, d = 0, bits = 0] = match.slice(1).map(Number);
  if (Math.max(a, b, c, d) > 255 || bits > 32) return null;
  const size = 2 ** (32 - bits);
  const address = ((a * 256 + b) * 256 + c) * 256 + d;
  const first = Math.floor(address / size) * size;
  return { first, last: first + size - 1 };
}

const format = (address: number): string => [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');

/** Ranges that the kernel's table of routes names, as `/proc/net/route` has it: whatever is behind them must stay reachable. */
export function routedRanges(table: string): readonly string[] {
  return table
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const fields = line.trim().split(/\s+/u);
      const [destination, mask] = [fields[1], fields[7]].map((hex) => Buffer.from(hex ?? '', 'hex').reverse());
      if (destination?.length !== 4 || mask?.length !== 4) return [];
      const bits = [...mask].reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0);
      return bits === 0 ? [] : [`${destination.join('.')}/${bits}`];
    });
}

/**
 * Free subnets of the pool, the most fitting first: where the name was before, it most likely gets the same one again.
 * @param pool such as 10.212.0.0/14; at least one subnet large
 * @param taken ranges that anything on the machine uses
 */
export function* freeSubnets(pool: string, taken: readonly string[], name: string): Generator<string> {
  const whole = parseRange(pool);
  if (whole === null) return;
  const used = taken.flatMap((text) => parseRange(text) ?? []);
  const size = 2 ** (32 - SUBNET_BITS);
  const count = Math.floor((whole.last - whole.first + 1) / size);
  const begin = count === 0 ? 0 : createHash('sha256').update(name).digest().readUInt32BE(0) % count;
  for (let step = 0; step < count; step += 1) {
    const first = whole.first + ((begin + step) % count) * size;
    const last = first + size - 1;
    if (used.every((range) => range.last < first || range.first > last)) yield `${format(first)}/${SUBNET_BITS}`;
  }
}
